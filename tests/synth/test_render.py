"""Rendering with Blender: exact depth, light fields that agree with Blender's depth of field, reproducibility."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import minimum_filter

from sweepdepth import Calibration
from sweepdepth.synth.blender.session import RenderError, is_installed
from sweepdepth.synth.blender.stage import Stage, read_grey, render_lightfield
from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.draws import sample_calibration, sample_window
from sweepdepth.synth.optics.lightfield import LightField
from sweepdepth.synth.optics.refocus import refocus, refocus_sweep
from sweepdepth.synth.optics.render_settings import RenderSettings
from sweepdepth.synth.scenes.layouts import SceneConfig, sample_scene
from sweepdepth.synth.scenes.scene import Lamp, Material, Scene, Shape, Sky, Texture, Thing
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

pytestmark = pytest.mark.skipif(not is_installed(), reason="Blender (bpy) is not installed")

FAST = RenderSettings(min_views=16, intensity_samples=4)


def lens(breathing: float = 0.0, fy: float = 120.0, cx: float = 32.0, cy: float = 24.0) -> Calibration:
    return Calibration.parse(f"""
        [camera]
        width = 64
        height = 48
        pixel_pitch_um = 100.0
        fx = 120.0
        fy = {fy}
        cx = {cx}
        cy = {cy}
        [lens]
        focal_length_mm = 24.0
        f_number = 1.2
        [sweep]
        waveform = "triangle"
        frequency_hz = 2.5
        far_diopters = 0.5
        near_diopters = 2.5
        sync = "trigger"
        [breathing]
        scale_per_diopter = {breathing}
        center = [30.0, 20.0]
    """)


def textured(feature_m: float) -> Material:
    return Material(texture=Texture(kind="noise", feature_m=feature_m, dark=0.02, light=0.9, sharpness=0.5, octaves=2))


def staged(*things: Thing) -> Scene:
    return Scene(seed=1, index=0, key=0.2, things=things, sky=Sky(below=0.5, above=1.0))


STILL_LIFE = staged(
    Thing(body=Shape(kind="plane", size=(6, 6, 1)), position=(0, 0, -2.0), material=textured(0.12), scenery=True),
    Thing(body=Shape(kind="sphere", size=(0.15, 0.15, 0.15)), position=(-0.08, 0.02, -0.8), material=textured(0.04)),
    Thing(body=Shape(kind="box", size=(0.1, 0.06, 0.05)), position=(0.06, -0.03, -0.45), material=textured(0.02)),
)


def rays(calibration: Calibration) -> np.ndarray:
    """Directions (H, W, 3) of unit depth through the pixel centres, in the scene's frame."""
    c = calibration.camera
    x, y = np.meshgrid(np.arange(c.width) + 0.5, np.arange(c.height) + 0.5)
    return np.stack([(x - c.cx) / c.fx, -(y - c.cy) / c.fy, -np.ones_like(x)], axis=-1)


LENSES = [lens(), lens(cx=20.3, cy=31.6), lens(fy=150.0), lens(fy=90.0, cx=40.0, cy=10.0)]


@pytest.mark.parametrize("calibration", LENSES, ids=["plain", "off-centre", "tall pixels", "wide pixels off-centre"])
def test_depth_of_a_slanted_plane_is_exact_at_pixel_centres(calibration):
    tilt = np.array([0.7, -0.4, 0.0])
    plane = Thing(body=Shape(kind="plane", size=(3, 3, 1)), position=(0.1, -0.2, -1.2), rotation=tuple(tilt))
    cos, sin = np.cos(tilt), np.sin(tilt)
    normal = np.array([sin[1] * cos[0], -sin[0], cos[1] * cos[0]])  # of +z turned about x, then y
    expected = normal @ plane.position / (rays(calibration) @ normal)
    with Stage(staged(plane), calibration, FAST) as stage:
        depth = stage.depth()
    assert depth.dtype == np.float32
    assert depth == pytest.approx(expected, rel=2e-6)


