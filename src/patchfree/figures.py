"""Pictures of a scene and its map, and charts of what was measured.

Pictures are arrays at the scene's own pixels; charts are matplotlib figures made without its global state. Colours
are told apart by readers with colour-blindness: Okabe-Ito for classes, cividis for amounts.

Dimension key: c bands, h rows, w columns, k classes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from patchfree.labels import Labels, LandCover
from patchfree.scene import Bands, Scene

LARGEST_SIDE = 1600  # pixels of a picture; larger scenes are thinned
RIGHT, WRONG, UNTESTED = (86, 180, 233), (213, 94, 0), (238, 238, 238)
SPLIT_COLOURS = ((235, 235, 235), (0, 114, 178), (240, 228, 66), (213, 94, 0))
INFRARED, RED, GREEN = 860.0, 660.0, 560.0  # nm: vegetation shows red
Picture = UInt8[np.ndarray, "h w 3"]


def false_colour(scene: Scene) -> tuple[Picture, str]:
    """Three bands as red, green, blue, stretched from the 2nd to the 98th percentile; and which bands they are."""
    chosen, text = false_colour_bands(scene.bands)
    return stretched(scene.values[chosen], scene.valid), text


def false_colour_bands(bands: Bands) -> tuple[list[int], str]:
    """Positions of the bands for red, green and blue, and which bands they are."""
    if bands.wavelengths_nm is not None and min(bands.wavelengths_nm) < 600 and max(bands.wavelengths_nm) > 800:
        wavelengths = np.asarray(bands.wavelengths_nm, float)
        chosen = [int(np.abs(wavelengths - wanted).argmin()) for wanted in (INFRARED, RED, GREEN)]
        return chosen, "near infrared, red, green: " + ", ".join(f"{wavelengths[i]:.0f} nm" for i in chosen)
    chosen = [round((len(bands) - 1) * share) for share in (0.75, 0.4, 0.1)]
    return chosen, "bands " + ", ".join(str(bands.numbers[i]) for i in chosen)


def stretched(layers: Float[np.ndarray, "3 h w"], valid: Bool[np.ndarray, "h w"]) -> Picture:
    """Three layers as red, green, blue, each from its 2nd to its 98th percentile; white where there is no data."""
    shown = []
    for band in layers:
        low, high = np.percentile(band[valid], (2, 98))
        shown.append(np.clip((band - low) / max(high - low, 1e-12), 0, 1))
    picture = (np.stack(shown, -1) * 255).astype(np.uint8)
    picture[~valid] = 255
    return picture


def class_picture(index: Int[np.ndarray, "h w"], legend: Sequence[LandCover], empty: tuple[int, int, int]) -> Picture:
    """Class numbers 0..k in the legend's colours; 0 in the colour given."""
    return np.array([empty, *(entry.colour for entry in legend)], np.uint8)[index]


def split_picture(codes: UInt8[np.ndarray, "h w"]) -> Picture:
    """Training, validation and test pixels in blue, yellow and vermilion."""
    return np.array(SPLIT_COLOURS, np.uint8)[codes]


def error_picture(truth: Int[np.ndarray, "h w"], mapped: Int[np.ndarray, "h w"]) -> Picture:
    """Test pixels: blue where the map is right, vermilion where it is wrong."""
    state = np.where(truth == 0, 0, np.where(truth == mapped, 1, 2))
    return np.array([UNTESTED, RIGHT, WRONG], np.uint8)[state]


def amount_picture(amount: Float[np.ndarray, "h w"]) -> Picture:
    """Amounts 0..1 in cividis, dark to bright; NaN white."""
    shown = (colormaps["cividis"](np.nan_to_num(amount))[..., :3] * 255).astype(np.uint8)
    shown[np.isnan(amount)] = 255
    return shown


