"""Cases: sweeps with ground-truth depth, from datasets and folders of recordings."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from ..capture.calibration import Calibration
from ..capture.errors import CalibrationError, RecordingError, SweepdepthError
from ..capture.events import Batch
from ..capture.files.dataset import MANIFEST, SceneTruth, open_dataset, read_scene
from ..capture.files.photographs import Photographs
from ..capture.formats.recordings import FORMATS
from ..capture.recordings import open_recording
from ..capture.sweeps import Sweep
from ..capture.tracking import find_sweeps
from .architecture import AnyRepresentation
from .breathing import correct_breathing

FRAMES_PER_SECOND = 30.0
"""Frame rate of an ordinary camera."""

DEPTH_SUFFIX = "_depth.npy"
"""In a folder of recordings, NAME_depth.npy is the ground truth of NAME.aedat4, NAME.h5 and so on."""

_RECORDING_SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)


class NotApplicable(SweepdepthError):
    """A method needs something that a case lacks; the method is skipped for it."""


class LabelledSweep(Protocol):
    """A sweep with ground truth, as needed for training."""

    @property
    def recording(self) -> str:
        """Name of the recording."""
        ...

    @property
    def seconds(self) -> float:
        """Duration of the sweep."""
        ...

    @property
    def events(self) -> np.ndarray:
        """The sweep's events, (N,) EVENT_DTYPE, in time order."""
        ...

    @property
    def sweep(self) -> Sweep: ...

    @property
    def truth(self) -> np.ndarray:
        """(H, W) float32, metres along Z, NaN where unknown."""
        ...

    @property
    def frames(self) -> np.ndarray | None:
        """(S, H, W) linear radiance, far to near."""
        ...

    @property
    def frame_diopters(self) -> np.ndarray | None:
        """(S,) 1/m, rising."""
        ...

    @property
    def photographs(self) -> Mapping[str, Photographs]:
        """Images without a sweep, by the names of `capture.files.photographs.PLANS`."""
        ...

    @property
    def calibration(self) -> Calibration: ...


@dataclass(frozen=True)
class Case:
    """One sweep for evaluation, with its ground truth and the inputs of other methods.

    Frames are those of a conventional camera behind the same lens, ordered far to near for either direction of the
    sweep. Frames and events include lens breathing, while the ground truth is in the geometry of the far end.
    """

    recording: str  # name
    index: int  # number of the sweep in the recording
    events: np.ndarray  # (N,) EVENT_DTYPE, of the sweep, in time order
    sweep: Sweep
    truth: np.ndarray  # (H, W) float32, metres along Z, NaN where unknown
    frames: np.ndarray | None = None  # (S, H, W) float32, linear radiance
    frame_diopters: np.ndarray | None = None  # (S,) 1/m, rising
    aperture_pair: Photographs | None = None
    photographs: Mapping[str, Photographs] = field(default_factory=dict)  # by the names of PLANS
    illuminance_lux: float | None = None  # on a white surface of the scene
    intensity: np.ndarray | None = None  # (H, W) float32, linear radiance, all in focus; for pictures

    @property
    def calibration(self) -> Calibration:
        return self.sweep.calibration

    @property
    def seconds(self) -> float:
        """Duration of the sweep."""
        return (self.sweep.end_us - self.sweep.start_us) * 1e-6


@dataclass(frozen=True)
class LabelledRecording:
    """One recording with ground truth on disk. `calibration` and `depth` are None if the recording contains them."""

    name: str
    recording: Path
    calibration: Path | None = None
    depth: Path | None = None


