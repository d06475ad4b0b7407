"""How scenes are rendered, with Blender and without."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class RenderSettings(BaseModel):
    """How scenes are rendered. The defaults were chosen by `bench/rendering.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    view_spacing_px: Annotated[float, Field(gt=0)] = 1.5
    """Neighbouring views are at most this far apart in the largest blur disc of the scene; sets their number."""
    min_views: Annotated[int, Field(ge=1)] = 96
    """Never fewer views: each brings one path per pixel, and their number sets the noise."""
    max_views: Annotated[int, Field(ge=1)] = 512
    """Never more views, whatever the blur: bounds time and memory."""
    intensity_samples: Annotated[int, Field(ge=1)] = 16
    """Paths per pixel of the all-in-focus image."""
    dof_samples: Annotated[int, Field(ge=1)] = 64
    """Paths per pixel of each image with Blender's own depth of field."""
    bounces: Annotated[int, Field(ge=0)] = 4
    """Diffuse and glossy reflections in procedural scenes; users' own scenes keep their own limits."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of Blender; 0: one per core."""
    device: Literal["cpu", "gpu"] = "cpu"
