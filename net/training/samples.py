"""Makes a training sample: a labelled sweep, augmented, cropped and converted to a network's inputs."""

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from ...capture.optics import to_diopters
from ...capture.sweeps import Direction, Sweep
from ..architecture import AnyRepresentation
from ..cases import LabelledSweep, images_of
from ..representation import EvidenceRepresentation
from .augmentation import Augmentation, augment, flip_frames, with_calibration

Sample = tuple[tuple[torch.Tensor, ...], np.ndarray, np.ndarray]
"""The network's inputs, the true position in the range (H, W), and weights (H, W), 0 without ground truth."""

NEAR_EVENTS_PX = 3
"""Pixels within this distance of an event have the first weight; others, which have no evidence, the second."""
NEAR_WEIGHT, FAR_WEIGHT = 1.0, 0.35


def make_sample(
    labelled: LabelledSweep,
    representation: AnyRepresentation,
    augmentation: Augmentation,
    random: np.random.Generator,
    crop: int | None = None,
) -> Sample:
    """Augment a labelled sweep and convert it to a network's inputs.

    Args:
        labelled: the sweep with its events or frames and its ground truth.
        representation: input of the network.
        augmentation: strengths of augmentation.
        random: source of all random choices.
        crop: longest side of the sample in pixels; larger frames are cropped at random.

    Returns:
        Inputs, position and weight. For networks on evidence, positions are in time order: 0 is where the sweep began.
    """
    settings = labelled.calibration.sweep
    position = ((to_diopters(labelled.truth) - settings.far_diopters) / settings.range_diopters).astype(np.float32)
    evident = isinstance(representation, EvidenceRepresentation)
    if representation.source == "events":
        events, sweep, position = _cut_events(labelled.events, labelled.sweep, position, crop, random)
        events, sweep, position = augment(events, sweep, position, augmentation, random)
        inputs = representation.of_events(events, sweep)
        weight = _weight_near(events, position.shape) if evident else np.ones_like(position)
        answered = representation.answered_by_events(events, sweep)
    else:
        frames, diopters = images_of(labelled, representation)
        frames, sweep = frames.astype(np.float32, copy=False), labelled.sweep
        window, sweep = _window(sweep, position.shape, crop, random)
        frames, position = frames[:, *window], position[window]
        frames, position, sweep = flip_frames(frames, position, sweep, augmentation, random)
        inputs = representation.of_images(frames, diopters, sweep)
        weight = np.ones_like(position)
        answered = representation.answered_by_images(frames)
    known = np.isfinite(position) & (True if answered is None else answered)
    if evident and sweep.direction == Direction.NEAR_TO_FAR:
        position = 1 - position
    volumes = [torch.from_numpy(part) for part in inputs]
    if evident:  # float16 halves transfers between processes; rounding is far below the volumes' noise
        volumes = [part.bfloat16() if part.ndim == 4 else part for part in volumes]
    return tuple(volumes), np.where(known, position, np.float32(0)), np.where(known, weight, np.float32(0))


def _weight_near(events: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    seen = np.zeros(shape, np.uint8)
    seen[events["y"], events["x"]] = 1
    near = maximum_filter(seen, 2 * NEAR_EVENTS_PX + 1)
    return np.where(near, np.float32(NEAR_WEIGHT), np.float32(FAR_WEIGHT))


def _window(
    sweep: Sweep, shape: tuple[int, ...], crop: int | None, random: np.random.Generator
) -> tuple[tuple[slice, slice], Sweep]:
    """A random crop of the frame, and the sweep with the calibration of that part."""
    height, width = shape
    if crop is None or (height <= crop and width <= crop):
        return (slice(0, height), slice(0, width)), sweep
    rows, columns = min(height, crop), min(width, crop)
    top, left = int(random.integers(0, height - rows + 1)), int(random.integers(0, width - columns + 1))
    calibration = sweep.calibration
    camera, breathing = calibration.camera, calibration.breathing
    camera = camera.model_copy(update={"width": columns, "height": rows, "cx": camera.cx - left, "cy": camera.cy - top})
    if breathing is not None:
        centre = breathing.center[0] - left, breathing.center[1] - top
        breathing = breathing.model_copy(update={"center": centre})
    changed = calibration.model_copy(update={"camera": camera, "breathing": breathing})
    return (slice(top, top + rows), slice(left, left + columns)), with_calibration(sweep, changed)


def _cut_events(
    events: np.ndarray, sweep: Sweep, position: np.ndarray, crop: int | None, random: np.random.Generator
) -> tuple[np.ndarray, Sweep, np.ndarray]:
    (rows, columns), sweep = _window(sweep, position.shape, crop, random)
    if position[rows, columns].shape == position.shape:
        return events, sweep, position
    inside = (events["y"] >= rows.start) & (events["y"] < rows.stop)
    inside &= (events["x"] >= columns.start) & (events["x"] < columns.stop)
    events = events[inside]
    events["x"] -= columns.start
    events["y"] -= rows.start
    return events, sweep, position[rows, columns]
