"""Converts recordings between formats and into films, and depth files into pictures, films, point clouds and arrays."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..atomic import refuse_inputs, refuse_replacing, write_whole
from ..calibration import Calibration
from ..errors import RecordingError
from ..events import EVENT_DTYPE, TRIGGER_DTYPE, join
from ..formats.recordings import FORMATS, recognise
from ..recordings import Recording, RecordingWriter, open_recording
from ..recordings.hints import NO_HINTS, TableHints
from .depth_file import DepthFrames, open_depth_file
from .export import STILL_SUFFIXES, export_depth
from .films import EVENT_FPS, FILM_SUFFIXES, depth_pictures, event_pictures, write_film

DEPTH_SUFFIXES = (*STILL_SUFFIXES, ".npz", *FILM_SUFFIXES)
"""Suffixes that a depth file can be converted to."""

_SLOWEST_FPS, _FASTEST_FPS = 1.0, 60.0


def convert_recording(
    source: str | Path,
    target: str | Path,
    calibration: Calibration | None = None,
    *,
    triggers: str | Path | None = None,
    force: bool = False,
    lossy: bool = False,
    on_progress: Callable[[float, int | None], None] | None = None,
    hints: TableHints = NO_HINTS,
) -> tuple[int, tuple[str, ...]]:
    """Convert a recording to the format of `target`'s suffix, with its calibration where the format can hold one.

    `triggers` is a trigger file that replaces the recording's own triggers. `on_progress` is called with the number of
    events written and the total, None if unknown.

    Returns the number of events written, and one sentence for each repair and each loss.

    Raises:
        RecordingError: `source` cannot be read or `target` cannot be written; no file is left then.
    """
    refuse_inputs(target, source, triggers)
    recognise(Path(source))
    suffixes = [suffix for known in FORMATS if known.encoder is not None for suffix in known.suffixes]
    if Path(target).suffix.lower() not in suffixes:
        raise RecordingError(
            f"{target}: {source} is a recording, which can become {', '.join((*suffixes, *FILM_SUFFIXES))}, "
            f"not {Path(target).suffix or 'a file without a suffix'}"
        )
    with open_recording(source, calibration, triggers=triggers, hints=hints) as recording:
        writer = RecordingWriter(
            target, recording.width, recording.height, recording.calibration, force=force, lossy=lossy
        )
        with writer:
            for batch in recording:
                writer.write(batch)
                if on_progress:
                    on_progress(writer.n_events, recording.n_events)
        repairs = (f"{source}: {recording.repairs}",) if recording.repairs else ()
        return writer.n_events, (*repairs, *writer.losses)


def compare_recordings(
    first: str | Path,
    second: str | Path,
    calibration: Calibration | None = None,
    *,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
    on_progress: Callable[[float, int | None], None] | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Compare two recordings event by event; `hints` and `triggers`, which replace its own, are for the first.

    Returns the number of identical events, and one sentence for each difference. If one of them has no absolute time,
    times count from the first event.

    Raises:
        RecordingError: one of them cannot be read.
    """
    given = open_recording(first, calibration, triggers=triggers, hints=hints)
    with given as one, open_recording(second, calibration) as other:
        if (one.width, one.height) != (other.width, other.height):
            return 0, (f"sensors differ: {one.width}×{one.height} and {other.width}×{other.height} pixels",)
        sides = [_Side(one), _Side(other)]
        same, shift_us = 0, None
        differences: list[str] = []
        while all(side.fill() for side in sides):
            n = min(len(side.events) for side in sides)
            a, b = (side.take(n) for side in sides)
            if shift_us is None:
                relative = "ES" in (one.format, other.format)
                shift_us = int(b["timestamp"][0]) - int(a["timestamp"][0]) if relative else 0
            equal = b["timestamp"] - shift_us == a["timestamp"]
            for name in ("x", "y", "polarity"):
                equal &= a[name] == b[name]
            if not equal.all():
                at = int(np.argmin(equal))
                differences.append(f"event {same + at} differs: {a[at].item()} and {b[at].item()}")
                break
            same += n
            if on_progress:
                on_progress(same, one.n_events)
        if not differences:
            rest = [side.count_rest() for side in sides]
            if any(rest):
                differences.append(f"numbers of events differ: {same + rest[0]:,} and {same + rest[1]:,}")
            edges = [join(side.triggers, TRIGGER_DTYPE) for side in sides]
            if not recognise(Path(second)).holds_triggers:
                pass  # the user allowed this loss with --lossy
            elif len(edges[0]) != len(edges[1]):
                differences.append(f"numbers of triggers differ: {len(edges[0]):,} and {len(edges[1]):,}")
            elif not np.array_equal(
                edges[0]["timestamp"] + (shift_us or 0), edges[1]["timestamp"]
            ) or not np.array_equal(edges[0]["edge"], edges[1]["edge"]):
                differences.append("triggers differ in time or edge")
        return same, tuple(differences)


