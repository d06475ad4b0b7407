"""Endless sweeps: the same optics, pixels and channels as everywhere else, on tensors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sweepdepth import Calibration
from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.dataset import SceneTruth
from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import make_events
from sweepdepth.capture.optics import to_diopters
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.architecture import PRESETS
from sweepdepth.net.representation import Representation
from sweepdepth.net.training import Endless, TrainingConfig, train
from sweepdepth.synth.endless import EndlessConfig, endless_batches, rays
from sweepdepth.synth.endless.channels import (
    Wrongs,
    conditions,
    event_bins,
    event_steps,
    event_times,
    photographs,
    undo_breathing,
)
from sweepdepth.synth.endless.focus import breathe, expose, focal_stacks, refocus_views
from sweepdepth.synth.endless.lens import BLUR_PX, FOCUS_SAMPLES, Chance, Lens, Light, draw_lens
from sweepdepth.synth.endless.packed import pool_of, read_pack, write_pack
from sweepdepth.synth.endless.patches import PATCHES, Patches, draw_patches
from sweepdepth.synth.endless.pixels import STEPS, Sensors, count_events, draw_sensors
from sweepdepth.synth.endless.pool import Pool, make_patch_scenes
from sweepdepth.synth.endless.rays import VIEWS, margin_px, render_depth, render_views
from sweepdepth.synth.endless.source import EndlessSamples, EndlessSweeps
from sweepdepth.synth.endless.sweeps import Batch, draw_sweeps, show
from sweepdepth.synth.endless.tiles import make_tiles
from sweepdepth.synth.lightfield import LightField, aperture_offsets, grid_jitter
from sweepdepth.synth.refocus import refocus_sweep
from sweepdepth.synth.sensor import Sensor
from sweepdepth.synth.simulate import simulate_sweeps

ONE = torch.ones(1)


@pytest.fixture(autouse=True)
def _one_thread_and_no_compiler():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.compiler.set_stance("force_eager"):
        yield
    torch.set_num_threads(before)


def lens_of(calibration: Calibration) -> Lens:
    sweep, breathing = calibration.sweep, calibration.breathing
    blur = calibration.camera.fx * calibration.lens.aperture_m * sweep.range_diopters
    scale = 0.0 if breathing is None else breathing.scale_per_diopter * sweep.range_diopters
    camera, lens = calibration.camera, calibration.lens
    x, y = (camera.width / 2, camera.height / 2) if breathing is None else breathing.center
    values = blur, scale, x - camera.width / 2, y - camera.height / 2, lens.f_number, camera.pixel_pitch_um
    return Lens(*(ONE * value for value in values))


def breathing_lens(calibration: Calibration, scale: float, off_x: float = 0, off_y: float = 0) -> Calibration:
    centre = (calibration.camera.width / 2 + off_x, calibration.camera.height / 2 + off_y)
    return calibration.model_copy(update={"breathing": Breathing(scale_per_diopter=scale, center=centre)})


def no_wrongs(**values: float) -> Wrongs:
    return Wrongs(**{name: ONE * values.get(name, 0.0) for name in Wrongs._fields})


def smooth_stack(seed: int, height: int, width: int) -> np.ndarray:
    """(F, H, W) radiance that comes into focus and goes, sooner on the left."""
    random = np.random.default_rng(seed)
    texture = np.exp(random.normal(0, 0.8, (height, width)))
    focus = np.linspace(0, 1, FOCUS_SAMPLES)[:, None, None]
    blur = np.abs(focus - np.linspace(0.2, 0.8, width))
    return (0.2 * (1 + (texture / texture.mean() - 1) * np.exp(-((blur / 0.25) ** 2)))).astype(np.float32)


def test_pixels_fire_as_those_of_the_sensor_model_do(calibration):
    stack = smooth_stack(0, 72, 96)
    sensor = Sensor(on_threshold=0.2, off_threshold=0.25, dark_level=1e-4, bandwidth_hz=300.0, refractory_us=300.0)
    recording = simulate_sweeps(stack, calibration, sensor, sweeps=2, seed=1, light=0.6)
    values = dict.fromkeys(Sensors._fields, 0.0) | {
        "on_threshold": 0.2,
        "off_threshold": 0.25,
        "dark_level": 1e-4,
        "bandwidth_hz": 300.0,
        "refractory_s": 3e-4,
    }
    torch.manual_seed(0)
    sensors = Sensors(**{name: ONE * value for name, value in values.items()})
    duration_s = calibration.sweep.duration_us * 1e-6
    passes = count_events(torch.from_numpy(stack)[None], sensors, ONE * 0.6, ONE * duration_s)
    for number, counts in enumerate(passes):
        start = number * calibration.sweep.duration_us
        inside = (recording.events["timestamp"] >= start) & (
            recording.events["timestamp"] < start + calibration.sweep.duration_us
        )
        events = recording.events[inside]
        step = ((events["timestamp"] - start) / calibration.sweep.duration_us * STEPS).astype(int)
        expected = np.zeros((STEPS, 2, 72, 96))
        np.add.at(expected, (step, 1 - events["polarity"], events["y"], events["x"]), 1)
        seen = counts[0].numpy().astype(float)
        np.testing.assert_allclose(seen.sum((0, 2, 3)), expected.sum((0, 2, 3)), rtol=0.03)
        for polarity in (0, 1):  # over time, and over the image
            times = np.corrcoef(seen.sum((2, 3))[:, polarity], expected.sum((2, 3))[:, polarity])[0, 1]
            places = np.corrcoef(seen.sum(0)[polarity].ravel(), expected.sum(0)[polarity].ravel())[0, 1]
            assert times > 0.98
            assert places > 0.9


@pytest.mark.parametrize("direction", [Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR])
@pytest.mark.parametrize("scale", [0.0, 0.02, -0.015])
def test_channels_are_those_of_the_representation(calibration, direction, scale):
    calibration = breathing_lens(calibration, scale, off_x=60, off_y=-35)
    random = np.random.default_rng(2)
    counts = (random.random((STEPS, 2, 72, 96)) < 0.01) * random.integers(1, 3, (STEPS, 2, 72, 96))
    duration = round(calibration.sweep.duration_us)
    lag = 0.004
    step, polarity, y, x = (np.repeat(index, counts[counts > 0]) for index in np.nonzero(counts))
    times = np.round((step + 0.5) / STEPS * duration).astype(np.int64)
    events = make_events(times, x, y, 1 - polarity)
    start = round(lag * duration)
    sweep = Sweep(start, start + duration, direction, calibration)
    wrongs, way = no_wrongs(lag=lag), ONE * float(direction)
    lens, light = lens_of(calibration), Light(ONE * duration * 1e-6, ONE)
    steps = event_steps(torch.from_numpy(counts.astype(np.uint8))[None], way, lens, wrongs)
    bins = event_bins(steps, way, wrongs, 10)
    told = conditions(lens, light, way, wrongs, 72, 96)
    seen = torch.cat([bins.arcsinh().flatten(1, 2), told], dim=1)[0].numpy()
    expected = Representation().of_events(events, sweep)
    np.testing.assert_allclose(seen[-5:], expected[-5:], atol=1e-4)
    off_by = np.abs(np.sinh(seen[:20]) - np.sinh(expected[:20]))
    assert off_by.sum() < (0.001 if scale == 0 else 0.05) * counts.sum()  # on borders between pixels, rounding decides
    assert off_by.max() < 3

    if scale == 0:
        shown = event_times(steps)[0].numpy()
        exact = Representation(times=True).of_events(events, replace(sweep, start_us=0, end_us=duration))[20:24]
        np.testing.assert_allclose(shown, exact, atol=1e-3)


def test_views_are_added_as_refocusing_adds_them(calibration):
    random = np.random.default_rng(3)
    blur = float(lens_of(calibration).blur_px)
    margin = margin_px(blur)
    views = random.random((VIEWS, 40 + 2 * margin, 48 + 2 * margin), np.float32)
    camera = calibration.camera.model_copy(update={"width": 48, "height": 40, "cx": 24.0, "cy": 20.0})
    small = calibration.model_copy(update={"camera": camera})
    field = LightField(
        views,
        aperture_offsets(VIEWS, calibration.lens.aperture_m),
        grid_jitter(VIEWS),
        margin,
        (calibration.sweep.far_diopters + calibration.sweep.near_diopters) / 2,
        np.ones((40, 48), np.float32),
        views[0],
    )
    focus = np.linspace(calibration.sweep.far_diopters, calibration.sweep.near_diopters, FOCUS_SAMPLES)
    expected = refocus_sweep(field, focus, small)
    seen = refocus_views(torch.from_numpy(views)[None], lens_of(calibration), margin)[0].numpy()
    np.testing.assert_allclose(seen, expected, atol=2e-5)


def only_a_wall(scenes: Patches, position: float, slope_x: float) -> Patches:
    """The scenes with nothing but their second wall, at a position."""
    values = scenes._asdict()
    for name in ("length", "width"):
        values[name] = torch.zeros_like(values[name])
        values[name][:, 1] = 1e6
    for name, value in {"position": position, "slope_x": slope_x, "slope_y": 0.0, "wave": 0.0}.items():
        values[name] = values[name].clone()
        values[name][:, 1] = value
    return Patches(**values)


def test_a_wall_is_sharpest_where_its_position_is_and_its_depth_is_exact():
    chance = Chance(4, "cpu")
    tiles = make_tiles(chance, 12)
    lens = draw_lens(chance, 1)._replace(blur_px=ONE * 12, breathing=ONE * 0)
    scenes = draw_patches(chance, lens, 32, 40, 12)
    values = scenes._asdict() | {"texels": torch.full_like(scenes.texels, 2.0), "tile": torch.zeros_like(scenes.tile)}
    for position in (0.25, 0.75):
        wall = only_a_wall(Patches(**values), position, 0.0)
        margin = margin_px(12.0)
        stack = refocus_views(render_views(wall, lens, tiles, 32, 40, margin), lens, margin)[0]
        sharpest = stack.std((1, 2)).argmax() / (FOCUS_SAMPLES - 1)
        assert abs(float(sharpest) - position) < 0.06
        torch.testing.assert_close(render_depth(wall, 32, 40), torch.full((1, 32, 40), position))
    tilted = render_depth(only_a_wall(scenes, 0.5, 0.01), 32, 40)
    torch.testing.assert_close(tilted[0, 0, 1:] - tilted[0, 0, :-1], torch.full((39,), 0.01), atol=1e-5, rtol=0)


def test_breathing_moves_the_image_about_its_centre_and_is_undone_about_it():
    lens = draw_lens(Chance(6, "cpu"), 2)._replace(
        breathing=torch.tensor([0.05, -0.04]), centre_x=torch.tensor([90.0, -20.0]), centre_y=torch.tensor([-60.0, 5.0])
    )
    pad, height, width = 12, 24, 32
    x = torch.arange(width + 2 * pad).float()[None, :].expand(height + 2 * pad, -1)
    y = torch.arange(height + 2 * pad).float()[:, None].expand(-1, width + 2 * pad)
    for image, at, size, centre in ((x, -1, width, lens.centre_x), (y, -2, height, lens.centre_y)):
        seen = breathe(image.expand(2, FOCUS_SAMPLES, -1, -1), lens, pad)
        place = torch.arange(size).reshape((-1, 1) if at == -2 else (-1,)) + 0.5
        fixed = size / 2 + centre[:, None, None]
        expected = fixed + (place - fixed) / (1 + lens.breathing[:, None, None]) + pad - 0.5
        torch.testing.assert_close(seen[:, -1], expected.expand(2, height, width), atol=0.06, rtol=0)
        torch.testing.assert_close(seen[:, 0], (place + pad - 0.5).expand(2, height, width), atol=0.06, rtol=0)
        still = undo_breathing(seen, lens, torch.linspace(0, 1, FOCUS_SAMPLES).expand(2, -1))
        inside = still[:, :, 8:-8, 8:-8]  # at the border, what breathing moved out is missing
        torch.testing.assert_close(inside, seen[:, :1, 8:-8, 8:-8].expand_as(inside), atol=0.1, rtol=0)


def test_scenes_in_a_mirror_have_their_centre_in_a_mirror():
    chance = Chance(7, "cpu")
    stacks = torch.arange(32.0).expand(1, FOCUS_SAMPLES, 24, 32).half()
    lens = draw_lens(chance, 1)._replace(centre_x=ONE * 9, centre_y=ONE * -7)
    pool = Pool(stacks, torch.zeros(1, 24, 32).half(), lens)
    seen, _, lenses = pool.draw(chance, 32)
    across = seen[:, 0, 0, 0] > seen[:, 0, 0, -1]
    assert 4 < across.sum() < 28
    assert torch.equal(lenses.centre_x, torch.where(across, -9.0, 9.0))
    assert set(lenses.centre_y.tolist()) == {-7.0, 7.0}
    assert float(pool.lens.centre_x) == 9


def test_patch_scenes_are_drawn_only_once_they_are_made():
    sweeps = EndlessSweeps(EndlessConfig(height=16, width=16, patch_scenes=8, renewed=1, at_once=1, batch=4), None)
    sizes = []
    for _ in range(6):
        assert torch.isfinite(sweeps.next().stacks).all()
        assert sweeps._patches is not None
        sizes.append(sweeps._patches.size)
    assert sizes == [4, 5, 6, 7, 8, 8]


def flat(scenes: tuple[torch.Tensor, torch.Tensor, Lens]) -> list[torch.Tensor]:
    return [scenes[0], scenes[1], *scenes[2]]


def test_patch_scenes_are_finite_exposed_and_repeat_with_their_seed():
    def make():
        chance = Chance(5, "cpu")
        return make_patch_scenes(chance, make_tiles(chance, 12), 3, 24, 32)

    stacks, position, lens = make()
    assert stacks.shape == (3, FOCUS_SAMPLES, 24, 32)
    assert position.shape == (3, 24, 32)
    assert torch.isfinite(stacks).all()
    assert stacks.min() > 0
    assert position.min() > -0.7
    assert position.max() < 2
    assert stacks.std((2, 3)).min() > 0
    assert all(torch.equal(a, b) for a, b in zip((stacks, position, *lens), flat(make()), strict=True))


def test_compiled_scenes_and_pixels_are_those_of_plain_tensors():
    lens = draw_lens(Chance(8, "cpu"), 1)
    tiles = make_tiles(Chance(9, "cpu"), 12)
    scenes = draw_patches(Chance(10, "cpu"), lens, 24, 40, 12)
    quiet = draw_sensors(Chance(11, "cpu"), 1)._replace(shot_noise_hz=ONE * 0, hot_fraction=ONE * 0, lost=ONE * 0)

    def made() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        views = render_views(scenes, lens, tiles, 24, 40, margin_px(BLUR_PX[1]) + 12)
        stacks = focal_stacks(views, lens, margin_px(BLUR_PX[1]), 12)
        torch.manual_seed(0)
        return views, stacks, torch.stack(count_events(expose(stacks, ONE * 0.2), quiet, ONE, ONE * 0.2))

    views, stacks, counts = made()
    assert counts.sum() > 100
    with torch.compiler.set_stance("default"):
        fast = made()
    assert ((fast[0] - views).abs() > 1e-3).float().mean() < 1e-3  # at outlines, rounding decides
    torch.testing.assert_close(fast[1], stacks, atol=1e-3, rtol=1e-2)
    assert (fast[2] != counts).float().mean() < 1e-3


def test_only_where_a_patch_can_be_met_it_is_sought(monkeypatch):
    lens = draw_lens(Chance(12, "cpu"), 4)
    scenes = draw_patches(Chance(13, "cpu"), lens, 48, 64, 12)
    tiles = make_tiles(Chance(14, "cpu"), 12)
    views = render_views(scenes, lens, tiles, 48, 64, 20)
    whole = slice(None)
    monkeypatch.setattr(rays, "_places", lambda *_: [(whole, whole)] * PATCHES)
    assert torch.equal(render_views(scenes, lens, tiles, 48, 64, 20), views)


def test_focal_stacks_breathe_as_images_that_are_magnified():
    lens = draw_lens(Chance(15, "cpu"), 2)._replace(breathing=torch.tensor([0.03, -0.04]))
    margin, pad = margin_px(BLUR_PX[1]), 12
    smooth = torch.nn.functional.avg_pool2d(torch.rand(2, VIEWS, 75, 83), 12, 1)
    expected = breathe(refocus_views(smooth, lens, margin), lens, pad)
    torch.testing.assert_close(focal_stacks(smooth, lens, margin, pad), expected, atol=3e-3, rtol=0)


def test_sweeps_are_shown_again_in_mirrors(calibration, monkeypatch):
    pool = pool_of([truth(breathing_lens(calibration, 0.02, off_x=20, off_y=-9), seed) for seed in (1, 2)])
    sweeps = EndlessSweeps(EndlessConfig(batch=4, rendered=1.0, shown=3), pool, seed=2)
    made: list[Batch] = []
    samples = EndlessSamples(sweeps, PRESETS["default"].representation)
    new = samples._new
    monkeypatch.setattr(samples, "_new", lambda: made.append(new()) or made[-1])
    shown = [next(samples) for _ in range(12)]
    assert 4 <= len(made) <= 6

    known: dict[float, tuple[torch.Tensor, torch.Tensor, bool]] = {}
    for channels, position, _ in made:
        for one, depth in zip(channels, position, strict=True):
            for axes in ([], [-1], [-2], [-1, -2]):
                mirrored = one.flip(axes)  # its lens's motion, along an axis that is mirrored, points the other way
                for axis in axes:
                    mirrored[-4 if axis == -1 else -3] *= -1
                known[mirrored.double().sum().item()] = mirrored, depth.flip(axes), bool(axes)
    in_mirrors = 0
    for channels, position, _ in shown:
        for one, depth in zip(channels, position, strict=True):
            expected, expected_depth, mirrored = known[one.double().sum().item()]
            assert torch.equal(one, expected)
            assert torch.equal(depth, expected_depth)
            in_mirrors += mirrored
    assert 24 < in_mirrors < 48


def test_photographs_are_what_the_representation_makes_of_good_frames(calibration):
    stack = smooth_stack(6, 24, 32)
    lens = lens_of(calibration)._replace(breathing=ONE * 0, pitch_um=ONE * 18.5)
    torch.manual_seed(0)
    shown = photographs(torch.from_numpy(stack)[None], lens, Light(ONE * 0.2, ONE * 2000), 10, None)[0].numpy()
    camera = calibration.camera.model_copy(update={"width": 32, "height": 24, "cx": 16.0, "cy": 12.0})
    small = calibration.model_copy(update={"camera": camera})
    sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, small)
    settings = calibration.sweep
    diopters = settings.far_diopters + (np.arange(10) + 0.5) / 10 * settings.range_diopters
    frames = stack[np.round((np.arange(10) + 0.5) / 10 * (FOCUS_SAMPLES - 1)).astype(int)]
    expected = Representation(source="frames").of_frames(frames, diopters, sweep)[:10]
    assert np.abs(shown - expected).mean() < 0.03
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.98


def truth(calibration: Calibration, seed: int) -> SceneTruth:
    settings = calibration.sweep
    depth = 1 / np.linspace(0.6, 2.4, 72 * 96, dtype=np.float32).reshape(72, 96)
    focus = np.linspace(settings.far_diopters, settings.near_diopters, FOCUS_SAMPLES)
    return SceneTruth(calibration, depth, depth, smooth_stack(seed, 72, 96), focus)


def test_a_pack_holds_what_the_dataset_held(calibration, tmp_path):
    truths = [truth(breathing_lens(calibration, 0.01, off_x=7), seed) for seed in (1, 2)]
    path = tmp_path / "two.pack"
    assert write_pack(path, [*truths, replace(truths[0], focal_stack=None)]) == 2
    with pytest.raises(RecordingError, match="exists"):
        write_pack(path, truths)
    direct, packed = pool_of(truths), read_pack(path)
    difference = packed.stacks.float().log() - direct.stacks.float().log()
    assert float(difference.std()) < 0.015
    assert float((packed.position - direct.position).abs().max()) < 0.003
    for mine, theirs in zip(packed.lens, direct.lens, strict=True):
        torch.testing.assert_close(mine, theirs)
    settings = calibration.sweep
    expected = (to_diopters(truths[0].depth) - settings.far_diopters) / settings.range_diopters
    np.testing.assert_allclose(direct.position[0].float().numpy(), expected, atol=1e-3)
    assert path.stat().st_size < direct.stacks.nbytes / 4


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-200], lambda b: b[:200] + b[260:], lambda b: b"", lambda b: b"x" * 99]
)
def test_a_damaged_pack_is_refused(calibration, tmp_path, damage):
    path = tmp_path / "one.pack"
    write_pack(path, [truth(calibration, 1)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordingError, match="pack"):
        read_pack(path)


def test_focal_stacks_with_a_real_cameras_noise_are_no_use(calibration):
    with pytest.raises(RecordingError, match="noise = false"):
        pool_of([replace(truth(calibration, 1), focal_stack_diopters=np.linspace(0.6, 2.4, FOCUS_SAMPLES))])


@pytest.mark.parametrize("preset", ["default", "paper", "frames30"])
def test_a_network_trains_on_endless_sweeps(calibration, tmp_path, preset):
    network = PRESETS[preset].model_copy(update={"widths": (16, 32)})
    pool = pool_of([truth(calibration, seed) for seed in range(3)])
    share = 0.5 if preset == "default" else 1.0  # patch scenes take their time on a CPU
    made = EndlessConfig(height=16, width=16, patch_scenes=8, renewed=1, at_once=1, batch=4, rendered=share)
    training, validation = endless_batches(made, network.representation, pool, 0.3, 0, "cpu")
    config = TrainingConfig(
        network=network, steps=4, steps_per_epoch=2, batch=4, endless=made.model_dump(), precision="32-true"
    )
    said: list[str] = []
    weights = train([], config, tmp_path, endless=Endless(training, validation), say=said.append)
    assert weights.exists()
    assert said[-1].startswith("step 4 of 4")


def test_what_a_network_sees_depends_on_its_seed_alone(calibration):
    pool = pool_of([truth(calibration, 1)])
    shown = PRESETS["default"].representation

    def batch(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        fresh = Pool(pool.stacks, pool.position, pool.lens)
        return show(draw_sweeps(fresh, Chance(seed, "cpu"), 4), shown)[0]

    assert torch.equal(batch(1), batch(1))
    assert not torch.equal(batch(1), batch(2))
