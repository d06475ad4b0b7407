"""Render settings, for Blender and patch scenes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class RenderSettings(BaseModel):
    """Render settings. The defaults were chosen by `bench/rendering.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    view_spacing_px: Annotated[float, Field(gt=0)] = 1.5
    """Largest distance of neighbouring views in the scene's largest blur disc; determines the number of views."""
    min_views: Annotated[int, Field(ge=1)] = 96
    """Least number of views: each has one path per pixel, so their number determines the noise."""
    max_views: Annotated[int, Field(ge=1)] = 512
    """Most views, to bound time and memory."""
    intensity_samples: Annotated[int, Field(ge=1)] = 16
    """Paths per pixel of the all-in-focus image."""
    dof_samples: Annotated[int, Field(ge=1)] = 64
    """Paths per pixel of each image with Blender's own depth of field."""
    bounces: Annotated[int, Field(ge=0)] = 4
    """Diffuse and glossy bounces in procedural scenes; users' scenes keep their own limits."""
    lighting: Literal["traced", "computed"] = "traced"
    """How procedural scenes are lit: by path tracing, or computed from normals and lamps alone, as in the local
    illumination of early renderers: neither shadows nor reflections, and no noise, which causes events of its own."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of each scene's process; 0: cores divided by workers, in a job, or one per core."""
    device: Literal["cpu", "gpu"] = "cpu"
