"""Many small pairs with full masks, as a table names them.

Dimension key: h rows, w columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patchfree.change.pair import pair_up
from patchfree.change.reference import full_mask
from patchfree.errors import ConfigError, PatchfreeError
from patchfree.io import open_scene
from patchfree.labels import Labels
from patchfree.lists import Use, read_list
from patchfree.scene import Scene

COLUMNS = {
    "before": ("before", "a", "t1"),
    "after": ("after", "b", "t2"),
    "mask": ("mask", "label", "labels"),
}


@dataclass(frozen=True, eq=False)
class ListedPair:
    """A line of a list of pairs, read.

    Attributes:
        scene: both dates, stacked.
        labels: of each pixel.
        use: what the pair is for; None to split its pixels.
    """

    scene: Scene
    labels: Labels
    use: Use | None


def open_pairs(path: str | Path, *, keep_going: bool = False) -> tuple[list[ListedPair], list[str]]:
    """Read the pairs of a table with the columns `before`, `after` and `mask`, and if wanted `use` (train, validation or test).

    Files are looked for beside the table. Masks label every pixel: 0 unchanged, else changed.

    Args:
        path: the table, as CSV.
        keep_going: leave out pairs that cannot be read, instead of stopping at the first.

    Returns:
        The pairs, and a sentence for each that was left out.

    Raises:
        ConfigError: the table cannot be used, or no pair is left.
        PatchfreeError: a pair cannot be read.
    """
    found, left_out = [], []
    for number, row in enumerate(read_list(path, COLUMNS, what="pairs"), 2):
        files = [row["before"], row["after"], row["mask"]]
        try:
            missing = [file for file in files if not Path(file.rpartition(":")[0] or file).exists()]
            if missing:
                raise ConfigError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there.")
            pair = pair_up(open_scene(files[0]), open_scene(files[1]))
            labels = full_mask(files[2], pair.before.grid)
        except PatchfreeError as error:
            what = f"Line {number} of {Path(path).name}: {error}"
            if not keep_going:
                raise type(error)(f"{what} Mend the list, or pass --keep-going to go on without this pair.") from error
            left_out.append(what)
            continue
        scene = pair.stacked()
        found.append(ListedPair(scene, labels.within(scene.valid), row["use"]))
    if not found:
        raise ConfigError(f"No pair of {path} can be read. The first: {left_out[0]}")
    return found, left_out
