"""Network configurations and presets, usable without torch."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .evidence import CANDIDATE_CHANNELS, HALF_CHANNELS, PIXEL_CHANNELS, QUARTER_CHANNELS
from .representation import EvidenceRepresentation, Representation

AnyRepresentation = Representation | EvidenceRepresentation
"""The input representation of a network."""

_WIDTHS = (16, 32, 64, 112, 160)
_Levels = Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)]


class UNetConfig(BaseModel):
    """Configuration of a U-Net (`unet`); stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["unet"] = "unet"
    name: str = "default"
    representation: Representation = Representation()
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = _WIDTHS
    """Channels at the stem's resolution, and after each halving."""
    stem: Literal[1, 2] = 2
    """Downsampling factor of the stem."""
    tile: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """Unused; kept so that older weights load."""
    probabilistic: bool = True
    """Whether the deviation is predicted, too, trained by a likelihood; otherwise training minimises the squared
    error."""
    answer: Literal["position", "distribution", "blur"] = "position"
    """Output: a position; a distribution over as many positions as bins, of which mean and deviation are the estimate;
    or the blur of two images, from which the position is computed in closed form."""

    @model_validator(mode="after")
    def _answers(self) -> Self:
        shown = self.representation
        if self.answer == "blur" and (shown.source != "focus_pair" or not shown.conditions):
            raise ValueError("answer: blur is measured in a focus_pair, and needs the conditions")
        if self.answer != "position" and not self.probabilistic:
            raise ValueError("probabilistic: only networks that answer with a position state no deviation")
        return self


class EvidenceConfig(BaseModel):
    """Configuration of a network on evidence (`evidence_net`); stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["evidence"] = "evidence"
    name: str = "default"
    representation: EvidenceRepresentation = EvidenceRepresentation()
    widths: _Levels = (24, 32, 48, 64, 64)
    """Channels per candidate at a quarter of the resolution, and after each halving."""
    blocks: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(min_length=1, max_length=8)] = (
        1,
        2,
        2,
        2,
        1,
    )
    """Blocks per resolution in the encoder; the decoder has one each."""
    reach: Annotated[tuple[Annotated[int, Field(ge=1, le=21)], ...], Field(min_length=1, max_length=8)] = (
        3,
        3,
        7,
        7,
        7,
    )
    """Kernel size along the candidates, odd, for each resolution."""
    fine: Annotated[int, Field(ge=1, le=256)] = 24
    """Channels of the last layer, which computes the scores of 2×2 neighbouring positions, each for 2×2 pixels."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.widths) == len(self.blocks) == len(self.reach):
            raise ValueError("widths, blocks and reach: each needs a number for every resolution")
        if not all(reach % 2 for reach in self.reach):
            raise ValueError("reach: only odd numbers of candidates have a middle")
        return self

    @property
    def probabilistic(self) -> bool:
        """Whether the network predicts its deviation."""
        return True


def parameter_shapes(config: EvidenceConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters and batch statistics of a network on evidence, by their names in torch."""
    first, fine = config.widths[0], config.fine
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, inputs: int, outputs: int, *size: int, bias: bool = False) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, *(size or (1, 1)))
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    def block(name: str, width: int, reach: int) -> None:
        convolution(f"{name}.space", width, width, 3, 3)
        norm(f"{name}.space_norm", width)
        convolution(f"{name}.along", width, width, reach, 1)
        norm(f"{name}.along_norm", width)

    convolution("stem", HALF_CHANNELS, first, 4, 4)
    convolution("coarse", QUARTER_CHANNELS, first)
    convolution("pixel", PIXEL_CHANNELS, first)
    shapes["candidate.weight"], shapes["candidate.bias"] = (first, CANDIDATE_CHANNELS), (first,)
    norm("stem_norm", first)
    levels = list(zip(config.widths, config.blocks, config.reach, strict=True))
    for level, (width, blocks, reach) in enumerate(levels):
        for number in range(blocks):
            block(f"encode.{level}.{number}", width, reach)
    for level, (a, b) in enumerate(pairwise(levels)):
        convolution(f"down.{level}.0", a[0], b[0], 2, 2)
        norm(f"down.{level}.1", b[0])
        convolution(f"lift.{level}", b[0], a[0])
        block(f"decode.{level}", a[0], a[2])
    convolution("mix", first, fine, bias=True)
    convolution("detail", HALF_CHANNELS, fine, 2, 2)
    convolution("score", fine, 4, bias=True)
    return shapes


NetworkConfig = UNetConfig | EvidenceConfig
"""Configuration of a network."""


_SMALL = (16, 32, 48, 64, 96)
"""Widths with as many parameters as the network on evidence has, within a tenth."""


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
    "edff": UNetConfig(
        name="edff",
        representation=Representation(bins=5, polarity="signed", times=True, conditions=False, sparse=True),
        widths=_SMALL,
    ),
    "edfv": UNetConfig(
        name="edfv",
        representation=Representation(
            bins=32, polarity="signed", conditions=False, sparse=True, least_events=121, window_px=11
        ),
        widths=_SMALL,
        answer="distribution",
    ),
    "edges": UNetConfig(
        name="edges",
        representation=Representation(source="focus_pair", sparse=True),
        widths=(48, 72, 96),
        answer="blur",
    ),
    "single": UNetConfig(
        name="single", representation=Representation(source="defocused", dark_channel=True), widths=_SMALL
    ),
    "prior": UNetConfig(name="prior", representation=Representation(source="sharp"), widths=_SMALL),
}
"""`default`: the network on evidence. `frames`, `frames30`: the same network on images of a conventional camera during
the same sweep, with as many images as bins, and with 30 images per second. `paper`: following the description in "Dense
Depth from Event Focal Stack" (WACV 2025): signed voxel grid of 5 bins, U-Net, dense inverse depth, squared error;
widths are not given there. `unet`: a U-Net on counts in 10 bins, conditioned on lens and sweep.

Following other papers in inputs and output, with the same kind of U-Net in place of their networks: `edff` (arXiv
2405.06944): voxel grid and event depth surface, sparse; `edfv` (NeurIPS 2025): 32 signed bins, distribution, sparse by
event count; `edges` (Blurry-Edges, CVPR 2025): blur of two images along boundaries; `single` (arXiv 2506.06643): one
defocused image with its dark channel; `prior`: one all-in-focus image, so no depth cue but the look of the scene.
docs/defocus.md lists what differs from the papers."""
