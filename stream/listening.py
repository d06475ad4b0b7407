"""Listening to a stream: summaries of frames, and saving them."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ..capture.atomic import check_target
from ..capture.calibration import Calibration
from ..capture.errors import WireError
from ..capture.files.depth_file import DepthFile, check_suffix
from ..capture.sensor_window import DOWNSAMPLE_MOST, SensorWindow
from .wire.messages import AnyFrame, DepthFrame, StatusFrame
from .wire.subscriber import Subscriber


def listen(
    address: str,
    out: str | Path | None = None,
    calibration: Calibration | None = None,  # needed with `out`
    limit: int | None = None,  # depth frames
    *,
    stop: threading.Event | None = None,
    follow: bool = False,
    timeout: float | None = None,
    keys: str | Path | None = None,
    server_key: str | Path | None = None,
    force: bool = False,
) -> Iterator[AnyFrame]:
    """Iterate over `depth` and `status` frames; depth is also saved to the depth file `out`.

    The file is finished when the stream ends, the limit is reached, `stop` is set or the iterator is closed.

    Raises:
        WireError: no message for `timeout` seconds, invalid keys or address, or frames that do not match the
            calibration.
        RecordingError: the file exists and `force` is not given, or it cannot be written.
    """
    if out is not None:
        check_suffix(out)
        check_target(out, "depth file", force=force)
    with ExitStack() as resources:
        subscriber = resources.enter_context(
            Subscriber(address, keys=keys, server_key=server_key, timeout=timeout, follow=follow, stop=stop)
        )
        file: DepthFile | None = None
        n_depth = 0
        try:
            for frame in subscriber:
                if isinstance(frame, DepthFrame):
                    n_depth += 1
                    if out is not None and calibration is not None:
                        fitting = _window_of(frame, calibration, address)
                        file = file or DepthFile(out, fitting, frame.info.estimator, force=force)
                        file.append(frame)
                yield frame
                if n_depth == limit:
                    return
        finally:
            if file is not None:
                file.close()


def facts_of(frame: AnyFrame) -> dict[str, Any]:
    """Summary of a frame for one line of output."""
    facts: dict[str, Any] = {"topic": frame.topic, "seq": frame.seq, "lost": frame.lost}
    if isinstance(frame, DepthFrame):
        known = np.isfinite(frame.depth)
        facts |= {
            "t_end_us": frame.t_end_us,
            "direction": frame.direction.name.lower(),
            "coverage": float(known.mean()),
            "median_depth_m": float(np.median(frame.depth[known])) if known.any() else float("nan"),
            "quality": frame.quality,
            "latency_ms": frame.latency_ms.get("total", float("nan")),
        }
    elif isinstance(frame, StatusFrame):
        facts |= {
            "events_per_s": frame.events_per_s,
            "frames_per_s": frame.frames_per_s,
            "drops": sum(frame.drops.values()),
            "warnings": "; ".join(frame.warnings) or "none",
            "end": frame.end,
        }
    return facts


def _window_of(frame: DepthFrame, calibration: Calibration, address: str) -> Calibration:
    """The calibration of a publisher's sensor window; the frame's size determines the number of binned pixels."""
    sent, fitting = frame.info.camera, SensorWindow(calibration).calibration
    width, height = fitting.camera.width, fitting.camera.height
    downsample = width // sent.width
    if 1 < downsample <= DOWNSAMPLE_MOST and height // downsample == sent.height:
        fitting = SensorWindow(calibration, downsample).calibration
    if (fitting.camera.width, fitting.camera.height) != (sent.width, sent.height):
        raise WireError(
            f"{address}: sends {sent.width}×{sent.height} pixels, but the calibration is for {width}×{height}; "
            "give the lens.toml that the publisher uses"
        )
    return fitting
