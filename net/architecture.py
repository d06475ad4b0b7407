"""The shape of a network, and the presets; all that can be said of one without torch."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .evidence import CANDIDATE_CHANNELS, CANDIDATES, HALF_CHANNELS, PIXEL_CHANNELS, QUARTER_CHANNELS
from .representation import EvidenceRepresentation, Representation

AnyRepresentation = Representation | EvidenceRepresentation
"""What a network sees."""

_WIDTHS = (16, 32, 64, 112, 160)


class UNetConfig(BaseModel):
    """The shape of a U-Net (`unet`); stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["unet"] = "unet"
    name: str = "default"
    representation: Representation = Representation()
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = _WIDTHS
    """Channels at the stem's resolution, and at each halving of it."""
    stem: Literal[1, 2] = 2
    """What the stem divides the resolution by."""
    tile: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """Kept so that older weights load; frames are answered whole."""
    probabilistic: bool = True
    """Whether the deviation is predicted, too, by a likelihood; otherwise training minimises the squared error."""


class EvidenceConfig(BaseModel):
    """The shape of a network on evidence (`evidence_net`); stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["evidence"] = "evidence"
    name: str = "default"
    representation: EvidenceRepresentation = EvidenceRepresentation()
    thin: Annotated[int, Field(ge=1, le=256)] = 16
    """Channels of each candidate at a quarter of the resolution."""
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)] = (
        64,
        96,
        128,
        128,
    )
    """Channels of the U-Net over all candidates, at a quarter of the resolution and at each halving of it."""
    fine: Annotated[int, Field(ge=1, le=256)] = 8
    """Channels of each candidate at half the resolution."""

    @property
    def probabilistic(self) -> bool:
        """Whether the network states its own deviation."""
        return True


def parameter_shapes(config: EvidenceConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and batch statistic of a network on evidence, by name, as torch has them."""
    count, thin, fine, widths = len(CANDIDATES), config.thin, config.fine, config.widths
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, inputs: int, outputs: int, *size: int, bias: bool = False) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, *(size or (1, 1)))
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    def block(name: str, inputs: int, outputs: int, changes: bool) -> None:
        convolution(f"{name}.one.0", inputs, outputs, 3, 3)
        norm(f"{name}.one.1", outputs)
        convolution(f"{name}.two.0", outputs, outputs, 3, 3)
        norm(f"{name}.two.1", outputs)
        if changes:
            convolution(f"{name}.short", inputs, outputs)

    def candidate_block(name: str) -> None:
        convolution(f"{name}.space.0", thin, thin, 3, 3)
        norm(f"{name}.space.1", thin)
        convolution(f"{name}.along", thin, thin, 3, 1)
        norm(f"{name}.norm", thin)

    convolution("stem", HALF_CHANNELS, thin, 4, 4)
    convolution("coarse", QUARTER_CHANNELS, thin)
    convolution("pixel", PIXEL_CHANNELS, thin)
    shapes["candidate.weight"], shapes["candidate.bias"] = (thin, CANDIDATE_CHANNELS), (thin,)
    norm("stem_norm", thin)
    candidate_block("near")
    convolution("gather.0", count * thin, widths[0])
    norm("gather.1", widths[0])
    block("first", widths[0], widths[0], False)
    for level, (a, b) in enumerate(pairwise(widths)):
        block(f"down.{level}", a, b, True)
        convolution(f"lift.{level}", b, a)
        block(f"up.{level}", a, a, False)
    convolution("spread", widths[0], count * thin, bias=True)
    candidate_block("join")
    convolution("enlarge", thin, 4 * fine, bias=True)
    convolution("detail", HALF_CHANNELS, fine, bias=True)
    convolution("score", fine, 1, bias=True)
    return shapes


NetworkConfig = UNetConfig | EvidenceConfig
"""Everything that a network's shape depends on."""


PRESETS: dict[str, NetworkConfig] = {
    "default": EvidenceConfig(),
    "frames": EvidenceConfig(name="frames", representation=EvidenceRepresentation(source="frames")),
    "frames30": EvidenceConfig(
        name="frames30", representation=EvidenceRepresentation(source="frames", frame_rate_hz=30.0)
    ),
    "paper": UNetConfig(
        name="paper",
        representation=Representation(bins=5, polarity="signed", compressed=False, conditions=False),
        widths=(16, 32, 64, 128),
        stem=1,
        probabilistic=False,
    ),
    "unet": UNetConfig(name="unet"),
}
"""`default`: ours, on evidence. `frames`, `frames30`: the same, on the contrast of images of a conventional camera
behind the same sweep, with as many images as bins and with those of 30 per second. `paper`: as "Dense Depth from Event
Focal Stack" (WACV 2025) describes its own: signed voxel grid of 5 bins, U-Net, dense inverse depth, squared error; the
widths are ours. `unet`: a U-Net on counts of 10 bins that is given lens and sweep."""
