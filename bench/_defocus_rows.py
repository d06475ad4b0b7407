"""The rows of `./run bench defocus`: every method, its share of a sweep's light, and how to make it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sweepdepth.capture.files.photographs import PLANS
from sweepdepth.net.architecture import PRESETS, NetworkConfig
from sweepdepth.net.evaluation.baselines import Constant, CoupledDifferentiation, DepthFromFocus
from sweepdepth.net.evaluation.baselines.apertures import TwoApertures
from sweepdepth.net.evaluation.baselines.relative import FromMethod
from sweepdepth.net.evaluation.methods import EstimatorMethod, Method, as_method
from sweepdepth.net.network import load_network
from sweepdepth.net.polarity import PolarityReversal
from sweepdepth.synth.resimulate import COUPLED

FRAMES = PRESETS["frames"].representation.bins
"""Frames per sweep, for methods on frames."""

ADVERSARIAL = 0.02
"""Weight of the adversary in the row that has one."""


@dataclass(frozen=True)
class Row:
    """One method: a network by its preset, or a method made from trained networks or without training."""

    name: str
    sees: str  # events, frames, images, or nothing of depth
    images: int  # number of input images; 0 for events
    preset: str | None = None
    adversarial: float = 0.0
    made: Callable[[Callable[[str], Method]], Method] | None = None  # from learned rows

    @property
    def network(self) -> NetworkConfig | None:
        """The network to be trained, if it is one."""
        return None if self.preset is None else PRESETS[self.preset]


def _learned(name: str, sees: str, images: int, preset: str, adversarial: float = 0.0) -> Row:
    return Row(name, sees, images, preset, adversarial)


ROWS = (
    _learned("events: network", "events", 0, "default"),
    Row("events: classical", "events", 0, made=lambda learned: EstimatorMethod(PolarityReversal())),
    _learned("events: WACV 2025", "events", 0, "paper"),
    _learned("events: EDFF", "events", 0, "edff"),
    _learned("events: EDFV", "events", 0, "edfv"),
    _learned("frames: network", "frames", FRAMES, "frames"),
    Row("frames: classical", "frames", FRAMES, made=lambda learned: DepthFromFocus(FRAMES)),
    Row("coupled", "images", 4, made=lambda learned: CoupledDifferentiation()),
    _learned("Blurry-Edges", "images", len(PLANS["focus_pair"]), "edges"),
    Row(
        "apertures: scale, shift",
        "images",
        len(PLANS["two_apertures"]),
        made=lambda learned: TwoApertures(FromMethod(learned("prior")), whole=False),
    ),
    Row(
        "apertures: map",
        "images",
        len(PLANS["two_apertures"]),
        made=lambda learned: TwoApertures(FromMethod(learned("prior"))),
    ),
    _learned("single", "images", 1, "single"),
    _learned("single, adversarial", "images", 1, "single", ADVERSARIAL),
    _learned("prior", "prior", 1, "prior"),
    Row("constant", "prior", 0, made=lambda learned: Constant()),
)

PHOTOGRAPHS = (*PLANS, COUPLED)
"""Photographs that any of the rows needs."""


def folder_of(row: Row, out: Path) -> Path:
    """Where a learned row is trained."""
    return out / "trained" / (f"{row.preset}-adversarial" if row.adversarial else str(row.preset))


def method_of(row: Row, weights: Callable[[Row], Path]) -> Method:
    """The method of a row, by the row's name."""

    def learned(preset: str) -> Method:
        return as_method(load_network(weights(next(r for r in ROWS if r.preset == preset))))

    if row.made is not None:
        return as_method(row.made(learned), row.name)
    return as_method(load_network(weights(row)), row.name)


def bytes_of(row: Row, events: float, pixels: int) -> float:
    """Data of the sensor for one estimate: events of 32 bits (EVT 2.0), or images of 12 bits per pixel."""
    if row.sees == "events":
        return 4 * events
    return 1.5 * pixels * row.images
