"""Films (MP4 and GIF) of depth, and of the events of a recording with the focus."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import matplotlib
import numpy as np

from ..atomic import write_whole
from ..errors import RecordingError
from ..optics import to_diopters
from ..recordings import Recording
from ..reporting.figures import DEPTH_COLOURS, EVENT_COLOURS, depth_image
from ..sweeps import Sweep
from ..tracking import make_tracker

FILM_SUFFIXES = (".mp4", ".gif")

EVENT_FRAMES = 20
"""Frames per sweep in films of events."""

EVENT_FPS = 20.0
UNKNOWN_CELL_US = 10_000
"""Sensor time per frame of events without a calibration, when sweeps are unknown."""

_LEAST_WIDTH_PX = 480
_STRIP_PX = 44
_MARGIN_PX = 16
_UNKNOWN_GREY = 217
_BACKGROUND, _INK = (255, 255, 255), (40, 40, 40)


def write_film(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Write frames, each (H, W, 3) uint8 of the same size, as a film; returns their number.

    Raises:
        RecordingError: the suffix is not one of `FILM_SUFFIXES`, there are no frames, or the film cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FILM_SUFFIXES:
        raise RecordingError(f"{path}: films can be written as {', '.join(FILM_SUFFIXES)}, not as {path.suffix}")
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for frame in frames:
            count += 1
            yield frame

    pictures = counted()
    first = next(pictures, None)
    if first is None:
        raise RecordingError(f"{path}: there is nothing to show: not a single picture")
    write = _write_mp4 if suffix == ".mp4" else _write_gif
    kind = "film" if suffix == ".mp4" else "picture"
    write_whole(path, lambda partial: write(partial, chain([first], pictures), fps), kind)
    return count


def depth_picture(
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    far_diopters: float,
    near_diopters: float,
    caption: str = "",
) -> np.ndarray:
    """A depth map in colours above its scale, (H', W', 3) uint8; grey where unknown."""
    colours = depth_image(depth, far_diopters, near_diopters)
    picture = np.where(colours[..., 3:] > 0, colours[..., :3], np.uint8(_UNKNOWN_GREY))
    return _captioned(picture, far_diopters, near_diopters, caption, DEPTH_COLOURS, None)


def event_pictures(recording: Recording) -> Iterator[np.ndarray]:
    """Frames of a recording's events, (H', W', 3) uint8: OFF in orange, ON in purple, above a scale with the focus.
    Without a calibration there is no scale, and a frame every `UNKNOWN_CELL_US`.

    Raises:
        RecordingError, SyncError: it cannot be read, or its sweeps cannot be found.
    """
    if recording.calibration is None:
        yield from _unsynchronised(recording)
        return
    settings = recording.calibration.sweep
    tracker = make_tracker(recording.calibration)
    canvas = _Canvas(recording.height, recording.width)
    sweep: Sweep | None = None
    shown = 0

    def show(upto: int) -> Iterator[np.ndarray]:
        nonlocal shown
        while sweep is not None and shown < upto:
            middle_us = sweep.start_us + (shown + 0.5) * (sweep.end_us - sweep.start_us) / EVENT_FRAMES
            focus = float(sweep.diopters_at(np.array([middle_us]))[0])
            where = f"{1 / focus:.2f} m" if focus > 0 else "infinity"
            yield _captioned(
                canvas.take(shown), settings.far_diopters, settings.near_diopters, f"focus at {where}", None, focus
            )
            shown += 1

    for batch in chain(recording, [None]):
        for span in tracker.feed(batch) if batch is not None else tracker.finish():
            if sweep is None or span.sweep.start_us != sweep.start_us:
                canvas, shown = _Canvas(recording.height, recording.width), 0
            sweep = span.sweep
            cell_us = (sweep.end_us - sweep.start_us) / EVENT_FRAMES
            cells = ((span.events["timestamp"] - sweep.start_us) / cell_us).astype(int).clip(shown, EVENT_FRAMES - 1)
            canvas.add(span.events, cells)
            yield from show(EVENT_FRAMES if span.closed else int(cells[-1]) if len(cells) else 0)


def _unsynchronised(recording: Recording) -> Iterator[np.ndarray]:
    canvas, start_us, shown = _Canvas(recording.height, recording.width), None, 0
    for batch in recording:
        if not len(batch.events):
            continue
        start_us = int(batch.events["timestamp"][0]) if start_us is None else start_us
        cells = (batch.events["timestamp"] - start_us) // UNKNOWN_CELL_US
        canvas.add(batch.events, cells)
        while shown < cells[-1]:
            yield _captioned(canvas.take(shown), 0.0, 1.0, f"{shown * UNKNOWN_CELL_US * 1e-6:.2f} s", None, None)
            shown += 1
    if start_us is not None:
        yield _captioned(canvas.take(shown), 0.0, 1.0, f"{shown * UNKNOWN_CELL_US * 1e-6:.2f} s", None, None)


class _Canvas:
    """Accumulates signed events by cell until their frame is drawn."""

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._cells: dict[int, np.ndarray] = {}

    def add(self, events: np.ndarray, cells: np.ndarray) -> None:
        """Add events, (N,) EVENT_DTYPE, to their cells."""
        for cell in np.unique(cells):
            part = events[cells == cell]
            image = self._cells.setdefault(int(cell), np.zeros(self._size, np.int32))
            np.add.at(image, (part["y"], part["x"]), np.where(part["polarity"] > 0, 1, -1))

    def take(self, cell: int) -> np.ndarray:
        """Draw one cell, (H, W, 3) uint8, and discard it."""
        image = self._cells.pop(cell, np.zeros(self._size, np.int32))
        limit = max(1.0, float(np.quantile(np.abs(image[image != 0]), 0.9)) if image.any() else 1.0)
        return matplotlib.colormaps[EVENT_COLOURS](0.5 + 0.5 * image / limit, bytes=True)[..., :3]


def _captioned(
    picture: np.ndarray,  # (H, W, 3) uint8
    far_diopters: float,
    near_diopters: float,
    caption: str,
    colour_map: str | None,
    focus: float | None,  # 1/m: marked on the scale
) -> np.ndarray:
    """A picture, enlarged by an integer factor, above its scale in metres; only a caption without colours and focus."""
    from PIL import Image, ImageDraw, ImageFont

    times = max(1, -(-_LEAST_WIDTH_PX // picture.shape[1]))
    picture = picture.repeat(times, axis=0).repeat(times, axis=1)
    height, width = (side + side % 2 for side in picture.shape[:2])  # H.264 wants even sides
    strip = Image.new("RGB", (width, _STRIP_PX), _BACKGROUND)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(12)
    left, right = _MARGIN_PX, width - _MARGIN_PX
    if colour_map is not None or focus is not None:
        ramp = np.full((10, right - left, 3), 225, np.uint8)
        if colour_map is not None:
            ramp[:] = matplotlib.colormaps[colour_map](np.linspace(0, 1, right - left), bytes=True)[:, :3]
        strip.paste(Image.fromarray(ramp), (left, 4))
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            diopters = far_diopters + share * (near_diopters - far_diopters)
            label = f"{1 / diopters:.2f} m" if diopters > 0 else "∞"
            anchor = "la" if share == 0 else "ra" if share == 1 else "ma"
            draw.text((left + share * (right - left), 15), label, _INK, font, anchor)
    if focus is not None:
        x = left + (right - left) * (focus - far_diopters) / (near_diopters - far_diopters)
        draw.rectangle((x - 2, 1, x + 2, 16), _INK)
    draw.text((left, 29), caption, _INK, font, "la")
    out = np.full((height + _STRIP_PX, width, 3), 255, np.uint8)
    out[: picture.shape[0], : picture.shape[1]] = picture
    out[height:] = np.asarray(strip)
    return out


def depth_pictures(
    depth: Iterable[np.ndarray],  # (H, W) each
    start_us: np.ndarray,  # (N,)
    far_diopters: float,
    near_diopters: float,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[np.ndarray]:
    """A picture of each depth map, captioned with the time since the first."""
    for number, (frame, time_us) in enumerate(zip(depth, start_us, strict=True)):
        caption = f"{(int(time_us) - int(start_us[0])) * 1e-6:.2f} s"
        known = to_diopters(frame)
        caption += f"   known: {100 * np.isfinite(known).mean():.0f} %"
        yield depth_picture(frame, far_diopters, near_diopters, caption)
        if on_progress:
            on_progress(number + 1)


def _write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError as error:
        raise RecordingError("MP4 needs imageio-ffmpeg: pip install 'sweepdepth[export]'; GIF does not") from error
    writer = None
    try:
        for frame in frames:
            if writer is None:
                size = frame.shape[1], frame.shape[0]
                writer = imageio_ffmpeg.write_frames(
                    str(path),
                    size,
                    fps=fps,  # pyright: ignore[reportArgumentType]
                    quality=8,
                    macro_block_size=2,
                    ffmpeg_log_level="error",
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(frame).tobytes())
    finally:
        if writer is not None:
            writer.close()


def _write_gif(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    from PIL import Image

    images = (Image.fromarray(frame) for frame in frames)
    duration_ms = max(20, round(100 / fps) * 10)  # browsers slow down faster GIFs
    next(images).save(path, format="GIF", save_all=True, append_images=images, duration=duration_ms, loop=0)
