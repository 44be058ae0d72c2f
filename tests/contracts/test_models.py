"""What every model in MODELS promises. A new model gets these tests by being listed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchfree.benchmark.machine import flops
from patchfree.citations import METHODS
from patchfree.models import MODELS, SceneModel
from patchfree.models._contract import ANSWERS, Masks
from patchfree.models._statistics import OF_THE_SCENE, Recorded, Recording
from patchfree.stream.budget import pixel_bytes
from patchfree.stream.evaluate import Evaluation, evaluate
from patchfree.stream.journal import Journal
from patchfree.windows import expand, inside
from windowed import OneByOne, outputs_of, saved, sizes_for, untrained, values_of

SIZES = [(16, 16), (17, 23), (1, 40), (9, 9)]


@pytest.fixture(params=sorted(MODELS))
def kind(request):
    return MODELS[request.param]


@pytest.fixture
def sizes(kind):
    return sizes_for(kind)


@pytest.fixture
def bands(sizes):
    return sizes[0]


@pytest.fixture
def model(kind, sizes):
    torch.manual_seed(0)
    made = kind(bands=sizes[0], classes=sizes[1])
    if made.guides:
        made.prepare(0.3 * torch.randn(min(made.guides, sizes[0]), sizes[0]), torch.linspace(0, 1, sizes[1]), 0.2)
    return made


def random_scene(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def swapped(x):
    return torch.cat(x.chunk(2, 1)[::-1], 1)


def test_it_is_a_scene_model_that_knows_its_bands_and_classes(model, sizes):
    assert isinstance(model, SceneModel)
    assert (model.bands, model.classes) == sizes


def test_its_references_are_known(kind):
    assert kind.references
    assert set(kind.references) <= set(METHODS)


def test_memory_is_reckoned_with_the_widest_map_that_a_layer_makes(model, bands, streaming):
    widest = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, found: widest.append(found.shape[1:].numel()))
    with torch.no_grad():
        model.eval()(random_scene(1, bands, 32, 32))
    assert pixel_bytes(model) * 32 * 32 >= 4 * 3 * max(widest)


def test_its_operations_can_be_counted_without_computing(model, bands):
    assert flops(model.eval(), (1, bands, 16, 16), backward=False) > 0


def test_it_states_its_context_and_its_reach(kind):
    assert kind.context is None or kind.context >= 0
    assert isinstance(kind.reach, int)
    assert kind.reach >= 0


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_the_scores_have_the_size_of_the_scene(model, size, masked, bands):
    valid = random_scene(2, *size) > -1 if masked else None
    scores = model(random_scene(2, bands, *size), valid)
    assert scores.shape == (2, model.classes, *size)
    assert scores.isfinite().all()


def test_gradient_reaches_every_parameter(model, bands):
    shape = (2, bands, 97, 71) if model.batch_statistics else (1, bands, 17, 23)
    maps = model.maps(random_scene(*shape))
    sum(maps[name].square().sum() for name in model.supervised).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_state_restores_the_scores_bit_for_bit(kind, model, bands, sizes):
    x = random_scene(1, bands, 17, 23)
    model.eval()
    torch.manual_seed(1)
    other = kind(bands=sizes[0], classes=sizes[1]).eval()
    assert not torch.equal(other(x), model(x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("masked", [False, True])
def test_a_scene_has_the_same_scores_alone_and_in_a_batch(model, masked, bands):
    x = random_scene(3, bands, 17, 23)
    valid = random_scene(3, 17, 23) > -1 if masked else None
    model.eval()
    with torch.no_grad():
        together = model(x, valid)
        for i in range(3):
            alone = model(x[i : i + 1], valid[i : i + 1] if masked else None)[0]
            torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-4)


def test_scores_are_the_same_in_training_and_evaluation(model, bands):
    if model.batch_statistics:
        pytest.skip("in training this network takes statistics over several scenes at a time")
    if model.smoothing:
        pytest.skip("this network smooths in evaluation only")
    x = random_scene(1, bands, 16, 16)
    assert torch.equal(model.train()(x), model.eval()(x))


def test_bfloat16_stays_near_single_precision(model, bands):
    x = random_scene(1, bands, 17, 23)
    with torch.no_grad():
        exact = model.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(x).float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_values_under_pixels_without_data_do_not_matter(model, bands):
    x, valid = random_scene(1, bands, 17, 23), random_scene(1, 17, 23) > -1
    other = torch.where(valid[:, None], x, -100 * torch.ones_like(x))
    model.eval()
    assert torch.equal(model(x, valid).movedim(1, -1)[valid], model(other, valid).movedim(1, -1)[valid])


@pytest.mark.parametrize("masked", [False, True])
def test_swapping_the_dates_leaves_the_scores_as_they_are(model, bands, masked):
    if not model.symmetric:
        pytest.skip("this network does not promise it")
    x, valid = random_scene(1, bands, 17, 23), random_scene(1, 17, 23) > -1 if masked else None
    with torch.no_grad():
        scores = model.eval()(x, valid)
        torch.testing.assert_close(model(swapped(x), valid), scores, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(x.flip(1), valid), scores, atol=1e-3)


def test_another_gain_and_offset_at_one_date_is_no_change(model, bands):
    if model.dates == 1:
        pytest.skip("this network sees one date")
    x = random_scene(1, bands, 17, 23)
    brighter = torch.cat((x[:, : bands // 2], 3 * x[:, bands // 2 :] + 2), 1)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(brighter), model(x), rtol=1e-3, atol=1e-3)


def test_an_odd_number_of_bands_is_refused_by_networks_of_two_dates(kind):
    if kind.dates == 1:
        pytest.skip("this network sees one date")
    with pytest.raises(ValueError, match="as many of the first as of the second"):
        kind(bands=7, classes=2)


def test_wrong_bands_are_refused_with_both_numbers(model, bands):
    with pytest.raises(ValueError, match=rf"5 bands.*{bands}"):
        model(torch.zeros(1, 5, 8, 8))


def test_a_window_with_the_stated_halo_gives_the_answer_of_the_whole(model, bands):
    if model.context is None:
        pytest.skip("this model states that only the whole scene gives the scene's answer")
    halo, x = model.context, random_scene(1, bands, 16 + 3 * model.context, 40)
    with torch.no_grad():
        window = model(x[:, :, halo : 16 + 3 * halo])[:, :, halo : halo + 16]
        torch.testing.assert_close(window, model(x)[:, :, 2 * halo : 2 * halo + 16], rtol=1e-4, atol=1e-4)


# --- window by window: the whole scene's answer

ODD = (37, 45)


def hole(rows, cols):
    """Pixels without data here and there, and a part of the scene without any."""
    missing = np.random.default_rng(3).random((rows, cols)) < 0.2
    missing[rows // 2 :, : cols // 2] = True
    return missing


def collar(rows, cols):
    """A scene that stands askew in a frame without data."""
    r, c = np.mgrid[:rows, :cols]
    return (r + c < 20) | (c - r > cols - 12) | (r > rows - 6)


SCENES = {
    "odd size, windows of 16": (ODD, None, 16),
    "odd size, windows of 32": (ODD, None, 32),
    "windows larger than the scene": (ODD, None, 64),
    "several windows of 32": ((50, 60), collar, 32),
    "holes": (ODD, hole, 16),
    "collar": (ODD, collar, 16),
    "single row": ((1, 40), None, 16),
    "single column": ((40, 1), None, 16),
    "single pixel": ((1, 1), None, 16),
    "only the last pixel of a window": ((17, 33), lambda h, w: np.indices((h, w)).sum(0) % 16 != 15, 16),
}


@pytest.fixture
def streaming(kind):
    if not kind.streams:
        pytest.skip("this network states that it maps a scene in one piece only")


@pytest.fixture
def run(kind, streaming):
    (name,) = [name for name, value in MODELS.items() if value is kind]
    return untrained(name)


def whole(run, values, statistics=OF_THE_SCENE):
    """Scores, with the network's uncertainty behind them, and data mask, with the whole scene in memory."""
    network = MODELS[run.model](bands=len(run.bands), classes=len(run.legend)).eval()
    network.load_state_dict(run.weights)
    valid = np.isfinite(values).all(0)
    x = run.standardisation.apply_to(np.nan_to_num(values), valid)
    with torch.inference_mode():
        mask = None if valid.all() else torch.from_numpy(valid)[None]
        maps = network.maps(torch.from_numpy(x)[None], mask, statistics)
        return torch.cat([maps[name][0] for name in ANSWERS if name in maps]).numpy(), valid


