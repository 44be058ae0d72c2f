"""Same seed, same bits: a run that was interrupted anywhere and resumed equals one that was not."""

import signal

import pytest

from conftest import synthetic
from jobs import (
    RUN_FILES,
    command,
    contents,
    no_torn_files,
    short,
    start,
    steps_of,
    wait_for_steps,
)
from patchfree import job as job_module
from patchfree.errors import RunError
from patchfree.fit import Trainer
from patchfree.run import load_run
from patchfree.training import Outputs, train

STEPS = 5
SAME = {"model.safetensors", "model.json", "map.tif", "map.tif.aux.xml", "split.tif", "probabilities.tif"}
WORDS = ["--steps", "12", "--model", "freenet-smooth", "--control", "none", "--device", "cpu"]


class Stopped(Exception):
    """What the test raises to interrupt a job."""


def job(out, progress=None, overwrite=False, **options):
    scene, labels = synthetic(rows=24, cols=28)
    options = {"recipe": short(STEPS), "refit": True} | options
    wanted = Outputs(probabilities=True, overwrite=overwrite)
    return train(scene, labels, controls=(), device="cpu", out=out, outputs=wanted, progress=progress, **options)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The files of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("straight")
    job(out)
    return contents(out)


def same(files, others):
    return {name for name in SAME if files[name] != others[name]} == set()


def stop_at(phase, number):
    def tell(state):
        if (state.phase, state.done) == (phase, number):
            raise Stopped(phase)

    return tell


WHOLE_LOG = [(phase, n) for phase in ("estimate", "refit") for n in range(1, STEPS + 1)]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("estimate", 1),
        ("estimate", 4),
        ("estimate", STEPS),
        ("refit", 1),
        ("refit", 3),
        ("refit", STEPS),
        ("report", 0),
    ],
)
def test_run_resumed_after_an_interruption_gives_the_same_bits(straight, tmp_path, phase, number):
    with pytest.raises(Stopped, match=phase):
        job(tmp_path, stop_at(phase, number))
    assert not (tmp_path / "metrics.json").exists()
    seen = []
    run = job(tmp_path, lambda state: seen.append((state.phase, state.done)))
    assert same(contents(tmp_path), straight)
    assert steps_of(tmp_path) == WHOLE_LOG
    assert set(contents(tmp_path)) == RUN_FILES | {"probabilities.tif"}
    assert run.metrics["seconds"]["train"] > 0
    assert run.metrics["seconds"]["refit"] > 0
    made = [step for step in seen if step in WHOLE_LOG]
    assert made == (WHOLE_LOG[WHOLE_LOG.index((phase, number)) + 1 :] if phase != "report" else [])


def test_run_interrupted_again_and_again_gives_the_same_bits(straight, tmp_path):
    for phase, number in (("estimate", 2), ("estimate", 3), ("refit", 2), ("refit", 4), ("report", 0)):
        with pytest.raises(Stopped, match=phase):
            job(tmp_path, stop_at(phase, number))
    job(tmp_path)
    assert same(contents(tmp_path), straight)
    assert steps_of(tmp_path) == WHOLE_LOG


@pytest.mark.parametrize("where", ["_step", "_validate"])
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
def test_interruption_inside_a_step_does_not_keep_half_of_it(
    straight, tmp_path, monkeypatch, where, checkpoint_seconds
):
    # After the network was changed, before the step was counted and logged: the state between two steps is lost.
    monkeypatch.setattr(job_module, "CHECKPOINT_SECONDS", checkpoint_seconds)
    real, calls = getattr(Trainer, where), []

    def interrupted(self, *rest):
        value = real(self, *rest)
        calls.append(value)
        if len(calls) == 3:
            raise KeyboardInterrupt("inside")
        return value

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, where, interrupted)
        with pytest.raises(KeyboardInterrupt, match="inside"):
            job(tmp_path)
    job(tmp_path)
    assert same(contents(tmp_path), straight)
    assert steps_of(tmp_path) == WHOLE_LOG


