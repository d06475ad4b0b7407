"""Patch scenes: a renderer of dataset scenes that needs no Blender and a fraction of a second a scene.

    light_field = render_patches(sample_patches(seed, index, config.scene, calibration), calibration)

`scene` says what such scenes are, `sampling` draws them, `textures` and `outlines` make their surfaces, `rays` casts
the views.
"""

from .render import render_patches
from .sampling import sample_patches
from .scene import Patch, PatchScene