def assert_same_map(found, scores, valid, legend):
    """Scores within 1e-4, and labels equal except where two scores are as near as that.

    Of scores above 10, 1e-5 of the largest: with the whole scene in memory, FreeNet's up to 26 are themselves 8e-5 beside those
    computed in float64.
    """
    k = len(legend)
    near = max(1e-4, 1e-5 * np.abs(scores[:, valid]).max())
    streamed = found["scores"].transpose(2, 0, 1)
    np.testing.assert_allclose(streamed[:, valid], scores[:, valid], rtol=0, atol=near)
    labels = np.array([0, *(entry.value for entry in legend)])[np.where(valid, scores[:k].argmax(0) + 1, 0)]
    second, first = np.sort(scores[:k], 0)[-2:]
    sure = ~valid | (first - second > 2 * near)
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found["map"][..., 0][sure], labels[sure])


@pytest.mark.parametrize("statistics", ["scene", "run"])
@pytest.mark.parametrize("case", SCENES)
def test_windows_give_the_answer_of_the_whole_scene(run, tmp_path, case, statistics):
    shape, missing, size = SCENES[case]
    values = values_of(*shape, bands=len(run.bands), missing=None if missing is None else missing(*shape))
    used = OF_THE_SCENE
    if statistics == "run":
        training = Recording()
        whole(run, values_of(24, 24, bands=len(run.bands), seed=5), training)
        run.statistics.update(training.values)
        used = Recorded(training.values)
    scores, valid = whole(run, values, used)
    job = Evaluation(run, saved(tmp_path / "scene.npy", values), tmp_path / "work", size, statistics, ("map", "scores"))
    evaluate(job, run_all=OneByOne(), journal=Journal(job.folder))
    assert_same_map(outputs_of(job), scores, valid, run.legend)


