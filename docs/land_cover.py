"""The measured parts of README.md and docs/benchmarks.md, made from the rows in docs/results/classification.csv.

So no figure of a table is typed in, and each can be traced to the rows that `patchfree benchmark` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import machine_use

from patchfree.benchmark.methods import METHODS
from patchfree.benchmark.rows import Row, read_rows
from patchfree.benchmark.scenes import described_scenes
from patchfree.benchmark.statistics import Estimate
from patchfree.benchmark.summary import Line, summarise
from patchfree.benchmark.tables import (
    EXPLAINED,
    facts,
    failures,
    lines_of,
    machine,
    overview,
    tables,
)
from patchfree.benchmark.tasks import Measure, get_task

ROWS = Path(__file__).parent / "results" / "classification.csv"
ELSEWHERE = "default-elsewhere.csv"  # beside the rows: cells of ours done again where a rival's rows were made, for ratios of times
TASK = get_task("classification")
OA, AA, _, IOU = TASK.measures
PAPER, SSRN, OURS = "freenet-paper", "ssrn", "default"
RIVALS = ("svm", "rf", "cnn2d", SSRN, PAPER)  # whose best the aims name
SEEDS = 5  # of a whole figure; fewer are said
SCENE, TEN, TENTH, APART = "indian-pines", "per-class:10", "fraction:0.1", "separate"

SHOWN = (
    (SCENE, APART),
    ("enmap-potsdam", "official"),
    ("houston-crop", APART),
    (SCENE, TEN),
    (SCENE, TENTH),
    *((SCENE, f"per-class:{n}") for n in (5, 30, 50, 200)),
)
"""Scenes and protocols in the order of the page; others follow."""


def _order(row: Row) -> tuple[int, int, int]:
    place = (row["scene"], row["protocol"])
    return SHOWN.index(place) if place in SHOWN else len(SHOWN), list(METHODS).index(row["method"]), row["seed"]


class Results:
    """The rows of one kind of device, cpu or cuda, summed up by scene and protocol; methods and scenes as they are called today."""

    def __init__(self, path: Path = ROWS, device: str = "cpu") -> None:
        scenes = described_scenes()
        rows, elsewhere = (
            [
                row | {"title": METHODS[row["method"]].title, "scene_title": scenes[row["scene"]].title}
                for row in read_rows(file)
                if row.get("steps_given") is None and row["device"].partition(":")[0] == device
            ]
            for file in (path, path.with_name(ELSEWHERE))
        )
        self.rows = sorted(rows, key=_order)
        self.groups = {(group.scene, group.protocol): group for group in summarise(self.rows, TASK, elsewhere)}

    def line(self, scene: str, protocol: str, method: str) -> Line | None:
        """What the seeds of a method came to; None if it has no result there."""
        group = self.groups.get((scene, protocol))
        lines = group.lines if group else []
        return next((line for line in lines if line.method == method and line.seeds), None)

    def ahead(self, scene: str, protocol: str, measure: Measure) -> dict[str, Estimate]:
        """By how much ours is ahead of each method that has results, the nearest first; on the seeds that both have."""
        found = [line for name in METHODS if (line := self.line(scene, protocol, name))]
        leads = {line.method: line.behind[measure.name] for line in found if line.behind}
        return dict(sorted(leads.items(), key=lambda lead: lead[1].mean))


def land_cover(results: Results) -> str:
    """The section of docs/benchmarks.md: machine, aims, overview, and for each scene and protocol its accuracies and costs."""
    dates = sorted({row["date"] for row in results.rows})
    groups = list(results.groups.values())
    parts = [
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}. {'. '.join(machine(results.rows))}. Every row: [classification.csv](results/classification.csv).",
        EXPLAINED,
        lines_of([["aim", "measured", ""], *aims(results), machine_use.aim(machine_use.figures())]),
        "Where another method has the higher mean, of OA or of mean IoU:",
        lines_of([["where", "method", "default − this, OA", "default − this, mean IoU"], *not_beaten(results)]),
        *(lines_of(lines) for lines in [overview(groups, TASK)] if lines),
    ]
    for group in groups:
        parts += [
            f"### {group.title}: {TASK.protocol_title(group.protocol)}",
            " ".join(facts(group)),
            *map(lines_of, tables(group, TASK)),
        ]
        parts += [f"- {text}" for text in failures(group)]
    return "\n\n".join(parts)


def aims(results: Results) -> Iterable[list[str]]:
    """What was aimed at, what was measured, and whether that is reached: a line an aim."""
    ours, paper = (results.line(SCENE, TENTH, name) for name in (OURS, PAPER))
    if ours and paper and paper.time_ratio:
        behind = paper.behind[OA.name]
        yield [
            "Indian Pines, 10 % of each class: at least the OA of `freenet-paper` in a twentieth of its time",
            f"{points(behind, OA)} points ahead, in 1/{paper.time_ratio:.0f} of its time ({times(ours, paper)})",
            verdict(behind.mean >= 0 and paper.time_ratio >= 20, [behind]),
        ]
    wanted_ten = {"svm": 25, PAPER: 2}
    leads = {name: found for name, found in results.ahead(SCENE, TEN, OA).items() if name in wanted_ten}
    if leads:
        absent = [name for name in wanted_ten if name not in leads]
        yield [
            "Indian Pines, 10 labels a class: OA 25 points above the SVM, 2 above `freenet-paper`",
            ", ".join(f"{points(found, OA)} (`{name}`)" for name, found in leads.items()),
            verdict(all(found.mean * 100 >= wanted_ten[name] for name, found in leads.items()), leads.values(), absent),
        ]
    for scene, protocol, measure, wanted, text in (
        (SCENE, APART, OA, 8, "Indian Pines, separate blocks: OA 8 points above the best of SVM, random forest, patch networks and `freenet-paper`"),
        ("enmap-potsdam", "official", IOU, 3, "EnMAP Potsdam, its own split: mean IoU 3 points above the best of them"),
    ):  # fmt: skip
        ahead = results.ahead(scene, protocol, measure)
        named = {name: found for name, found in ahead.items() if name in RIVALS}
        if named:
            absent = [name for name in RIVALS if name not in named]
            others = {name: found for name, found in ahead.items() if name not in RIVALS}
            said = [
                ", ".join(f"{points(found, measure)} (`{name}`)" for name, found in leads.items())
                for leads in (named, others)
            ]
            yield [
                text,
                "; not named by the aim: ".join(filter(None, said)),
                verdict(next(iter(named.values())).mean * 100 >= wanted, named.values(), absent),
            ]
    patches, ours = (results.line(SCENE, TENTH, name) for name in (SSRN, OURS))
    if patches and ours and patches.time_ratio:
        yield [
            "The patch 3-D network's time, at equal accuracy (Indian Pines, 10 % of each class)",
            f"1/{patches.time_ratio:.0f} of its time ({times(ours, patches)}), {points(patches.behind[OA.name], OA)} points of OA ahead",
            "",
        ]


def not_beaten(results: Results) -> Iterable[list[str]]:
    """Where ours has not the highest mean: a line for each scene, protocol and method, with the differences in both measures."""
    for group in results.groups.values():
        for line in group.lines:
            if any(line.behind[m.name].mean < 0 for m in (OA, IOU) if line.behind):
                where = f"{group.title}: {TASK.protocol_title(group.protocol)}"
                yield [where, line.title, *(points(line.behind[m.name], m) for m in (OA, IOU))]


def measured(results: Results) -> str:
    """The table of README.md: overall and average accuracy of some methods under three protocols."""
    names = {
        OURS: "patchfree",
        "svm": "SVM",
        "svm-smooth": "SVM, smoothed components",
        "svm-smooth-walks": "the same, and random walks",
    }
    names |= {"cnn2d": "patch 2-D CNN", SSRN: "patch 3-D network", PAPER: "FreeNet as published"}
    protocols = {
        APART: "separate blocks of 18 px, buffer 3 px",
        TEN: "random, 10 labels a class (optimistic)",
        TENTH: "random, 10 % of each class (optimistic)",
    }
    lines = [["test pixels", *names.values()]]
    for protocol, title in protocols.items():
        found = {name: results.line(SCENE, protocol, name) for name in names}
        best = max((line.measures[OA.name].mean for line in found.values() if line), default=None)
        if best is None:
            continue
        lines.append([title, *(_accuracies(line, best) for line in found.values())])
    return lines_of(lines)


def _accuracies(line: Line | None, best: float) -> str:
    if line is None:
        return "–"
    oa, aa = line.measures[OA.name], line.measures[AA.name]
    text = f"{oa.mean:.1%}".rstrip("%") + (f" ± {oa.std * 100:.1f}" if oa.std is not None else "")
    text = f"{text} / {aa.mean * 100:.1f} %{_too_few(oa)}"
    return f"**{text}**" if oa.mean == best else text


def points(found: Estimate, measure: Measure) -> str:
    """A difference with its interval."""
    text = f"{found.mean * measure.factor:+.1f}"
    if found.n < SEEDS or found.low is None or found.high is None:
        return f"{text}{_too_few(found)}"
    return f"{text} [{found.low * measure.factor:+.1f}, {found.high * measure.factor:+.1f}]"


def _too_few(found: Estimate) -> str:
    """How many seeds, where they are fewer than a whole figure has."""
    return f" ({found.n} seed{'s' * (found.n > 1)})" if found.n < SEEDS else ""


def seconds(line: Line) -> str:
    """Training and map together."""
    return f"{(line.costs['train_seconds'] or 0) + (line.costs['predict_seconds'] or 0):.3g} s"


def times(ours: Line, theirs: Line) -> str:
    """What stands behind the ratio of their times."""
    said = f"medians {seconds(ours)} and {seconds(theirs)}"
    if ours.row["processor"] != theirs.row["processor"]:
        said = f"on the machine where it takes {seconds(theirs)}"
    return f"median of the seeds' ratios; {said}"


def verdict(reached: bool, leads: Iterable[Estimate], absent: Sequence[str] = ()) -> str:
    """For the last column; what would be reached is open while a method that the aim names was not run, or not on all seeds."""
    if not reached:
        return "**not reached**"
    if absent:
        return f"open: without {', '.join(absent)}"
    fewest = min(found.n for found in leads)
    return "reached" if fewest >= SEEDS else f"open: {fewest} of {SEEDS} seeds"


BLOCKS: dict[str, tuple[str, Callable[[Results], str]]] = {
    "measured": ("../README.md", measured),
    "land-cover": ("benchmarks.md", land_cover),
    "machine-use": ("benchmarks.md", lambda _: machine_use.machine_use(machine_use.figures())),
}
"""Name of the block, the page that holds it, and what makes it."""


def with_block(page: str, name: str, text: str) -> str:
    """The page with this text between the marks of the block."""
    begin, end = f"<!-- {name}: made by `make docs` -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"The page needs one {begin} and one {end}.")
    return re.sub(
        f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n\n{text}\n\n{end}", page, flags=re.DOTALL
    )
