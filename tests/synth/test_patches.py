"""Patch scenes: rays, depth and refocusing on known surfaces, and the distributions of random scenes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, minimum_filter

from sweepdepth import Calibration
from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.capture.files.dataset import open_dataset, read_scene
from sweepdepth.synth.blender import session
from sweepdepth.synth.generation.config import ConfigError, GenerationConfig
from sweepdepth.synth.generation.draws import sample_calibration, sample_window
from sweepdepth.synth.generation.job import generate
from sweepdepth.synth.optics.lightfield import aperture_offsets, grid_jitter
from sweepdepth.synth.optics.planes import Texture, plane_images
from sweepdepth.synth.optics.refocus import refocus_sweep
from sweepdepth.synth.optics.render_settings import RenderSettings
from sweepdepth.synth.patches import outlines, render_patches, sample_patches, textures
from sweepdepth.synth.patches.rays_numpy import cast_numpy
from sweepdepth.synth.patches.render import Caster
from sweepdepth.synth.patches.sampling import KINDS
from sweepdepth.synth.patches.scene import OUTLINE_STEPS, Patch, PatchScene, diamond_angle, outline_directions
from sweepdepth.synth.scenes.random_source import RandomSource

FAR, NEAR = 0.5, 2.5
SMALL = GenerationConfig.parse(
    {
        "sweeps": 2,
        "render": "patches",
        "camera": {"width": 96, "height": 72, "pixel_pitch_um": 18.5, "window": {"width": 48, "height": 40}},
        "lens": {"blur_px": [3, 12]},
        "rendering": {"min_views": 24, "max_views": 24, "intensity_samples": 4},
        "intensity": {"frames": 3, "noise": False},
    }
)


def lens(width: int = 120, height: int = 90, blur_px: float = 10.0, breathing: float = 0.0) -> Calibration:
    f_number = 400 * 12e-3 * (NEAR - FAR) / blur_px
    return Calibration.parse(f"""
        [camera]
        width = {width}
        height = {height}
        pixel_pitch_um = 30.0
        fx = 400.0
        fy = 400.0
        cx = {width / 2 + 7.25}
        cy = {height / 2 - 3.5}
        [lens]
        focal_length_mm = 12.0
        f_number = {f_number}
        [sweep]
        waveform = "triangle"
        frequency_hz = 2.5
        far_diopters = {FAR}
        near_diopters = {NEAR}
        sync = "trigger"
        [breathing]
        scale_per_diopter = {breathing}
        center = [50.0, 40.0]
    """)


def scene_of(*patches: Patch, shapes: list[np.ndarray] | None = None) -> PatchScene:
    """A scene of given patches over the sweep of `lens`; texture 0 is random, texture 1 a mask."""
    shapes = shapes or [outlines.full() for _ in patches]
    infinity = -FAR / (NEAR - FAR)
    return PatchScene("planes", 0.2, patches, np.array(shapes), (1, 2), 1, -0.1, 1.1, infinity)


def of_kind(kind: str, calibration: Calibration, start: int = 0) -> PatchScene:
    """The first scene of a kind."""
    config = GenerationConfig().scene
    scenes = (sample_patches(1, index, config, calibration) for index in range(start, start + 200))
    return next(scene for scene in scenes if scene.kind == kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_compiled_rays_agree_with_numpy(kind):
    calibration = lens(64, 48)
    caster = Caster(of_kind(kind, lens(200, 150)), calibration)
    scene = caster.scene
    reach = np.array([400.0, 400.0]) * (NEAR - FAR)
    for offset, jitter in zip(
        aperture_offsets(40, calibration.lens.aperture_m)[[0, 7, 39]], grid_jitter(3), strict=True
    ):
        position, radiance = caster.view(tuple(offset), tuple(jitter), margin=4)
        left, top = 0.5 - 4 - calibration.camera.cx + jitter[0], 0.5 - 4 - calibration.camera.cy + jitter[1]
        reach_x, reach_y = (reach * offset).tolist()
        shape = position.shape[0], position.shape[1]
        expected = cast_numpy(
            scene.patches, scene.outlines, scene.textures, scene.limits, left, top, reach_x, reach_y, shape
        )
        same = np.isclose(position, expected[0], atol=1e-5) & np.isclose(radiance, expected[1], atol=1e-5, rtol=1e-4)
        assert same.mean() > 0.999  # rounding decides where an outline passes exactly through a ray
        assert np.ptp(radiance) > 0


def test_the_depth_of_a_slanted_plane_is_its_formula_whatever_the_window():
    calibration = lens()
    plane = Patch(x=3.0, y=-5.0, position=0.4, slope_x=0.003, slope_y=-0.002)
    depth = render_patches(scene_of(plane), calibration, n_views=1).depth
    y, x = np.mgrid[:90, :120] + 0.5
    expected = 0.4 + 0.003 * (x - calibration.camera.cx - 3) - 0.002 * (y - calibration.camera.cy + 5)
    np.testing.assert_allclose(1 / depth, FAR + (NEAR - FAR) * expected, rtol=1e-5)


def test_depth_is_that_of_the_nearest_surface_within_the_scene():
    calibration = lens()
    wall = Patch(position=0.3, slope_x=0.02)
    disc = Patch(x=-10.0, length=20.0, width=10.0, position=0.8, bulge=0.1)
    scene = scene_of(wall, disc)
    position = (1 / render_patches(scene, calibration, n_views=1).depth - FAR) / (NEAR - FAR)
    y, x = np.mgrid[:90, :120] + 0.5 - np.array([calibration.camera.cy, calibration.camera.cx])[:, None, None]
    behind = np.clip(0.3 + 0.02 * x, -0.1, 1.1)
    radius = ((x + 10) / 20) ** 2 + (y / 10) ** 2
    expected = np.where(radius < 1, np.maximum(behind, 0.8 + 0.1 * (1 - radius)), behind)
    off = np.abs(position - expected) > 1e-4
    assert off.mean() < 0.001
    assert not off[np.abs(radius - 1) > 0.02].any()
    assert (position.min(), position.max()) == pytest.approx((-0.1, 1.1), abs=1e-5)


@pytest.mark.parametrize(
    "patch",
    [
        Patch(position=0.6, slope_x=0.01, slope_y=-0.004),
        Patch(position=0.5, wave=0.25, wave_x=0.019, wave_y=0.016),
        Patch(position=0.2, bulge=0.5, length=80.0, width=60.0),
    ],
    ids=["plane", "waves", "bulge"],
)
def test_every_view_shows_each_point_where_the_lens_projects_it(patch):
    calibration = lens(blur_px=10.0)
    caster = Caster(scene_of(Patch(position=-0.1), patch), calibration)
    middle, _ = caster.view((0.0, 0.0), (0.0, 0.0), margin=8)
    offset = calibration.lens.aperture_m / 2 * np.array([0.6, -0.8])
    seen, _ = caster.view(tuple(offset), (0.0, 0.0), margin=8)
    rows, columns = np.mgrid[10:96, 10:126]
    shift = 400 * offset[:, None, None] * (NEAR - FAR) * (seen[rows, columns] - 0.5)
    at = map_coordinates(middle, [rows + shift[1], columns + shift[0]], order=1)
    whole = map_coordinates(minimum_filter(middle, 5), [rows + shift[1], columns + shift[0]], order=0)
    inside = (whole > 0) & (minimum_filter(seen, 5)[rows, columns] > 0)  # not at an outline in front of the wall
    assert inside.mean() > 0.5
    assert np.abs(at - seen[rows, columns])[inside].max() < 0.004
    assert np.abs(shift).max() > 1


@pytest.mark.parametrize("breathing", [0.0, 0.012])
def test_a_refocused_plane_is_that_of_the_thin_lens(monkeypatch, breathing):
    random = np.random.default_rng(0)
    calibration = lens(blur_px=12.0, breathing=breathing)
    # Waves that fit into a texture of 512 texels, two a pixel.
    waves = np.concatenate([random.integers(-20, 21, (12, 2)), [[25, 0], [0, 25]]]).astype(float)
    shift, contrast = random.uniform(0, 2 * np.pi, len(waves)), np.full(len(waves), 0.04)
    y, x = (np.mgrid[: textures.SIZE, : textures.SIZE] + 0.5) / textures.SIZE
    pattern = 0.04 * np.cos(2 * np.pi * (waves[:, 0] * x[..., None] + waves[:, 1] * y[..., None]) + shift).sum(axis=-1)
    monkeypatch.setattr(textures, "texture", lambda seed: (0.5 + 0.5 * pattern).astype(np.float32))
    plane = Patch(position=0.3, texture=0, texels=2.0, dark=0.0, light=1.0)
    field = render_patches(scene_of(plane), calibration, n_views=300)
    focus = np.array([FAR, 1.1, 1.7, NEAR])
    images = refocus_sweep(field, focus, calibration)
    expected = plane_images(Texture(waves / 256, contrast, shift), calibration, focus, FAR + 0.3 * (NEAR - FAR))
    contrast_of = [image / image.mean() - 1 for image in expected]
    for image, known in zip(images, contrast_of, strict=True):
        seen = image / images.mean() - 1
        assert np.corrcoef(seen.ravel(), known.ravel())[0, 1] > 0.995
        assert seen.std() == pytest.approx(known.std(), rel=0.05)
    assert contrast_of[1].std() > 1.4 * contrast_of[3].std()


def test_fine_texture_looks_the_same_with_more_views():
    calibration = lens(blur_px=8.0)
    plane = Patch(position=0.3, texture=0, texels=6.0, dark=0.0, light=1.0)
    few, many = (render_patches(scene_of(plane), calibration, n_views=n) for n in (96, 768))
    focus = np.array([FAR, 1.1, 1.6])
    for image, better in zip(
        refocus_sweep(few, focus, calibration), refocus_sweep(many, focus, calibration), strict=True
    ):
        assert np.std(image / image.mean() - better / better.mean()) < 0.02


def test_a_window_shows_a_part_of_the_scene_and_seed_and_number_decide_every_byte():
    whole = sample_calibration(4, 2, SMALL)
    window = sample_window(4, 2, SMALL, whole)
    scene = sample_patches(4, 2, SMALL.scene, whole)
    field = render_patches(scene, window, SMALL.rendering)
    left, top = round(whole.camera.cx - window.camera.cx), round(whole.camera.cy - window.camera.cy)
    large = render_patches(scene, whole, SMALL.rendering)
    np.testing.assert_allclose(field.depth, large.depth[top : top + 40, left : left + 48], rtol=1e-5)
    again = render_patches(sample_patches(4, 2, SMALL.scene, whole), window, SMALL.rendering, threads=2)
    assert field.views.tobytes() == again.views.tobytes()
    assert field.intensity.tobytes() == again.intensity.tobytes()
    assert field.depth.tobytes() == again.depth.tobytes()
    other = render_patches(sample_patches(4, 3, SMALL.scene, whole), window, SMALL.rendering)
    assert field.views.tobytes() != other.views.tobytes()


def test_scenes_are_exposed_to_their_key_and_lie_within_a_tenth_of_the_range():
    seen = []
    for index in range(24):
        whole = sample_calibration(0, index, SMALL)
        scene = sample_patches(0, index, SMALL.scene, whole)
        field = render_patches(scene, sample_window(0, index, SMALL, whole), SMALL.rendering)
        assert np.exp(np.log(field.intensity + 1e-4 * field.intensity.mean()).mean()) == pytest.approx(
            scene.key, rel=0.01
        )
        assert field.views.min() >= 0
        sweep = whole.sweep
        seen.append((1 / field.depth.astype(float) - sweep.far_diopters) / sweep.range_diopters)
        assert json.loads(scene.description())["kind"] == scene.kind
    seen = np.array(seen)
    assert seen.min() >= -0.1 - 1e-6
    assert seen.max() <= 1.1 + 1e-6
    assert (seen < 0).mean() > 0.01
    assert (seen > 1).mean() > 0.002


def test_a_quarter_of_the_surfaces_is_untextured():
    calibration = lens(346, 260)
    scenes = [sample_patches(0, index, GenerationConfig().scene, calibration) for index in range(300)]
    assert {scene.kind for scene in scenes} == set(KINDS)
    plain = [patch.texture < 0 for scene in scenes if scene.kind != "layers" for patch in scene.patches]
    assert np.mean(plain) == pytest.approx(0.25, abs=0.03)
    layers = [patch for scene in scenes if scene.kind == "layers" for patch in scene.patches[1:]]
    assert np.mean([patch.texture < 0 for patch in layers]) < 0.1
    loose = np.array([p.position for scene in scenes if scene.kind == "clutter" for p in scene.patches[2:]])
    assert np.histogram(loose, bins=6, range=(-0.1, 1.1))[0] / len(loose) == pytest.approx(np.full(6, 1 / 6), abs=0.04)


def test_textures_have_the_spectra_of_photographs():
    """Amplitude falls as 1/f^a with a around 1; see Field 1987."""
    slopes = []
    frequency = np.hypot(np.fft.fftfreq(textures.SIZE)[:, None], np.fft.rfftfreq(textures.SIZE))
    for seed in range(12):
        image = textures._leaves(RandomSource(seed))
        assert image.min() >= 0
        assert image.max() <= 1
        power = np.abs(np.fft.rfft2(image - image.mean())) ** 2
        bands = np.geomspace(1 / 64, 1 / 4, 9)
        mean = [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(bands)]
        slopes.append(-np.polyfit(np.log(bands[1:]), np.log(mean), 1)[0] / 2)
    assert 0.8 < np.mean(slopes) < 1.6


def test_outlines_close_and_directions_are_those_of_the_diamond():
    angle = outline_directions()
    np.testing.assert_allclose(
        diamond_angle(np.cos(angle[:-1]), np.sin(angle[:-1])), 4 * np.arange(OUTLINE_STEPS) / OUTLINE_STEPS, atol=1e-9
    )
    for seed in range(50):
        shape = outlines.outline(RandomSource(seed))
        assert shape.min() > 0.1
        assert shape.max() < 4
        assert shape[0] == pytest.approx(shape[-1], abs=1e-4)


def test_a_dataset_of_patch_scenes_needs_no_blender(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "is_installed", lambda: False)
    report = generate(tmp_path / "data", 2, 7, SMALL, workers=1)
    assert (report.made, report.skipped) == (2, ())
    truth = read_scene(open_dataset(tmp_path / "data").scenes[0]).truth
    assert truth.depth.shape == (40, 48)
    assert truth.focal_stack is not None
    assert json.loads(truth.attributes["scene"])["patches"]
    with pytest.raises(SweepdepthError, match="--render patches"):
        generate(tmp_path / "other", 1, 7, SMALL.model_copy(update={"render": "lightfield"}), workers=1)


@pytest.mark.parametrize("scene", [{"blend": "room.blend"}, {"assets": ["chair.glb"]}])
def test_models_are_refused(scene):
    with pytest.raises(ConfigError, match="patch scenes have no models"):
        GenerationConfig.parse({"render": "patches", "scene": scene})


def test_a_lens_with_distortion_is_refused():
    calibration = lens()
    camera = calibration.camera.model_copy(update={"distortion": (0.1, 0.0, 0.0, 0.0, 0.0)})
    with pytest.raises(SweepdepthError, match=r"camera\.distortion"):
        render_patches(scene_of(Patch()), calibration.model_copy(update={"camera": camera}), RenderSettings())
