"""A run folder is one run: made once, never silently replaced, and whole whatever happens to the next one."""

import numpy as np
import pytest

import patchfree as pf
from conftest import synthetic
from jobs import QUICK, RUN_FILES, contents, read_json, short
from patchfree.errors import ConfigError, LabelError, RunError, SceneError, SplitError
from patchfree.files import exclusive
from patchfree.run import load_run
from patchfree.split import Split, random_split
from patchfree.training import Outputs, train


@pytest.fixture
def quick():
    """A training of four steps on the CPU without controls."""

    def run(scene, labels, **options):
        return train(scene, labels, **({"recipe": short(4), "controls": (), "device": "cpu"} | options))

    return run


def times(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.rglob("*")}


# --- one at a time


def test_a_folder_at_which_another_process_works_is_left_alone(cli, files, tmp_path):
    words = ("train", files.scene, files.labels, "--out", tmp_path, *QUICK)
    with exclusive(tmp_path):
        before = contents(tmp_path)
        cli.refused(2, "Another patchfree is at work in .* choose another --out", *words)
        assert contents(tmp_path) == before
    cli.ok(*words)
    assert set(contents(tmp_path)) == RUN_FILES


# --- the same command again


def test_finished_run_is_not_made_again(cli, files, tmp_path, monkeypatch):
    words = ("train", files.scene, files.labels, "--out", tmp_path / "run", *QUICK)
    first = cli.ok(*words)
    before, stamps = contents(tmp_path / "run"), times(tmp_path / "run")
    monkeypatch.setattr("patchfree.fit.Trainer.run", None)  # cannot be called
    assert cli.ok(*words) == first
    assert contents(tmp_path / "run") == before
    assert times(tmp_path / "run") == stamps


def test_layers_asked_for_later_are_added_to_a_finished_run(cli, files, tmp_path):
    out = tmp_path / "run"
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK)
    before = contents(out)
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK, "--probabilities", "--uncertainty")
    after = contents(out)
    assert after.keys() - before.keys() == {"probabilities.tif", "uncertainty.tif", "uncertainty.qml"}
    assert {name for name in before if after[name] != before[name]} == {"item.json"}  # it lists the files
    once = tmp_path / "once"
    cli.ok("train", files.scene, files.labels, "--out", once, *QUICK, "--probabilities", "--uncertainty")
    assert after["probabilities.tif"] == (once / "probabilities.tif").read_bytes()
    assert after["uncertainty.tif"] == (once / "uncertainty.tif").read_bytes()
    assert after["item.json"] == (once / "item.json").read_bytes()


def test_what_a_finished_run_cannot_add_is_refused_and_not_left_out_in_silence(cli, files, tmp_path):
    out, other = tmp_path / "run", tmp_path / "other"
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK)
    cli.ok("train", files.scene, files.labels, "--out", other, *QUICK, "--fraction", 0.2)
    before = contents(out)
    again = ("train", files.scene, files.labels, "--out", out, *QUICK)
    cli.refused(2, "finished without the figures. Pass --overwrite", *again, "--figures")
    cli.refused(2, "finished without the other runs in its report. Pass --overwrite", *again, "--beside", other)
    assert contents(out) == before
    cli.ok(*again, "--beside", other, "--overwrite")
    cli.ok(*again, "--beside", other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "1"], r"another split, seed 0 \(now 1\)"),
        (["--steps", "7"], r"steps 6 \(now 7\)"),
        (["--recipe", "paper"], r"name default \(now paper\).*optimiser adamw \(now sgd\)"),
        (["--blocks", "8"], "another split"),
        (["--refit"], r"refit False \(now True\)"),
        (["--control", "svm"], r"controls \[\] \(now \['svm'\]\)"),
        (["--drop-bands", "1"], "another scene"),
        (["--ignore-class", "1"], "another labels"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_by_name(cli, files, tmp_path_factory, options, message):
    out = tmp_path_factory.getbasetemp() / "kept"
    base = [word for word in QUICK if word not in ("--control", "none")]
    if not out.exists():
        cli.ok("train", files.scene, files.labels, "--out", out, *QUICK)
    before = contents(out)
    controls = [] if "--control" in options else ["--control", "none"]
    message = f"holds a finished run with .*{message}.* Choose another --out, or pass --overwrite"
    cli.refused(2, message, "train", files.scene, files.labels, "--out", out, *base, *controls, *options)
    assert contents(out) == before


def test_overwrite_replaces_the_run_and_leaves_nothing_of_it(cli, files, tmp_path):
    out, fresh = tmp_path / "run", tmp_path / "fresh"
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK, "--probabilities", "--figures")
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK, "--seed", 1, "--overwrite")
    cli.ok("train", files.scene, files.labels, "--out", fresh, *QUICK, "--seed", 1)
    assert set(contents(out)) == RUN_FILES
    same = RUN_FILES - {"metrics.json", "report.html", "log.jsonl"}  # these hold times
    assert {n: contents(out)[n] for n in same} == {n: contents(fresh)[n] for n in same}