def test_a_window_shows_what_the_whole_frame_shows_there():
    config = GenerationConfig.parse(
        {"camera": {"width": 96, "height": 72, "window": {"width": 40, "height": 30}}, "lens": {"blur_px": [1, 50]}}
    )
    whole = sample_calibration(3, 1, config)
    part = sample_window(3, 1, config, whole)
    scene = sample_scene(3, 1, config.scene, whole)
    depths, blurred = [], []
    for calibration in (whole, part):
        with Stage(scene, calibration, FAST) as stage:
            depths.append(stage.depth())
            blurred.append(stage.defocused(whole.sweep.near_diopters, samples=64) / stage.exposure)
    left, top = round(whole.camera.cx - part.camera.cx), round(whole.camera.cy - part.camera.cy)
    there = slice(top, top + 30), slice(left, left + 40)
    assert (left, top) != (28, 21)  # not the middle
    assert depths[1] == pytest.approx(depths[0][there], rel=1e-4)
    assert np.corrcoef(blurred[1].ravel(), blurred[0][there].ravel())[0, 1] > 0.97  # noise of paths


def test_depth_of_a_sphere_is_along_z_and_not_along_the_ray():
    centre, radius = np.array([0.05, -0.03, -1.0]), 0.2
    ball = Thing(body=Shape(kind="sphere", size=(0.4, 0.4, 0.4)), position=tuple(centre))
    back = Thing(body=Shape(kind="plane", size=(50, 50, 1)), position=(0, 0, -3.0))
    ray = rays(lens())
    along = ray @ centre
    inside = along**2 - (ray**2).sum(-1) * (centre @ centre - radius**2)
    hit = inside > 0
    expected = (along - np.sqrt(np.where(hit, inside, 0))) / (ray**2).sum(-1)
    with Stage(staged(ball, back), lens(), FAST) as stage:
        depth = stage.depth()
    well_inside = inside > 0.2 * inside.max()
    # The sphere is a polyhedron of 96 by 192 faces: their middles lie up to 2.7e-4 of the radius inside it.
    assert depth[well_inside] == pytest.approx(expected[well_inside], abs=6e-4 * radius)
    assert depth[inside < -0.05 * inside.max()] == pytest.approx(3.0, rel=1e-6)


def test_depth_is_that_of_the_first_surface_unless_it_is_wholly_transparent():
    def pane(z: float, material: Material) -> Thing:
        return Thing(body=Shape(kind="plane", size=(9, 9, 1)), position=(0, 0, z), material=material)

    wall = pane(-2.0, textured(0.1))
    for front, expected in (
        (Material(transmission=1.0, roughness=0.0), 1.0),
        (Material(metallic=1.0, roughness=0.0), 1.0),
        (Material(opacity=0.8), 1.0),
        (Material(opacity=0.2), 1.0),
        (Material(opacity=0.0), 2.0),
    ):
        with Stage(staged(pane(-1.0, front), wall), lens(), FAST) as stage:
            assert stage.depth() == pytest.approx(expected, rel=1e-6)


def test_depth_is_infinite_where_nothing_is():
    small = Thing(body=Shape(kind="plane", size=(0.1, 0.1, 1)), position=(0, 0, -1.0))
    with Stage(staged(small), lens(), FAST) as stage:
        depth = stage.depth()
    assert depth[24, 32] == 1.0
    assert np.isinf(depth[0, 0])


def test_procedural_scenes_have_depth_everywhere_spread_over_the_sweep():
    diopters = []
    for index in range(16):
        scene = sample_scene(3, index, SceneConfig(), lens())
        with Stage(scene, lens(), FAST) as stage:
            depth = stage.depth()
        assert np.isfinite(depth).all()
        assert depth.min() > 0
        assert depth.max() < 100
        diopters.append(1 / depth.ravel())
    share, _ = np.histogram(np.concatenate(diopters), [0, 0.3, 0.9, 1.5, 2.1, 2.7, np.inf])
    share = share / share.sum()
    assert np.all(share[1:5] > 0.1), share
    assert share[0] < 0.2
    assert share[5] < 0.1


@pytest.mark.parametrize("breathing", [0.0, 0.05, -0.05])
def test_refocused_views_look_like_blenders_own_depth_of_field(breathing):
    calibration = lens(breathing)
    with Stage(STILL_LIFE, calibration, RenderSettings(min_views=128)) as stage:
        field = stage.light_field()
        for focus in (0.5, 1.3, 2.5):
            reference = stage.defocused(focus, samples=256)
            ours = refocus(field, focus, calibration)
            error = np.sqrt(np.mean((ours - reference) ** 2))
            assert error < 0.08 * reference.std()
            elsewhere = refocus(field, 1.8, calibration)
            assert np.sqrt(np.mean((elsewhere - reference) ** 2)) > 2 * error


