"""The baselines by name: their inputs, sources and constructors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...polarity import PolarityReversal
from ..methods import EstimatorMethod, Method
from .constant import Constant
from .coupled import CoupledDifferentiation
from .focus import DepthFromFocus

FRAMES = 24
"""Frames per sweep of the second camera for depth from focus; the first has 30 frames per second."""


@dataclass(frozen=True)
class Baseline:
    """A method that others are compared with."""

    sees: str
    source: str  # citation
    methods: Callable[[], Sequence[Method]] | None = None  # made without further inputs
    preset: str | None = None  # preset of the network whose weights are required
    relative: bool = False  # whether relative depth is required


def _polarity() -> list[Method]:
    return [EstimatorMethod(PolarityReversal())]


def _focus() -> list[Method]:
    return [DepthFromFocus(), DepthFromFocus(FRAMES)]


BASELINES: dict[str, Baseline] = {
    "polarity": Baseline("events of a sweep", "classical, ours", _polarity),
    "focus": Baseline("frames of the sweep", "Nayar and Nakagawa, Shape from Focus, TPAMI 1994", _focus),
    "coupled": Baseline(
        "four images: focus ±, aperture ±",
        "Luo et al., Depth from Coupled Optical Differentiation, arXiv 2409.10725",
        lambda: [CoupledDifferentiation()],
    ),
    "constant": Baseline("nothing", "the middle of the sweep range", lambda: [Constant()]),
    "paper": Baseline(
        "events: 5 signed bins", "Horikawa et al., Dense Depth from Event Focal Stack, WACV 2025", preset="paper"
    ),
    "edff": Baseline(
        "events: voxel grid, event depth surface",
        "Jiang et al., Learning Monocular Depth from Focus with Event Focal Stack, arXiv 2405.06944",
        preset="edff",
    ),
    "edfv": Baseline("events: 32 signed bins", "EDFV, NeurIPS 2025", preset="edfv"),
    "frames": Baseline(
        "frames of the sweep",
        "equivariant along focus as Won and Jeon, Learning Depth from Focus in the Wild, ECCV 2022",
        preset="frames",
    ),
    "edges": Baseline(
        "two images of different focus", "Xu et al., Blurry-Edges, CVPR 2025, arXiv 2503.23606", preset="edges"
    ),
    "single": Baseline(
        "one defocused image",
        "Medhi and Sahay, Dark Channel-Assisted Depth-from-Defocus from a Single Image, arXiv 2506.06643",
        preset="single",
    ),
    "prior": Baseline("one image in focus everywhere", "what scenes look like, and nothing measured", preset="prior"),
    "apertures": Baseline(
        "two images, small and large aperture",
        "Talegaonkar et al., Repurposing Marigold for Zero-Shot Metric Depth Estimation, arXiv 2505.17358",
        relative=True,
    ),
}
"""Networks are made by `sweepdepth train --preset NAME`; their weights, and the relative depth that `apertures` makes
metric, are given as NAME=PATH."""

READY = tuple(name for name, baseline in BASELINES.items() if baseline.methods is not None)
"""Baselines that need no further inputs."""