def test_paper_recipe_resumes_with_the_same_bits(tmp_path):
    recipe = short(STEPS, "paper")
    job(tmp_path / "a", recipe=recipe)
    with pytest.raises(Stopped, match="estimate"):
        job(tmp_path / "b", stop_at("estimate", 3), recipe=recipe)
    job(tmp_path / "b", recipe=recipe)
    assert same(contents(tmp_path / "a"), contents(tmp_path / "b"))


def test_damaged_checkpoint_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(Stopped, match="estimate"):
        job(tmp_path, stop_at("estimate", 3))
    state = tmp_path / ".unfinished" / "estimate.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(
        RunError, match=r"checkpoint is damaged .* Delete .*\.unfinished and run the same command again"
    ):
        job(tmp_path)


def test_interruption_while_files_are_moved_into_place_is_mended_by_the_next_start(straight, tmp_path, monkeypatch):
    from pathlib import Path

    job(tmp_path, seed=5)
    real, moved = Path.replace, []

    def interrupted(self, target):
        if self.parent.name == ".unfinished" and Path(target).parent == tmp_path:
            moved.append(self.name)
            if len(moved) == 5:
                raise Stopped("moving")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(Stopped, match="moving"):
            job(tmp_path, overwrite=True)
    with pytest.raises(
        RunError, match="holds a run that is not finished: run the same `patchfree train` command again"
    ):
        load_run(tmp_path)
    job(tmp_path)
    assert same(contents(tmp_path), straight)
    assert steps_of(tmp_path) == WHOLE_LOG


# --- real processes


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The files of the command that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    command("train", files.scene, files.labels, "--out", out, *WORDS, "--probabilities")
    return contents(out)


def test_killed_training_goes_on_where_it_was_with_the_same_bits(cli, files, whole, tmp_path):
    words = ("train", files.scene, files.labels, "--out", tmp_path, *WORDS, "--probabilities")
    process = start(*words, checkpoint_seconds=0)
    wait_for_steps(process, tmp_path, 4)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "map.tif").exists()
    cli.refused(2, "holds a run that is not finished", "cite", tmp_path)
    cli.refused(2, "holds a run that is not finished", "map", tmp_path, files.scene, "--out", tmp_path / "m.tif")
    answer = cli(*words)
    assert answer.code == 0
    assert "training 1/12" not in answer.err  # it did not start afresh
    assert same(contents(tmp_path), whole)
    assert steps_of(tmp_path) == [("estimate", n) for n in range(1, 13)]
    assert no_torn_files(tmp_path)


def test_ctrl_c_ends_with_code_1_a_hint_and_no_traceback_and_the_next_start_goes_on(cli, files, whole, tmp_path):
    words = ("train", files.scene, files.labels, "--out", tmp_path, *WORDS, "--probabilities")
    process = start(*words, checkpoint_seconds=0)
    wait_for_steps(process, tmp_path, 4)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        "Error: Interrupted. What was saved last (every 10 seconds) is kept: run the same command again to go on."
        in said
    )
    assert "Traceback" not in said
    assert no_torn_files(tmp_path)
    cli.ok(*words)
    assert same(contents(tmp_path), whole)
    assert steps_of(tmp_path) == [("estimate", n) for n in range(1, 13)]


KILL_WHILE_WRITING = """
import patchfree.files
real = os.fsync
def fsync(file):
    if "/.{name}." in os.readlink(f"/proc/self/fd/{{file}}"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)
os.fsync = fsync
"""


@pytest.mark.parametrize("name", ["map.tif", pytest.param("metrics.json", marks=pytest.mark.slow)])
def test_job_killed_while_it_writes_leaves_no_half_file_under_a_final_name(cli, files, whole, tmp_path, name):
    words = ("train", files.scene, files.labels, "--out", tmp_path, *WORDS, "--probabilities")
    process = start(*words, before=KILL_WHILE_WRITING.format(name=name))
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not list(tmp_path.rglob(name))
    assert not no_torn_files(tmp_path)  # it was killed in the middle of the file
    cli.ok(*words)
    assert same(contents(tmp_path), whole)
    assert set(contents(tmp_path)) == RUN_FILES | {"probabilities.tif"}
    assert steps_of(tmp_path) == [("estimate", n) for n in range(1, 13)]
