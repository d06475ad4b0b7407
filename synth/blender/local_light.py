"""Light computed at each surface point from its normal and the lamps, as shader nodes.

There are no shadows, reflections or transparency, so one path per pixel has no noise. The light of a surface with
Lambertian reflectance ρ is ρ/π times its irradiance.
"""

import math
from typing import Any

import numpy as np

from ..scenes.scene import Lamp, Scene

SPOT_DEGREES, SPOT_BLEND = 70, 0.6  # full angle of spots, and the fraction of it that is soft


def add_local_light(tree: Any, scene: Scene) -> Any:
    """Add nodes for the light that a white surface sends back.

    Args:
        tree: the material's node tree.
        scene: with its lamps and sky.

    Returns:
        The output socket with the radiance, in Blender's units.
    """
    geometry = tree.nodes.new("ShaderNodeNewGeometry")
    nodes = _Nodes(tree, geometry.outputs["Normal"], geometry.outputs["Position"])
    total = nodes.sky(*((scene.sky.below, scene.sky.above) if scene.sky is not None else (0.0, 0.0)))
    for lamp in scene.lamps:
        total = nodes.math("ADD", total, nodes.lamp(lamp))
    return total


class _Nodes:
    """Makes nodes for one surface point."""

    def __init__(self, tree: Any, normal: Any, position: Any) -> None:
        self._tree, self._normal, self._position = tree, normal, position

    def math(self, operation: str, *inputs: Any, clamp: bool = False) -> Any:
        made = self._made("ShaderNodeMath", operation, inputs)
        made.use_clamp = clamp
        return made.outputs[0]

    def vector(self, operation: str, *inputs: Any) -> Any:
        made = self._made("ShaderNodeVectorMath", operation, inputs)
        return made.outputs["Value" if operation in ("DOT_PRODUCT", "LENGTH") else "Vector"]

    def sky(self, below: float, above: float) -> Any:
        """Light of a sky with a linear gradient: its mean, and two thirds of the gradient along the normal."""
        up = self.vector("DOT_PRODUCT", self._normal, (0.0, 1.0, 0.0))
        return self.math("MULTIPLY_ADD", up, (above - below) / 3, (above + below) / 2)

    def lamp(self, lamp: Lamp) -> Any:
        axis = np.subtract(lamp.target, lamp.position)
        axis = axis / np.linalg.norm(axis)
        if lamp.kind == "sun":
            facing = self.vector("DOT_PRODUCT", self._normal, tuple(-axis))
            return self.math("MULTIPLY", self.math("MAXIMUM", facing, 0.0), lamp.power / math.pi)
        ray = self.vector("SUBTRACT", self._position, lamp.position)
        facing = self.math("MULTIPLY", self.vector("DOT_PRODUCT", self._normal, self.vector("NORMALIZE", ray)), -1.0)
        squared = self.math("MAXIMUM", self.vector("DOT_PRODUCT", ray, ray), lamp.size**2 + 1e-9)
        light = self.math("DIVIDE", self.math("MAXIMUM", facing, 0.0), squared)
        if lamp.kind == "spot":
            along = self.vector("DOT_PRODUCT", self.vector("NORMALIZE", ray), tuple(axis))
            edge = math.cos(math.radians(SPOT_DEGREES / 2))
            soft = self.math("DIVIDE", self.math("SUBTRACT", along, edge), (1 - edge) * SPOT_BLEND, clamp=True)
            light = self.math("MULTIPLY", light, soft)
        return self.math("MULTIPLY", light, lamp.power / (4 * math.pi**2))

    def _made(self, kind: str, operation: str, inputs: tuple[Any, ...]) -> Any:
        made = self._tree.nodes.new(kind)
        made.operation = operation
        for socket, value in zip(made.inputs, inputs, strict=False):
            if isinstance(value, float | int | tuple):
                socket.default_value = value
            else:
                self._tree.links.new(value, socket)
        return made
