"""Training data: sweeps addressed by (round, number), recorded or simulated.

A source draws a sweep with a random generator that depends only on seed, round and number. A recording gives the same
sweep each time, a focal stack a new one. So samples do not depend on resuming, or on the number of loader processes or
devices.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset, Sampler

from ...capture.errors import RecordingError
from ..architecture import AnyRepresentation
from ..cases import Case, LabelledRecording, LabelledSweep, cases_of
from .augmentation import Augmentation
from .samples import Sample, make_sample

_AUGMENTATION, _ORDER = 21, 22  # random streams
CALIBRATED = 10
"""With fewer patch scenes, deviations are calibrated on the validation scenes instead."""


@dataclass(frozen=True)
class SweepSource:
    """A source of labelled sweeps."""

    scene: str  # name of the scene; the training-validation split is by scene
    draw: Callable[[np.random.Generator], LabelledSweep]
    validates: bool = True  # whether the scene may be used for validation
    renewed: bool = False  # whether every draw gives a new sweep


def recorded(cases: Iterable[Case]) -> list[SweepSource]:
    """Recorded sweeps as sources."""
    return [SweepSource(_scene_of(case.recording), lambda random, case=case: case) for case in cases]


def images_wanted(representation: AnyRepresentation) -> tuple[int | None, tuple[str, ...]]:
    """How many frames of a sweep a representation is made of (0: 30 a second; None: none), and which photographs."""
    source = representation.source
    if source == "frames":
        return representation.bins if representation.frame_rate_hz is None else 0, ()
    return None, () if source == "events" else (source,)


def load_cases(
    sources: list[LabelledRecording],
    representation: AnyRepresentation,
    on_source: Callable[[int], None] = lambda done: None,
    on_skip: Callable[[LabelledRecording, str], None] | None = None,
) -> list[Case]:
    """Load all labelled sweeps of several recordings into memory, without data that the representation does not use.

    Args:
        sources: the recordings.
        representation: input of the network.
        on_source: called with the number of recordings done.
        on_skip: called with an unreadable recording and the reason.

    Raises:
        RecordingError: no recording can be used.
    """
    kept: list[Case] = []
    skipping = {} if on_skip is None else {"on_skip": on_skip}
    for done, source in enumerate(sources, 1):
        kept += [_without_unused(case, representation) for case in cases_of([source], **skipping)]
        on_source(done)
    if not kept:
        raise RecordingError("none of the recordings could be used; each needs events, triggers and its true depth")
    return kept


def _without_unused(case: Case, representation: AnyRepresentation) -> Case:
    source = representation.source
    kept = {name: found for name, found in case.photographs.items() if name == source}
    case = replace(case, aperture_pair=None, intensity=None, photographs=kept)
    if representation.source == "events":
        return replace(case, frames=None, frame_diopters=None)
    frames = None if case.frames is None or source != "frames" else case.frames.astype(np.float16)
    return replace(case, events=case.events[:0], frames=frames)


def split_scenes(sources: Sequence[SweepSource], share: float) -> tuple[list[SweepSource], list[SweepSource]]:
    """Split sources by scene into training and validation.

    Args:
        sources: all sources.
        share: fraction of the scenes that may validate (of all scenes, if none may) used for validation; unless 0, at
            least one of two scenes, and two of eight.

    Raises:
        RecordingError: there is no scene left to train on.
    """
    all_scenes = {source.scene for source in sources}
    scenes = sorted({source.scene for source in sources if source.validates} or all_scenes)
    least = 1 if len(scenes) < 8 else 2
    count = min(max(least, round(share * len(scenes))), len(all_scenes) - 1) if share else 0
    kept = set(scenes[len(scenes) - count :])
    training = [source for source in sources if source.scene not in kept]
    if not training:
        raise RecordingError("there are no sweeps to train on")
    return training, list({source.scene: source for source in sources if source.scene in kept}.values())


def hold_back(training: list[SweepSource], share: float) -> tuple[list[SweepSource], list[SweepSource]]:
    """Hold back patch scenes from training, to calibrate deviations with.

    Rendered scenes resemble each other, so errors on validation scenes are smaller than in general; patch scenes are
    all different.

    Args:
        training: training sources from `split_scenes`.
        share: fraction of the scenes that may not validate to hold back; none if these are fewer than `CALIBRATED`.

    Returns:
        The training sources, and those held back, one per scene.
    """
    scenes = sorted({source.scene for source in training if not source.validates})
    count = round(share * len(scenes))
    if count < CALIBRATED:
        return training, []
    held = set(scenes[-count:])
    rest = [source for source in training if source.scene not in held]
    return rest, list({source.scene: source for source in training if source.scene in held}.values())


def _scene_of(recording: str) -> str:
    """The name of a recording's scene, without the variant."""
    name, _, variant = recording.rpartition("_v")
    return name if variant.isdigit() else recording


class SweepSamples(Dataset):
    """Samples of sources, addressed as (round, number); randomness depends on seed, round and number.

    The sources' data stay in memory and are shared with the loader processes.
    """

    def __init__(
        self,
        sources: Sequence[SweepSource],
        representation: AnyRepresentation,
        augmentation: Augmentation,
        crop: int | None,  # longest side in pixels; None: whole frames
        seed: int,
        change: Callable[[Sample], Sample] | None = None,  # applied to each sample last
    ) -> None:
        self.sources, self.change = sources, change
        self.representation, self.augmentation, self.crop, self.seed = representation, augmentation, crop, seed

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        labelled, random = self.draw(*key)
        sample = make_sample(labelled, self.representation, self.augmentation, random, self.crop)
        return sample if self.change is None else self.change(sample)

    def draw(self, round_: int, number: int) -> tuple[LabelledSweep, np.random.Generator]:
        """The sweep of an address, and the random generator for its augmentation."""
        random = np.random.default_rng([self.seed, _AUGMENTATION, round_, number])
        return self.sources[number].draw(random), random


class EpochOrder(Sampler):
    """The order of an epoch's samples, (round, number) pairs, divided among processes.

    An epoch has a fixed number of samples; each round goes through the whole set in a new order. At the start of each
    iteration, `done` gives the number of samples done in the run, and the iteration continues from there to the end of
    the epoch, so a resumed run continues with the next samples.
    """

    def __init__(
        self, size: int, length: int, seed: int, done: Callable[[], int], rank: int = 0, world: int = 1
    ) -> None:
        self._size, self._length, self._seed, self._done = size, length, seed, done
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return self._length // self._world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        done = self._done()
        end = (done // self._length) * self._length + len(self) * self._world
        order, known = np.empty(0, int), -1
        for at in range(done + self._rank, end, self._world):
            round_, position = divmod(at, self._size)
            if round_ != known:
                order, known = np.random.default_rng([self._seed, _ORDER, round_]).permutation(self._size), round_
            yield round_, int(order[position])
