"""Converting files: recordings between formats, depth frames to pictures, point clouds and arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .calibration import Calibration
from .depth_file import open_depth_file
from .errors import RecordingError
from .events import EVENT_DTYPE, TRIGGER_DTYPE, join
from .export import export_depth
from .recordings import Recording, RecordingWriter, open_recording
from .recordings.formats import recognise
from .recordings.hints import NO_HINTS, TableHints


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
    """Copy a recording into the format of `target`'s suffix; the calibration goes along where the format has room.

    `triggers` is a file of triggers that takes the place of the recording's own. `on_progress` is called with how many
    events are written, and how many there are where that is known.

    Returns how many events were written, and a sentence for each repair and each loss.

    Raises:
        RecordingError: `source` cannot be read, or `target` not be written; there is no new file then.
    """
    if Path(source).resolve() == Path(target).resolve():
        raise RecordingError(f"{target}: is the recording itself; choose another name")
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
    hints: TableHints = NO_HINTS,
    on_progress: Callable[[float, int | None], None] | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Read two recordings side by side, event by event; `hints` are for the first.

    Returns how many events are the same, and a sentence for each difference, nothing where there is none. Where one
    of them has no absolute time, times count from the first event.

    Raises:
        RecordingError: one of them cannot be read.
    """
    with open_recording(first, calibration, hints=hints) as one, open_recording(second, calibration) as other:
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
                pass  # losing them had to be allowed
            elif len(edges[0]) != len(edges[1]):
                differences.append(f"numbers of triggers differ: {len(edges[0]):,} and {len(edges[1]):,}")
            elif not np.array_equal(
                edges[0]["timestamp"] + (shift_us or 0), edges[1]["timestamp"]
            ) or not np.array_equal(edges[0]["edge"], edges[1]["edge"]):
                differences.append("triggers differ in time or edge")
        return same, tuple(differences)


class _Side:
    """One of two recordings that are compared: the events that wait for the other's, and all triggers so far."""

    def __init__(self, recording: Recording) -> None:
        self._batches = iter(recording)
        self.events = np.empty(0, EVENT_DTYPE)
        self.triggers: list[np.ndarray] = []

    def fill(self) -> bool:
        """Have some events, unless there are no more."""
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


def convert_depth(source: str | Path, target: str | Path, frame: int = 0, *, force: bool = False) -> None:
    """Write one frame of a depth file as `target`'s suffix says; see `export_depth`.

    Negative frames count from the end.

    Raises:
        RecordingError: `source` is no depth file or has no such frame, or `target` exists or cannot be written.
    """
    if Path(target).exists() and not force:
        raise RecordingError(f"{target}: exists already; choose another name, or --force to replace it")
    with open_depth_file(source) as frames:
        if not -len(frames) <= frame < len(frames):
            raise RecordingError(f"{source}: has {len(frames)} frames, so none of number {frame}")
        sweep = frames.calibration.sweep
        depth = frames.depth[frame % len(frames)]
        export_depth(target, depth, frames.calibration.camera, sweep.far_diopters, sweep.near_diopters)
