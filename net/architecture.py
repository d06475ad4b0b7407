"""The shape of a network, and the presets; all that can be said of one without torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .representation import Representation

_WIDTHS = (16, 32, 64, 112, 160)


class NetworkConfig(BaseModel):
    """Everything that a network's shape depends on; stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "default"
    representation: Representation = Representation()
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = _WIDTHS
    """Channels at the stem's resolution, and at each halving of it."""
    stem: Literal[1, 2] = 2
    """What the stem divides the resolution by."""
    tile: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """(height, width) of the frames it was trained on, if larger ones are to be answered in tiles of that size."""
    probabilistic: bool = True
    """Whether the deviation is predicted, too, by a likelihood; otherwise training minimises the squared error."""


PRESETS = {
    "default": NetworkConfig(),
    "paper": NetworkConfig(
        name="paper",
        representation=Representation(bins=5, polarity="signed", compressed=False, conditions=False),
        widths=(16, 32, 64, 128),
        stem=1,
        probabilistic=False,
    ),
    "frames": NetworkConfig(name="frames", representation=Representation(source="frames")),
    "frames30": NetworkConfig(name="frames30", representation=Representation(source="frames", frame_rate_hz=30.0)),
}
"""`default`: ours. `paper`: as "Dense Depth from Event Focal Stack" (WACV 2025) describes its own: signed voxel grid of
5 bins, U-Net, dense inverse depth, squared error; the widths are ours. `frames`, `frames30`: ours, on the intensity
images of a conventional camera behind the same sweep, with as many images as bins and with those of 30 per second."""
