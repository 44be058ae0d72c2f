"""The results as one self-contained HTML page: tables, charts, and the maps side by side."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from patchfree.benchmark.pictures import errors_file, map_file
from patchfree.benchmark.summary import Group, summarise
from patchfree.benchmark.tables import (
    EXPLAINED,
    cells_by_place,
    cut_short,
    facts,
    failures,
    machine,
    summaries,
    tables,
)
from patchfree.figures import chart_axes, svg
from patchfree.files import write_bytes

if TYPE_CHECKING:
    from patchfree.benchmark.cell import Cell
    from patchfree.benchmark.rows import Row
    from patchfree.benchmark.tasks import Task

OURS, OTHERS = "#d55e00", "#0072b2"
TOUCHING = 1.5
"""Pixels from which a test pixel has a training pixel as a neighbour."""


def write_page(
    path: Path,
    rows: Sequence[Row],
    task: Task,
    undone: Sequence[Cell],
    pictures: Path,
    classes: Mapping[str, Sequence[str]],
) -> Path:
    """Write the page; returns the path.

    Args:
        path: for the page.
        rows: what was measured.
        task: what the methods do.
        undone: cells that there was no time for.
        pictures: folder with the pictures of the rows.
        classes: of each scene, what its classes are called today.
    """
    environment = Environment(
        loader=PackageLoader("patchfree"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    summed = summarise(rows, task)
    groups = [_group(group, task, pictures, classes) for group in summed]
    dates = sorted({row["date"] for row in rows})
    cites = {
        name: method.cite
        for name, method in task.methods.items()
        if method.cite and any(row["method"] == name for row in rows)
    }
    html = environment.get_template("benchmark.html.j2").render(
        task=task,
        groups=groups,
        summaries=summaries(summed, task),
        machine=machine(rows),
        dates=" to ".join(dict.fromkeys((dates[0], dates[-1]))),
        explained=[EXPLAINED, *(text.strip("*") for text in cut_short(rows))],
        undone=list(cells_by_place(undone)),
        cites=cites,
    )
    write_bytes(path, html.encode())
    return path


def _group(group: Group, task: Task, pictures: Path, classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the page shows of one scene under one protocol."""
    good = [line for line in group.lines if line.seeds]
    best = max((line.measures[task.measures[0].name].mean for line in good), default=None)
    return {
        "title": f"{group.title}: {task.protocol_title(group.protocol)}",
        "badge": _badge(group),
        "tables": [
            {
                "headings": head,
                "lines": [
                    {
                        "cells": texts,
                        "ours": line.method == group.ours,
                        "best": bool(line.seeds) and line.measures[task.measures[0].name].mean == best,
                    }
                    for line, texts in zip(lines, rest, strict=True)
                ],
            }
            for (head, *rest), lines in zip(
                tables(group, task), (group.lines, good), strict=False
            )  # costs may be missing
        ],
        "facts": facts(group),
        "failures": failures(group),
        "charts": [_accuracy_chart(group, task), _time_chart(group, task)] if good else [],
        "maps": _maps(group, task, pictures, classes[group.scene]),
    }


def _badge(group: Group) -> tuple[str, str] | None:
    """How far test pixels are from the training pixels: style and text; None where nothing is trained."""
    row = next((row for row in group.rows if row.get("optimistic") is not None), None)
    if row is None:
        return None
    if row["optimistic"]:
        return "badge warn", "random split: optimistic"
    kind = "given split" if group.protocol == "official" else "separate blocks"
    nearest = row.get("min_distance_px")
    if nearest is None:
        return "badge", kind
    return "badge warn" if nearest <= TOUCHING else "badge", f"{kind}: test pixels at least {nearest:g} px away"