def test_a_stopped_down_light_field_looks_like_a_smaller_aperture():
    wide, narrow = lens(), lens()
    narrow = narrow.model_copy(update={"lens": narrow.lens.model_copy(update={"f_number": 2.4})})
    with Stage(STILL_LIFE, wide, RenderSettings(min_views=400)) as stage:
        ours = refocus(stage.light_field(), 0.7, wide, aperture_scale=0.5)
    with Stage(STILL_LIFE, narrow, RenderSettings()) as stage:
        reference = stage.defocused(0.7, samples=256)
    assert np.sqrt(np.mean((ours - reference) ** 2)) < 0.08 * reference.std()


def test_the_centre_of_the_light_field_is_the_scene_all_in_focus():
    field = render_lightfield(STILL_LIFE, lens(), RenderSettings(min_views=16, intensity_samples=64))
    assert field.intensity.shape == field.depth.shape == (48, 64)
    flat = np.abs(field.depth - 2.0) < 0.01
    focused = refocus(field, 0.5, lens())
    wall = flat & (np.abs(focused - field.intensity) < 0.15 * field.intensity.max())
    assert wall.sum() > 0.8 * flat.sum()


def test_radiance_has_the_exposure_that_the_scene_asks_for():
    for key in (0.1, 0.4):
        scene = STILL_LIFE.model_copy(update={"key": key})
        with Stage(scene, lens(), FAST) as stage:
            assert np.exp(np.log(stage.intensity() + 1e-6).mean()) == pytest.approx(key, rel=0.02)


LAMPS = {
    "sky": {"sky": Sky(below=0.2, above=1.0)},
    "sun": {"lamps": (Lamp(kind="sun", power=3.0, position=(1, 2, 1), target=(0, 0, -1)),)},
    "point": {"lamps": (Lamp(kind="point", power=8.0, position=(0.4, 0.6, -0.2), target=(0, 0, -1), size=0.01),)},
    "spot": {"lamps": (Lamp(kind="spot", power=8.0, position=(0.2, 0.5, -0.1), target=(0, 0, -1), size=0.01),)},
}


@pytest.mark.parametrize("light", LAMPS.values(), ids=LAMPS)
def test_computed_light_is_traced_light_without_its_noise(light):
    """On a sphere alone, where nothing casts a shadow or reflects light."""
    matt = Material(texture=Texture(light=0.6), roughness=1.0)
    ball = Thing(body=Shape(kind="sphere", size=(0.5, 0.5, 0.5)), position=(0, 0, -1.0), material=matt)
    scene = Scene(seed=1, index=0, key=0.2, things=(ball,), **light)
    images = []
    for settings in (
        FAST.model_copy(update={"lighting": "computed"}),
        RenderSettings(intensity_samples=256, bounces=1),
    ):
        with Stage(scene, lens(), settings) as stage:
            images.append(stage._unexposed)
            inside = minimum_filter(np.isfinite(stage.depth()), 5)
    computed, traced = (image[inside] for image in images)
    assert computed.mean() == pytest.approx(traced.mean(), rel=0.1)  # glossy reflection takes some of the diffuse
    assert np.abs(computed - traced).mean() < 0.1 * traced.mean()


def test_computed_light_has_no_noise():
    scene = sample_scene(5, 2, SceneConfig(), lens())
    spread = {}
    for lighting in ("traced", "computed"):
        views = []
        for seed in (5, 77):  # of the paths, not of what is in the scene
            settings = FAST.model_copy(update={"lighting": lighting})
            with Stage(scene.model_copy(update={"seed": seed}), lens(), settings) as stage:
                views.append(stage.light_field(4).views / stage.exposure)
        spread[lighting] = np.abs(views[0] - views[1]).mean() / views[0].mean()
    assert spread["computed"] < 0.005  # paths differ by a hundredth of a pixel
    assert spread["traced"] > 0.05


def test_the_number_of_views_follows_the_blur():
    few = render_lightfield(STILL_LIFE, lens(), RenderSettings(min_views=1, intensity_samples=1))
    many = render_lightfield(STILL_LIFE, lens(), RenderSettings(min_views=1, intensity_samples=1, view_spacing_px=0.75))
    assert len(many.views) == pytest.approx(4 * len(few.views), rel=0.1)
    capped = RenderSettings(max_views=20, intensity_samples=1)
    assert len(render_lightfield(STILL_LIFE, lens(), capped).views) == 20


