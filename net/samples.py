"""Training samples: labelled sweeps, augmented and binned on the fly; the same ones for the same seed."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset, Sampler

from ..capture.errors import RecordingError
from ..capture.optics import to_diopters
from .augmentation import Augmentation, augment, flip_frames
from .baselines.breathing import undo_breathing
from .cases import Case, Source, as_frames, cases_of, frames_at_30_fps
from .representation import Representation

_AUGMENTATION, _ORDER = 21, 22  # streams of random numbers

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Channels (C, H, W), true position in the range (H, W), and weight (H, W), 0 where the truth is unknown; float32."""


def load_cases(
    sources: list[Source],
    representation: Representation,
    on_source: Callable[[int], None] = lambda done: None,
    on_skip: Callable[[Source, str], None] | None = None,
) -> list[Case]:
    """All labelled sweeps of some recordings, in memory, without what the representation has no use for.

    `on_source` hears how many recordings are done, `on_skip` which could not be read, and why.

    Raises:
        RecordingError: none can be used.
    """
    kept: list[Case] = []
    skipping = {} if on_skip is None else {"on_skip": on_skip}
    for done, source in enumerate(sources, 1):
        kept += [_lean(case, representation) for case in cases_of([source], **skipping)]
        on_source(done)
    if not kept:
        raise RecordingError("none of the recordings could be used; each needs events, triggers and its true depth")
    return kept


def _lean(case: Case, representation: Representation) -> Case:
    case = replace(case, aperture_pair=None, intensity=None)
    if representation.source == "events":
        return replace(case, frames=None, frame_diopters=None)
    frames, diopters = chosen_frames(case, representation)
    return replace(case, events=case.events[:0], frames=frames.astype(np.float16), frame_diopters=diopters)


def chosen_frames(case: Case, representation: Representation) -> tuple[np.ndarray, np.ndarray]:
    """The frames that a representation is made of, in the geometry of the far end, and their focus in 1/m.

    Raises:
        NotApplicable: the case has none.
    """
    count = representation.bins if representation.frame_rate_hz is None else frames_at_30_fps(case)
    frames, diopters = as_frames(case, count)
    return undo_breathing(frames, diopters, case.calibration, order=1), diopters


class SweepSamples(Dataset):
    """Sweeps of a dataset, each item addressed as (epoch, number): its augmentation depends on seed, epoch and number.

    Everything is held in memory: 16 bytes an event, shared with the loader's workers.
    """

    def __init__(
        self,
        cases: list[Case],
        representation: Representation,
        augmentation: Augmentation,
        crop: tuple[int, int] | None,  # (height, width); None: whole frames
        seed: int,
    ) -> None:
        self.cases = cases
        self.representation, self.augmentation, self.crop, self.seed = representation, augmentation, crop, seed

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, number = key
        random = np.random.default_rng([self.seed, _AUGMENTATION, epoch, number])
        sample = make_sample(self.cases[number], self.representation, self.augmentation, random)
        return sample if self.crop is None else _cropped(sample, self.crop, random)


class EpochOrder(Sampler):
    """The order of an epoch: (round, number) pairs, a share of them for each of several processes.

    An epoch has a set number of items; the whole set is gone through in a new order each time round. `epoch` is asked
    which one it is whenever an iteration begins, so that a resumed run goes on with the samples that come next.
    """

    def __init__(
        self, size: int, length: int, seed: int, epoch: Callable[[], int], rank: int = 0, world: int = 1
    ) -> None:
        self._size, self._length, self._seed, self._epoch = size, length, seed, epoch
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return self._length // self._world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = self._epoch() * self._length
        order, known = np.empty(0, int), -1
        for at in range(first + self._rank, first + len(self) * self._world, self._world):
            round_, position = divmod(at, self._size)
            if round_ != known:
                order, known = np.random.default_rng([self._seed, _ORDER, round_]).permutation(self._size), round_
            yield round_, int(order[position])


def make_sample(
    case: Case, representation: Representation, augmentation: Augmentation, random: np.random.Generator
) -> Sample:
    """Augment a labelled sweep and turn it into a network's input."""
    settings = case.calibration.sweep
    position = ((to_diopters(case.truth) - settings.far_diopters) / settings.range_diopters).astype(np.float32)
    if representation.source == "events":
        events, sweep, position = augment(case.events, case.sweep, position, augmentation, random)
        channels = representation.of_events(events, sweep)
    else:
        assert case.frames is not None
        assert case.frame_diopters is not None
        frames = case.frames.astype(np.float32)
        frames, position, sweep = flip_frames(frames, position, case.sweep, augmentation, random)
        channels = representation.of_frames(frames, case.frame_diopters, sweep)
    known = np.isfinite(position)
    return channels, np.where(known, position, np.float32(0)), known.astype(np.float32)


def _cropped(sample: Sample, size: tuple[int, int], random: np.random.Generator) -> Sample:
    height, width = sample[1].shape
    top = int(random.integers(0, max(height - size[0], 0) + 1))
    left = int(random.integers(0, max(width - size[1], 0) + 1))
    window = slice(top, top + size[0]), slice(left, left + size[1])
    channels, position, weight = (np.ascontiguousarray(array[..., *window]) for array in sample)
    return channels, position, weight
