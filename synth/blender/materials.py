"""Materials of a scene description as Blender's shader nodes."""

from typing import Any

from ..scenes.scene import Material, Scene, Texture
from .local_light import add_local_light


def make_material(bpy: Any, material: Material, lit_by: Scene | None = None) -> Any:
    """Make a Blender material from its description.

    Args:
        bpy: Blender.
        material: the description.
        lit_by: the scene whose lamps the light is computed from, without shadows and reflections; None: path tracing.
    """
    made = bpy.data.materials.new("material")
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    grey = _pattern(made.node_tree, material.texture)
    output = nodes.new("ShaderNodeOutputMaterial")
    if material.emission > 0 or lit_by is not None:
        shader = nodes.new("ShaderNodeEmission")
        shader.inputs["Strength"].default_value = material.emission
        if material.emission == 0 and lit_by is not None:
            links.new(add_local_light(made.node_tree, lit_by), shader.inputs["Strength"])
        links.new(grey, shader.inputs["Color"])
        made.cycles.emission_sampling = "NONE"  # visible, but not sampled as a lamp: it may have many faces
    else:
        shader = nodes.new("ShaderNodeBsdfPrincipled")
        links.new(grey, shader.inputs["Base Color"])
        for name, value in (
            ("Roughness", material.roughness),
            ("Metallic", material.metallic),
            ("Transmission Weight", material.transmission),
            ("Alpha", material.opacity),
        ):
            shader.inputs[name].default_value = value
    links.new(shader.outputs[0], output.inputs["Surface"])
    return made


def _pattern(tree: Any, texture: Texture) -> Any:
    """The output socket with the reflectance of a texture."""
    if texture.kind == "plain":
        value = tree.nodes.new("ShaderNodeValue")
        value.outputs[0].default_value = texture.light
        return value.outputs[0]
    place = tree.nodes.new("ShaderNodeVectorMath")
    place.operation = "MULTIPLY_ADD"
    place.inputs[1].default_value = (1.0 / texture.feature_m,) * 3
    place.inputs[2].default_value = texture.offset
    tree.links.new(tree.nodes.new("ShaderNodeTexCoord").outputs["Object"], place.inputs[0])
    field, low, high = _field(tree, texture)
    tree.links.new(place.outputs[0], field.node.inputs["Vector"])
    # Hard edges are a steep ramp around the middle of the field's values.
    middle, half = (low + high) / 2, (high - low) / 2 * max(1.0 - texture.sharpness, 0.02)
    ramp = tree.nodes.new("ShaderNodeMapRange")
    ramp.inputs["From Min"].default_value = middle - half
    ramp.inputs["From Max"].default_value = middle + half
    ramp.inputs["To Min"].default_value = texture.dark
    ramp.inputs["To Max"].default_value = texture.light
    tree.links.new(field, ramp.inputs["Value"])
    return ramp.outputs["Result"]


def _field(tree: Any, texture: Texture) -> tuple[Any, float, float]:
    """The output socket of a scalar field with features of size 1, and the range of most of its values."""

    def node(kind: str, **inputs: float) -> Any:
        made = tree.nodes.new(f"ShaderNodeTex{kind}")
        for name, value in inputs.items():
            made.inputs[name.replace("_", " ")].default_value = value
        return made

    kind, detail, bent = texture.kind, texture.octaves, texture.distortion
    if kind == "noise":
        return node("Noise", Scale=1.0, Detail=detail, Distortion=bent).outputs["Factor"], 0.35, 0.65
    if kind == "marble":
        made = node("Noise", Scale=0.7, Detail=detail, Distortion=bent)
        made.noise_type = "RIDGED_MULTIFRACTAL"
        return made.outputs["Factor"], 0.2, 0.9
    if kind == "cells":
        return node("Voronoi", Scale=1.0, Detail=detail).outputs["Distance"], 0.1, 0.8
    if kind == "patches":  # each cell has its own grey
        return node("Voronoi", Scale=1.0).outputs["Color"], 0.1, 0.9
    if kind == "cracks":
        made = node("Voronoi", Scale=1.0, Detail=0.0)
        made.feature = "DISTANCE_TO_EDGE"
        return made.outputs["Distance"], 0.02, 0.12
    if kind in ("waves", "rings"):
        # Blender's waves have 20 radians per unit; scaled here to a period of 1.
        made = node("Wave", Scale=0.314, Distortion=3 * bent, Detail=detail)
        made.wave_type = "BANDS" if kind == "waves" else "RINGS"
        made.bands_direction, made.rings_direction = "DIAGONAL", "SPHERICAL"
        return made.outputs["Factor"], 0.1, 0.9
    if kind == "checker":
        return node("Checker", Scale=1.0).outputs["Factor"], 0.0, 1.0
    made = node("Brick", Scale=0.5, Mortar_Size=0.03)
    for name, grey in (("Color1", 0.6), ("Color2", 1.0), ("Mortar", 0.0)):
        made.inputs[name].default_value = (grey, grey, grey, 1.0)
    return made.outputs["Color"], 0.0, 1.0
