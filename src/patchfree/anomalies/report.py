"""The report of an anomaly detection: one self-contained page with scene, scores, objects and their spectra.

It shows what was found and measures nothing of its own.

Dimension key: c bands, h rows, w columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from patchfree import figures
from patchfree.anomalies.measures import FALSE_ALARMS, roc
from patchfree.anomalies.scoring import Anomalies
from patchfree.files import write_bytes, write_json
from patchfree.report import data_uri, page
from patchfree.unsupervised.objects import FoundObject
from patchfree.unsupervised.pictures import coarse, marked, thinned

LISTED, DRAWN = 25, 8  # objects in the table, and with their spectra
FOUND, TRUE = (213, 94, 0), (0, 114, 178)
MEASURES = (
    ("auc", "AUC of detection against false alarms"),
    ("average_precision", "average precision (area under precision against recall)"),
    ("auc_d_tau", "AUC(D, τ): mean scaled score of anomalies"),
    ("auc_f_tau", "AUC(F, τ): mean scaled score of background (low is good)"),
    ("auc_td", "AUC_TD = AUC + AUC(D, τ)"),
    ("auc_bs", "AUC_BS = AUC − AUC(F, τ)"),
    ("auc_tdbs", "AUC_TDBS = AUC(D, τ) − AUC(F, τ)"),
    ("auc_od", "AUC_OD = AUC + AUC(D, τ) − AUC(F, τ)"),
    ("auc_snpr", "AUC_SNPR = AUC(D, τ) / AUC(F, τ)"),
    *((f"detection_at_{rate:g}", f"found at a false-alarm rate of {rate:g}") for rate in FALSE_ALARMS),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """All that a report shows.

    Attributes:
        anomalies: the scores.
        above: the threshold.
        false_alarm: the share of the background wanted above it.
        way: how it was found.
        objects: detected objects.
        index: the object of each pixel.
        truth: mask of the true anomalies, if there is one.
        measured: what `Anomalies.measure` gave, if there is a mask with both classes.
        command: the command that was given.
    """

    anomalies: Anomalies
    above: float
    false_alarm: float
    way: str
    objects: Sequence[FoundObject]
    index: Int[np.ndarray, "h w"]
    truth: Bool[np.ndarray, "h w"] | None = None
    measured: dict[str, Any] | None = None
    command: str = ""


def write_finding(folder: Path, finding: Finding) -> Path:
    """Write `report.html` and, with all objects and figures as numbers, `anomalies.json`; returns the page's path."""
    found = finding.anomalies
    pictures = {name: (title, text, data_uri("png", data)) for name, (title, text, data) in _pictures(finding).items()}
    charts = {name: data_uri("svg+xml", figures.svg(chart).encode()) for name, chart in _charts(finding).items()}
    html = page(
        "anomalies.html.j2",
        found.grid,
        f=finding,
        a=found,
        pixels=int(np.isfinite(found.scores).sum()),
        called=int((finding.index > 0).sum()),
        listed=finding.objects[:LISTED],
        pictures=pictures,
        charts=charts,
        measures=MEASURES,
        references=found.references,
    )
    path = folder / "report.html"
    write_json(
        folder / "anomalies.json",
        {
            "scene": found.name,
            "bands": list(found.bands.numbers),
            **found.settings,
            "notes": list(found.notes),
            "threshold": {"score": finding.above, "false_alarm": finding.false_alarm, "way": finding.way},
            "measures": finding.measured,
            "objects": [{**dataclasses.asdict(o), "spectrum": o.spectrum.tolist()} for o in finding.objects],
            "references": found.references,
        },
    )
    write_bytes(path, html.encode())
    return path