def test_files_of_the_user_in_the_folder_stay(cli, files, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK)
    cli.ok("train", files.scene, files.labels, "--out", out, *QUICK, "--seed", 1, "--overwrite")
    assert (out / "notes.txt").read_text() == "mine"


def test_map_of_somebody_else_in_the_folder_is_not_replaced(cli, files, tmp_path):
    (tmp_path / "map.tif").write_bytes(b"precious")
    words = ("train", files.scene, files.labels, "--out", tmp_path, *QUICK)
    cli.refused(2, r"holds map\.tif, but no finished run; they would be replaced. Choose another --out", *words)
    assert contents(tmp_path) == {"map.tif": b"precious"}
    cli.ok(*words, "--overwrite")
    assert set(contents(tmp_path)) == RUN_FILES


# --- an earlier run while the next one breaks


@pytest.mark.parametrize(
    ("phase", "mishap"), [("estimate", KeyboardInterrupt), ("map", RuntimeError), ("report", KeyboardInterrupt)]
)
def test_earlier_run_stays_whole_while_the_next_one_breaks(scene, labels, quick, tmp_path, phase, mishap):
    quick(scene, labels, out=tmp_path, outputs=Outputs(probabilities=True))
    before = contents(tmp_path)

    def stop(state):
        if state.phase == phase:
            raise mishap("now")

    with pytest.raises(mishap, match="now"):
        quick(scene, labels, seed=1, out=tmp_path, outputs=Outputs(overwrite=True), progress=stop)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert load_run(tmp_path).metrics["protocol"]["seed"] == 0
    quick(scene, labels, seed=1, out=tmp_path, outputs=Outputs(overwrite=True))
    assert load_run(tmp_path).metrics["protocol"]["seed"] == 1
    assert set(contents(tmp_path)) == RUN_FILES


def test_unfinished_run_with_other_settings_is_not_thrown_away(scene, labels, quick, tmp_path):
    def stop(state):
        if state.done == 2:
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        quick(scene, labels, out=tmp_path, progress=stop)
    before = contents(tmp_path)
    assert any("estimate.safetensors" in name for name in before)
    with pytest.raises(RunError, match=r"unfinished run with another split, seed 0 \(now 1\)\. Repeat its command"):
        quick(scene, labels, seed=1, out=tmp_path)
    assert contents(tmp_path) == before
    quick(scene, labels, seed=1, out=tmp_path, outputs=Outputs(overwrite=True))
    assert set(contents(tmp_path)) == RUN_FILES


def test_run_that_was_stopped_before_its_first_step_blocks_nothing(scene, labels, quick, tmp_path):
    def stop(state):
        raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        quick(scene, labels, out=tmp_path, controls=("svm",), progress=stop)
    assert contents(tmp_path) == {}
    (tmp_path / ".unfinished").mkdir()  # as after kill -9
    (tmp_path / ".unfinished" / "request.json").write_text('{"seed": 5}')
    quick(scene, labels, seed=1, out=tmp_path)
    assert set(contents(tmp_path)) == RUN_FILES


def test_checkpoint_without_its_request_is_not_taken_for_this_run(scene, labels, quick, tmp_path):
    def stop(state):
        if state.done == 3:
            raise KeyboardInterrupt("now")

    with pytest.raises(KeyboardInterrupt, match="now"):
        quick(scene, labels, seed=7, out=tmp_path / "a", progress=stop)
    (tmp_path / "a" / ".unfinished" / "request.json").unlink()
    quick(scene, labels, out=tmp_path / "a")
    quick(scene, labels, out=tmp_path / "b")
    assert contents(tmp_path / "a")["model.safetensors"] == contents(tmp_path / "b")["model.safetensors"]


# --- the Python call