class _Side:
    """One of the two recordings compared: the events not yet compared, and all triggers so far."""

    def __init__(self, recording: Recording) -> None:
        self._batches = iter(recording)
        self.events = np.empty(0, EVENT_DTYPE)
        self.triggers: list[np.ndarray] = []

    def fill(self) -> bool:
        """Read on until there are events to compare; False at the end."""
        while not len(self.events):
            batch = next(self._batches, None)
            if batch is None:
                return False
            self.events = batch.events
            self.triggers.append(batch.triggers)
        return True

    def take(self, n: int) -> np.ndarray:
        taken, self.events = self.events[:n], self.events[n:]
        return taken

    def count_rest(self) -> int:
        n = 0
        while self.fill():
            n += len(self.take(len(self.events)))
        return n


def convert_depth(
    source: str | Path,
    target: str | Path,
    frame: int | None = None,
    *,
    every: bool = False,
    millimetres: bool = False,
    fps: float | None = None,
    force: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> list[Path]:
    """Export frames of a depth file in the format of `target`'s suffix; returns the files written.

    Args:
        frame: number of the frame, negative from the end. None: all frames in a film or archive, the first in other
            formats.
        every: for formats of a single frame, write all frames, each to its own file: NAME_0000.png, …
        millimetres: write PNG as 16-bit millimetres instead of colours.
        fps: frames per second of a film; None: real time.

    Raises:
        RecordingError: `source` is no depth file or has no such frame, or a target exists or cannot be written.
    """
    target = Path(target)
    suffix = target.suffix.lower()
    if suffix not in DEPTH_SUFFIXES:
        raise RecordingError(
            f"{target}: {source} is a depth file, which can become {', '.join(DEPTH_SUFFIXES)}, "
            f"not {suffix or 'a file without a suffix'}"
        )
    refuse_inputs(target, source)
    with open_depth_file(source) as frames:
        count = len(frames)
        if not count or (frame is not None and not -count <= frame < count):
            raise RecordingError(f"{source}: has {count} frames, so none of number {frame or 0}")
        chosen = range(count) if frame is None else range(frame % count, frame % count + 1)
        if suffix in STILL_SUFFIXES:
            return _stills(frames, target, chosen if every else chosen[:1], every, millimetres, force, on_progress)
        if millimetres:
            raise RecordingError(f"{target}: millimetres are for .png")
        refuse_replacing(target, force)
        if suffix == ".npz":
            _archive(frames, target, chosen)
        else:
            _film(frames, target, chosen, fps, on_progress)
    return [target]


def convert_events(
    source: str | Path,
    target: str | Path,
    calibration: Calibration | None = None,
    *,
    triggers: str | Path | None = None,
    fps: float | None = None,
    force: bool = False,
    on_progress: Callable[[float], None] | None = None,
    hints: TableHints = NO_HINTS,
) -> int:
    """Render the events of a recording as a film that also shows the focus; returns the number of frames.

    Raises:
        RecordingError, SyncError: `source` cannot be read, its sweeps cannot be found, or the film cannot be written.
    """
    refuse_inputs(target, source, triggers)
    refuse_replacing(target, force)
    with open_recording(source, calibration, triggers=triggers, hints=hints) as recording:
        pictures = event_pictures(recording)
        return write_film(target, _counted(pictures, on_progress), fps or EVENT_FPS)


def _stills(
    frames: DepthFrames,
    target: Path,
    chosen: Sequence[int],
    every: bool,
    millimetres: bool,
    force: bool,
    on_progress: Callable[[float], None] | None,
) -> list[Path]:
    paths = [target.with_stem(f"{target.stem}_{k:04d}") if every else target for k in chosen]
    for path in paths:
        refuse_replacing(path, force)
    camera, sweep = frames.calibration.camera, frames.calibration.sweep
    for done, (path, k) in enumerate(zip(paths, chosen, strict=True), 1):
        export_depth(path, frames.depth[k], camera, sweep.far_diopters, sweep.near_diopters, millimetres=millimetres)
        if on_progress:
            on_progress(done)
    return paths


def _archive(frames: DepthFrames, target: Path, chosen: range) -> None:
    """Write all arrays of a depth file under the same names, and the calibration as text."""
    part = slice(chosen.start, chosen.stop)
    names = ("depth", "std", "t_start_us", "t_end_us", "direction", "quality")
    arrays = {name: getattr(frames, name)[part] for name in names}
    texts = {"lens_toml": np.array(frames.calibration.to_toml()), "estimator": np.array(frames.estimator)}
    write_whole(target, lambda path: np.savez_compressed(path, **arrays, **texts), "archive")


def _film(
    frames: DepthFrames,
    target: Path,
    chosen: range,
    fps: float | None,
    on_progress: Callable[[float], None] | None,
) -> None:
    times_us = frames.t_start_us[chosen.start : chosen.stop]
    if fps is None:
        recorded = 1e6 / float(np.median(np.diff(times_us))) if len(times_us) > 1 else 1.0
        fps = min(max(recorded, _SLOWEST_FPS), _FASTEST_FPS)
    sweep = frames.calibration.sweep
    maps = (frames.depth[k] for k in chosen)
    write_film(target, depth_pictures(maps, times_us, sweep.far_diopters, sweep.near_diopters, on_progress), fps)


def _counted(items: Iterator[np.ndarray], on_progress: Callable[[float], None] | None) -> Iterator[np.ndarray]:
    for number, item in enumerate(items, 1):
        yield item
        if on_progress:
            on_progress(number)
