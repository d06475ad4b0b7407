"""`sweepdepth replay`"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .help import STREAM
from .interruption import exit_unless_all, until_interrupted
from .options import (
    ColumnsOption,
    DebugOption,
    ForceOption,
    JsonOption,
    LensOption,
    MetricsOption,
    TimeUnitOption,
    TriggersOption,
    hints_of,
    publishing,
    run_options,
    served_metrics,
    sharing,
)
from .output import print_json, print_tables, progress_bar, say

if TYPE_CHECKING:
    from ..capture.calibration import Calibration
    from ..stream.outputs import Publishing
    from ..stream.run_options import RunOptions
    from ..stream.telemetry import Summary


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise typer.BadParameter(f"{text!r}: expected max, or a number of times real time such as 1 or 0.5")
    return speed


@sharing(publishing=publishing, options=run_options)
def replay(
    recordings: Annotated[
        list[str],
        typer.Argument(metavar="REC ...", help="Recordings in any format (docs/formats.md), or a folder of them."),
    ],
    lens: LensOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Depth file (HDF5) to write, lossless; a folder for several recordings."),
    ] = None,
    *,
    publishing: "Callable[[], Publishing | None]",
    wait_subscribers: Annotated[
        int, typer.Option(min=0, rich_help_panel=STREAM, help="Start when this many subscribers are connected.")
    ] = 0,
    metrics: MetricsOption = None,
    speed: Annotated[str, typer.Option("--speed", help="max, or a factor of real time: 1 is as recorded.")] = "max",
    options: "Callable[[], RunOptions]",
    triggers: TriggersOption = None,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compute depth from a focal-sweep recording, written to a file, published, or both."""
    from ..capture.atomic import refuse_inputs
    from ..capture.calibration import Calibration
    from ..capture.formats.selection import is_many
    from ..capture.recordings import open_recording
    from ..stream.replay import replay
    from ..stream.run_options import Callbacks

    published = publishing()
    if out is None and published is None:
        raise typer.BadParameter("give --out FILE, --publish ADDRESS, or both")
    pace, chosen, hints = _speed(speed), options(), hints_of(columns, time_unit)
    calibration = None if lens is None else Calibration.load(lens)
    if is_many(recordings):
        if out is None or published is not None:
            raise typer.BadParameter("several recordings are replayed into a folder: give --out FOLDER, no --publish")
        if triggers is not None:
            raise typer.BadParameter("--triggers is for a single recording; replay it alone")
        if metrics is not None:
            raise typer.BadParameter("--metrics shows the run of one recording; replay it alone")
        _many(recordings, out, calibration, chosen, as_json, speed=pace, hints=hints, force=force)
        return
    path = Path(recordings[0])
    if out is not None:
        refuse_inputs(out, path, lens, triggers)
    stop = until_interrupted()

    def begin(address: str) -> None:
        say(f"publishing on {address}")
        if wait_subscribers:
            say(f"waiting for {wait_subscribers} subscriber{'s' if wait_subscribers > 1 else ''}")

    with open_recording(path, calibration, triggers=triggers, hints=hints) as recording:
        first_us, last_us = recording.first_us, recording.last_us
        seconds = None if first_us is None or last_us is None else (last_us - first_us) * 1e-6
        with served_metrics(metrics) as serve, progress_bar(path.name, seconds, "s") as advance:
            summary = replay(
                recording,
                chosen,
                out=out,
                publishing=published and dataclasses.replace(published, wait_subscribers=wait_subscribers),
                speed=pace,
                force=force,
                stop=stop,
                callbacks=Callbacks(
                    on_status=serve,
                    on_progress=advance,
                    on_address=begin,
                ),
            )
    _print(path.name, out, summary, as_json)
    if summary.stopped:
        say(f"stopped: {summary.n_frames} frames" + (f" in {out}" if out and summary.n_frames else ""))
        raise typer.Exit(130)


def _print(name: str, out: Path | None, summary: "Summary", as_json: bool) -> None:
    latency = {stage: f"{p.p50:.1f} ms median, {p.p99:.1f} ms p99" for stage, p in summary.latency_ms.items()}
    if as_json:
        print_json(
            {
                "frames": summary.n_frames,
                "events": summary.n_events,
                "left_out": summary.n_left_out,
                "seconds": summary.seconds,
                "stopped": summary.stopped,
                "latency_ms": {stage: {"p50": p.p50, "p99": p.p99} for stage, p in summary.latency_ms.items()},
                "drops": dict(summary.drops),
                "warnings": list(summary.warnings),
                "out": str(out) if out and summary.n_frames else None,
            }
        )
    else:
        meps = summary.n_events / max(summary.seconds, 1e-9) / 1e6
        print_tables(
            {
                name: {
                    "depth frames": summary.n_frames,
                    "events": f"{summary.n_events:,} in {summary.seconds:.2f} s ({meps:.2f} M/s)",
                    **({"left out": f"{summary.n_left_out:,} events outside the roi"} if summary.n_left_out else {}),
                    **{f"latency: {stage}": text for stage, text in latency.items()},
                    "dropped": ", ".join(f"{n} {why}" for why, n in summary.drops.items() if n) or "nothing",
                    "warnings": summary.warnings,
                    **({"written": str(out)} if out and summary.n_frames else {}),
                }
            }
        )


def _many(
    words: list[str],
    out: Path,
    calibration: "Calibration | None",
    options: "RunOptions",
    as_json: bool,
    **reading: Any,
) -> None:
    """Replay several recordings into a folder."""
    from ..capture.files.depth_file import SUFFIXES
    from ..capture.formats.selection import find_recordings
    from ..stream.replays import replay_all

    if out.suffix.lower() in SUFFIXES:
        raise typer.BadParameter(f"--out {out}: several recordings make several depth files; give a folder")
    recordings = find_recordings(words)
    stop = until_interrupted()
    with progress_bar(f"{len(recordings)} recordings", len(recordings), "recordings") as advance:
        outcomes = replay_all(recordings, out, calibration, options, stop=stop, on_progress=advance, **reading)
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    done = [outcome for outcome in outcomes if outcome.summary is not None and outcome.summary.n_frames]
    if as_json:
        for outcome in outcomes:
            frames = None if outcome.summary is None else outcome.summary.n_frames
            warnings = [] if outcome.summary is None else list(outcome.summary.warnings)
            names = {"recording": str(outcome.recording), "out": str(outcome.out) if outcome in done else None}
            print_json({**names, "frames": frames, "warnings": warnings, "failure": outcome.failure})
    else:
        rows = {o.recording.name: f"{o.summary.n_frames} frames in {o.out}" for o in done if o.summary is not None}
        print_tables({str(out): rows} if rows else {})
        for outcome in outcomes:
            for warning in () if outcome.summary is None else outcome.summary.warnings:
                say(f"warning: {outcome.recording.name}: {warning}")
    stopped = "stopped: " if stop.is_set() else ""
    say(f"{stopped}{len(done)} of {len(recordings)} recordings have depth in {out}")
    for outcome in failed:
        say(f"failed: {outcome.failure}")
    if stop.is_set():
        raise typer.Exit(130)
    exit_unless_all(len(done), len(failed))
