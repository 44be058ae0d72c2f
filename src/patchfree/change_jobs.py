"""What the commands `change` and `change-train` do with labels and trained runs: read, train or map, and write.

Two dates are named by a small file in the folder of the run, `dates.pair.json`, which is a scene like any other; so pairs of any
size are read, trained on and mapped as scenes are. The labels lie beside it, as `labels.tif`, in the way they were understood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from patchfree.change.conformal import Conformal
from patchfree.change.listed import open_pairs
from patchfree.change.products import check_folder
from patchfree.change.reference import LEGEND, labels_of_areas, labels_of_classes
from patchfree.change.scoring import Changes, DatesView, equal_dates
from patchfree.change.spreads import Spreads
from patchfree.change.supervised import check_bands, train_change, write_change_maps, write_change_page
from patchfree.change.truth import read_truth
from patchfree.errors import ConfigError, LabelError, RunError, SceneError
from patchfree.files import check_writable
from patchfree.inputs import Reading, Ways, job_given
from patchfree.io.gdal import open_raster
from patchfree.io.geotiff import write_class_map
from patchfree.io.pair import Dates
from patchfree.io.reference import read_labels
from patchfree.io.source import SceneSource
from patchfree.labels import Labels
from patchfree.models import MODELS
from patchfree.progress import Progress
from patchfree.recipes import Recipe
from patchfree.run import Run, load_run
from patchfree.scene import DATES, Grid, Scene
from patchfree.series import join_labels, join_scenes
from patchfree.split import Split, split_scenes
from patchfree.stream.budget import installed_memory
from patchfree.stream.mapping import MapFiles, map_scene
from patchfree.training import Outputs

PLAIN = Reading(None, "", None, None, None, None, None, 1)
"""How the pair's own files are read: they hold all that was said of the scenes and labels."""

ALL, TRAIN, TEST = "labels.tif", "labels-train.tif", "labels-test.tif"
"""The labels of a run as they were understood; the latter two where a truth tests."""

Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Training:
    """Settings of a training on changes; the fields are the options of the same names."""

    recipe: Recipe
    seed: int = 0
    controls: Sequence[str] = ("svm",)
    refit: bool = False
    error_rate: float = 0.1
    memory: int | None = None
    device: str = "auto"
    overwrite: bool = False
    command: str | None = None
    spreads: Spreads = dataclasses.field(default_factory=Spreads)

    def run(self, scene: Scene, labels: Labels, split: Split | None, out: Path, tell: Tell) -> Run:
        """Train on a pair, or on several on one canvas, and write the run."""
        return train_change(
            scene,
            labels,
            split=split,
            recipe=self.recipe,
            seed=self.seed,
            controls=self.controls,
            refit=self.refit,
            error_rate=self.error_rate,
            spreads=self.spreads,
            memory=self.memory,
            out=out,
            outputs=Outputs(overwrite=self.overwrite, command=self.command),
            device=self.device,
            progress=tell,
        )


@dataclass(frozen=True)
class LabelFiles:
    """Files of labels; the fields are the options of the same names."""

    changed: str | None = None
    unchanged: str | None = None
    labels: str | None = None
    truth: str | None = None
    truth_unchanged: str | None = None
    class_field: str | None = None
    layer: str | None = None

    @property
    def given(self) -> list[str]:
        """The paths of all of them."""
        files = (self.changed, self.unchanged, self.labels, self.truth, self.truth_unchanged)
        return [path for path in files if path is not None]

    def learnt(self, grid: Grid) -> Labels:
        """The labels to learn from.

        Raises:
            ConfigError: the options contradict each other, or one kind is missing.
            LabelError: a file cannot be used.
        """
        reading = dataclasses.replace(PLAIN, class_field=self.class_field, layer=self.layer)

        def read(path: str) -> Labels:
            return reading.labels(path, grid)

        if self.labels is not None:
            if self.changed is not None or self.unchanged is not None:
                raise ConfigError(
                    "Got --labels beside --changed or --unchanged; give one file of both, or one of each."
                )
            return labels_of_classes(self.labels, read)
        if self.changed is None or self.unchanged is None:
            given, lacks = ("--changed", "--unchanged") if self.unchanged is None else ("--unchanged", "--changed")
            raise ConfigError(
                f"Got {given} without {lacks}; a network learns a change from both. Add {lacks} FILE, or leave both out for a map without "
                "labels."
            )
        areas = partial(read_labels, scene=grid, class_field=self.class_field, layer=self.layer, areas=True)
        return labels_of_areas(self.changed, self.unchanged, grid, areas)

    def tested(self, grid: Grid) -> Labels | None:
        """The labels to test on; None to split those that are learnt."""
        return None if self.truth is None else read_truth(self.truth, grid, unchanged=self.truth_unchanged)