def png(picture: Picture) -> bytes:
    """A picture as PNG, thinned if it is larger than 1600 pixels; few colours are stored as a palette."""
    step = -(-max(picture.shape[:2]) // LARGEST_SIDE)
    image = Image.fromarray(np.ascontiguousarray(picture[::step, ::step]))
    if image.getcolors(256) is not None:
        image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def chart_axes(width: float, height: float) -> tuple[Figure, Any]:
    """An empty chart of this size in inches, and its axes."""
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def spectra_chart(scene: Scene, labels: Labels) -> Figure:
    """Mean spectrum of each class with a band of one standard deviation, over all labelled pixels."""
    k = len(labels.legend)
    columns = min(4, k)
    rows = -(-k // columns)
    figure = Figure((2.7 * columns, 1.9 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    cells = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    wavelengths = scene.wavelengths_nm
    x = np.asarray(scene.bands.numbers, float) if wavelengths is None else wavelengths
    order = np.argsort(x, kind="stable")
    gap = np.diff(x[order]) > 3 * np.median(np.diff(x[order])) + 1e-9
    for cell, (number, entry) in zip(cells.flat, enumerate(labels.legend, 1), strict=False):
        mine = (labels.index == number) & scene.valid
        if mine.any():
            spectra = scene.values[:, mine]
            mean, std = spectra.mean(1)[order], spectra.std(1)[order]
            for part in np.split(np.arange(len(x)), np.flatnonzero(gap) + 1):
                colour = tuple(v / 255 for v in entry.colour)
                cell.fill_between(
                    x[order][part], (mean - std)[part], (mean + std)[part], color=colour, alpha=0.35, lw=0
                )
                cell.plot(x[order][part], mean[part], color="#222", lw=1.1)
        cell.set_title(entry.title, fontsize=8, loc="left")
        cell.tick_params(labelsize=7)
        cell.spines[["top", "right"]].set_visible(False)
    for cell in list(cells.flat)[k:]:
        cell.set_visible(False)
    figure.supxlabel("band number" if wavelengths is None else "wavelength [nm]", fontsize=9)
    figure.supylabel("value" if scene.details.get("scale") is None else "reflectance", fontsize=9)
    return figure


def confusion_chart(confusion: dict[str, Any], legend: Sequence[LandCover]) -> Figure:
    """Confusion matrix: share of each reference class (row) by mapped class, counts where there is room."""
    counts = np.asarray(confusion["counts"], float)
    k = len(counts)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(11.0, max(4.5, 0.42 * k + 2.2))
    figure, axes = chart_axes(size, size * 0.88)
    axes.imshow(share, cmap="cividis", vmin=0, vmax=1)
    if k <= 24:
        font = 8 if k <= 10 else 6
        for i, j in np.ndindex(k, k):
            if counts[i, j]:
                axes.text(
                    j,
                    i,
                    f"{counts[i, j]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=font,
                    color="black" if share[i, j] > 0.5 else "white",
                )
    names = [f"{entry.name[:22]} {entry.value}" if entry.named else entry.name for entry in legend]
    axes.set_yticks(range(k), names, fontsize=7 if k <= 40 else 4)
    axes.set_xticks(range(k), [str(entry.value) for entry in legend], fontsize=7 if k <= 40 else 4)
    axes.set_xlabel("mapped class", fontsize=9)
    axes.set_ylabel("reference class", fontsize=9)
    axes.spines[:].set_visible(False)
    figure.draw_without_rendering()  # makes room for the labels, then cells square: room is right from the second pass on
    return figure


def training_chart(log: Sequence[dict[str, Any]]) -> Figure:
    """Loss and validation accuracy against the step."""
    figure, axes = chart_axes(6.4, 2.9)
    records = [entry for entry in log if entry["phase"] == "estimate"]
    axes.plot([e["number"] for e in records], [e["loss"] for e in records], color="#0072b2", lw=1.2)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("training loss", color="#0072b2", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    measured = [e for e in records if e["validation_accuracy"] is not None]
    if measured:
        right = axes.twinx()
        right.plot(
            [e["number"] for e in measured],
            [e["validation_accuracy"] for e in measured],
            "o--",
            color="#d55e00",
            ms=4,
            lw=1,
        )
        right.set_ylim(0, 1.02)
        right.set_ylabel("validation accuracy", color="#d55e00", fontsize=9)
        right.spines["top"].set_visible(False)
    return figure


def reliability_chart(bins: Sequence[dict[str, float]]) -> Figure:
    """Accuracy against confidence at the test pixels, after temperature scaling."""
    figure, axes = chart_axes(3.4, 2.9)
    axes.plot([0, 1], [0, 1], color="#999", lw=1, ls=":")
    sizes = np.sqrt([b["pixels"] for b in bins])
    axes.scatter(
        [b["confidence"] for b in bins],
        [b["accuracy"] for b in bins],
        s=8 + 120 * sizes / max([1, *sizes]),
        color="#0072b2",
        alpha=0.8,
        clip_on=False,  # points at the ends are whole
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence of the map", fontsize=9)
    axes.set_ylabel("share that is right", fontsize=9)
    return figure


def svg(figure: Figure) -> str:
    """A chart as an inline SVG element; text stays text."""
    buffer = io.StringIO()
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "patchfree"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def chart_png(figure: Figure) -> bytes:
    """A chart as PNG at 160 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    return buffer.getvalue()


def mask_picture(picture: Picture, valid: Bool[np.ndarray, "h w"]) -> Picture:
    """White where there is no data."""
    shown = picture.copy()
    shown[~valid] = 255
    return shown
