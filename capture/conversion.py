"""Converting files: recordings between formats, depth frames to pictures, point clouds and arrays."""

from collections.abc import Callable
from pathlib import Path

from .calibration import Calibration
from .depth_file import open_depth_file
from .errors import RecordingError
from .export import export_depth
from .recordings import RecordingWriter, open_recording
from .recordings.atomic import refuse_inputs, refuse_replacing
from .recordings.formats import for_writing


def convert_recording(
    source: str | Path,
    target: str | Path,
    calibration: Calibration | None = None,
    *,
    force: bool = False,
    lossy: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[int, tuple[str, ...]]:
    """Copy a recording into the format of `target`'s suffix; the calibration goes along where the format has room.

    Returns how many events were written, and a sentence for each repair and each loss.

    Raises:
        RecordingError: `source` cannot be read, or `target` not be written; there is no new file then.
    """
    refuse_inputs(target, source)
    for_writing(Path(target))
    with open_recording(source, calibration) as recording:
        writer = RecordingWriter(
            target, recording.width, recording.height, recording.calibration, force=force, lossy=lossy
        )
        with writer:
            for batch in recording:
                writer.write(batch)
                if on_progress:
                    on_progress(writer.n_events)
        repairs = (f"{source}: {recording.repairs}",) if recording.repairs else ()
        return writer.n_events, (*repairs, *writer.losses)


def convert_depth(source: str | Path, target: str | Path, frame: int = 0, *, force: bool = False) -> None:
    """Write one frame of a depth file as `target`'s suffix says; see `export_depth`.

    Negative frames count from the end.

    Raises:
        RecordingError: `source` is no depth file or has no such frame, or `target` exists or cannot be written.
    """
    refuse_inputs(target, source)
    refuse_replacing(target, force)
    with open_depth_file(source) as frames:
        if not -len(frames) <= frame < len(frames):
            raise RecordingError(f"{source}: has {len(frames)} frames, so none of number {frame}")
        sweep = frames.calibration.sweep
        depth = frames.depth[frame % len(frames)]
        export_depth(target, depth, frames.calibration.camera, sweep.far_diopters, sweep.near_diopters)
