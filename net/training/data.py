"""Where training samples come from: sweeps addressed by (round, number), whatever makes them.

A source draws a sweep from a generator that depends on seed, round and number alone. A recording gives the same sweep
each time, a focal stack a new one; so a resumed run, more loader processes or more devices see the same samples.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset, Sampler

from ...capture.errors import RecordingError
from ..architecture import AnyRepresentation
from ..cases import Case, LabelledSweep, Source, cases_of
from .augmentation import Augmentation
from .samples import Sample, make_sample

_AUGMENTATION, _ORDER = 21, 22  # streams of random numbers
CALIBRATED = 10
"""With fewer scenes deviations are not calibrated, but with those that validate."""


@dataclass(frozen=True)
class SweepSource:
    """Something that labelled sweeps can be drawn from, again and again."""

    scene: str  # all sources of one scene are trained on, or none is
    draw: Callable[[np.random.Generator], LabelledSweep]
    validates: bool = True  # whether the scene may be kept from training to judge it
    renewed: bool = False  # whether every draw gives another sweep


def recorded(cases: Iterable[Case]) -> list[SweepSource]:
    """Recorded sweeps as sources: each gives itself."""
    return [SweepSource(_scene_of(case.recording), lambda random, case=case: case) for case in cases]


def load_cases(
    sources: list[Source],
    representation: AnyRepresentation,
    on_source: Callable[[int], None] = lambda done: None,
    on_skip: Callable[[Source, str], None] | None = None,
) -> list[Case]:
    """All labelled sweeps of some recordings, in memory, without what the representation has no use for.

    Args:
        sources: the recordings.
        representation: what the network sees.
        on_source: called with how many recordings are done.
        on_skip: called with a recording that could not be read, and why.

    Raises:
        RecordingError: none can be used.
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
    case = replace(case, aperture_pair=None, intensity=None)
    if representation.source == "events":
        return replace(case, frames=None, frame_diopters=None)
    frames = None if case.frames is None else case.frames.astype(np.float16)
    return replace(case, events=case.events[:0], frames=frames)


def split_scenes(sources: Sequence[SweepSource], share: float) -> tuple[list[SweepSource], list[SweepSource]]:
    """Sources to train on and to validate with: whole scenes on one side or the other.

    Args:
        sources: all of them.
        share: of the scenes that may validate (all, where none of them may) which are kept for it; unless it is 0, at
            least one where there are two scenes, and two where there are eight.

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
    """Patch scenes that are kept from training, to calibrate deviations with.

    Rendered scenes resemble one another, and errors on those that validate are smaller than what a network meets
    elsewhere; no two patch scenes are alike.

    Args:
        training: what `split_scenes` left to train on.
        share: of the scenes that may not validate which are held back; none where they are fewer than `CALIBRATED`.

    Returns:
        What is trained on, and what is held back: a source for each scene.
    """
    scenes = sorted({source.scene for source in training if not source.validates})
    count = round(share * len(scenes))
    if count < CALIBRATED:
        return training, []
    held = set(scenes[-count:])
    rest = [source for source in training if source.scene not in held]
    return rest, list({source.scene: source for source in training if source.scene in held}.values())


def _scene_of(recording: str) -> str:
    """The name of a recording's scene, whatever its variant."""
    name, _, variant = recording.rpartition("_v")
    return name if variant.isdigit() else recording


class SweepSamples(Dataset):
    """Samples of sources, each addressed as (round, number); what is random depends on seed, round and number.

    What the sources hold stays in memory, shared with the loader's processes.
    """

    def __init__(
        self,
        sources: Sequence[SweepSource],
        representation: AnyRepresentation,
        augmentation: Augmentation,
        crop: int | None,  # longest side in pixels; None: whole frames
        seed: int,
        change: Callable[[Sample], Sample] | None = None,  # done to each sample last
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
        """The sweep of an address, and the generator that what is done to it then goes on with."""
        random = np.random.default_rng([self.seed, _AUGMENTATION, round_, number])
        return self.sources[number].draw(random), random


class EpochOrder(Sampler):
    """The order of an epoch: (round, number) pairs, a share of them for each of several processes.

    An epoch has a set number of items; the whole set is gone through in a new order each round. `done` is asked how
    many items of the run are done whenever an iteration begins, which leads to the end of the epoch from there; so a
    resumed run goes on with the samples that come next, wherever it was stopped.
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
