"""A run folder is read back as it was written, or refused with what is wrong with it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from conftest import synthetic
from jobs import QUICK, command, make_files, read_json, short
from patchfree.errors import BandMismatch, RunError
from patchfree.run import load_run
from patchfree.training import train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and its scene file; tests only look at them."""
    folder = tmp_path_factory.mktemp("finished")
    files = make_files(folder)
    command("train", files.scene, files.labels, "--out", folder / "run", *QUICK)
    return folder / "run", files.scene


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run, to damage."""
    return shutil.copytree(finished[0], tmp_path / "run")


def test_run_read_from_its_folder_maps_like_the_one_in_memory(tmp_path):
    scene, labels = synthetic(rows=24, cols=28)
    made = train(scene, labels, recipe=short(2), controls=(), device="cpu")
    made.save_model(tmp_path)
    read = load_run(tmp_path)
    for name in ("model", "untrained", "temperature", "recipe", "legend", "model_hash"):
        assert getattr(read, name) == getattr(made, name), name
    assert dataclasses.asdict(read.standardisation) == dataclasses.asdict(made.standardisation)
    assert dataclasses.asdict(read.bands) == dataclasses.asdict(made.bands)
    a, b = (run.predict(scene, device="cpu") for run in (made, read))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    assert a.tags == b.tags


def test_scene_with_fewer_bands_is_refused_before_anything_is_computed(finished):
    read = load_run(finished[0])
    scene, _ = synthetic()
    with pytest.raises(BandMismatch, match=r"needs a band at 450\.0 nm, and the nearest of the scene's 11 bands"):
        read.predict(scene.select(range(1, 12)))


def test_model_json_says_what_is_in_the_weights(finished):
    facts = read_json(finished[0] / "model.json")
    assert facts["parameters"] == sum(w.numel() for w in load_run(finished[0]).weights.values())
    assert facts["bands"]["total"] == 12
    assert len(facts["standardisation"]["mean"]) == len(facts["bands"]["numbers"]) == 12


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


def change(**values):
    def edit(path):
        facts = json.loads(path.read_text())
        facts.update(values)
        path.write_text(json.dumps({k: v for k, v in facts.items() if v != "gone"}))

    return edit


DAMAGE = {
    "weights cut off": ("model.safetensors", truncate, r"model\.safetensors is missing or damaged .* train the run again"),
    "weights with a flipped bit": ("model.safetensors", flip_a_bit, r"is damaged: its hash is \w{12}, model\.json expects \w{12}"),
    "weights empty": ("model.safetensors", lambda p: p.write_bytes(b""), "is missing or damaged"),
    "weights gone": ("model.safetensors", lambda p: p.unlink(), "is missing or damaged"),
    "facts cut off": ("model.json", truncate, r"model\.json cannot be read: .* Train the run again, or restore the file"),
    "facts that are no object": ("model.json", lambda p: p.write_text("[1]"), "does not hold a JSON object"),
    "facts that are no text": ("model.json", lambda p: p.write_bytes(b"\xff\xfe\x00"), r"model\.json cannot be read"),
    "facts without bands": ("model.json", change(bands="gone"), r"model\.json is damaged: KeyError 'bands'"),
    "facts with a broken legend": ("model.json", change(legend=[{"value": 1}]), r"model\.json is damaged: KeyError 'name'"),
    "facts without hash": ("model.json", change(weights_hash="gone"), r"model\.json is damaged: KeyError 'weights_hash'"),
    "facts of a later format": ("model.json", change(format=99), "has format 99, this patchfree reads 3. Train the run again"),
    "facts gone": ("model.json", lambda p: p.unlink(), r"is no run folder: it has no model\.json"),
    "metrics cut off": ("metrics.json", truncate, r"metrics\.json cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_run_is_refused_by_every_command_that_reads_it(cli, run, finished, tmp_path, what):
    name, damage, message = DAMAGE[what]
    damage(run / name)
    cli.refused(2, message, "map", run, finished[1], "--out", tmp_path / "map.tif")
    cli.refused(2, message, "cite", run)
    assert not (tmp_path / "map.tif").exists()
    with pytest.raises(RunError, match=message):
        load_run(run)


def test_damaged_metrics_are_not_taken_for_another_run(cli, run, finished, tmp_path):
    truncate(run / "metrics.json")
    files = make_files(tmp_path)
    words = ("train", files.scene, files.labels, "--out", run, *QUICK)
    cli.refused(2, r"metrics\.json cannot be read", *words)
    cli.ok(*words, "--overwrite")
    assert load_run(run).metrics["protocol"]["seed"] == 0


def test_unfinished_run_is_told_from_no_run(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    with pytest.raises(RunError, match="not finished: run the same `patchfree train` command again to resume it"):
        load_run(tmp_path)
    with pytest.raises(RunError, match=r"is no run folder: it has no model\.json\. Make one with `patchfree train"):
        load_run(tmp_path / "nowhere")
