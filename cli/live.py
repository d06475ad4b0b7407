"""`sweepdepth live`"""

import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .interruption import until_interrupted
from .options import (
    DebugOption,
    ForceOption,
    JsonOption,
    MetricsOption,
    publishing,
    run_options,
    served_metrics,
    sharing,
)
from .output import print_json, print_tables, say, status_line

if TYPE_CHECKING:
    from ..stream.live import LiveSummary
    from ..stream.outputs import Publishing
    from ..stream.run_options import RunOptions
    from ..stream.wire.messages import StatusFrame


@sharing(publishing=publishing, options=run_options)
def live(
    camera: Annotated[str, typer.Option("--camera", help="dv[:SERIAL], tcp://HOST:EVENTS[,TRIGGERS], or pipe:PATH.")],
    lens: Annotated[Path, typer.Option("--lens", help="Calibration file (lens.toml).")],
    driver: Annotated[
        str, typer.Option("--driver", help="optotune:/dev/ttyX, or external for an externally driven lens.")
    ] = "external",
    *,
    publishing: "Callable[[], Publishing | None]",
    record: Annotated[
        Path | None, typer.Option("--record", help="Also record the events: .h5 or .aedat4, with the calibration.")
    ] = None,
    metrics: MetricsOption = None,
    options: "Callable[[], RunOptions]",
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Stop after this time instead of at Ctrl-C.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute depth live from an event camera behind a sweeping lens. Ctrl-C ends it and stops the lens."""
    # Must precede the import of NumPy, whose second thread busy-waits: 0.14 cores at five depths per second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ..capture.atomic import refuse_inputs
    from ..capture.calibration import Calibration
    from ..stream.live import live
    from ..stream.run_options import Callbacks

    chosen, published = options(), publishing()
    if published is None and record is None:
        say("without --publish or --record, the results are discarded")
    calibration = Calibration.load(lens)
    if record is not None:
        refuse_inputs(record, lens, chosen.weights)
    stop = threading.Event()
    interrupted = until_interrupted(stop)
    timer: threading.Timer | None = None

    def begin_counting() -> None:
        nonlocal timer
        if seconds is not None and timer is None:
            timer = threading.Timer(seconds, stop.set)
            timer.daemon = True
            timer.start()

    with served_metrics(metrics) as serve, status_line() as show:

        def on_status(status: "StatusFrame") -> None:
            show(_line(status))
            serve(status)

        summary = live(
            camera,
            calibration,
            chosen,
            driver=driver,
            publishing=published,
            record=record,
            force=force,
            stop=stop,
            callbacks=Callbacks(
                on_status=on_status,
                on_notice=say,
                on_address=lambda address: say(f"publishing on {address}"),
                on_start=begin_counting,
            ),
        )
    if as_json:
        print_json(_facts(summary))
    else:
        print_tables({camera: _rows(summary)})
    if interrupted.is_set():
        raise typer.Exit(130)


def _line(status: "StatusFrame") -> str:
    """The state of the run in one line."""
    parts = [f"{status.events_per_s / 1e6:.2f} M events/s", f"{status.frames_per_s:.1f} depths/s"]
    age = status.latency_ms.get("age")
    if age is not None:
        parts.append(f"age {age.p50:.0f} ms (p99 {age.p99:.0f})")
    parts.append("sync unknown" if math.isnan(status.sync_quality) else f"sync {status.sync_quality:.2f}")
    dropped = [f"{n:,} {why.replace('_', ' ')}" for why, n in status.drops.items() if n]
    parts.append(f"dropped {', '.join(dropped) or 'nothing'}")
    return "  ".join(parts) + "".join(f"\n  {warning}" for warning in status.warnings)


def _facts(summary: "LiveSummary") -> dict[str, object]:
    depth, camera, lens, recording = summary.depth, summary.camera, summary.lens, summary.recording
    return {
        "frames": depth.n_frames,
        "events": depth.n_events,
        "left_out": depth.n_left_out,
        "seconds": depth.seconds,
        "latency_ms": {stage: {"p50": p.p50, "p99": p.p99} for stage, p in depth.latency_ms.items()},
        "drops": dict(depth.drops),
        "warnings": list(depth.warnings),
        "camera": None
        if camera is None
        else {"connected": camera.connected, "reconnects": camera.reconnects, "lost_s": camera.lost_s},
        "lens": None
        if lens is None
        else {"connected": lens.connected, "reconnects": lens.reconnects, "temperature_c": lens.temperature_c},
        "recording": None
        if recording is None
        else {
            "path": str(recording.path),
            "events": recording.n_events,
            "dropped_events": recording.dropped_events,
            "failure": recording.failure,
        },
    }


def _rows(summary: "LiveSummary") -> dict[str, object]:
    depth, lens, recording = summary.depth, summary.lens, summary.recording
    meps = depth.n_events / max(depth.seconds, 1e-9) / 1e6
    rows: dict[str, object] = {
        "depth frames": depth.n_frames,
        "events": f"{depth.n_events:,} in {depth.seconds:.2f} s ({meps:.2f} M/s)",
        **({"left out": f"{depth.n_left_out:,} events outside the roi"} if depth.n_left_out else {}),
        **{f"latency: {s}": f"{p.p50:.1f} ms median, {p.p99:.1f} ms p99" for s, p in depth.latency_ms.items()},
        "dropped": ", ".join(f"{n:,} {why}" for why, n in depth.drops.items() if n) or "nothing",
        "warnings": depth.warnings,
    }
    if lens is not None and lens.temperature_c is not None:
        rows["lens"] = f"{lens.temperature_c:.1f} °C"
    if recording is not None:
        rows["recorded"] = recording.failure or f"{recording.path}: {recording.n_events:,} events"
    return rows