def test_four_times_the_views_make_the_same_events():
    """A quarter makes many more, of which most are those of its noise, in a scene where noise matters."""
    scene, counts = sample_scene(0, 40, SceneConfig(), lens()), []
    with Stage(scene, lens()) as stage:
        for n_views in (24, 96, 4 * 96):
            stack = refocus_sweep(stage.light_field(n_views), focus_steps(lens()), lens())
            counts.append(len(simulate_sweeps(stack, lens(), PRESETS["clean"], sweeps=2, seed=0).events))
    assert counts[1] == pytest.approx(counts[2], rel=0.05)
    assert counts[0] > 1.25 * counts[2] > 2500


DIGEST = """
import hashlib, sys
import json
from sweepdepth import Calibration
from sweepdepth.synth.blender.stage import render_lightfield
from sweepdepth.synth.optics.render_settings import RenderSettings
from sweepdepth.synth.scenes.scene import Scene
order = json.loads(sys.stdin.read())
field = render_lightfield(
    Scene.model_validate_json(order["scene"]), Calibration.parse(order["lens"]),
    RenderSettings(min_views=8, max_views=8, intensity_samples=2, threads=order["threads"]),
)
print(hashlib.sha256(field.views.tobytes() + field.depth.tobytes() + field.intensity.tobytes()).hexdigest())
"""


def digest(field: LightField) -> str:
    return hashlib.sha256(field.views.tobytes() + field.depth.tobytes() + field.intensity.tobytes()).hexdigest()


def test_the_same_scene_has_the_same_bytes_in_any_process_with_any_number_of_threads():
    calibration = lens()
    scene = sample_scene(0, 9, SceneConfig(), calibration)
    digests = []
    for threads in (1, 2):
        order = {"scene": scene.model_dump_json(), "lens": calibration.to_toml(), "threads": threads}
        run = subprocess.run(
            [sys.executable, "-c", DIGEST], input=json.dumps(order), capture_output=True, text=True, check=True
        )
        digests.append(run.stdout.strip())
    settings = RenderSettings(min_views=8, max_views=8, intensity_samples=2)
    render_lightfield(STILL_LIFE, calibration, FAST)  # earlier renderings have no effect
    digests.append(digest(render_lightfield(scene, calibration, settings)))
    assert len(set(digests)) == 1


def test_a_process_that_has_rendered_generates_scenes_in_others(tmp_path):
    """Whose module path is its own, with Blender's scripts in it."""
    program = """
import sys
from sweepdepth.synth.blender.session import load
from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.job import generate
if __name__ == "__main__":
    load()
    config = GenerationConfig.parse({
        "sweeps": 1, "camera": {"width": 32, "height": 24}, "scene": {"objects": [2, 3]},
        "rendering": {"min_views": 4, "max_views": 4, "intensity_samples": 1}, "intensity": {"frames": 2},
    })
    report = generate(sys.argv[1], 1, 0, config, workers=1)
    print(report.made, report.skipped)
"""
    (tmp_path / "notebook.py").write_text(program)
    command = [sys.executable, str(tmp_path / "notebook.py"), str(tmp_path / "scenes")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout == "1 ()\n"


def test_rendering_prints_nothing(capfd):
    render_lightfield(STILL_LIFE, lens(), FAST)
    assert capfd.readouterr().out == ""


def test_a_scene_without_light_is_an_error():
    dark = STILL_LIFE.model_copy(update={"sky": Sky(below=0.0, above=0.0)})
    with pytest.raises(RenderError, match="black"):
        render_lightfield(dark, lens(), FAST)


def test_a_calibration_with_distortion_is_an_error():
    c = lens()
    distorted = c.model_copy(update={"camera": c.camera.model_copy(update={"distortion": (0.1, 0.0, 0.0, 0.0, 0.0)})})
    with pytest.raises(RenderError, match=r"camera\.distortion"):
        Stage(STILL_LIFE, distorted)


def test_an_image_that_is_cut_short_or_of_another_size_is_an_error(tmp_path):
    rows = np.zeros(3, [("number", "<i4"), ("bytes", "<i4"), ("grey", "<f4", (5,))])
    rows["number"], rows["bytes"], rows["grey"] = np.arange(3), 20, np.arange(15).reshape(3, 5)
    path = tmp_path / "frame.exr"
    path.write_bytes(b"header" + rows.tobytes())
    assert np.array_equal(read_grey(path, 5, 3), np.arange(15).reshape(3, 5))
    for content, size in (
        (rows.tobytes()[4:], (5, 3)),
        (b"header" + rows.tobytes()[:-4], (5, 3)),
        (rows.tobytes(), (3, 3)),
    ):
        path.write_bytes(content)
        with pytest.raises(RenderError, match="is not an image of"):
            read_grey(path, *size)
