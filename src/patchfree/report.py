"""The report: one self-contained HTML file that shows what was mapped, how well, and how that is known.

It draws what was measured and never computes an accuracy of its own.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context

from patchfree import figures
from patchfree.citations import references, sees_components
from patchfree.files import write_bytes
from patchfree.ground import crs_name, pixel_hectares, pixel_metres
from patchfree.labels import Labels, class_title
from patchfree.predict import Prediction
from patchfree.scene import Grid, Scene
from patchfree.split import Split

FEW_PIXELS = 20
"""Below this many test pixels the 95 % interval of a share is wider than 40 points."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a report shows.

    Attributes:
        scene: the scene.
        labels: all reference labels.
        split: which of them trained and tested.
        prediction: the map.
        tested: the map that was tested; another one than `prediction` after a refit.
        metrics: what was measured.
        log: the training log.
        beside: metrics of runs of the same scene under other protocols.
        whole: of a scene that does not fit into memory every n-th pixel, its map there, and n.
    """

    scene: Scene
    labels: Labels
    split: Split
    prediction: Prediction
    tested: Prediction
    metrics: dict[str, Any]
    log: Sequence[dict[str, Any]]
    beside: tuple[dict[str, Any], ...] = ()
    whole: tuple[Scene, Int[np.ndarray, "h w"], int] | None = None

    @cached_property
    def pictures(self) -> dict[str, tuple[str, str, bytes]]:
        """Title, caption and PNG of each picture, by name."""
        test_map = self.tested.index
        scene, mapped, step = self.whole or (self.scene, self.prediction.index, 1)
        every = f", one pixel in {step} by {step}" if step > 1 else ""
        truth = np.where(self.split.test, self.labels.index, 0)
        false_colour, bands = figures.false_colour(scene)
        test = self.metrics["test"]
        wrong = 1 - test["overall_accuracy"] if test["pixels"] else None
        legend = self.labels.legend
        refit = self.metrics["protocol"]["refit_on_all_labels"]
        found: dict[str, tuple[str, str, figures.Picture]] = {
            "scene": ("Scene", f"False colour ({bands}{every})", false_colour),
            "map": (
                "Map",
                "Class of every pixel" + (", trained on all labels after the test" if refit else ""),
                figures.class_picture(mapped, legend, (255, 255, 255)),
            ),
            "labels": (
                "Reference labels",
                "All labelled pixels",
                figures.class_picture(self.labels.index, legend, (238, 238, 238)),
            ),
            "split": (
                "Split",
                "Blue trains, yellow validates, vermilion tests",
                figures.split_picture(self.split.codes()),
            ),
            "errors": (
                "Errors",
                "No test pixels" if wrong is None else f"Test pixels: blue is right, vermilion is wrong ({wrong:.1%})",
                figures.error_picture(truth, test_map),
            ),
            "uncertainty": (
                "Uncertainty",
                "Entropy of the class probabilities: dark is sure, bright is unsure",
                figures.amount_picture(self.prediction.entropy),
            ),
        }
        return {
            name: (title, text, figures.png(figures.mask_picture(picture, self.shown(name).valid)))
            for name, (title, text, picture) in found.items()
        }

    def shown(self, picture: str) -> Scene:
        """What a picture shows: the scene, or the part of it that trained."""
        return self.whole[0] if self.whole and picture in ("scene", "map") else self.scene

    @cached_property
    def charts(self) -> dict[str, Any]:
        """Matplotlib figures by name."""
        # Class names are plain text: two dollar signs in one are no formula.
        with rc_context({"text.parse_math": False}):
            return self._draw()

    def _draw(self) -> dict[str, Any]:
        charts = {
            "spectra": figures.spectra_chart(self.scene, self.labels),
            "training": figures.training_chart(self.log),
        }
        if self.metrics["test"]["pixels"]:
            charts["confusion"] = figures.confusion_chart(self.metrics["test"]["confusion"], self.labels.legend)
            charts["reliability"] = figures.reliability_chart(self.metrics["calibration"]["reliability"])
        return charts


def write_report(path: Path, evidence: Evidence) -> Path:
    """Write the report; returns its path."""
    scene = evidence.scene
    size = pixel_metres(scene.ground) or scene.ground.pixel_size or (1.0, 1.0)
    alone = Grid(1, 1) if scene.members else scene.ground  # several scenes have no place in common
    grids = {name: evidence.shown(name).grid for name in evidence.pictures}
    aspects = {name: f"{grid.width * size[1]:g} / {grid.height * size[0]:g}" for name, grid in grids.items()}
    html = page(
        "report.html.j2",
        alone,
        aspect=aspects["scene"],
        aspects=aspects,
        m=evidence.metrics,
        scene=scene,
        legend=evidence.labels.legend,
        mapped=evidence.metrics["map"]["pixels"],
        pictures={n: (title, text, data_uri("png", data)) for n, (title, text, data) in evidence.pictures.items()},
        charts={name: data_uri("svg+xml", figures.svg(chart).encode()) for name, chart in evidence.charts.items()},
        hectares=pixel_hectares(alone),
        protocol=describe_protocol(evidence.metrics["protocol"]),
        leaks=[*describe_leaks(evidence.metrics["protocol"]), *describe_few(evidence.metrics["test"])],
        verdicts=[describe_control(evidence.metrics, control) for control in evidence.metrics["controls"]],
        beside=_beside(evidence),
        references=references(evidence.metrics),
        sees_components=sees_components(evidence.metrics),
    )
    write_bytes(path, html.encode())
    return path


def page(template: str, grid: Grid, **shown: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """A page from a template, which is also told how the scene lies: `aspect`, `place` and scale `bar`."""
    environment = Environment(
        loader=PackageLoader("patchfree", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "interval": _interval,
        "thousands": lambda n: f"{n:,}",
        "hectares": _hectares,
        "title": class_title,
    }
    size = pixel_metres(grid) or grid.pixel_size or (1.0, 1.0)
    aspect = f"{grid.width * size[1]:g} / {grid.height * size[0]:g}"
    lies = {"aspect": aspect, "place": describe_place(grid), "bar": scale_bar(grid)}
    return environment.get_template(template).render(lies | shown)


def write_figures(folder: Path, evidence: Evidence) -> None:
    """Every picture and chart of the report as a PNG file."""
    for name, (_, _, data) in evidence.pictures.items():
        write_bytes(folder / f"{name}.png", data)
    for name, chart in evidence.charts.items():
        write_bytes(folder / f"{name}.png", figures.chart_png(chart))


def describe_place(grid: Grid) -> str | None:
    """Coordinate system, size of a pixel and of the scene, in one sentence; None if the scene has no place on the earth."""
    metres, name = pixel_metres(grid), crs_name(grid)
    if metres is None or name is None or grid.transform is None:
        return None
    high, wide = (size * count / 1000 for size, count in zip(metres, grid.shape, strict=True))
    _, b, _, d, e, _ = grid.transform
    north = " North is up." if not b and not d and e < 0 else ""
    return (
        f"{name}. A pixel is {metres[1]:.3g} m by {metres[0]:.3g} m, the scene {wide:.3g} km by {high:.3g} km.{north}"
    )


def scale_bar(grid: Grid) -> tuple[str, float] | None:
    """A round length on the ground near a fifth of the scene's width, and its share of that width in percent."""
    metres = pixel_metres(grid)
    if metres is None:
        return None
    width = metres[1] * grid.width
    power = 10.0 ** math.floor(math.log10(width / 5))
    length = max(step * power for step in (1, 2, 5) if step * power <= width / 5)
    return f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m", 100 * length / width


