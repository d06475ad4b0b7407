"""Rendering users' Blender files and models."""

import math
from pathlib import Path

import numpy as np
import pytest

from sweepdepth import Calibration
from sweepdepth.synth.blender.session import RenderError, empty_file, is_installed, quiet
from sweepdepth.synth.blender.stage import Stage, render_lightfield
from sweepdepth.synth.optics.render_settings import RenderSettings
from sweepdepth.synth.scenes.layouts import SceneConfig, find_assets, sample_scene
from sweepdepth.synth.scenes.scene import Asset, Scene, Sky, Thing

pytestmark = pytest.mark.skipif(not is_installed(), reason="Blender (bpy) is not installed")

FAST = RenderSettings(min_views=8, max_views=8, intensity_samples=2)

LENS = Calibration.parse("""
    camera = { width = 64, height = 48, pixel_pitch_um = 100.0, fx = 120.0, fy = 120.0, cx = 32.0, cy = 24.0 }
    lens = { focal_length_mm = 24.0, f_number = 1.2 }
    sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
""")


def save_room(path: Path, camera: bool = True, scale: float = 1.0, script: str = "") -> Path:
    """A Blender file: a table top at z = 0, a box on it, a lamp, a camera 1 m above that looks down."""
    bpy = empty_file()
    bpy.ops.mesh.primitive_plane_add(size=4)
    pattern = bpy.data.materials.new("pattern")
    nodes, links = pattern.node_tree.nodes, pattern.node_tree.links
    checker = nodes.new("ShaderNodeTexChecker")
    checker.inputs["Scale"].default_value = 40.0
    links.new(checker.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    bpy.context.object.data.materials.append(pattern)
    bpy.ops.mesh.primitive_cube_add(size=0.2, location=(0.1, 0.0, 0.1))
    bpy.ops.object.light_add(type="SUN", location=(0, 0, 5))
    if camera:
        bpy.ops.object.camera_add(location=(0, 0, 1.0 / scale), rotation=(0, 0, 0), scale=(2, 2, 2))
    bpy.context.scene.unit_settings.scale_length = scale
    bpy.context.scene.render.engine = "BLENDER_WORKBENCH"
    bpy.context.scene.render.resolution_percentage = 50
    if script:
        text = bpy.data.texts.new("startup.py")
        text.write(script)
        text.use_module = True
    with quiet():
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def of_file(path: Path, index: int = 0, **config: str) -> Scene:
    return sample_scene(0, index, SceneConfig.model_validate({"blend": path, **config}), LENS)


def test_a_blender_file_is_rendered_from_its_camera_with_the_configured_lens(tmp_path):
    field = render_lightfield(of_file(save_room(tmp_path / "room.blend")), LENS, FAST)
    assert field.depth[0, 0] == pytest.approx(1.0)  # the table, 1 m below
    assert field.depth[24, 40] == pytest.approx(0.8)  # the box on it, 0.2 m high
    # The box's left edge lies in the camera's plane of symmetry.
    assert field.depth[24, 34] == pytest.approx(0.8)
    assert field.depth[24, 30] == pytest.approx(1.0)
    assert field.intensity.min() > 0


def test_a_blender_files_own_unit_of_length_is_honoured(tmp_path):
    path = save_room(tmp_path / "room.blend", scale=0.5)
    with Stage(of_file(path), LENS, FAST) as stage:
        depth = stage.depth()
        elsewhere, there = stage.defocused(2.5), stage.defocused(1.0)
    assert depth[0, 0] == pytest.approx(1.0)  # 2 units of half a metre
    assert depth[24, 40] == pytest.approx(0.9)
    table = depth > 0.95
    assert there[table].std() > 1.4 * elsewhere[table].std()


def test_scripts_in_a_blender_file_do_not_run(tmp_path):
    mark = tmp_path / "ran"
    path = save_room(tmp_path / "room.blend", script=f"open({str(mark)!r}, 'w').close()")
    render_lightfield(of_file(path), LENS, FAST)
    assert not mark.exists()


def test_cameras_are_used_in_turn_by_name(tmp_path):
    path = save_room(tmp_path / "room.blend")
    bpy = empty_file()
    with quiet():
        bpy.ops.wm.open_mainfile(filepath=str(path))
        bpy.ops.object.camera_add(location=(1.0, 1.0, 1.5))
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
    corners = []
    for index in range(3):
        with Stage(of_file(path, index), LENS, FAST) as stage:
            corners.append(float(stage.depth()[0, 0]))
    assert corners == pytest.approx([1.0, 1.5, 1.0])


def test_sampled_viewpoints_differ_and_show_objects_within_the_sweep(tmp_path):
    path = save_room(tmp_path / "room.blend", camera=False)
    depths = []
    for index in range(3):
        with Stage(of_file(path, index, viewpoint="sampled"), LENS, FAST) as stage:
            depths.append(stage.depth())
        diopters = 1 / depths[-1]
        assert np.mean((diopters >= 0.5) & (diopters <= 2.5)) > 0.8
    assert not np.array_equal(depths[0], depths[1])
    with Stage(of_file(path, 0, viewpoint="sampled"), LENS, FAST) as stage:
        assert np.array_equal(stage.depth(), depths[0])


def test_a_blender_file_without_a_camera_is_an_error_with_a_remedy(tmp_path):
    path = save_room(tmp_path / "room.blend", camera=False)
    with pytest.raises(RenderError, match='no camera; give it one, or set viewpoint = "sampled"'):
        render_lightfield(of_file(path), LENS, FAST)


def test_other_files_than_blender_files_are_errors(tmp_path):
    (tmp_path / "not.blend").write_bytes(b"nonsense")
    with pytest.raises(RenderError, match=r"not\.blend: cannot be opened"):
        render_lightfield(of_file(tmp_path / "not.blend"), LENS, FAST)
    with pytest.raises(RenderError, match=r"missing\.blend: cannot be opened"):
        render_lightfield(of_file(tmp_path / "missing.blend"), LENS, FAST)


def test_an_empty_blender_file_is_an_error(tmp_path):
    bpy = empty_file()
    with quiet():
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "empty.blend"))
    with pytest.raises(RenderError, match="holds nothing to see"):
        render_lightfield(of_file(tmp_path / "empty.blend"), LENS, FAST)


