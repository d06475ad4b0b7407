"""Input representations of networks: from an event focal stack, frames or photographs, with lens and sweep."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.ndimage import gaussian_gradient_magnitude, minimum_filter, uniform_filter

from ..capture.files.photographs import PLANS
from ..capture.stack import EventFocalStack, Polarity
from ..capture.sweeps import Direction, Sweep
from .evidence import BINS, Evidence, evidence_of, make_evidence

CONDITIONS = 5
"""Channels that describe lens and sweep; see `sweep_conditions`."""

TYPICAL_BLUR_PX = 8.0
_TYPICAL_MOTION_PX = 4.0
_TYPICAL_DURATION_US = 200_000.0
_NEVER = -1.0
"""Value for missing events, where the sweep's time is [0, 1]."""

DARK_WINDOW_PX = 15
"""Window of the dark channel in pixels, as in He et al."""

BOUNDARY_PX, BOUNDARY_SIGMAS, BOUNDARY_SLOPE = 1.5, 4.0, 0.01
"""Width of the Gaussian for measuring slopes; least slope at a boundary, in standard deviations of its noise, and as a
fraction of the mean brightness per pixel."""


class EvidenceRepresentation(BaseModel):
    """Input of a network on evidence: the parts of an `Evidence`; stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["events", "frames"] = "events"
    frame_rate_hz: float | None = None
    """Frame rate of the camera, for frames; None: as many frames per sweep as bins."""

    @property
    def bins(self) -> int:
        """Bins of the stack that evidence is computed from."""
        return BINS

    @property
    def polarity(self) -> Polarity:
        """Polarity of that stack."""
        return "interpolated"

    def of_stack(self, stack: EventFocalStack, lag: float = 0.0) -> tuple[np.ndarray, ...]:
        """The evidence of a stack; `lag` is the latency of its pixels as a fraction of the sweep."""
        return _parts(make_evidence(stack, lag))

    def of_events(self, events: np.ndarray, sweep: Sweep) -> tuple[np.ndarray, ...]:
        """The evidence of a sweep's events, (N,) EVENT_DTYPE, in time order."""
        return self.of_stack(EventFocalStack.build(events, sweep, BINS, "interpolated"))

    def of_images(
        self,
        frames: np.ndarray,  # (S, H, W) linear radiance, in the geometry of the far end
        diopters: np.ndarray,  # (S,) 1/m, rising
        sweep: Sweep,
    ) -> tuple[np.ndarray, ...]:
        """The evidence of conventional frames, whose brightness changes are converted to equivalent events."""
        return _parts(evidence_of(frames_as_stack(frames, diopters, sweep), sweep))

    def answered_by_events(self, events: np.ndarray, sweep: Sweep) -> None:
        """Everywhere."""

    def answered_by_images(self, images: np.ndarray) -> None:
        """Everywhere."""


FRAME_STEP = 0.2
"""Change of log brightness between frames that is equivalent to one event."""
FRAME_FLOOR = 0.01
"""Lower bound on radiance, relative to the mean, before taking logarithms."""


def frames_as_stack(frames: np.ndarray, diopters: np.ndarray, sweep: Sweep) -> np.ndarray:
    """Convert frames to the signed stack of an ideal event camera without noise and threshold.

    Args:
        frames: (S, H, W) linear radiance.
        diopters: (S,) their focus in 1/m, rising.
        sweep: the sweep, which gives the range.

    Returns:
        (BINS, H, W) float32, far→near.
    """
    settings = sweep.calibration.sweep
    light = np.log(np.maximum(frames, 0) + FRAME_FLOOR * float(frames.mean()) + 1e-9)
    edges = settings.far_diopters + settings.range_diopters * (np.arange(BINS + 1) - 0.5) / (BINS - 1)
    at = np.interp(edges, diopters, np.arange(len(frames)))
    lower = np.minimum(at.astype(int), max(len(frames) - 2, 0))
    upper = np.minimum(lower + 1, len(frames) - 1)
    share = (at - lower).astype(np.float32)[:, None, None]
    return (np.diff(light[lower] * (1 - share) + light[upper] * share, axis=0) / FRAME_STEP).astype(np.float32)


