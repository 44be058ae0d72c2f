"""Tables say what the rows say: paired differences of each compared measure, and an overview of all groups."""

from __future__ import annotations

import pytest

from patchfree.benchmark.summary import summarise
from patchfree.benchmark.tables import facts, machine, markdown, over_scenes, overview, tables
from patchfree.benchmark.tasks import get_task

TASK = get_task("classification")


def row(method, seed, oa, iou, *, scene="field", protocol="separate", error=None, seconds=1.0):
    return {
        "task": "classification", "scene": scene, "scene_title": scene.title(), "protocol": protocol, "seed": seed,
        "method": method, "title": method.upper(), "overall_accuracy": oa, "average_accuracy": oa, "kappa": oa, "mean_iou": iou,
        "train_seconds": seconds, "predict_seconds": 0.0, "error": error, "date": "2026-01-01", "processor": "p", "torch": "t",
        "version": "1", "commit": "c", "device": "cpu",
    }  # fmt: skip


@pytest.fixture
def rows():
    """Ours and an SVM on three seeds, the last of which failed for the SVM; the SVM's intersection over union is the better one."""
    return [
        row("svm", 0, 0.60, 0.50), row("svm", 1, 0.70, 0.62), row("svm", 2, None, None, error="broken"),
        row("default", 0, 0.70, 0.48, seconds=4.0), row("default", 1, 0.84, 0.58, seconds=4.0), row("default", 2, 0.9, 0.9),
    ]  # fmt: skip


def test_differences_are_paired_by_seed_for_each_compared_measure(rows):
    (group,) = summarise(rows, TASK)
    svm, ours = group.lines
    assert ours.behind == {}
    assert set(svm.behind) == {"overall_accuracy", "mean_iou"}
    assert svm.behind["overall_accuracy"].mean == pytest.approx((0.10 + 0.14) / 2)
    assert svm.behind["mean_iou"].mean == pytest.approx((-0.02 - 0.04) / 2)
    assert svm.behind["mean_iou"].n == 2
    assert svm.time_ratio == pytest.approx(2 / 8)
    assert svm.errors == {"broken": (2,)}


def test_accuracies_and_costs_stand_in_tables_of_their_own(rows):
    (group,) = summarise([*rows, row("rf", 0, None, None, error="none at all")], TASK)
    accuracies, costs = tables(group, TASK)
    assert [name for name in accuracies[0] if "−" in name] == ["default − this, OA", "default − this, mean IoU"]
    assert [line[:2] for line in accuracies[1:]] == [["SVM", "2"], ["DEFAULT", "3"], ["RF", "0"]]
    assert set(accuracies[3][2:]) == {"–"}
    assert costs == [
        ["method", "train s", "map s", "time ÷ default"],
        ["SVM", "1", "0", "0.25"],
        ["DEFAULT", "4", "0", "–"],
    ]
    for table in (accuracies, costs):
        assert len({len(line) for line in table}) == 1


def test_where_everything_failed_there_is_no_table_of_costs():
    (group,) = summarise([row("svm", 0, None, None, error="broken")], TASK)
    assert tables(group, TASK) == [[["method", "seeds"], ["SVM", "0"]]]


def test_the_overview_has_a_line_a_method_and_a_column_a_group(rows):
    more = [row("default", seed, 0.5 + seed / 10, 0.5, protocol="per-class:5") for seed in (0, 1)]
    head, svm, ours = overview(summarise([*rows, *more], TASK), TASK)
    assert head[1:] == ["Field: separate blocks", "Field: random, 5 a class"]
    assert svm == ["SVM", "65.0 ± 7.1", "–"]
    assert ours == ["DEFAULT", "81.3 ± 10.3", "55.0 ± 7.1"]


def test_one_group_needs_no_overview(rows):
    assert overview(summarise(rows, TASK), TASK) == []
    assert "## Overview" not in markdown(rows, TASK, [])
    assert "## Overview" in markdown([*rows, row("svm", 0, 0.1, 0.1, scene="other")], TASK, [])