def as_frames(case: LabelledSweep, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Combine frames to fewer, longer exposures: (count, H, W) float32, and the mean focus of each (count,), 1/m.

    Each new frame averages an equal span of the old ones, with fractions at its ends. It keeps the read noise of all of
    them, and saturates as late as all of them together. The number of frames never exceeds that of the case.

    Raises:
        NotApplicable: the case has no intensity frames.
        ValueError: `count` is less than 1.
    """
    if case.frames is None or case.frame_diopters is None:
        raise NotApplicable(f"{case.recording}: holds no intensity frames; render with --intensity N to have them")
    if count < 1:
        raise ValueError(f"frames ({count}) must be at least 1")
    available = len(case.frames)
    count = min(count, available)
    weights = _span_weights(available, count)
    merged = np.tensordot(weights.astype(np.float32), case.frames, axes=1)
    return merged, weights @ case.frame_diopters


def frames_at_30_fps(case: LabelledSweep) -> int:
    """Number of frames of a 30 fps camera during the sweep; at least 2."""
    return max(2, round(case.seconds * FRAMES_PER_SECOND))


def images_of(case: LabelledSweep, representation: AnyRepresentation) -> tuple[np.ndarray, np.ndarray]:
    """The images that a representation uses, in the geometry of the far end, and their focus in 1/m.

    Raises:
        NotApplicable: the case has no frames.
    """
    if representation.source == "frames":
        wanted = representation.frame_rate_hz
        images, diopters = as_frames(case, representation.bins if wanted is None else frames_at_30_fps(case))
    else:
        found = photographs_of(case, representation.source)
        images, diopters = found.images, found.diopters
    return correct_breathing(images, diopters, case.calibration, order=1), diopters


def photographs_of(case: LabelledSweep, name: str) -> Photographs:
    """One of the sets of images of `PLANS`.

    Raises:
        NotApplicable: the case does not have it.
    """
    if name not in case.photographs:
        raise NotApplicable(
            f"{case.recording}: holds no photographs {name!r}; render with intensity.photographs = true to have them"
        )
    return case.photographs[name]


def _warn(source: LabelledRecording, reason: str) -> None:
    warnings.warn(f"skipped {source.name}: {reason}", stacklevel=3)


def find_cases(path: str | Path, on_skip: Callable[[LabelledRecording, str], None] = _warn) -> Iterator[Case]:
    """All sweeps with ground truth in a dataset, a folder of recordings, or a file; see `cases_of`.

    Raises:
        RecordingError: there are none at `path`.
    """
    return cases_of(find_sources(path), on_skip)


def cases_of(
    sources: Iterable[LabelledRecording], on_skip: Callable[[LabelledRecording, str], None] = _warn
) -> Iterator[Case]:
    """All sweeps of several recordings, with one recording in memory at a time.

    Unreadable recordings are skipped: `on_skip` is called with the recording and the reason; by default it warns.
    """
    for source in sources:
        try:
            yield from read_cases(source)
        except SweepdepthError as error:
            on_skip(source, str(error))


def load_case(sources: Iterable[LabelledRecording], recording: str, index: int) -> Case:
    """Load one case by the recording's name and the number of the sweep.

    Raises:
        RecordingError: there is no such case, or it cannot be read.
    """
    for source in sources:
        if source.name == recording:
            for case in read_cases(source):
                if case.index == index:
                    return case
    raise RecordingError(f"{recording}: has no sweep {index}")


def find_sources(path: str | Path) -> list[LabelledRecording]:
    """The recordings with ground truth at a path: a dataset's scenes with variants, a folder's NAME.* with
    NAME_depth.npy, or a single file.

    Raises:
        RecordingError: there are none.
    """
    path = Path(path)
    if (path / MANIFEST).exists():
        scenes = open_dataset(path).scenes
        if not scenes:
            raise RecordingError(f"{path}: the dataset has no complete scene yet; run `sweepdepth synth render` on")
        return [LabelledRecording(scene.stem, scene) for scene in scenes]
    if path.is_dir():
        depths = sorted(path.glob(f"*{DEPTH_SUFFIX}"))
        if not depths:
            raise RecordingError(
                f"{path}: has neither a {MANIFEST} nor a recording with its depth (NAME.aedat4 and NAME{DEPTH_SUFFIX})"
            )
        return [_beside(depth) for depth in depths]
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder")
    depth = path.with_name(path.stem + DEPTH_SUFFIX)
    if depth.exists():
        return [_beside(depth, path)]
    if not _holds_depth(path):
        raise RecordingError(f"{path}: its true depth is not known: it holds none, and there is no {depth.name}")
    return [LabelledRecording(path.stem, path)]


def read_cases(source: LabelledRecording) -> list[Case]:
    """All complete sweeps of a recording, in time order.

    Raises:
        RecordingError, CalibrationError, SyncError: something is missing, damaged or inconsistent.
    """
    if source.depth is None:
        scene = read_scene(source.recording)
        events, triggers, truth = scene.events, scene.triggers, scene.truth
    else:
        events, triggers, truth = _read_plain(source)
    calibration = truth.calibration
    size = (calibration.camera.height, calibration.camera.width)
    if truth.depth.shape != size:
        raise RecordingError(
            f"{source.depth or source.recording}: has depth of shape {truth.depth.shape}, but the camera is {size}"
        )
    end_us = 1 + max((int(part["timestamp"][-1]) for part in (events, triggers) if len(part)), default=0)
    sweeps = find_sweeps([Batch(events, triggers, end_us)], calibration)
    if not sweeps:
        raise RecordingError(f"{source.recording}: has no complete sweep")
    lux = truth.attributes.get("illuminance_lux")
    return [
        Case(
            source.name,
            index,
            events[slice(*np.searchsorted(events["timestamp"], [sweep.start_us, sweep.end_us]))],
            sweep,
            truth.depth,
            truth.focal_stack,
            truth.focal_stack_diopters,
            truth.aperture_pair,
            truth.photographs,
            None if lux is None else float(lux),
            truth.intensity if truth.intensity.size else None,
        )
        for index, sweep in enumerate(sweeps)
    ]


def _read_plain(source: LabelledRecording) -> tuple[np.ndarray, np.ndarray, SceneTruth]:
    """Events, triggers and ground truth of a recording whose depth is in a file beside it."""
    assert source.depth is not None
    calibration = None if source.calibration is None else Calibration.load(source.calibration)
    with open_recording(source.recording, calibration) as recording:
        events, triggers = recording.read()
        calibration = recording.calibration
    if calibration is None:
        raise CalibrationError(
            f"{source.recording}: carries no calibration; put {source.name}.toml beside it, as --lens would name it"
        )
    try:
        depth = np.load(source.depth, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RecordingError(f"{source.depth}: cannot be read as a NumPy array: {error}") from error
    _refuse_millimetres(depth, calibration, source.depth)
    return events, triggers, SceneTruth(calibration, depth.astype(np.float32), np.empty((0, 0), np.float32))


def _refuse_millimetres(depth: np.ndarray, calibration: Calibration, path: Path) -> None:
    """Raise an error if no depth is in the range of the sweep, and a thousandth of the median is."""
    known = depth[np.isfinite(depth) & (depth > 0)]
    far, near = calibration.sweep.far_diopters, calibration.sweep.near_diopters
    if len(known) and not np.any((1 / known >= far) & (1 / known <= near)):
        median = float(np.median(known))
        if far <= 1000 / median <= near:
            raise RecordingError(f"{path}: its median depth is {median:.0f}, so in millimetres; metres are expected")


def _beside(depth: Path, recording: Path | None = None) -> LabelledRecording:
    """The source that a depth file belongs to."""
    name = depth.name.removesuffix(DEPTH_SUFFIX)
    if recording is None:
        beside = [depth.with_name(name + suffix) for suffix in _RECORDING_SUFFIXES]
        recording = next((path for path in beside if path.exists()), beside[0])
    calibration = depth.with_name(f"{name}.toml")
    return LabelledRecording(name, recording, calibration if calibration.exists() else None, depth)


def _holds_depth(path: Path) -> bool:
    try:
        with h5py.File(path) as file:
            # Links to other files are not followed.
            return all(file.get(name, getlink=True) is not None for name in ("depth", "events"))
    except OSError:
        return False


def _span_weights(available: int, count: int) -> np.ndarray:
    """Weights (count, available) of `available` frames in `count` equal spans; rows sum to 1."""
    ends = np.linspace(0, available, count + 1)
    frame = np.arange(available)
    overlap = np.minimum(ends[1:, None], frame + 1) - np.maximum(ends[:-1, None], frame)
    return np.clip(overlap, 0, None) * count / available