OBJ = "".join(f"v {10 + x} {y} {3 * z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1)) + "f 1 3 7 5\nf 2 4 8 6\n"


@pytest.mark.parametrize(("suffix", "edge"), [("obj", 0.1), ("glb", 0.3)])
def test_a_model_is_centred_and_scaled_to_its_place(tmp_path, suffix, edge):
    model = tmp_path / f"model.{suffix}"
    if suffix == "obj":  # 1 × 1 × 3, the long edge away from the camera
        model.write_text(OBJ)
    else:  # a cube
        bpy = empty_file()
        with quiet():
            bpy.ops.mesh.primitive_cube_add(size=7, location=(30, 0, 0))
            bpy.ops.export_scene.gltf(filepath=str(model))
    thing = Thing(body=Asset(path=model, size_m=0.3), position=(0.0, 0.0, -1.0), rotation=(math.pi / 2, 0.0, 0.0))
    scene = Scene(seed=0, index=0, key=0.2, things=(thing,), sky=Sky(below=1.0, above=1.0))
    with Stage(scene, LENS, FAST) as stage:
        depth = stage.depth()
    seen = np.isfinite(depth)
    rows, columns = np.nonzero(seen)
    assert depth[seen].min() == pytest.approx(0.85, rel=1e-5)
    assert np.ptp(columns) + 1 == pytest.approx(120 * edge / 0.85, abs=1.01)
    assert np.ptp(rows) + 1 == pytest.approx(120 * edge / 0.85, abs=1.01)
    assert (columns.mean(), rows.mean()) == (pytest.approx(31.5, abs=0.51), pytest.approx(23.5, abs=0.51))


def test_models_appear_in_procedural_scenes(tmp_path):
    (tmp_path / "model.obj").write_text(OBJ)
    config = SceneConfig(assets=find_assets(tmp_path), asset_share=1.0, objects=(5, 5))
    field = render_lightfield(sample_scene(0, 1, config, LENS), LENS, FAST)
    assert np.isfinite(field.depth).all()


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_a_model_that_cannot_be_read_is_an_error(tmp_path, suffix):
    model = tmp_path / f"broken.{suffix}"
    model.write_bytes(b"nonsense")
    thing = Thing(body=Asset(path=model, size_m=0.3), position=(0.0, 0.0, -1.0))
    scene = Scene(seed=0, index=0, key=0.2, things=(thing,), sky=Sky(below=1.0, above=1.0))
    with pytest.raises(RenderError, match=rf"broken\.{suffix}: "):
        render_lightfield(scene, LENS, FAST)