def _maps(group: Group, task: Task, pictures: Path, classes: Sequence[str]) -> dict[str, Any] | None:
    """Pictures of the first seed's maps and their errors, and of the scene and its labels; None if there are none."""
    names = [row["scene_pictures"] for row in group.rows if row.get("scene_pictures")]
    about = next((path for name in names if (path := pictures / f"{name}.json").is_file()), None)
    if about is None:
        return None
    scene = json.loads(about.read_text(encoding="utf-8"))
    shown = [("Scene", scene["colours"], about.with_name(f"{about.stem}-scene.png"))]
    shown.append((scene["labels"], scene["labels_text"], about.with_name(f"{about.stem}-labels.png")))
    first = task.measures[0]
    errors: list[tuple[str, str, Path]] = []
    for line in group.lines:
        row = next((row for row in group.rows if row["method"] == line.method and row.get("picture")), None)
        if row is None:
            continue
        text = f"{first.title.removesuffix(' %')} {row[first.name] * first.factor:.{first.digits}f}{' %' if first.factor == 100 else ''} at seed {row['seed']:.0f}"
        for found, file in ((shown, map_file), (errors, errors_file)):
            if (path := file(pictures, row["picture"])).is_file():
                found.append((line.title, text, path))
    return {
        "aspect": f"{scene['columns']} / {scene['rows']}",
        # Titles of today, colours of the pictures.
        "legend": [entry | {"title": title} for entry, title in zip(scene["legend"], classes, strict=True)],
        "shown": _embedded(shown),
        "errors": _embedded(errors),
        "wide": scene["columns"] > 2.5 * scene["rows"],
    }


def _embedded(pictures: Sequence[tuple[str, str, Path]]) -> list[tuple[str, str, str]]:
    """Title, text and the picture itself, in base 64."""
    return [(title, text, base64.b64encode(path.read_bytes()).decode()) for title, text, path in pictures]


def _accuracy_chart(group: Group, task: Task) -> str:
    """Each method's seeds as dots, mean and interval as a bar."""
    measure = task.measures[0]
    lines = [line for line in group.lines if line.seeds][::-1]
    figure, axes = chart_axes(6.2, 0.42 * len(lines) + 0.9)
    for place, line in enumerate(lines):
        found, colour = line.measures[measure.name], OURS if line.method == group.ours else OTHERS
        values = [
            row[measure.name] * measure.factor
            for row in group.rows
            if row["method"] == line.method and not row.get("error")
        ]
        if found.low is not None and found.high is not None:
            ends = [max(found.low, measure.least) * measure.factor, min(found.high, 1.0) * measure.factor]
            axes.plot(ends, [place] * 2, color=colour, lw=2, alpha=0.5)
        axes.plot([found.mean * measure.factor], [place], "D", color=colour, ms=6)
        axes.plot(values, [place] * len(values), "o", color="white", mec=colour, ms=4, mew=0.9)
    axes.set_yticks(range(len(lines)), [line.title for line in lines], fontsize=9)
    # The names of methods leave little room, and the text may begin below them.
    axes.set_xlabel(f"{measure.title}: seeds, mean and 95 % interval of the mean", fontsize=9, loc="right")
    _plain(axes)
    return _svg(figure)


def _time_chart(group: Group, task: Task) -> str:
    """Accuracy against the time that training and mapping take."""
    measure = task.measures[0]
    figure, axes = chart_axes(5.2, 3.3)
    points = []
    for line in group.lines:
        train, predict = line.costs["train_seconds"], line.costs["predict_seconds"]
        if line.seeds and train is not None and predict is not None:
            points.append((train + predict, line.measures[measure.name].mean * measure.factor, line))
    for x, y, line in points:
        axes.plot([x], [y], "D", color=OURS if line.method == group.ours else OTHERS, ms=6)
    for (x, y, line), up in zip(points, _apart(points), strict=True):
        axes.annotate(line.method, (x, y), xytext=(6, up), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.22, 0.15)
    axes.set_xlabel("seconds to train and map", fontsize=9)
    axes.set_ylabel(measure.title, fontsize=9)
    _plain(axes)
    return _svg(figure)


def _apart(points: Sequence[tuple[float, float, Any]]) -> list[int]:
    """How far above each point its name stands, so that names of points close together do not cover each other."""
    if not points:
        return []
    x, y = np.log10([p[0] for p in points]), np.asarray([p[1] for p in points])
    spans = max(float(np.ptp(x)), 1e-9), max(float(np.ptp(y)), 1e-9)
    lifted: list[int] = []
    for i in range(len(points)):
        near = [
            lifted[j] for j in range(i) if abs(x[i] - x[j]) < 0.25 * spans[0] and abs(y[i] - y[j]) < 0.07 * spans[1]
        ]
        lifted.append(next(lift for lift in (3, -9, 14, -20, 25, -31, 36, *range(47, 999, 11)) if lift not in near))
    return lifted


def _plain(axes: Any) -> None:  # noqa: ANN401 - matplotlib's axes
    axes.tick_params(labelsize=8)
    axes.grid(color="#e3e7ec", lw=0.7)
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    with rc_context({"font.family": "sans-serif"}):
        return svg(figure)
