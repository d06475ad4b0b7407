"""Description of a scene, independent of the renderer.

A `Scene` is plain, frozen data that can be converted to and from JSON, and is stored in the attributes of every dataset
file. Positions are metres in Blender's camera frame: x to the right, y up, the camera at the origin looking along −z,
so a surface at depth d is at z = −d.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Vector = tuple[Finite, Finite, Finite]

ShapeKind = Literal[
    "plane", "box", "sphere", "cylinder", "cone", "torus", "knot", "wire", "grille", "star", "leaves", "shell"
]
TextureKind = Literal["plain", "noise", "cells", "cracks", "patches", "waves", "rings", "checker", "bricks", "marble"]
LampKind = Literal["sun", "point", "area", "spot"]
SceneKind = Literal["room", "open", "planes", "clutter", "tabletop", "relief"]
Adversity = Literal["repetition", "transparency", "mirror"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Texture(_Part):
    """Grey reflectance over a surface, in object coordinates."""

    kind: TextureKind = "plain"
    feature_m: Positive = 0.01  # size of the coarsest detail
    dark: Fraction = 0.5  # reflectance of the darkest part
    light: Fraction = 0.5  # reflectance of the lightest part
    sharpness: Fraction = 0.0  # 0: soft gradients, 1: hard edges
    octaves: Annotated[float, Field(ge=0, le=8)] = 0.0  # octaves of finer detail
    distortion: NotNegative = 0.0
    offset: Vector = (0.0, 0.0, 0.0)  # of the pattern, in features


class Material(_Part):
    """Optical properties of a surface."""

    texture: Texture = Texture()
    roughness: Fraction = 0.8
    metallic: Fraction = 0.0
    transmission: Fraction = 0.0  # 1: glass
    opacity: Fraction = 1.0  # below 1: partly transparent
    emission: NotNegative = 0.0  # > 0: emits texture × emission, and reflects nothing


class Shape(_Part):
    """A mesh made in a unit box around the origin, deformed there, then scaled to `size`."""

    kind: ShapeKind
    size: tuple[Positive, Positive, Positive]
    bumps: NotNegative = 0.0  # amplitude of smooth random displacement, in box edges
    bump_scale: Positive = 0.3  # its wavelength, in box edges
    twist: Finite = 0.0  # radians from one end of the box's y axis to the other
    taper: Annotated[float, Field(gt=-1, lt=1)] = 0.0  # relative narrowing along y
    seed: Annotated[int, Field(ge=0)] = 0  # of the displacement, and of random shapes
    pieces: Annotated[int, Field(ge=1, le=400)] = 1  # bars of a grille, leaves, points of a star, bends of a wire
    thickness: Fraction = 0.1  # of bars, wires and tubes, in box edges


class Asset(_Part):
    """A model file (glTF, GLB or OBJ), scaled so that the longest edge of its bounding box is `size_m`."""

    path: Path
    size_m: Positive


class Thing(_Part):
    """One object: a shape or asset with its pose and material."""

    body: Shape | Asset
    position: Vector  # metres
    rotation: Vector = (0.0, 0.0, 0.0)  # XYZ Euler angles, radians
    material: Material | None = None  # None: the asset's own
    scenery: bool = False  # walls and sky: visible, but transparent to light from outside


class Lamp(_Part):
    """A light source. A sun shines along its direction everywhere; the others are at `position`."""

    kind: LampKind
    power: Positive  # sun: W/m² of irradiance; others: W
    position: Vector = (0.0, 0.0, 0.0)  # metres
    target: Vector  # point that it shines at
    size: NotNegative = 0.0  # sun: angle in radians; area: edge, others: radius in metres


class Sky(_Part):
    """Environment light: radiance below and above, with a gradient between."""

    below: NotNegative
    above: NotNegative


class BlendFile(_Part):
    """A user's Blender scene and the viewpoint.

    `viewpoint` "camera" uses the file's cameras in order of their names, by the scene's index; "sampled" searches for
    an unobstructed viewpoint from which most of the view is within the sweep.
    """

    path: Path
    viewpoint: Literal["camera", "sampled"] = "camera"


class Scene(_Part):
    """Everything that a renderer needs to draw one scene, except the lens.

    Invariant: either `blend` is given, or there are things and some light.
    """

    version: Literal[1] = 1
    seed: Annotated[int, Field(ge=0)]
    index: Annotated[int, Field(ge=0)]
    kind: SceneKind | None = None
    adversity: Adversity | None = None
    key: Positive  # exposure: geometric mean of radiance over the all-in-focus image
    things: tuple[Thing, ...] = ()
    lamps: tuple[Lamp, ...] = ()
    sky: Sky | None = None
    blend: BlendFile | None = None

    @model_validator(mode="after")
    def _something_to_see(self) -> Self:
        if self.blend is None and (not self.things or (self.sky is None and not self.lamps)):
            raise ValueError("a scene needs things and light, or a Blender file")
        if self.blend is not None and (self.things or self.lamps or self.sky):
            raise ValueError("a Blender file brings its own things and light")
        return self