def _parts(evidence: Evidence) -> tuple[np.ndarray, ...]:
    return evidence.half, evidence.quarter, evidence.pixel, evidence.candidate


class Representation(BaseModel):
    """The input channels of a U-Net, (C, H, W) float32; stored with its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["events", "frames", "defocused", "sharp", "focus_pair"] = "events"
    """Events or frames of the sweep, or photographs by the names of their plan."""
    bins: Annotated[int, Field(ge=2, le=64)] = 10
    """Bins of the event focal stack; for frames, the number of positions in the sweep that they are interpolated to."""
    polarity: Polarity = "split"
    compressed: bool = True
    """Whether arsinh is applied to counts, which is linear for single events and compresses large counts."""
    times: bool = False
    """Whether the times of each pixel's first and last event per polarity are included ("event depth surface", EDFF
    2024)."""
    conditions: bool = True
    """Whether lens and sweep are included; see `sweep_conditions`."""
    frame_rate_hz: float | None = None
    """Frame rate of the camera, for frames; None: as many frames per sweep as bins."""
    dark_channel: bool = False
    """Whether to include the dark channel of each image: the minimum in a window (He et al., CVPR 2009)."""
    sparse: bool = False
    """Whether to train and estimate only at pixels with evidence: with `least_events` in a window of `window_px`, or
    for images at boundaries."""
    least_events: Annotated[int, Field(ge=1)] = 1
    window_px: Annotated[int, Field(ge=1, le=99)] = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.times and self.source != "events":
            raise ValueError("times: only events have them")
        if self.dark_channel and self.source == "events":
            raise ValueError("dark_channel: only images have one")
        return self

    @property
    def channels(self) -> int:
        if self.source in PLANS:
            stack = len(PLANS[self.source])
        else:
            stack = 2 * self.bins if self.source == "events" and self.polarity == "split" else self.bins
        return stack * (1 + self.dark_channel) + 4 * self.times + CONDITIONS * self.conditions

    def of_stack(self, stack: EventFocalStack) -> tuple[np.ndarray]:
        """The channels of a stack with these `bins` and `polarity`; for `times`, use `of_events`."""
        if self.source != "events" or self.times:
            raise ValueError("this representation needs more than an event focal stack")
        return (self._assembled([self._counts(stack)], stack.sweep),)

    def of_events(self, events: np.ndarray, sweep: Sweep) -> tuple[np.ndarray]:
        """The channels of a sweep's events, (N,) EVENT_DTYPE, in time order."""
        stack = EventFocalStack.build(events, sweep, self.bins, self.polarity)
        return (self._assembled([self._counts(stack), *([_times(events, sweep)] if self.times else [])], sweep),)

    def of_images(
        self,
        images: np.ndarray,  # (S, H, W) linear radiance, in the geometry of the far end
        diopters: np.ndarray,  # (S,) 1/m, of frames rising
        sweep: Sweep,
    ) -> tuple[np.ndarray]:
        """The channels of images: square root of radiance relative to the mean; frames are interpolated to the bins."""
        settings = sweep.calibration.sweep
        mean = max(float(images.mean()), 1e-9)
        if self.source == "frames":
            bins = np.linspace(settings.far_diopters, settings.near_diopters, self.bins)
            at = np.interp(bins, diopters, np.arange(len(images)))
            lower = np.minimum(at.astype(int), max(len(images) - 2, 0))
            upper = np.minimum(lower + 1, len(images) - 1)
            share = (at - lower).astype(np.float32)[:, None, None]
            images = images[lower] * (1 - share) + images[upper] * share
        shown = np.sqrt(np.maximum(images, 0) / mean) - 1
        dark = [minimum_filter(shown, (1, DARK_WINDOW_PX, DARK_WINDOW_PX))] if self.dark_channel else []
        return (self._assembled([shown, *dark], sweep),)

    def answered_by_events(self, events: np.ndarray, sweep: Sweep) -> np.ndarray | None:
        """(H, W) bool: pixels with an estimate, by the events (N,) of a sweep; None: all."""
        if not self.sparse:
            return None
        camera = sweep.calibration.camera
        count = np.zeros((camera.height, camera.width), np.float32)
        np.add.at(count, (events["y"], events["x"]), 1)
        around = uniform_filter(count, self.window_px, mode="constant") * self.window_px**2
        return around >= self.least_events - 0.01  # sums are rounded

    def answered_by_images(self, images: np.ndarray) -> np.ndarray | None:
        """(H, W) bool: pixels with an estimate, by images (S, H, W) of linear radiance; None: all."""
        return boundaries(images) if self.sparse else None

    def _counts(self, stack: EventFocalStack) -> np.ndarray:
        if stack.bins != self.bins or stack.polarity != self.polarity:
            raise ValueError(
                f"a {stack.polarity} stack of {stack.bins} bins where {self.polarity} and {self.bins} are expected"
            )
        counts = np.arcsinh(stack.data) if self.compressed else stack.data
        return counts.reshape(-1, *counts.shape[-2:])

    def _assembled(self, parts: list[np.ndarray], sweep: Sweep) -> np.ndarray:
        if self.conditions:
            parts = [*parts, sweep_conditions(sweep)]
        return np.concatenate(parts).astype(np.float32, copy=False)


