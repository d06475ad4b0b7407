"""Patch scenes: a renderer of dataset scenes without Blender that takes a fraction of a second per scene.

    light_field = render_patches(sample_patches(seed, index, config.scene, calibration), calibration)

`scene` defines such scenes, `sampling` draws them, `textures` and `outlines` make their surfaces, and `rays` renders
the views.
"""

from .render import render_patches
from .sampling import sample_patches
from .scene import Patch, PatchScene
