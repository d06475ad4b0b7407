"""Training sweeps without end, made on the device that trains: patch scenes → light field → focal stack → event counts.

Blender's scenes are few, since each takes seconds. Here scenes are cut from patches, surfaces whose inverse depth is a
smooth function over the image, and everything from rays to pixels is tensors: hundreds of sweeps a second on a GPU.
Optics and pixel are those of the rest of `synth`: views over the aperture that occlude one another, a lens that
breathes, the same photoreceptor and thresholds (tests compare them). Focal stacks that Blender rendered join in.
"""

from .packed import load_pool, write_pack
from .source import EndlessConfig, EndlessSweeps, endless_batches