def train_given(dates: Dates, files: LabelFiles, *, ways: Ways, out: Path, training: Training, tell: Tell) -> Run:
    """Train on the labels of a pair, and write the run.

    Args:
        dates: the two scenes.
        files: of labels.
        ways: how to split them.
        out: folder of the run.
        training: the settings.
        tell: called as the job goes on.

    Raises:
        SceneError: the dates hold the same numbers.
    """
    labels, truth = files.learnt(dates.grid), files.tested(dates.grid)
    if equal_dates(DatesView(dates)):
        raise SceneError(
            "BEFORE and AFTER hold the same numbers: nothing has changed, and nothing can be learnt. Check that they are two dates."
        )
    check_bands(training.recipe.model, dates.names[0], len(dates.bands))
    if truth is not None and ways != Ways(None, None, None, None):
        raise ConfigError("Got --truth and a way to split the labels; the truth is what is tested on. Leave out one.")
    apart, notes = (None, ()) if truth is None else _apart(labels, truth)
    held = labels if apart is None else _both(labels, apart)
    for name in (ALL, TRAIN, TEST):
        if (out / name).resolve() in {Path(path).resolve() for path in files.given}:
            raise ConfigError(f"{out / name} would be written over by the run. Choose another --out.")
    check_writable(out)
    parts = {ALL: held} | ({} if apart is None else {TRAIN: labels, TEST: apart})
    if not training.overwrite:
        _refuse_others(out, parts)
    if (out / "metrics.json").is_file():
        for name in {TRAIN, TEST} - parts.keys():
            (out / name).unlink(missing_ok=True)  # of the run that is replaced
    scene = str(dates.write(out / "dates.pair.json"))
    paths = {name: str(write_class_map(out / name, part.index, LEGEND, dates.grid)) for name, part in parts.items()}
    opened, reference, split = job_given(
        scene,
        paths[ALL] if apart is None else None,
        (paths.get(TRAIN), paths.get(TEST), None),
        PLAIN,
        ignore=(),
        ways=ways,
        seed=training.seed,
        model=training.recipe.model,
        memory=installed_memory() if training.memory is None else training.memory,
    )
    reference = dataclasses.replace(reference, legend=LEGEND, notes=labels.notes)
    return training.run(opened, reference, dataclasses.replace(split, notes=(*split.notes, *notes)), out, tell)


def _refuse_others(out: Path, parts: dict[str, Labels]) -> None:
    """Before anything is written: refuse a folder with a run of other labels, or of others to test on.

    Raises:
        RunError: it holds one.
    """
    if not (out / "metrics.json").is_file():
        return
    if any(not _same(out / name, parts.get(name)) for name in (ALL, TRAIN, TEST)):
        raise RunError(f"{out} holds a finished run with other labels. Choose another --out, or pass --overwrite.")


def _same(path: Path, labels: Labels | None) -> bool:
    """Whether a file holds these labels, or is not there if there are none."""
    if labels is None or not path.is_file():
        return labels is None and not path.is_file()
    with open_raster(path) as source:
        return np.array_equal(source.read(1), labels.index)


def _both(labels: Labels, truth: Labels) -> Labels:
    """The labels, and the truth where there are none."""
    return Labels(np.where(labels.index > 0, labels.index, truth.index), LEGEND)


def _apart(labels: Labels, truth: Labels) -> tuple[Labels, tuple[str, ...]]:
    """The truth without the pixels that train, and what is to be said of it.

    Raises:
        LabelError: nothing is left.
    """
    apart = truth.within(labels.index == 0)
    if not (apart.index > 0).any():
        raise LabelError("All pixels of the truth are training labels too; a test needs others.")
    lost = int((truth.index > 0).sum() - (apart.index > 0).sum())
    note = f"{lost:,} pixels of the truth are training labels too, and do not count in the test."
    return apart, (note,) if lost else ()


def train_listed(table: Path, *, keep_going: bool, out: Path, training: Training, tell: Tell) -> tuple[Run, list[str]]:
    """Train on many small pairs with full masks, and write the run; returns it, and what was left out of the list."""
    pairs, left_out = open_pairs(table, keep_going=keep_going)
    if len(pairs) == 1:
        raise ConfigError(f"{table} leaves one pair; for one pair use patchfree change BEFORE AFTER with labels.")
    series = join_scenes([pair.scene for pair in pairs])
    labels = dataclasses.replace(join_labels(series, [pair.labels for pair in pairs]), legend=LEGEND)
    split = None
    if pairs[0].use is not None:
        labels, split = split_scenes(series, labels, [pair.use for pair in pairs], training.seed)
    return training.run(series, labels, split, out, tell), left_out


def map_given(
    folder: Path,
    dates: Dates,
    *,
    out: Path,
    memory: int | None,
    device: str,
    overwrite: bool,
    command: str,
    tell: Tell,
) -> Changes | None:
    """Map the changes of a pair with a trained run; None if its dates hold the same numbers, of which no network is asked.

    Raises:
        RunError: the folder holds no run of changes, or `out` holds other results.
    """
    run = load_run(folder)
    if MODELS[run.model].dates != 2 or "change" not in run.metrics:
        raise RunError(
            f"{folder} is a run of {run.model}, which maps one date; make a run of changes with patchfree change BEFORE AFTER --changed FILE "
            "--unchanged FILE --out RUN, or patchfree change-train."
        )
    check_folder(out, overwrite=overwrite)
    view = DatesView(dates)
    if equal_dates(view):
        return None
    source = SceneSource(str(dates.write(out / "dates.pair.json")))
    files = MapFiles(out / "map.tif", out / "probabilities.tif", out / "uncertainty.tif")
    map_scene(run, source, files, memory=memory, device=device, progress=tell)
    facts = run.metrics["change"]["conformal"]
    known = {field.name: facts[field.name] for field in dataclasses.fields(Conformal)}
    conformal = Conformal(**known | {"unlikeliest": tuple(known["unlikeliest"]), "pixels": tuple(known["pixels"])})
    write_change_maps(out, source.grid, conformal)
    choice = source.choice(run.bands)
    notes = [note for note in (choice.note,) if note]
    metrics = {
        **run.metrics,
        "scene": {"name": source.reader.path.name, DATES: list(dates.names), "notes": [*dates.notes, *notes]},
    }
    return write_change_page(out, metrics, dates.bands, view, source.grid, command=command)
