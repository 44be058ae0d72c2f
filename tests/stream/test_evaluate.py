"""Who computes a window, when, and after which interruption does not change a bit of the result."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pytest
import torch

from patchfree.errors import SceneError
from patchfree.models import MODELS
from patchfree.models._statistics import Recording, merge
from patchfree.models.freenet import FreeNet
from patchfree.stream import Evaluation, evaluate
from patchfree.stream.journal import Journal
from patchfree.stream.runners import InThreads
from windowed import BANDS, LEGEND, OneByOne, Small, outputs_of, saved, untrained, values_of

SHAPE, SIZE, WINDOWS = (37, 45), 16, 9
ALL = ("map", "probabilities", "uncertainty", "scores")
STORED_STAGES, STATISTICS = 7, 9  # of the network: stages that store a map or the scores, and means and variances


class Deep(FreeNet):
    """More blocks, so that a halo spans several strides."""

    def __init__(self, *, bands, classes):
        super().__init__(bands=bands, classes=classes, width=0.25, blocks=(7, 1, 2, 1))


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
    monkeypatch.setitem(MODELS, "small", Small)
    monkeypatch.setitem(MODELS, "deep", Deep)


def gaps():
    """A scene with holes, and its first window without any data."""
    missing = np.random.default_rng(2).random(SHAPE) < 0.2
    missing[:16, :16] = True
    return missing


@pytest.fixture
def source(tmp_path):
    return saved(tmp_path / "scene.npy", values_of(*SHAPE, missing=gaps()))


@pytest.fixture
def begin(tmp_path, source):
    """A new evaluation of the scene, each in a folder of its own unless one is named."""
    count = iter(range(1000))

    def job(folder=None, *, run=None, statistics="scene", size=SIZE):
        folder = tmp_path / (folder or f"work{next(count)}")
        return Evaluation(run or untrained("small"), source, folder, size, statistics, ALL)

    return job


def finished(job, runner=None, **more):
    """Every output of the evaluation, as bytes."""
    evaluate(job, run_all=runner or OneByOne(), journal=Journal(job.folder), **more)
    return {name: values.tobytes() for name, values in outputs_of(job).items()}


def whole(run, values):
    """Scores, data mask and statistics of the network with the whole scene in memory."""
    valid = np.isfinite(values).all(0)
    network = MODELS[run.model](bands=BANDS, classes=len(LEGEND)).eval()
    network.load_state_dict(run.weights)
    x = torch.from_numpy(run.standardisation.apply_to(np.nan_to_num(values), valid))
    recording = Recording()
    with torch.inference_mode():
        scores = network(x[None], torch.from_numpy(valid)[None], recording)[0].numpy()
    return scores, valid, recording


# --- order and threads


@pytest.mark.parametrize("statistics", ["scene", "run"])
def test_the_order_of_the_windows_does_not_matter(begin, statistics):
    run = untrained("small")
    run.statistics.update(whole(run, values_of(24, 24))[2].values)
    rng = np.random.default_rng(0)
    orders = (lambda todo: todo[::-1], lambda todo: rng.permutation(todo).tolist())
    straight = finished(begin(run=run, statistics=statistics))
    for order in orders:
        assert finished(begin(run=run, statistics=statistics), OneByOne(order)) == straight


def test_the_parts_of_a_statistic_are_merged_in_the_order_of_the_windows(begin, monkeypatch):
    """The sums are too near to one another for their rounding to show in single precision on every machine."""
    merged = []

    def watched(parts):
        merged.append([part.mean.tobytes() for part in parts])
        return merge(parts)

    monkeypatch.setattr(import_module("patchfree.stream.evaluate"), "merge", watched)
    finished(begin())
    straight, merged[:] = list(merged), []
    finished(begin(), OneByOne(lambda todo: todo[::-1]))
    assert merged == straight
    assert len(merged) == STATISTICS


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_does_not_matter(begin, threads):
    assert finished(begin(), InThreads(threads)) == finished(begin())


def test_the_threads_of_this_process_are_left_as_they_were(begin):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runner = InThreads(2)
        finished(begin(), runner)
        assert torch.get_num_threads() == 2
        assert 0 <= runner.waited <= 1
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_comes_through_and_the_finished_windows_are_kept(begin, monkeypatch):
    job, real, calls = begin(), FreeNet._encode, []

    def breaks(self, level, *rest):
        calls.append(level)
        if len(calls) == 20:
            raise RuntimeError("out of memory")
        return real(self, level, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(FreeNet, "_encode", breaks)
        with pytest.raises(RuntimeError, match="out of memory"):
            finished(job, InThreads(2))
    kept = sum(len(path.read_text().splitlines()) for path in job.folder.glob("*.jsonl"))
    assert 10 <= kept < 25
    assert finished(job, InThreads(2)) == finished(begin())


def test_a_copy_in_another_process_is_the_same_evaluation(begin):
    job = begin()
    _ = job.model, job.stages, job.cores, job.choice  # what is built here is not sent
    sent = pickle.dumps(job)
    copy = pickle.loads(sent)
    assert "model" not in copy.__dict__
    assert finished(copy) == finished(begin())


# --- interruptions


def test_an_interrupted_evaluation_goes_on_and_computes_no_window_again(begin):
    runner = OneByOne()
    straight = finished(begin(), runner)
    everything = sorted(runner.done)
    assert len(set(everything)) == len(everything) == WINDOWS * (STORED_STAGES + STATISTICS)
    for stop in (0, 1, WINDOWS - 1, WINDOWS, 40, 100, len(everything) - 1):
        job, before, after = begin(), OneByOne(stop_after=stop), OneByOne()
        with pytest.raises(KeyboardInterrupt, match=f"after {stop} windows"):
            finished(job, before)
        assert finished(job, after) == straight
        assert len(before.done) == stop
        assert sorted(before.done + after.done) == everything


def test_it_can_be_interrupted_many_times(begin):
    job, done, total = begin(), [], WINDOWS * (STORED_STAGES + STATISTICS)
    for _ in range(total // 23):
        runner = OneByOne(stop_after=23)
        with pytest.raises(KeyboardInterrupt, match="after 23 windows"):
            finished(job, runner)
        done += runner.done
    runner = OneByOne()
    assert finished(job, runner) == finished(begin())
    done += runner.done
    assert len(done) == len(set(done)) == total


def test_an_evaluation_that_is_finished_computes_nothing(begin):
    job, again = begin(), OneByOne()
    straight = finished(job)
    assert finished(job, again) == straight
    assert again.done == []


def test_progress_goes_up_to_the_number_of_windows_of_all_passes(begin):
    told = []
    finished(begin(), tell=lambda done, of: told.append((done, of)))
    total = WINDOWS * (STORED_STAGES + STATISTICS)
    assert told == [(done, total) for done in range(1, total + 1)]
    job, told[:] = begin(), []
    with pytest.raises(KeyboardInterrupt, match="after 30"):
        finished(job, OneByOne(stop_after=30))
    finished(job, tell=lambda done, of: told.append((done, of)))
    assert told[0] == (31, total)
    assert told[-1] == (total, total)


# --- what is computed


def test_statistics_of_the_run_need_one_pass_a_stored_map_and_no_more(begin):
    run = untrained("small")
    run.statistics.update(whole(run, values_of(24, 24))[2].values)
    for statistics, expected in (("scene", STORED_STAGES + STATISTICS), ("run", STORED_STAGES)):
        runner, told = OneByOne(), []
        finished(begin(run=run, statistics=statistics), runner, tell=lambda done, of, told=told: told.append(of))
        assert len(runner.passes) == expected
        assert set(told) == {expected * WINDOWS}


@pytest.mark.parametrize(("model", "size"), [("small", 8), ("small", 24), ("deep", 16)])
def test_the_scores_are_those_of_the_whole_scene(begin, model, size):
    run = untrained(model)
    scores, valid, _ = whole(run, values_of(*SHAPE, missing=gaps()))
    job = begin(run=run, size=size)
    finished(job)
    np.testing.assert_allclose(
        outputs_of(job)["scores"].transpose(2, 0, 1)[:, valid], scores[:, valid], rtol=0, atol=1e-4
    )


def test_the_gathered_statistics_are_those_of_the_whole_scene(begin):
    run, seen = untrained("small"), {}
    recording = whole(run, values_of(*SHAPE, missing=gaps()))[2]
    real = OneByOne()

    def runner(work, todo):
        seen.update(work.known)
        return real(work, todo)

    finished(begin(run=run), runner)
    assert seen.keys() == recording.values.keys()
    for name, value in seen.items():
        torch.testing.assert_close(value, recording.values[name], rtol=1e-4, atol=1e-4, msg=name)


def test_a_window_without_data_is_not_computed_and_holds_no_data_in_any_output(begin, monkeypatch):
    job, real, sizes = begin(), FreeNet._encode, []

    def counted(self, level, *rest):
        sizes.append(level)
        return real(self, level, *rest)

    monkeypatch.setattr(FreeNet, "_encode", counted)
    finished(job)
    # The first level runs for its own statistics and its maps, and once more below the last stage, where its maps are not stored;
    # and on a single pixel to count the passes.
    assert sizes.count(0) == (WINDOWS - 1) * (3 + 1 + 1) + 1
    for line in (json.loads(line) for path in job.folder.glob("*.jsonl") for line in path.read_text().splitlines()):
        assert line["window"] != 0 or line["part"] is None
    found, missing = outputs_of(job), gaps()
    assert not found["map"][missing].any()
    assert (found["map"][~missing] > 0).all()
    for name in ("probabilities", "uncertainty"):
        np.testing.assert_array_equal(np.isnan(found[name]).all(-1), missing)
        np.testing.assert_array_equal(np.isnan(found[name]).any(-1), missing)
    np.testing.assert_array_equal(job.data.read((slice(0, 37), slice(0, 45)))[..., 0], ~missing)


@pytest.mark.parametrize("statistics", ["scene", "run"])
def test_a_scene_without_any_data_gives_an_empty_map(tmp_path, statistics):
    run = untrained("small")
    run.statistics.update(whole(run, values_of(24, 24))[2].values)
    nothing = saved(tmp_path / "empty.npy", values_of(20, 24, missing=np.ones((20, 24), bool)))
    job = Evaluation(run, nothing, tmp_path / "work", SIZE, statistics, ALL)
    finished(job)
    found = outputs_of(job)
    assert not found["map"].any()
    assert not job.data.read((slice(0, 20), slice(0, 24))).any()
    assert np.isnan(found["probabilities"]).all()


def test_the_map_holds_the_class_values_of_the_likeliest_classes(begin):
    job = begin(run=untrained("small", untrained=(1,)))
    finished(job)
    found, valid = outputs_of(job), ~gaps()
    chances = found["probabilities"][valid]
    np.testing.assert_allclose(chances.sum(-1), 1, atol=1e-5)
    assert not chances[:, 1].any()
    np.testing.assert_array_equal(found["map"][valid][:, 0], np.array([1, 10, 14])[chances.argmax(-1)])
    first, second = np.sort(chances, -1)[:, :-3:-1].T
    np.testing.assert_allclose(found["uncertainty"][valid][:, 1], first - second, atol=1e-6)


def test_scores_that_are_not_finite_are_refused(begin):
    run = untrained("small")
    run.weights["head.bias"][1] = torch.inf
    with pytest.raises(SceneError, match=r"scores are not finite.*far outside those of the training scene"):
        finished(begin(run=run))


def test_torch_has_as_many_threads_afterwards_as_before(begin):
    def threads_of_a_new_thread():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads(), threads_of_a_new_thread()
    finished(begin(), InThreads(4))
    assert (torch.get_num_threads(), threads_of_a_new_thread()) == before