def describe_few(test: dict[str, Any]) -> list[str]:
    """Which classes were tested on too few pixels to tell."""
    tested = test["per_class"] if test["pixels"] else []
    few = [f"{class_title(e['value'], e['name'])} ({e['support']})" for e in tested if 0 < e["support"] < FEW_PIXELS]
    if not few:
        return []
    return [f"Tested on fewer than {FEW_PIXELS} pixels, so their accuracies say little: {', '.join(few)}."]


def describe_protocol(protocol: dict[str, Any]) -> str:
    """How the test pixels were chosen, in one or two plain sentences."""
    split, counts = protocol["split"], protocol["counts"]
    kind = split.get("kind", "given")
    pixels = (
        f"{counts['train']:,} pixels trained the network, {counts['validation']:,} set its temperature, and "
        f"{counts['test']:,} tested it."
    )
    if kind == "blocks":
        return (
            f"The scene was cut into blocks of {split['size_px']} by {split['size_px']} pixels; each block belongs to training or to "
            f"testing, and no training pixel lies within {split['buffer_px']} pixels of a test pixel. {pixels}"
        )
    if kind == "random":
        amount = (
            f"{split['per_class']} pixels" if "per_class" in split else f"{split['fraction'] * 100:.3g} % of the pixels"
        )
        return f"{amount} of each class were drawn at random for training, and all the others tested it. {pixels}"
    if kind == "scenes":
        return f"Whole scenes were kept apart for the test: no pixel of theirs trained. {pixels}"
    return f"Training and test pixels were given in separate files. {pixels}"


