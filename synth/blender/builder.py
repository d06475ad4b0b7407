"""Builds a scene description in Blender: objects, light, and users' own files."""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.spatial.transform import Rotation

from ...capture.calibration import Calibration
from ..scenes.scene import Asset, Lamp, Scene, Shape, Sky, Thing
from .local_light import SPOT_BLEND, SPOT_DEGREES
from .materials import make_material
from .meshes import shape_mesh
from .session import RenderError, empty_file, open_file, quiet
from .viewpoint import find_viewpoint

_KNOWN_OBJECTS = ("MESH", "CURVE", "SURFACE", "META", "FONT", "VOLUME", "POINTCLOUD", "CURVES")


def build_scene(
    scene: Scene, calibration: Calibration, lighting: Literal["traced", "computed"] = "traced"
) -> tuple[Any, np.ndarray]:
    """Build a scene as Blender's current file, replacing the previous one.

    Args:
        scene: the description.
        calibration: of the camera, to find a viewpoint in a user's scene.
        lighting: see `RenderSettings.lighting`.

    Returns `bpy` and the camera's pose, a 4×4 matrix from the camera's frame (Blender's: looking along −z, y up;
    Blender units) to the world.

    Raises:
        RenderError: Blender or a user's file is missing, unreadable or empty.
    """
    if scene.blend is not None:
        bpy = open_file(scene.blend.path)
        if not any(o.type in _KNOWN_OBJECTS for o in bpy.context.scene.objects):
            raise RenderError(f"{scene.blend.path}: its scene holds nothing to see")
        if scene.blend.viewpoint == "camera":
            return bpy, _camera_pose(bpy, scene.blend.path, scene.index)
        return bpy, find_viewpoint(bpy, scene, calibration)
    bpy = empty_file()
    with quiet():
        for number, thing in enumerate(scene.things):
            _add_thing(bpy, thing, f"thing {number}", scene if lighting == "computed" else None)
        for number, lamp in enumerate(scene.lamps if lighting == "traced" else ()):
            _add_lamp(bpy, lamp, f"lamp {number}")
        if scene.sky is not None:
            _add_sky(bpy, scene.sky, alone=not scene.lamps)
    return bpy, np.eye(4)


def _camera_pose(bpy: Any, path: Path, index: int) -> np.ndarray:
    """Pose, without scale, of camera number `index` of the file, modulo the number of cameras."""
    cameras = sorted((o for o in bpy.context.scene.objects if o.type == "CAMERA"), key=lambda o: o.name)
    if not cameras:
        raise RenderError(f'{path}: has no camera; give it one, or set viewpoint = "sampled"')
    location, rotation, _ = cameras[index % len(cameras)].matrix_world.decompose()
    pose = np.eye(4)
    pose[:3, :3] = np.array(rotation.to_matrix())
    pose[:3, 3] = location
    return pose


def _add_thing(bpy: Any, thing: Thing, name: str, lit_by: Scene | None) -> None:
    if isinstance(thing.body, Asset):
        _add_asset(bpy, thing.body, thing, name)
        return
    built = bpy.data.objects.new(name, _mesh(bpy, thing.body, name))
    built.location, built.rotation_euler = thing.position, thing.rotation
    bpy.context.scene.collection.objects.link(built)
    if thing.material is not None:
        built.data.materials.append(make_material(bpy, thing.material, lit_by))
    if thing.scenery:
        built.visible_diffuse = built.visible_shadow = False


def _mesh(bpy: Any, shape: Shape, name: str) -> Any:
    """A shape as a Blender mesh, with its faces written in bulk."""
    mesh = shape_mesh(shape)
    built = bpy.data.meshes.new(name)
    corners = mesh.faces.ravel().astype(np.int32)
    built.vertices.add(len(mesh.vertices))
    built.vertices.foreach_set("co", mesh.vertices.astype(np.float32).ravel())
    built.loops.add(len(corners))
    built.loops.foreach_set("vertex_index", corners)
    built.polygons.add(len(mesh.faces))
    built.polygons.foreach_set("loop_start", np.arange(0, len(corners), 4, dtype=np.int32))
    built.polygons.foreach_set("use_smooth", np.full(len(mesh.faces), mesh.smooth))
    built.update(calc_edges=True)
    built.validate()
    return built


