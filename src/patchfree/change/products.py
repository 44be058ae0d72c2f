"""What a detection of changes leaves in its folder: score, map, uncertainty, objects, figures as numbers, report."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from patchfree import __version__
from patchfree.change.reference import LEGEND
from patchfree.change.report import ChangeEvidence, write_change_report
from patchfree.change.scoring import CHANGED, Changes
from patchfree.change.truth import measure
from patchfree.errors import MissingExtra, RunError
from patchfree.files import check_writable, exclusive, write_json
from patchfree.ground import pixel_hectares
from patchfree.io.geotiff import write_class_map, write_layers
from patchfree.labels import Labels
from patchfree.staging import OUTPUTS
from patchfree.unsupervised.objects import FoundObject, find_objects, write_objects

FILES = ("score.tif", "map.tif", "uncertainty.tif", "objects.gpkg", "report.html", "metrics.json")
"""What is written; metrics.json comes last, its presence says that all is there."""
MOST_OBJECTS = 10_000
LAYER = "changes"


@dataclasses.dataclass(frozen=True, eq=False)
class Written:
    """What was written, and what was measured.

    Attributes:
        folder: where.
        objects: the largest connected areas of change.
        measured: accuracies against the truth, if there was one.
        notes: what could not be written, one sentence each.
    """

    folder: Path
    objects: list[FoundObject]
    measured: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds other results, before any work is done.

    Raises:
        RunError: it does, and they are not to be replaced.
        ConfigError: nothing can be written there.
    """
    there = [name for name in {*FILES, *OUTPUTS} if (folder / name).exists()]
    if there and not overwrite:
        raise RunError(
            f"{folder} holds {', '.join(sorted(there))}; they would be replaced. Choose another --out, or pass --overwrite."
        )
    check_writable(folder)


def write_changes(
    folder: str | Path, found: Changes, *, truth: Labels | None = None, command: str = "", overwrite: bool = False
) -> Written:
    """Write everything that is known of the changes of a pair.

    `score.tif` (NaN without data), `map.tif` (1 unchanged, 2 changed, 0 no data), `uncertainty.tif` (entropy in bits, and the
    probability of change), `objects.gpkg` (connected changed pixels with mean spectra of both dates), `metrics.json`, `report.html`.

    Args:
        folder: to write; made if it is not there.
        found: the changes.
        truth: labels to measure against (`patchfree.change.reference`).
        command: the command that was given, for the report.
        overwrite: replace what lies in the folder.

    Raises:
        RunError: the folder holds other results, or another process is at work in it.
        LabelError: the truth does not fit the pair.
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    check_folder(folder, overwrite=overwrite)
    measured = None if truth is None else measure(found, truth)
    with exclusive(folder):
        for name in {*OUTPUTS, *FILES}:  # what an older run left must not stand beside this one
            old = folder / name
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        tags = {key: str(value) for key, value in found.settings.items()}
        write_layers(folder / "score.tif", found.scores[None], ["change score"], found.grid, tags=tags)
        write_class_map(folder / "map.tif", found.index, LEGEND, found.grid, tags=tags)
        layers = np.stack([found.uncertainty, found.probability])
        write_layers(folder / "uncertainty.tif", layers, ["entropy", "probability of change"], found.grid, tags=tags)
        objects, index, notes = write_change_objects(folder / "objects.gpkg", found)
        evidence = ChangeEvidence(found, objects, index, truth, measured, (*found.notes, *notes), command)
        write_change_report(folder / "report.html", evidence)
        write_json(folder / "metrics.json", _metrics(found, objects, measured, notes))
    return Written(folder, objects, measured, tuple(notes))


def write_change_objects(path: Path, found: Changes) -> tuple[list[FoundObject], Int[np.ndarray, "h w"], list[str]]:
    """Write the largest connected areas of change; returns them, the area of each pixel, and what there is to say of them."""
    objects, index = find_objects(found.scores, found.index == CHANGED, found.view, found.grid, largest=MOST_OBJECTS)
    notes = []
    c = len(found.bands)
    if len(objects) == MOST_OBJECTS:
        notes.append(f"Only the {MOST_OBJECTS:,} largest objects are listed.")
    try:
        write_objects(
            path,
            objects,
            index,
            found.grid,
            layer=LAYER,
            spectra={"spectrum_before": slice(0, c), "spectrum_after": slice(c, 2 * c)},
        )
    except MissingExtra as error:
        notes.append(f"{path.name} was not written: {error}")
    return objects, index, notes


def _metrics(
    found: Changes, objects: list[FoundObject], measured: dict[str, Any] | None, notes: list[str]
) -> dict[str, Any]:
    changed, hectares = int((found.index == CHANGED).sum()), pixel_hectares(found.grid)
    return {
        "task": "change detection",
        "patchfree": __version__,
        "before": found.names[0],
        "after": found.names[1],
        "grid": found.grid.as_dict(),
        "bands": dataclasses.asdict(found.bands),
        "settings": found.settings,
        "notes": [*found.notes, *notes],
        "threshold": None if found.threshold is None else dataclasses.asdict(found.threshold),
        "shift": None if found.shift is None else dataclasses.asdict(found.shift),
        "map": {
            "pixels": int((found.index > 0).sum()),
            "changed": changed,
            "changed_share": found.changed_share,
            "changed_ha": None if hectares is None else changed * hectares,
            "objects": len(objects),
        },
        "truth": measured,
        "references": found.references,
    }