def test_its_stages_read_and_give_what_they_state_and_together_are_the_network(model, bands):
    x, valid = random_scene(2, bands, 17, 23), random_scene(2, 17, 23) > -1
    masks, made = Masks(valid, x.dtype), {"scene": x}
    with torch.no_grad():
        for stage in model.eval().stages():
            given = stage.run({name: made[name] for name in stage.reads}, masks, OF_THE_SCENE)
            assert sorted(given) == sorted(stated.name for stated in stage.gives)
            for stated in stage.gives:
                size = [-(-length // stated.stride) for length in (17, 23)]
                assert given[stated.name].shape == (2, stated.channels, *size), stated.name
                assert model.stride % stated.stride == 0
            made |= given
        assert stage.gives[0].name == "scores"
        assert torch.equal(made["scores"], model(x, valid))


def test_every_map_that_a_stage_gives_is_read_and_given_once(model, streaming):
    stages = model.stages()
    given = [made.name for stage in stages for made in stage.gives]
    assert len(given) == len(set(given))
    assert {name for stage in stages for name in stage.reads} == {"scene", *given} - {"scores", "uncertainty"}
    assert set(model.supervised) <= set(given)


@pytest.mark.parametrize("core", [((4, 5), (6, 7)), ((5, 7), (4, 6))], ids=str)
def test_a_pixel_depends_on_nothing_beyond_its_stages_halo(model, core, bands, streaming):
    """With the statistics given: what lies outside the window does not change the core, here in strides of the network."""
    more = -(-max(stage.halo for stage in model.stages()) // model.stride)
    shape = ((11 + 2 * more) * model.stride,) * 2
    core = tuple(slice((more + first) * model.stride, (more + last) * model.stride) for first, last in core)
    x, valid = random_scene(1, bands, *shape), random_scene(1, *shape, seed=2) > -1.5
    recording, strides = Recording(), {"scene": 1}
    with torch.no_grad():
        model.eval()(x, valid, recording)
        known, maps = Recorded(recording.values), {"scene": x}
        for stage in model.stages():
            window = expand(core, stage.halo, shape)
            seen = torch.zeros(shape, dtype=torch.bool)
            seen[window] = True
            assert not seen[:4].any()
            assert not seen[:, -4:].any()
            other_valid = torch.where(seen, valid, ~valid)
            others = {}
            for name in stage.reads:
                kept = seen[:: strides[name], :: strides[name]]  # the pixels under the centres of its kernels
                others[name] = torch.where(kept, maps[name], random_scene(*maps[name].shape, seed=4) + 3)
            given = stage.run(maps, Masks(valid, x.dtype), known)
            other = stage.run(others, Masks(other_valid, x.dtype), known)
            for made in stage.gives:
                own = inside(core, (slice(0, shape[0]), slice(0, shape[1])), stride=made.stride)
                a, b = given[made.name], other[made.name]
                torch.testing.assert_close(a[..., *own], b[..., *own], rtol=1e-5, atol=1e-5)
                assert not torch.allclose(a, b, atol=1e-2)
            maps |= given
            strides |= {made.name: made.stride for made in stage.gives}


def test_maps_are_deleted_when_no_later_stage_needs_them(run, tmp_path):
    job = Evaluation(
        run,
        saved(tmp_path / "scene.npy", values_of(24, 40, bands=len(run.bands))),
        tmp_path / "work",
        16,
        "scene",
        ("map", "scores"),
    )
    stages, there, runner = job.stages, [], OneByOne()

    def watching(work, todo):
        there.append((work.number, {path.stem for path in job.folder.glob("*.map")} - {"valid"}))
        return runner(work, todo)

    evaluate(job, run_all=watching, journal=Journal(job.folder))
    for number, names in there:
        read = {name for later in range(number, len(stages)) for stage in job.chain(later) for name in stage.reads}
        assert names <= read | {made.name for made in stages[number].gives}
        assert not any(job.maps[name].cheap for name in names)
    assert {number for number, _ in there} == {n for n, s in enumerate(stages) if any(not m.cheap for m in s.gives)}
    assert {path.name for path in job.folder.iterdir() if path.suffix != ".jsonl"} == {
        "valid.map", "map.out", "scores.out",
    }  # fmt: skip