def test_times_are_medians_and_are_compared_on_one_kind_of_machine_only():
    rows = [row("svm", seed, 0.5, 0.5, seconds=s) for seed, s in enumerate((1.0, 2.0, 90.0))]
    rows += [row("default", seed, 0.6, 0.5, seconds=4.0) for seed in range(3)]
    (group,) = summarise(rows, TASK)
    assert group.lines[0].costs["train_seconds"] == 2.0
    assert group.lines[0].time_ratio == pytest.approx(0.5)
    apart = [r | {"processor": r["method"]} for r in rows]
    (group,) = summarise(apart, TASK)
    assert group.lines[0].time_ratio is None
    assert any("On another machine than default (svm): SVM." in text for text in facts(group))
    (group,) = summarise([*rows[:2], apart[2], *rows[3:]], TASK)
    assert any(
        "On another machine than default (svm): SVM." in text for text in facts(group)
    )  # one seed of it is enough


def test_a_cell_of_ours_done_again_elsewhere_serves_the_ratio_of_times_and_nothing_else():
    rows = [row("svm", seed, 0.5, 0.5, seconds=6.0) | {"processor": "q"} for seed in range(3)]
    rows += [row("default", seed, 0.6, 0.5, seconds=4.0) for seed in range(3)]
    again = [row("default", seed, 0.9, 0.9, seconds=2.0) | {"processor": "q"} for seed in range(2)]
    others = [
        r | {"processor": "q"} for r in (row("default", 2, 0.9, 0.9, protocol="official"), row("rf", 2, 0.9, 0.9))
    ]
    failed = [row("default", 2, None, None, error="broken") | {"processor": "q"}]
    (group,) = summarise(rows, TASK, again + others + failed)
    svm, ours = group.lines
    assert svm.time_ratio == pytest.approx(3.0)
    assert svm.behind["overall_accuracy"].mean == pytest.approx(0.1)
    assert ours.costs["train_seconds"] == 4.0


def test_a_given_split_is_said_to_be_one():
    (given,) = summarise([row("svm", 0, 0.5, 0.5, protocol="official")], TASK)
    (drawn,) = summarise([row("svm", 0, 0.5, 0.5)], TASK)
    assert any("The split is given: seeds differ in weights and sampling only" in text for text in facts(given))
    assert not any("The split is given" in text for text in facts(drawn))


def test_over_scenes_each_method_has_its_mean_and_its_worst_scene():
    rows = [row(m, 0, oa, 0.5, scene=scene, seconds=s)
            for m, scene, oa, s in (("svm", "field", 0.5, 1.0), ("svm", "town", 0.9, 3.0), ("default", "field", 0.8, 2.0), ("rf", "town", 0.4, 4.0))
            ]  # fmt: skip
    ((title, (head, *lines)),) = over_scenes(summarise(rows, TASK), TASK)
    assert title == "All scenes: separate blocks"
    assert head == ["method", "scenes", "OA %, mean of scenes", "worst scene", "train + map s, mean"]
    assert lines == [
        ["SVM", "2", "70.0", "50.0 (Field)", "2"],
        ["DEFAULT", "1", "80.0", "80.0 (Field)", "2"],
        ["RF", "1", "40.0", "40.0 (Town)", "4"],
    ]


def test_two_methods_of_one_title_are_two_lines_over_scenes():
    rows = [row(m, 0, 0.5, 0.5, scene=scene) | {"title": "mine"} for m in ("a", "b") for scene in ("field", "town")]
    ((_, (_, *lines)),) = over_scenes(summarise(rows, TASK), TASK)
    assert [line[:2] for line in lines] == [["mine", "2"]] * 2


@pytest.mark.parametrize(("device", "side"), [("cpu", 2048), ("cuda", 8192), ("cuda:1", 8192)])
def test_the_matrices_are_those_of_the_device(device, side):
    (text,) = machine([row("svm", 0, 0.5, 0.5) | {"device": device, "rate_float32": 2e11}])
    assert text.endswith(f"matrix product of {side} x {side}, median over the rows: float32 200 GFLOP/s")


@pytest.mark.parametrize(
    ("shares", "said"), [((0.5, 0.25), "50% / 25%"), ((None, 0.25), "– / 25%"), ((0.5, None), "50% / –")]
)
def test_a_share_stands_where_operations_were_counted(shares, said):
    counted = dict(zip(("train_share_of_rate", "predict_share_of_rate"), shares, strict=True))
    (group,) = summarise([row("default", 0, 0.5, 0.5) | counted, row("svm", 0, 0.5, 0.5)], TASK)
    _, costs = tables(group, TASK)
    assert [line[-1] for line in costs] == ["share of rate: train / map", said, "–"]
