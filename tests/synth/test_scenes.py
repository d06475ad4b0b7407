"""Scene descriptions drawn from a seed, before rendering."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from sweepdepth import Calibration
from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.synth.blender.meshes import shape_mesh
from sweepdepth.synth.scenes.frustum import Frustum
from sweepdepth.synth.scenes.layouts import SceneConfig, find_assets, sample_scene
from sweepdepth.synth.scenes.scene import Asset, Scene, Shape, Thing

LENS = """
camera = { width = 346, height = 260, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 173.0, cy = 130.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration.parse(LENS)


@pytest.fixture(scope="module")
def scenes(calibration: Calibration) -> list[Scene]:
    return [sample_scene(5, i, SceneConfig(), calibration) for i in range(250)]


def test_a_scene_depends_on_seed_and_number_alone(calibration, scenes):
    assert sample_scene(5, 17, SceneConfig(), calibration) == scenes[17]
    assert sample_scene(6, 17, SceneConfig(), calibration) != scenes[17]
    assert len({scene.model_dump_json() for scene in scenes}) == len(scenes)


def test_a_scene_survives_json(scenes):
    for scene in scenes[:50]:
        assert Scene.model_validate_json(scene.model_dump_json()) == scene


def test_scenes_are_of_every_kind_with_every_sort_of_surface_and_light(scenes):
    assert {scene.kind for scene in scenes} == {"room", "open", "planes", "clutter", "tabletop", "relief"}
    things = [thing for scene in scenes for thing in scene.things]
    shapes = {thing.body.kind for thing in things if isinstance(thing.body, Shape)}
    assert shapes == {
        "plane", "box", "sphere", "cylinder", "cone", "torus", "knot", "wire", "grille", "star", "leaves", "shell"
    }  # fmt: skip
    materials = [thing.material for thing in things if thing.material is not None]
    share = Counter()
    for material in materials:
        share["plain"] += material.texture.kind == "plain"
        share["dark"] += max(material.texture.light, material.texture.dark) <= 0.03
        share["glossy"] += material.roughness < 0.35 and material.metallic == 0
        share["metal"] += material.metallic == 1
    assert all(0.01 < share[kind] / len(materials) < 0.3 for kind in ("plain", "dark", "glossy", "metal")), share
    lamps = {lamp.kind for scene in scenes for lamp in scene.lamps}
    assert lamps == {"sun", "area", "point", "spot"}
    assert any(not scene.lamps for scene in scenes)


def test_a_few_percent_of_scenes_are_adversarial(scenes):
    adversities = Counter(scene.adversity for scene in scenes)
    assert 0.01 <= 1 - adversities[None] / len(scenes) <= 0.08
    assert set(adversities) == {None, "repetition", "transparency", "mirror"}


def test_every_adversity_changes_its_scene(scenes):
    for scene in scenes:
        materials = [thing.material for thing in scene.things if thing.material is not None and not thing.scenery]
        if scene.adversity == "transparency":
            assert any(m.transmission == 1 or m.opacity < 1 for m in materials)
        if scene.adversity == "mirror":
            assert any(m.roughness == 0 and m.metallic == 1 for m in materials)
        if scene.adversity == "repetition":
            assert len(set(materials)) == 1


def test_loose_objects_lie_evenly_in_diopters_over_the_sweep_and_a_little_beyond(scenes):
    diopters = np.array([-1 / t.position[2] for s in scenes for t in s.things if not t.scenery])
    assert diopters.min() >= 0.3 - 1e-9
    assert diopters.max() <= 2.7 + 1e-9
    fifths, _ = np.histogram(diopters, np.linspace(0.3, 2.7, 6))
    assert np.all(np.abs(fifths / len(diopters) - 0.2) < 0.04)


def test_detail_spans_two_to_a_hundred_and_sixty_pixels_at_its_depth(scenes):
    pixels = [
        648.6 * t.material.texture.feature_m / -t.position[2]
        for s in scenes
        if s.adversity is None
        for t in s.things
        if t.material is not None and t.material.texture.kind != "plain" and not t.scenery
    ]
    assert min(pixels) >= 2 - 1e-6
    assert max(pixels) <= 160 + 1e-6
    assert np.percentile(pixels, 10) < 4.5
    assert np.percentile(pixels, 90) > 80


def test_every_scene_has_a_background_within_a_hundred_metres(scenes):
    for scene in scenes:
        shells = [t.body for t in scene.things if isinstance(t.body, Shape) and t.body.kind == "shell"]
        assert len(shells) == 1
        assert shells[0].size[0] / 2 < 100


def test_the_number_of_objects_is_configured(calibration):
    few = SceneConfig(objects=(0, 0))
    for i in range(30):
        many = sample_scene(0, i, SceneConfig(objects=(200, 200)), calibration)
        assert len([t for t in many.things if not t.scenery]) >= 40
        assert len([t for t in sample_scene(0, i, few, calibration).things if not t.scenery]) <= 13


def test_assets_are_dropped_among_the_objects(calibration, tmp_path):
    for name in ("b.glb", "a.obj", "c.txt"):
        (tmp_path / name).touch()
    assets = find_assets(tmp_path)
    assert [path.name for path in assets] == ["a.obj", "b.glb"]
    scene = sample_scene(0, 0, SceneConfig(assets=assets, asset_share=1.0), calibration)
    used = {thing.body.path for thing in scene.things if isinstance(thing.body, Asset)}
    assert used == set(assets)
    assert Scene.model_validate_json(scene.model_dump_json()) == scene


def test_a_folder_without_models_is_an_error(tmp_path):
    with pytest.raises(SweepdepthError, match="holds no models"):
        find_assets(tmp_path)


def test_a_blender_file_replaces_procedural_objects(calibration):
    scene = sample_scene(0, 3, SceneConfig(blend=Path("kitchen.blend"), viewpoint="sampled"), calibration)
    assert scene.blend is not None
    assert scene.blend.viewpoint == "sampled"
    assert not scene.things


def test_a_scene_without_objects_or_light_is_refused(scenes):
    with pytest.raises(ValidationError, match="needs things and light"):
        Scene(seed=0, index=0, key=0.2)
    with pytest.raises(ValidationError, match="brings its own"):
        Scene.model_validate({**scenes[0].model_dump(), "blend": {"path": "x.blend"}})


def test_descending_ranges_are_refused():
    with pytest.raises(ValidationError, match=r"key: the range \[0.3, 0.1\]"):
        SceneConfig(key=(0.3, 0.1))


def test_a_plane_has_the_inverse_depths_it_was_asked_for_at_the_edges_of_the_frame():
    frustum = Frustum(width=320, height=200, fx=300, fy=280, cx=150, cy=110, far=0.3, near=2.7)
    normal, distance = frustum.plane(left=0.5, right=1.5, top=0.8, bottom=1.2)
    for (x, y), diopters in (((0, 100), 0.5), ((320, 100), 1.5), ((160, 0), 0.8), ((160, 200), 1.2)):
        assert np.dot(frustum.point(x, y, diopters), normal) == pytest.approx(-distance)
    assert normal[2] > 0


@pytest.mark.parametrize("kind", ["box", "sphere", "cylinder", "cone", "torus", "knot", "wire", "grille", "star"])
def test_solid_shapes_are_closed_fit_their_size_and_look_outward(kind):
    mesh = shape_mesh(Shape(kind=kind, size=(2.0, 1.0, 0.5), pieces=5, seed=3))
    extent = np.ptp(mesh.vertices, axis=0)
    assert np.all(extent < np.array([2.0, 1.0, 0.5]) * 1.2)
    assert extent[0] == pytest.approx(2.0, rel=0.2)
    a, b, c, d = (mesh.vertices[mesh.faces[:, i]] for i in range(4))
    # Divergence theorem: faces that look outward enclose a positive volume, and their areas as vectors sum to nothing.
    volume = (np.einsum("ij,ij", a, np.cross(b, c)) + np.einsum("ij,ij", a, np.cross(c, d))) / 6
    assert volume > 0
    if kind != "wire":  # open at its two ends
        assert (np.cross(c - a, d - b) / 2).sum(axis=0) == pytest.approx(0, abs=1e-9)


def test_a_sphere_is_a_sphere():
    radius = np.linalg.norm(shape_mesh(Shape(kind="sphere", size=(3.0, 3.0, 3.0))).vertices, axis=1)
    assert radius == pytest.approx(1.5)


def test_deformation_is_seeded_and_bounded():
    def sheet(seed: int) -> np.ndarray:
        return shape_mesh(Shape(kind="plane", size=(1, 1, 0.2), bumps=0.5, seed=seed)).vertices

    assert np.array_equal(sheet(1), sheet(1))
    assert not np.array_equal(sheet(1), sheet(2))
    assert np.abs(sheet(1)[:, 2]).max() <= 0.1
    assert np.ptp(sheet(1)[:, 2]) > 0.05


def test_a_twist_turns_one_end_against_the_other():
    mesh = shape_mesh(Shape(kind="box", size=(1, 1, 1), twist=math.pi / 2))
    top = mesh.vertices[np.isclose(mesh.vertices[:, 1], 0.5)]
    assert np.abs(top[:, [0, 2]]).max() == pytest.approx(math.sqrt(0.5), rel=1e-6)


def test_objects_keep_their_place():
    thing = Thing(body=Shape(kind="box", size=(1, 1, 1)), position=(1.0, 2.0, -3.0))
    assert thing.rotation == (0.0, 0.0, 0.0)