def describe_leaks(protocol: dict[str, Any]) -> list[str]:
    """The leak audit in plain sentences."""
    audit = protocol["leak_audit"]
    if audit["share_inside_receptive_field"] is None:
        return ["There are no test pixels, so nothing is known of the accuracy."]
    metres = "median_distance_m"
    lines = [f"Pixels shared by training and test: {audit['shared_pixels']}."]
    if audit["tests_apart"]:
        lines.append(f"{audit['tests_apart']:,} test pixels lie in scenes without any training pixel.")
    if audit["min_distance_px"] is not None:
        lines += [
            f"From a test pixel to the nearest training pixel: at least {audit['min_distance_px']:g} px, "
            f"{audit['median_distance_px']:g} px in the median"
            + (f" ({audit[metres]:,.0f} m)" if metres in audit else "")
            + ".",
            f"{audit['share_inside_receptive_field']:.0%} of the test pixels have a training pixel inside the network's window of "
            f"{audit['receptive_field_px']} pixels, and {audit['share_touching_training']:.0%} touch one.",
        ]
    if not audit["optimistic"] and audit["share_inside_receptive_field"] > 0:
        lines.append(
            "What the network sees in that window are spectra, not labels; still, a test pixel near a training pixel is easier than "
            "one far from any, so land far from all labels may be mapped less well than these figures say."
        )
    if audit["whole_scene_statistics"]:
        lines.append(
            "The network and the standardisation use statistics over the whole scene, test pixels included, but none of their labels."
        )
    if audit["optimistic"]:
        lines.append("Test pixels lie among the training pixels: expect a lower accuracy in places without labels.")
    return lines


def describe_control(metrics: dict[str, Any], control: dict[str, Any]) -> dict[str, Any]:
    """Whether the map beats a control on the same pixels, in words."""
    difference = control["overall_accuracy_difference"]
    if difference is None:
        return control | {"verdict": "not tested", "beaten": None}
    value, interval = difference["value"], difference["interval"]
    sure = interval is not None and (interval[0] > 0 or interval[1] < 0)
    points = f"{abs(value) * 100:.1f} points"
    words = (
        f"{'better' if value > 0 else 'worse'} by {points}"
        if sure
        else f"no clear difference ({'+' if value >= 0 else '−'}{points})"
    )
    return control | {"verdict": words, "beaten": bool(value > 0) if sure else None}


def _beside(evidence: Evidence) -> list[dict[str, Any]]:
    """A row for each protocol: this run, and the others grouped with mean and spread over their seeds."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for metrics in (evidence.metrics, *evidence.beside):
        if not metrics["test"]["pixels"]:
            continue
        split = {k: v for k, v in metrics["protocol"]["split"].items() if k not in ("seed", "validation")}
        groups.setdefault(repr(split), []).append(metrics)
    if len(groups) < 2:
        return []
    rows = []
    for members in groups.values():
        ours = [m["test"]["overall_accuracy"] for m in members]
        controls = [c["overall_accuracy"] for m in members for c in m["controls"] if c["name"] == "svm"]
        rows.append(
            {
                "name": _protocol_name(members[0]["protocol"]["split"]),
                "optimistic": members[0]["protocol"]["optimistic"],
                "seeds": [m["protocol"]["seed"] for m in members],
                "mean": float(np.mean(ours)),
                "std": float(np.std(ours, ddof=1)) if len(ours) > 1 else None,
                "values": ours,
                "average": float(np.mean([m["test"]["average_accuracy"] for m in members])),
                "svm": float(np.mean(controls)) if controls else None,
            }
        )
    return rows


def _protocol_name(split: dict[str, Any]) -> str:
    if split.get("kind") == "blocks":
        return f"separate blocks of {split['size_px']} px"
    if split.get("kind") == "random":
        return (
            f"random, {split['per_class']} a class"
            if "per_class" in split
            else f"random, {split['fraction'] * 100:.3g} % of each class"
        )
    return "separate scenes" if split.get("kind") == "scenes" else "given files"


def data_uri(kind: str, data: bytes) -> str:
    """A picture inside the page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value * 100:.{digits}f} %"


def _hectares(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _interval(value: Sequence[float] | None) -> str:
    return "" if value is None else f"{value[0] * 100:.1f}–{value[1] * 100:.1f} %"