def _add_asset(bpy: Any, asset: Asset, thing: Thing, name: str) -> None:
    """Import a model, and parent it to an empty that scales, centres and rotates it."""
    before = set(bpy.data.objects)
    try:
        if asset.path.suffix.lower() == ".obj":
            bpy.ops.wm.obj_import(filepath=str(asset.path))
        else:
            bpy.ops.import_scene.gltf(filepath=str(asset.path))
    except RuntimeError as error:
        raise RenderError(f"{asset.path}: cannot be imported: {str(error).strip().splitlines()[0]}") from error
    new = [o for o in bpy.data.objects if o not in before]
    for o in new:
        if o.type in ("CAMERA", "LIGHT"):
            bpy.data.objects.remove(o)
    new = [o for o in bpy.data.objects if o not in before]
    bpy.context.view_layer.update()
    corners = np.array([np.array(o.matrix_world)[:3] @ (*c, 1.0) for o in new if o.type == "MESH" for c in o.bound_box])
    if not corners.size or np.ptp(corners, axis=0).max() == 0:
        raise RenderError(f"{asset.path}: holds no mesh; remove it from the folder of assets")
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = asset.size_m / float((high - low).max())
    centring = bpy.data.objects.new(f"{name} centring", None)
    centring.location = -(low + high) / 2 * scale
    centring.scale = (scale,) * 3
    holder = bpy.data.objects.new(name, None)
    holder.location, holder.rotation_euler = thing.position, thing.rotation
    for o in (holder, centring):
        bpy.context.scene.collection.objects.link(o)
    centring.parent = holder
    for o in new:
        if o.parent is None:
            o.parent = centring
        if thing.material is not None and o.type == "MESH":
            o.data.materials.clear()
            o.data.materials.append(make_material(bpy, thing.material))


def _add_lamp(bpy: Any, lamp: Lamp, name: str) -> None:
    data = bpy.data.lights.new(name, lamp.kind.upper())
    data.energy = lamp.power
    if lamp.kind == "sun":
        data.angle = lamp.size
    elif lamp.kind == "area":
        data.size = max(lamp.size, 1e-3)
    else:
        data.shadow_soft_size = lamp.size
    if lamp.kind == "spot":
        data.spot_size, data.spot_blend = math.radians(SPOT_DEGREES), SPOT_BLEND
    built = bpy.data.objects.new(name, data)
    built.location = lamp.position
    ahead = np.subtract(lamp.target, lamp.position)
    # Lamps shine along their −z.
    turn = Rotation.align_vectors(ahead[None], np.array([[0.0, 0.0, -1.0]]))[0]
    built.rotation_euler = turn.as_euler("xyz").tolist()
    built.visible_camera = False
    bpy.context.scene.collection.objects.link(built)


def _add_sky(bpy: Any, sky: Sky, alone: bool) -> None:
    """Environment light with a vertical gradient."""
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    # With lamps, the sky is sampled by bounces only and every shadow ray goes to a lamp: 25 % less noise. Its map
    # can be coarse: a gradient at Cycles' default resolution took a second per scene.
    world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL" if alone else "NONE", 64
    tree = world.node_tree
    up = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(tree.nodes.new("ShaderNodeTexCoord").outputs["Generated"], up.inputs[0])
    ramp = tree.nodes.new("ShaderNodeMapRange")
    for name, value in (("From Min", -1.0), ("From Max", 1.0), ("To Min", sky.below), ("To Max", sky.above)):
        ramp.inputs[name].default_value = value
    tree.links.new(up.outputs["Y"], ramp.inputs["Value"])
    tree.links.new(ramp.outputs["Result"], tree.nodes["Background"].inputs["Strength"])
    tree.nodes["Background"].inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
