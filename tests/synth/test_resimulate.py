"""Sweeps simulated anew from a scene's ideal focal stack."""

from dataclasses import replace

import numpy as np
import pytest

from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, make_triggers
from sweepdepth.capture.files.dataset import (
    Manifest,
    SceneRecording,
    SceneTruth,
    create_dataset,
    scene_path,
    write_scene,
)
from sweepdepth.capture.files.photographs import Photographs
from sweepdepth.capture.optics import breathing_magnification
from sweepdepth.capture.sweeps import Direction
from sweepdepth.net.polarity import estimate_depth
from sweepdepth.synth.generation.config import LightRange, SensorRange
from sweepdepth.synth.optics.conventional import FULL_WELL_ELECTRONS
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.resimulate import (
    Conditions,
    IdealScene,
    ResimulationConfig,
    ideal_scene,
    lively,
    load_ideal_scenes,
    magnified,
    resimulate,
)

FRAMES = 40
GOOD = ResimulationConfig(
    ordinary=Conditions(
        sensor=SensorRange(preset="davis346"), light=LightRange(illuminance_lux=(1000.0, 1000.0)), sweep_s=(0.2, 0.2)
    ),
    ordinary_share=1.0,
)


@pytest.fixture
def scene(calibration):
    """A textured plane at 0.6 of the range."""
    settings = calibration.sweep
    focus = np.linspace(settings.far_diopters, settings.near_diopters, FRAMES)
    surface = settings.far_diopters + 0.6 * settings.range_diopters
    images = plane_images(make_texture("natural", seed=3, contrast=0.5), calibration, focus, surface)
    depth = np.full((calibration.camera.height, calibration.camera.width), 1 / surface, np.float32)
    return IdealScene("plane", np.asarray(images, np.float16), depth, calibration)


def drawn(scene, seed, config=GOOD, **options):
    return resimulate(scene, np.random.default_rng(seed), config, **options)


def test_a_sweep_depends_on_its_number_alone(scene):
    first, again, other = drawn(scene, 1), drawn(scene, 1), drawn(scene, 2)
    assert np.array_equal(first.events, again.events)
    assert first.sweep == again.sweep
    assert not np.array_equal(first.events["timestamp"], other.events["timestamp"])


def test_the_plane_is_found_at_its_true_depth_for_all_draws(scene):
    """Both directions, the whole range and parts of it: the classical estimator finds it in each."""
    seen = set()
    for seed in range(16):
        sweep = drawn(scene, seed)
        settings = sweep.calibration.sweep
        place = (1 / sweep.truth[0, 0] - settings.far_diopters) / settings.range_diopters
        if not 0.1 < place < 0.9:
            continue
        estimate = estimate_depth(sweep.events, sweep.sweep)
        error = (estimate.diopters - 1 / sweep.truth) / settings.range_diopters
        assert abs(np.nanmedian(error)) < 0.08
        seen.add((sweep.sweep.direction, len(np.unique(sweep.truth)) == 1, settings == scene.calibration.sweep))
    assert {direction for direction, *_ in seen} == set(Direction)
    assert len({settings_differ for *_, settings_differ in seen}) <= 2


def test_one_in_five_scenes_with_little_change_is_kept(scene):
    flat = replace(scene, stack=np.full_like(scene.stack, 0.3))
    assert flat.change == pytest.approx(0, abs=1e-3)
    assert scene.change > 0.1
    assert lively([flat, scene, flat, scene]) == [scene, scene, flat]
    assert len(lively([flat] * 11)) == 3


def test_a_sweep_without_events_is_drawn_again_in_other_conditions(scene):
    """Half of the sweeps have an insensitive sensor; after a second draw a quarter remains."""
    blind = Conditions(sensor=SensorRange(on_threshold=(3.0, 3.0), off_threshold=(3.0, 3.0), shot_noise_hz=(0.0, 0.0)))
    config = GOOD.model_copy(update={"anything": blind, "ordinary_share": 0.5})
    once = config.model_copy(update={"least_events": 0.0})
    least = config.least_events * scene.depth.size
    tried, untried = (
        np.mean([len(drawn(scene, seed, which).events) < least for seed in range(40)]) for which in (config, once)
    )
    assert untried == pytest.approx(0.5, abs=0.2)
    assert tried < 0.7 * untried