def sweep_conditions(sweep: Sweep) -> np.ndarray:
    """Channels that describe lens and sweep, (5, H, W) float32: blur over the whole range in octaves relative to 8 px,
    motion by breathing along x and y in units of 4 px, direction, and duration in octaves relative to 0.2 s.

    Pixels lag because of threshold and bandwidth, so direction and duration determine the sign and size of the bias.
    """
    calibration = sweep.calibration
    camera, breathing = calibration.camera, calibration.breathing
    span = calibration.sweep.range_diopters
    out = np.zeros((CONDITIONS, camera.height, camera.width), np.float32)
    out[0] = np.log2(camera.fx * calibration.lens.aperture_m * span / TYPICAL_BLUR_PX)
    if breathing is not None:
        scale = breathing.scale_per_diopter * span / _TYPICAL_MOTION_PX
        out[1] = scale * (np.arange(camera.width) + 0.5 - breathing.center[0])
        out[2] = scale * (np.arange(camera.height) + 0.5 - breathing.center[1])[:, None]
    out[3] = float(sweep.direction)
    out[4] = np.log2((sweep.end_us - sweep.start_us) / _TYPICAL_DURATION_US)
    return out


def boundaries(images: np.ndarray) -> np.ndarray:
    """Pixels where brightness changes by more than noise in the mean of images (S, H, W): (H, W) bool. The square root
    makes photon noise uniform (Anscombe 1948). Its size is the median of the diagonal second differences, which contain
    little of the scene (after Immerkær, "Fast noise variance estimation", 1996).
    """
    mean = np.sqrt(np.maximum(images.mean(axis=0, dtype=np.float32), 0))
    difference = np.diff(np.diff(mean, axis=0), axis=1)
    noise = float(np.median(np.abs(difference))) / 0.6745 / 2
    slope = gaussian_gradient_magnitude(mean, BOUNDARY_PX)
    slope_noise = noise / (np.sqrt(8 * np.pi) * BOUNDARY_PX**2)
    return slope > np.hypot(BOUNDARY_SIGMAS * slope_noise, BOUNDARY_SLOPE * float(mean.mean()))


def _times(events: np.ndarray, sweep: Sweep) -> np.ndarray:
    """Positions of each pixel's first and last event, far→near, (4, H, W): OFF, then ON."""
    camera, settings = sweep.calibration.camera, sweep.calibration.sweep
    forward = sweep.direction == Direction.FAR_TO_NEAR
    focus = (sweep.diopters_at(events["timestamp"]) - settings.far_diopters) / settings.range_diopters
    out = np.empty((4, camera.height, camera.width), np.float32)
    for polarity in (0, 1):
        chosen = events["polarity"] == (polarity if forward else 1 - polarity)
        pixels = events["y"][chosen], events["x"][chosen]
        first, last = out[2 * polarity], out[2 * polarity + 1]
        first[:], last[:] = np.inf, _NEVER
        np.minimum.at(first, pixels, focus[chosen])
        np.maximum.at(last, pixels, focus[chosen])
        first[np.isinf(first)] = _NEVER
    return out
