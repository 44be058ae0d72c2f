"""The report of a detection of changes: one self-contained page with both dates, scores, map, uncertainty and objects.

It shows what was found and measures nothing of its own.

Dimension key: c bands of a date, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from patchfree import figures
from patchfree.change.scoring import CHANGED, UNCHANGED, Changes
from patchfree.files import write_bytes
from patchfree.ground import pixel_hectares
from patchfree.labels import Labels
from patchfree.report import data_uri, page
from patchfree.unsupervised.objects import FoundObject
from patchfree.unsupervised.pictures import coarse, thinned

LISTED, DRAWN = 25, 8  # objects in the table, and with their spectra
SURE = 0.9
"""A pixel whose likelier class has a smaller probability is shown as one that cannot be told."""
CHANGE, DOUBT = (213, 94, 0), (240, 228, 66)
RIGHT_CHANGED, RIGHT_UNCHANGED, MISSED, FALSE = (0, 114, 178), (200, 215, 225), (213, 94, 0), (204, 121, 167)
BEFORE_INK, AFTER_INK = "#0072b2", "#d55e00"


@dataclass(frozen=True, eq=False)
class ChangeEvidence:
    """All that a report shows.

    Attributes:
        found: the changes.
        objects: the largest connected areas of change.
        index: the object of each pixel.
        truth: what has truly changed, if that is known.
        measured: accuracies against it.
        notes: what was decided on the way.
        command: the command that was given.
    """

    found: Changes
    objects: Sequence[FoundObject]
    index: Int[np.ndarray, "h w"]
    truth: Labels | None = None
    measured: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    command: str = ""


def write_change_report(path: Path, evidence: ChangeEvidence) -> Path:
    """Write the page; returns its path."""
    found = evidence.found
    hectares, changed = pixel_hectares(found.grid), int((found.index == CHANGED).sum())
    html = page(
        "change.html.j2",
        found.grid,
        e=evidence,
        f=found,
        pixels=int((found.index > 0).sum()),
        changed=changed,
        changed_ha=None if hectares is None else changed * hectares,
        unsure=float(np.mean(_doubtful(found)[found.index > 0])) if (found.index > 0).any() else 0.0,
        sure=SURE,
        listed=evidence.objects[:LISTED],
        pictures={n: (title, text, data_uri("png", data)) for n, (title, text, data) in pictures(evidence).items()},
        charts={n: data_uri("svg+xml", figures.svg(chart).encode()) for n, chart in charts(evidence).items()},
        references=found.references,
    )
    write_bytes(path, html.encode())
    return path


def pictures(evidence: ChangeEvidence) -> dict[str, tuple[str, str, bytes]]:
    """Title, caption and PNG of each picture; large scenes are thinned."""
    found = evidence.found
    step = -(-max(found.grid.shape) // figures.LARGEST_SIDE)
    chosen, bands = figures.false_colour_bands(found.bands)
    c = len(found.bands)
    layers, valid = thinned(found.view, [*chosen, *(c + band for band in chosen)], step)
    before, after = (figures.stretched(part, valid) for part in (layers[:3], layers[3:]))
    every = f", one pixel in {step} by {step}" if step > 1 else ""
    changed = coarse((found.index == CHANGED).astype(np.uint8), step) > 0
    doubt = coarse(_doubtful(found).astype(np.uint8), step) > 0
    uncertainty = coarse(np.nan_to_num(found.uncertainty, nan=-1.0), step)
    shown = {
        "before": (f"BEFORE: {found.names[0]}", f"False colour ({bands}{every})", before),
        "after": (f"AFTER: {found.names[1]}", f"The same bands{every}, stretched by themselves", after),
        "score": ("Change score", "Dark is alike at both dates, bright is not", _score_picture(found, step)),
        "map": (
            "Map",
            f"Changed pixels in vermilion ({found.changed_share:.1%}); AFTER in grey",
            _over(after, changed, CHANGE),
        ),
        "uncertainty": (
            "Uncertainty",
            "Entropy of the probability of change: dark is sure, bright is a toss-up",
            figures.amount_picture(np.where(uncertainty < 0, np.nan, uncertainty)),
        ),
        "doubt": (
            "Where it cannot be told",
            f"Yellow: neither class has a probability of {SURE:.0%}"
            if found.undecided is None
            else "Yellow: at the chosen rate of error both classes are possible, or none",
            _over(after, doubt, DOUBT),
        ),
    }
    if evidence.truth is not None:
        shown["errors"] = (
            "Against the truth",
            "Blue: change found. Vermilion: change missed. Purple: change that is none. Pale blue: unchanged, and found so",
            _errors(evidence.truth.index, found.index)[::step, ::step],
        )
    return {
        name: (title, text, figures.png(figures.mask_picture(picture, valid)))
        for name, (title, text, picture) in shown.items()
    }


def _doubtful(found: Changes) -> Bool[np.ndarray, "h w"]:
    """Where neither class is likely enough, or where a chosen rate of error leaves both possible, or none."""
    if found.undecided is not None:
        return found.undecided
    chance = found.probability
    with np.errstate(invalid="ignore"):
        doubtful: np.ndarray = (chance < SURE) & (chance > 1 - SURE)
    return doubtful


def _over(colour: figures.Picture, marked: Bool[np.ndarray, "h w"], ink: tuple[int, int, int]) -> figures.Picture:
    """A picture in light grey with some pixels in a colour."""
    grey = np.broadcast_to(110 + colour.mean(-1, keepdims=True) * 0.55, colour.shape).astype(np.uint8)
    grey[marked] = ink
    return grey


def _score_picture(found: Changes, step: int) -> figures.Picture:
    """Scores from their first percentile to the threshold or their 99.5th percentile, whichever is higher."""
    scores = coarse(np.nan_to_num(found.scores, nan=-np.inf), step)
    held = scores[np.isfinite(scores)]
    above = -np.inf if found.threshold is None else found.threshold.above
    low, high = float(np.quantile(held, 0.01)), max(above, float(np.quantile(held, 0.995)))
    amounts = np.clip((scores - low) / max(high - low, 1e-30), 0, 1)
    return figures.amount_picture(np.where(np.isfinite(scores), amounts, np.nan))


def _errors(truth: Int[np.ndarray, "h w"], mapped: UInt8[np.ndarray, "h w"]) -> figures.Picture:
    """Right and wrong pixels where the truth is known."""
    state = np.zeros(truth.shape, np.uint8)
    for number, (true, said) in enumerate(
        ((CHANGED, CHANGED), (UNCHANGED, UNCHANGED), (CHANGED, UNCHANGED), (UNCHANGED, CHANGED)), 1
    ):
        state[(truth == true) & (mapped == said)] = number
    colours = (figures.UNTESTED, RIGHT_CHANGED, RIGHT_UNCHANGED, MISSED, FALSE)
    return np.array(colours, np.uint8)[state]


def charts(evidence: ChangeEvidence) -> dict[str, Figure]:
    """Charts by name."""
    shown = {"histogram": _histogram(evidence.found)}
    if evidence.objects:
        shown["spectra"] = _spectra(evidence)
    return shown


def _histogram(found: Changes) -> Figure:
    """Pixels by score, and the threshold."""
    held = found.scores[np.isfinite(found.scores)]
    figure, axes = figures.chart_axes(5.6, 2.9)
    axes.hist(held, bins=120, color="#0072b2", log=True)
    if found.threshold is not None:
        above = found.threshold.above
        axes.axvline(above, color="#d55e00", lw=1.4)
        axes.text(
            above, 0.97, " threshold", transform=axes.get_xaxis_transform(), color="#d55e00", va="top", fontsize=8
        )
    axes.set_xlabel("change score", fontsize=9)
    axes.set_ylabel("pixels", fontsize=9)
    return figure


def _spectra(evidence: ChangeEvidence) -> Figure:
    """The largest objects, each before and after."""
    found, shown = evidence.found, evidence.objects[:DRAWN]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure((2.8 * columns, 2.0 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    wavelengths, c = found.bands.wavelengths_nm, len(found.bands)
    x: Float[np.ndarray, " c"] = np.asarray(found.bands.numbers if wavelengths is None else wavelengths, float)
    order = np.argsort(x, kind="stable")
    steps = np.diff(x[order])
    gaps = np.flatnonzero(steps > 10 * np.median(steps) + 1e-9) + 1 if len(steps) else np.zeros(0, int)
    for cell, entry in zip(cells.flat, shown, strict=False):
        for spectrum, ink, date in (
            (entry.spectrum[:c], BEFORE_INK, "before"),
            (entry.spectrum[c:], AFTER_INK, "after"),
        ):
            for number, part in enumerate(np.split(np.arange(c), gaps)):
                cell.plot(
                    x[order][part], spectrum[order][part], color=ink, lw=1.3, marker="o" if c < 16 else None, ms=2.5,
                    label=date if number == 0 else None,
                )  # fmt: skip
        cell.set_title(
            f"{entry.number}: {entry.pixels:,} px, row {entry.row}, column {entry.col}", fontsize=8, loc="left"
        )
        cell.tick_params(labelsize=7)
        cell.spines[["top", "right"]].set_visible(False)
    for cell in list(cells.flat)[len(shown) :]:
        cell.set_visible(False)
    cells.flat[0].legend(fontsize=7, frameon=False)
    figure.supxlabel("band number" if wavelengths is None else "wavelength [nm]", fontsize=9)
    figure.supylabel("value", fontsize=9)
    return figure
