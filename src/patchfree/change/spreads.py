"""`spread.tif`: how far the answers of networks that are alike lie apart, by dropout and by an ensemble, on request.

Reference: Gal and Ghahramani, "Dropout as a Bayesian approximation", ICML 2016; Lakshminarayanan, Pritzel, Blundell, "Simple and
scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017.

Differences: the networks are trained without dropout; the ensemble's members differ in their seed (weights and sampling) and see
the same labels. The map stays that of the run itself: the spread tells how far it is to be trusted.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from patchfree.change.teacher import teach
from patchfree.change.uncertainty import dropout_spread, judge, spread_of
from patchfree.errors import ConfigError
from patchfree.io.geotiff import write_layers
from patchfree.progress import Progress
from patchfree.recipes import Recipe
from patchfree.run import load_run
from patchfree.scene import Scene
from patchfree.training import train

if TYPE_CHECKING:
    from patchfree.report import Evidence


@dataclass(frozen=True)
class Spreads:
    """Which spreads to write.

    Attributes:
        dropout: answers of the run's network with channels dropped at random; 0 for none.
        ensemble: networks that are trained on the same labels, the run's own included; 0 for none.
    """

    dropout: int = 0
    ensemble: int = 0

    def __post_init__(self) -> None:
        for name, count in self.asked.items():
            if count < 2:
                raise ConfigError(f"Got {name}={count}; the spread of answers needs at least 2.")

    @property
    def asked(self) -> dict[str, int]:
        """Those that are wanted, by name."""
        return {name: count for name, count in (("dropout", self.dropout), ("ensemble", self.ensemble)) if count}

    def check(self, pairs: list[Scene], *, refit: bool) -> None:
        """Refuse what no spread can be made for.

        Raises:
            ConfigError: several pairs, one that does not fit into memory, or a network that is trained anew after its test.
        """
        if not self.asked:
            return
        if len(pairs) > 1 or pairs[0].members or pairs[0].cut is not None:
            raise ConfigError(
                "The spread of answers is made for one pair that fits into memory. Leave out --dropout-passes and --ensemble, or give more "
                "--memory."
            )
        if refit:
            raise ConfigError(
                "Got --refit beside --dropout-passes or --ensemble: a network that has learnt the test pixels cannot show how well a spread "
                "tells its errors. Leave out one."
            )

    def write(
        self, folder: Path, evidence: Evidence, recipe: Recipe, seed: int, device: str, tell: Callable[[Progress], None]
    ) -> dict[str, Any]:
        """Write `spread.tif`, a band for each spread, and judge each at the test pixels; by name, with the number of answers."""
        run, scene = load_run(folder), evidence.scene
        tested, labels, test = evidence.tested, evidence.labels, evidence.split.test
        layers: dict[str, Float32[np.ndarray, "h w"]] = {}
        if self.dropout:
            tell(Progress("dropout", 0, 1))
            layers["dropout"] = dropout_spread(run, scene, passes=self.dropout, seed=seed, device=device).variance
        if self.ensemble:
            found = [run.predict(scene, device=device)]
            for number in range(1, self.ensemble):
                tell(Progress("ensemble", number, self.ensemble))
                member = train(
                    scene,
                    labels,
                    split=evidence.split,
                    recipe=recipe,
                    seed=seed + number,
                    controls=(),
                    teach=teach if recipe.taught else None,
                    device=device,
                )
                found.append(member.predict(scene, device=device))
            layers["ensemble"] = spread_of(found).variance
        layers = {name: np.sqrt(variance) for name, variance in layers.items()}
        names = [f"deviation of the probability of change, {name} of {self.asked[name]}" for name in layers]
        write_layers(folder / "spread.tif", np.stack([*layers.values()]), names, scene.grid, tags=run.tags("scene"))
        wrong = tested.index[test] != labels.index[test]
        return {name: {"answers": self.asked[name], **judge(layer[test], wrong)} for name, layer in layers.items()}