def test_training_in_memory_writes_nothing_and_gives_the_same_network(scene, labels, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = quick(scene, labels)
    assert contents(tmp_path) == {}
    assert run.folder is None
    kept = quick(scene, labels, out=tmp_path / "run")
    assert kept.model_hash == run.model_hash
    np.testing.assert_array_equal(
        kept.predict(scene, device="cpu").probabilities, run.predict(scene, device="cpu").probabilities
    )


def test_default_split_is_spatially_separate_blocks(scene, labels, quick):
    given = quick(scene, labels, split=pf.block_split(labels, seed=3), seed=3)
    assert quick(scene, labels, seed=3).model_hash == given.model_hash


def test_scene_is_shuffled_only_where_test_pixels_lie_apart(scene, labels, quick):
    assert quick(scene, labels).recipe["shuffle"] is True
    assert quick(scene, labels, split=random_split(labels, fraction=0.1)).recipe["shuffle"] is False


def test_progress_counts_every_step_and_ends_with_the_report(scene, labels, quick, tmp_path):
    seen = []
    quick(scene, labels, out=tmp_path, refit=True, controls=("svm",), progress=seen.append)
    assert [(s.phase, s.done) for s in seen if s.phase in ("estimate", "refit")] == [
        (phase, n) for phase in ("estimate", "refit") for n in range(1, 5)
    ]
    assert seen[0].phase == "control svm"
    assert (seen[-1].phase, seen[-1].done, seen[-1].total) == ("report", 1, 1)
    assert seen[4].validation_accuracy is not None
    assert seen[4].loss > 0


def test_labels_of_another_size_are_refused(scene, quick):
    _, labels = synthetic(rows=30)  # the scene has 40
    with pytest.raises(LabelError, match=r"The labels have \(30, 48\) pixels, the scene has \(40, 48\)"):
        quick(scene, labels)


def test_scene_of_one_band_is_refused(scene, labels, quick):
    with pytest.raises(SceneError, match=r"has one usable band; .* needs at least 2"):
        quick(scene.select([3]), labels)


def test_split_with_one_class_to_train_on_is_refused_before_anything_is_written(scene, labels, quick, tmp_path):
    train_mask = (labels.index == 2) & (np.arange(48) < 20)
    split = Split(train_mask, np.zeros_like(train_mask), (labels.index > 0) & ~train_mask)
    with pytest.raises(SplitError, match=r"All training pixels are of one class \(2 'land 2'\)"):
        quick(scene, labels, split=split, out=tmp_path)
    assert contents(tmp_path) == {}


def test_split_that_shares_pixels_is_refused_and_leaves_nothing(scene, labels, quick, tmp_path):
    mask = labels.index > 0
    with pytest.raises(SplitError, match="pixels are in two of training, validation and test"):
        quick(scene, labels, split=Split(mask, np.zeros_like(mask), mask), out=tmp_path)
    assert contents(tmp_path) == {}


def test_unknown_recipe_is_refused_with_the_known_ones(scene, labels):
    with pytest.raises(ConfigError, match="Got recipe 'x'; there are default, paper"):
        train(scene, labels, recipe="x")


def test_labels_without_data_below_them_are_counted(scene, labels, quick):
    scene.valid[:3, :4] = False
    scene.values[:, :3, :4] = 0
    run = quick(scene, labels)
    assert (
        "12 labelled pixels lie where the scene holds no data, and cannot be used." in run.metrics["protocol"]["notes"]
    )
    assert run.metrics["labels"]["pixels"] == labels.index.size - 12


def test_test_pixels_without_data_leave_an_unmeasured_map(scene, labels, quick, tmp_path):
    scene.valid[:, 24:] = False
    scene.values[:, :, 24:] = 0
    left = np.broadcast_to(np.arange(48) < 24, (40, 48))
    split = Split(left & (labels.index > 0), np.zeros((40, 48), bool), ~left & (labels.index > 0))
    run = quick(scene, labels, split=split, out=tmp_path, controls=("svm",), outputs=Outputs(figures=True))
    assert run.metrics["test"] == {"pixels": 0}
    assert "lie where the scene holds no data" in " ".join(run.metrics["protocol"]["notes"])
    assert "nothing is known of the accuracy of this map" in (tmp_path / "report.html").read_text()
    assert read_json(tmp_path / "metrics.json")["controls"][0]["overall_accuracy"] is None