def _pictures(finding: Finding) -> dict[str, tuple[str, str, bytes]]:
    """Title, caption and PNG of each picture; large scenes are thinned."""
    found = finding.anomalies
    step = -(-max(found.grid.shape) // figures.LARGEST_SIDE)
    chosen, bands = figures.false_colour_bands(found.bands)
    layers, valid = thinned(found.view, chosen, step)
    colour = figures.stretched(layers, valid)
    scores = coarse(np.nan_to_num(found.scores, nan=-np.inf), step)
    objects = coarse(finding.index, step) > 0
    pictures = {
        "scene": ("Scene", f"False colour ({bands})", colour),
        "scores": ("Scores", "Dark is like the background, bright is not", score_picture(scores, finding.above)),
        "detections": (
            "Detections",
            "Vermilion, each in a ring; the scene in grey",
            marked(colour, objects, FOUND),
        ),
    }
    if finding.truth is not None:
        true = coarse(finding.truth.astype(np.int8), step) > 0
        pictures["truth"] = ("Mask of the true anomalies", "Blue, each in a ring", marked(colour, true, TRUE))
    return {name: (title, text, figures.png(picture)) for name, (title, text, picture) in pictures.items()}


def score_picture(scores: Float[np.ndarray, "h w"], above: float) -> figures.Picture:
    """Scores from their first percentile to the threshold, or to their highest thousandth if that is higher."""
    held = scores[np.isfinite(scores)]
    low, high = float(np.quantile(held, 0.01)), max(above, float(np.quantile(held, 0.999)))
    amounts = np.where(np.isfinite(scores), np.clip((scores - low) / max(high - low, 1e-30), 0, 1), np.nan)
    return figures.amount_picture(amounts)


def _charts(finding: Finding) -> dict[str, Figure]:
    charts = {"histogram": _histogram(finding)}
    if finding.objects:
        charts["spectra"] = _spectra(finding)
    if finding.measured is not None and finding.truth is not None:
        charts["roc"] = _roc(finding.anomalies.scores, finding.truth)
    return charts


def _histogram(finding: Finding) -> Figure:
    """Pixels by score, and the threshold."""
    scores = finding.anomalies.scores
    held = scores[np.isfinite(scores)]
    figure, axes = figures.chart_axes(5.6, 2.9)
    axes.hist(held, bins=120, color="#0072b2", log=True)
    axes.axvline(finding.above, color="#d55e00", lw=1.4)
    axes.text(
        finding.above, 0.97, " threshold", transform=axes.get_xaxis_transform(), color="#d55e00", va="top", fontsize=8
    )
    axes.set_xlabel("anomaly score", fontsize=9)
    axes.set_ylabel("pixels", fontsize=9)
    return figure


def _spectra(finding: Finding) -> Figure:
    """The objects of highest peak, each against mean and standard deviation of the scene."""
    found = finding.anomalies
    shown = finding.objects[:DRAWN]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure((2.8 * columns, 2.0 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    wavelengths = found.bands.wavelengths_nm
    x = np.asarray(found.bands.numbers if wavelengths is None else wavelengths, float)
    order = np.argsort(x, kind="stable")
    moments = found.view.moments
    mean, spread = moments.mean[order], np.sqrt(np.diag(moments.covariance))[order]
    steps = np.diff(x[order])
    gaps = np.flatnonzero(steps > 3 * np.median(steps) + 1e-9) + 1 if len(steps) else np.zeros(0, int)
    for cell, entry in zip(cells.flat, shown, strict=False):
        for part in np.split(np.arange(len(x)), gaps):
            cell.fill_between(x[order][part], (mean - spread)[part], (mean + spread)[part], color="#bbb", lw=0)
            cell.plot(x[order][part], mean[part], color="#666", lw=1)
            cell.plot(x[order][part], entry.spectrum[order][part], color="#d55e00", lw=1.2)
        cell.set_title(f"{entry.number}: row {entry.row}, column {entry.col}", fontsize=8, loc="left")
        cell.tick_params(labelsize=7)
        cell.spines[["top", "right"]].set_visible(False)
    for cell in list(cells.flat)[len(shown) :]:
        cell.set_visible(False)
    figure.supxlabel("band number" if wavelengths is None else "wavelength [nm]", fontsize=9)
    figure.supylabel("value", fontsize=9)
    return figure


def _roc(scores: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> Figure:
    """Share found against share of false alarms, on a logarithmic axis."""
    alarms, detected = roc(scores, truth)
    figure, axes = figures.chart_axes(4.2, 2.9)
    least = 1 / max(1, int((np.isfinite(scores) & ~truth).sum()))
    axes.plot(np.maximum(alarms, least), detected, color="#0072b2", lw=1.4, drawstyle="steps-post")
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false-alarm rate", fontsize=9)
    axes.set_ylabel("share of anomalous pixels found", fontsize=9)
    return figure