def test_a_part_of_the_range_blurs_less_and_breathes_from_its_own_far_end(scene, calibration):
    """A point at p at the new far end is where the original lens shows it there."""
    breathing = Breathing(scale_per_diopter=0.02, center=(48.0, 36.0))
    depth = np.tile(np.linspace(0.5, 1.5, 96, dtype=np.float32), (72, 1))
    lens = calibration.model_copy(update={"breathing": breathing})
    breathes = IdealScene("ramp", scene.stack, depth, lens)
    part = drawn(breathes, 0, GOOD.model_copy(update={"whole": 0.0, "shortest": 0.5}))
    old, new = lens.sweep, part.calibration.sweep
    assert old.far_diopters <= new.far_diopters < new.near_diopters <= old.near_diopters + 1e-9
    assert new.range_diopters >= 0.45 * old.range_diopters
    assert part.calibration.breathing is not None
    scale = part.calibration.breathing.scale_per_diopter
    for focus in np.linspace(new.far_diopters, new.near_diopters, 3):
        both = breathing_magnification(new.far_diopters, old.far_diopters, 0.02) * breathing_magnification(
            focus, new.far_diopters, scale
        )
        assert float(both) == pytest.approx(float(breathing_magnification(focus, old.far_diopters, 0.02)))
    grown = float(breathing_magnification(new.far_diopters, old.far_diopters, 0.02))
    assert np.array_equal(part.truth, magnified(depth, grown, breathing.center))


def test_a_conventional_camera_sees_the_same_sweep(scene):
    sweep = drawn(scene, 3, frames=10)
    assert sweep.frames is not None
    assert sweep.frame_diopters is not None
    assert sweep.frames.shape == (10, 72, 96)
    settings = sweep.calibration.sweep
    assert settings.far_diopters < sweep.frame_diopters[0] < sweep.frame_diopters[-1] < settings.near_diopters
    sharp = [float(np.std(np.diff(frame, axis=1))) for frame in sweep.frames]
    best = sweep.frame_diopters[int(np.argmax(sharp))]
    assert best == pytest.approx(1 / sweep.truth[0, 0], abs=0.15 * settings.range_diopters)
    at_30_fps = drawn(scene, 3, frames=0).frames
    assert at_30_fps is not None
    assert len(at_30_fps) == 6  # of 0.2 s


def test_photographs_have_the_same_light_and_missing_ones_are_reported(scene, calibration):
    """Image noise follows the light, and the range is complete, since photographs are focused within it."""
    height, width = scene.depth.shape
    ideal = Photographs(np.full((1, height, width), 0.4, np.float32), np.array([0.5]), np.ones(1))
    held = replace(scene, photographs={"defocused": ideal})
    parts = GOOD.model_copy(update={"whole": 0.0})
    for seed in range(4):
        sweep = drawn(held, seed, parts, photographs=["defocused"])
        assert sweep.calibration.sweep.range_diopters == calibration.sweep.range_diopters
        images = sweep.photographs["defocused"].images
        assert images.mean() == pytest.approx(0.4, abs=1e-3)
        assert images.std() == pytest.approx(np.sqrt(0.4 / FULL_WELL_ELECTRONS), rel=0.05)  # saturated
    assert not drawn(held, 0).photographs
    with pytest.raises(RecordingError, match="plane: holds no photographs 'sharp'; render with"):
        drawn(held, 0, photographs=["sharp"])


def test_datasets_give_the_stacks_that_span_their_sweep(scene, calibration, tmp_path):
    create_dataset(tmp_path, Manifest(0, {"intensity": {"frames": FRAMES, "noise": False}}))
    focus = np.linspace(calibration.sweep.far_diopters, calibration.sweep.near_diopters, FRAMES)
    nothing = np.empty(0, EVENT_DTYPE), make_triggers(np.empty(0), np.empty(0))
    for index, diopters in enumerate((focus, focus[:1], focus * 0.9)):
        stack = scene.stack.astype(np.float32)[: len(diopters)]
        truth = SceneTruth(calibration, scene.depth, scene.depth, stack, diopters)
        write_scene(scene_path(tmp_path, index), SceneRecording(*nothing, truth))
    heard = []
    (found,) = load_ideal_scenes(tmp_path, heard.append)
    assert found.name == "scene_000000"
    assert np.array_equal(found.stack, scene.stack)
    assert heard == [1, 2, 3]
    assert ideal_scene("none", SceneTruth(calibration, scene.depth, scene.depth)) is None
