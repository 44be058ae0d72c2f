"""The measured parts of README and docs say what the rows say, aims included, and are made from the committed rows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from patchfree.benchmark.rows import write_rows
from patchfree.benchmark.tasks import get_task

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS))
import land_cover  # noqa: E402 - beside the pages


def row(method, protocol, seed, oa, *, scene="indian-pines", seconds=1.0, steps=None):
    return {
        "task": "classification", "scene": scene, "scene_title": scene, "protocol": protocol, "seed": seed, "method": method,
        "title": method, "overall_accuracy": oa, "average_accuracy": oa, "kappa": oa, "mean_iou": oa - 0.1, "train_seconds": seconds,
        "predict_seconds": 0.0, "error": None, "request": f"{method}{protocol}{seed}{steps}", "processor": "p", "torch": "t",
        "version": "1", "commit": "c", "date": "2026-01-01", "steps_given": steps, "device": "cpu",
    }  # fmt: skip


@pytest.fixture
def results(tmp_path):
    def make(rows):
        write_rows(tmp_path / "rows.csv", rows, get_task("classification"))
        return land_cover.Results(tmp_path / "rows.csv")

    return make


def rows_of(protocol, accuracies, seeds=5, **facts):
    return [row(m, protocol, seed, oa + seed / 100, **facts) for m, oa in accuracies.items() for seed in range(seeds)]


@pytest.mark.parametrize(("ours", "said"), [(0.91, "reached"), (0.87, "**not reached**")])
def test_the_aim_apart_is_against_the_best_of_all_rivals(ours, said, results):
    rivals = dict.fromkeys(land_cover.RIVALS, 0.7) | {"ssrn": 0.8}
    (aim,) = land_cover.aims(results(rows_of("separate", rivals | {"default": ours, "svm-walks": 0.9})))
    lead, other = (f"{(ours - oa) * 100:+.1f}" for oa in (0.8, 0.9))
    assert aim[1].startswith(f"{lead} [{lead}, {lead}] (`ssrn`)")
    assert aim[1].endswith(f"not named by the aim: {other} [{other}, {other}] (`svm-walks`)")
    assert aim[1].index("`ssrn`") < aim[1].index("`svm`")
    assert aim[2] == said


def test_an_aim_is_open_while_a_rival_was_not_run(results):
    (aim,) = land_cover.aims(results(rows_of("separate", {"svm": 0.5, "default": 0.9})))
    assert aim[2] == "open: without rf, cnn2d, ssrn, freenet-paper"
    (aim,) = land_cover.aims(results(rows_of("separate", {"svm": 0.85, "default": 0.9})))
    assert aim[2] == "**not reached**"


def test_an_aim_is_open_while_a_rival_has_too_few_seeds(results):
    rivals = dict.fromkeys(land_cover.RIVALS[1:], 0.7) | {"default": 0.9}
    rows = rows_of("separate", rivals) + rows_of("separate", {"svm": 0.7}, seeds=2)
    (aim,) = land_cover.aims(results(rows))
    assert "+20.0 (2 seeds) (`svm`)" in aim[1]
    assert aim[2] == "open: 2 of 5 seeds"


def test_rows_of_another_device_do_not_count_and_methods_are_called_as_they_are_today(results):
    rows = rows_of("separate", {"svm": 0.5, "default": 0.6})
    found = results(rows + [r | {"device": "cuda:0", "overall_accuracy": 0.0} for r in rows])
    line = found.line("indian-pines", "separate", "default")
    assert line.measures["overall_accuracy"].mean == pytest.approx(0.62)
    assert (line.seeds, line.title) == ((0, 1, 2, 3, 4), "patchfree (default recipe)")


def test_the_aim_of_few_labels_is_against_both_that_it_names(results):
    (aim,) = land_cover.aims(results(rows_of("per-class:10", {"svm": 0.5, "default": 0.9, "rf": 0.1})))
    assert (aim[1], aim[2]) == ("+40.0 [+40.0, +40.0] (`svm`)", "open: without freenet-paper")
    both = {"svm": 0.5, "default": 0.9, "freenet-paper": 0.89}
    (aim,) = land_cover.aims(results(rows_of("per-class:10", both)))
    assert (aim[1], aim[2]) == ("+1.0 [+1.0, +1.0] (`freenet-paper`), +40.0 [+40.0, +40.0] (`svm`)", "**not reached**")


@pytest.mark.parametrize(
    ("ours", "seconds", "said"),
    [(0.99, 2.0, "reached"), (0.9, 2.0, "**not reached**"), (0.99, 20.0, "**not reached**")],
)
def test_the_aim_of_time_asks_for_accuracy_and_time(ours, seconds, said, results):
    paper = rows_of("fraction:0.1", {"freenet-paper": 0.95}, seconds=100.0)
    (aim,) = land_cover.aims(results(paper + rows_of("fraction:0.1", {"default": ours}, seconds=seconds)))
    assert f"in 1/{100 / seconds:.0f} of its time" in aim[1]
    assert aim[2] == said


def test_a_rival_of_another_machine_is_timed_against_ours_there(results, tmp_path):
    rival = [r | {"processor": "q"} for r in rows_of("fraction:0.1", {"ssrn": 0.9}, seconds=300.0)]
    rows = rival + rows_of("fraction:0.1", {"default": 0.95}, seconds=5.0)
    assert not list(land_cover.aims(results(rows)))
    again = [r | {"processor": "q"} for r in rows_of("fraction:0.1", {"default": 0.5}, seconds=10.0)]
    write_rows(tmp_path / land_cover.ELSEWHERE, again, get_task("classification"))
    (aim,) = land_cover.aims(results(rows))
    assert "1/30 of its time (median of the seeds' ratios; on the machine where it takes 300 s), +5.0" in aim[1]


def test_methods_that_ours_does_not_beat_are_named(results):
    rivals = {"svm": 0.5, "ssrn": 0.92, "rf": 0.9}
    rows = rows_of("separate", rivals | {"default": 0.9}, 2) + rows_of("per-class:10", {"svm": 0.5, "default": 0.9})
    found = [r | {"mean_iou": 0.95} if r["method"] == "rf" else r for r in rows]  # as many pixels right, other classes
    assert list(land_cover.not_beaten(results(found))) == [
        ["Indian Pines: separate blocks", "random forest", "+0.0 (2 seeds)", "-14.5 (2 seeds)"],
        ["Indian Pines: separate blocks", "patch 3-D residual network (SSRN)", "-2.0 (2 seeds)", "-2.0 (2 seeds)"],
    ]


def test_rows_of_networks_cut_short_do_not_count(results):
    found = results([*rows_of("separate", {"svm": 0.5, "default": 0.9}), row("default", "separate", 0, 0.1, steps=5)])
    assert found.line("indian-pines", "separate", "default").measures["overall_accuracy"].mean == pytest.approx(0.92)


def test_a_block_is_put_between_its_marks_and_nothing_else_changes():
    page = "above\n<!-- a: made by `make docs` -->\nold\n<!-- a: end -->\nbelow\n"
    new = land_cover.with_block(page, "a", "| new |")
    assert new == "above\n<!-- a: made by `make docs` -->\n\n| new |\n\n<!-- a: end -->\nbelow\n"
    assert land_cover.with_block(new, "a", "| new |") == new
    with pytest.raises(ValueError, match="The page needs one"):
        land_cover.with_block("no marks", "a", "")


def test_the_committed_rows_are_whole():
    found = land_cover.Results()
    assert found.rows
    assert not [row for row in found.rows if row.get("error")]
    assert all(row["commit"] and "+" not in row["commit"] for row in found.rows)
    places = [tuple(row[key] for key in ("scene", "protocol", "seed", "method")) for row in found.rows]
    assert len(places) == len(set(places))


def test_all_methods_of_the_committed_rows_saw_as_many_pixels():
    seen = {}
    for row in land_cover.Results().rows:
        counts = tuple(row[f"{part}_pixels"] for part in ("train", "validation", "test"))
        seen.setdefault((row["scene"], row["protocol"], row["seed"]), set()).add(counts)
    assert {len(counts) for counts in seen.values()} == {1}
