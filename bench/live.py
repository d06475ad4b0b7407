"""The live path under load: event source, runtime and subscriber, each in its own process.

A source sends sweeps of a synthetic scene with 640×480 pixels at a constant rate through a pipe, `live` computes depth,
and a subscriber receives it. The source uses the host's clock, so the age of a depth frame is the total time from the
end of its sweep at the sensor to its arrival at the subscriber. Memory is sampled every second after a settling time.
Under overload, events are lost at one of three places, which are all counted: the source cannot write in time, the
camera's ring is full, or a finished sweep is replaced by a newer one before it is estimated.

    ./run bench live [--json FILE]                               # all tables of docs/live.md: 27 minutes
    ./run bench live --minutes 10 --trial 0 --row 0              # the long run only
    ./run bench live --minutes 0 --trial 0 --size 640x480 --rates 8 40   # some rows of the table of rates
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sweepdepth import Subscriber
from sweepdepth.net.estimators import NAMES
from sweepdepth.stream.live import live
from sweepdepth.stream.outputs import Publishing
from sweepdepth.stream.run_options import Callbacks, RunOptions
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame

from ._live_load import Load, Run
from ._live_source import send
from ._live_tables import print_long, print_runs

SETTLING_S = 5.0
TABLE: tuple[tuple[int, int, int, tuple[float, ...]], ...] = (
    (346, 260, 1, (2, 8, 20, 40)),
    (640, 480, 1, (2, 8, 20, 40, 60, 80)),
    (640, 480, 2, (2, 8, 20, 40, 60, 80)),
    (1280, 720, 1, (8, 20, 40)),
    (1280, 720, 2, (8, 20, 40)),
)
"""Rows of the table of rates: width and height of the sensor, so many pixels to a side are taken together, and million
events a second; up to three times as many as fit."""

MISSES = 0.1
"""Tolerated sweeps per second without depth, since sweeps at the ends of a trial are incomplete."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the long run; 0 leaves it out")
    parser.add_argument("--rate", type=float, default=20.0, help="its rate, in million events a second")
    parser.add_argument(
        "--estimator",
        choices=(*NAMES, "untrained"),
        help="net unless there are no weights; untrained is the default network without any, as fast as one with",
    )
    parser.add_argument("--weights", help="weights for the network, instead of its own")
    parser.add_argument("--depth-rate", choices=("sweep", "bin"), default="sweep")
    parser.add_argument("--size", default="640x480", help="of the sensor, in pixels")
    parser.add_argument("--downsample", type=int, default=1, help="so many pixels, to a side, are taken together")
    parser.add_argument("--cores", type=int, default=2, help="processors that all processes share")
    parser.add_argument(
        "--trial", type=float, default=10.0, help="seconds of each trial of the search for the highest rate; 0: none"
    )
    parser.add_argument("--row", type=float, default=12.0, help="seconds of each row of the table of rates; 0: none")
    parser.add_argument("--rates", type=float, nargs="+", help="the table's rates, with --size and --downsample only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for child processes, as in the command
    width, height = map(int, options.size.split("x"))
    load = Load(width, height, options.estimator, options.weights, options.depth_rate, options.downsample)
    with tempfile.TemporaryDirectory() as folder:
        if options.estimator == "untrained":
            load = replace(load, estimator="net", weights=str(untrained(Path(folder))))
        found = run_all(options, load)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def run_all(options: argparse.Namespace, load: Load) -> dict[str, Any]:
    """Run and print everything that is asked for; returns the summaries."""
    found: dict[str, Any] = {}
    if options.minutes:
        long = measure(options.rate, 60 * options.minutes, load)
        print_long(long, options)
        found["long"] = long.summary() | {"rss_mb": long.rss}
    if options.trial:
        best, trials = search(options.rate, options.trial, load)
        print(f"\n### Highest rate without loss: {best:g} M events/s ({load.camera}, {options.trial:g} s each)\n")
        print_runs(trials)
        found["search"] = {"highest": best, "trials": [run.summary() for run in trials]}
    if options.row:
        cases = TABLE if options.rates is None else ((load.width, load.height, load.downsample, options.rates),)
        print(f"\n### Rates, {options.row:g} s each, {options.cores} cores\n")
        found["rates"] = [
            run.summary()
            for run in print_runs(
                measure(rate, options.row, replace(load, width=width, height=height, downsample=downsample))
                for width, height, downsample, rates in cases
                for rate in rates
            )
        ]
    return found


def untrained(folder: Path) -> Path:
    """Initial weights of the default network: depth is meaningless, but takes the same time."""
    from sweepdepth.net.architecture import PRESETS
    from sweepdepth.net.weights import make_network, save_weights

    save_weights(folder / "untrained.safetensors", make_network(PRESETS["default"]), {})
    return folder / "untrained.safetensors"


def search(start: float, seconds: float, load: Load) -> tuple[float, list[Run]]:
    """Find the highest rate without loss, to 10 %; returns it and all trials.

    If the estimator is too slow for every sweep even at a tenth of the initial rate, only lost events count.
    """
    trials = [measure(start / 10, seconds, load)]
    keeps_up = trials[0].sweeps_without_depth <= MISSES * seconds

    def holds(rate: float) -> bool:
        run = measure(rate, seconds, load)
        trials.append(run)
        return run.lost_events == 0 and not (keeps_up and run.sweeps_without_depth > MISSES * seconds)

    good, bad = 0.0, None
    rate = start
    while bad is None or bad - good > 0.1 * bad:
        if holds(rate):
            good = rate
        else:
            bad = rate
        if bad is None:
            rate = 1.5 * good
        elif good:
            rate = round((good + bad) / 2, 1)
        else:
            rate = round(bad / 2, 1)
            if rate < 0.5:
                break
    return good, sorted(trials, key=lambda run: run.rate)


def measure(rate: float, seconds: float, load: Load) -> Run:
    """Run the whole path once."""
    spawn = multiprocessing.get_context("spawn")
    run = Run(load, rate)
    with tempfile.TemporaryDirectory() as folder:
        pipe, address = f"{folder}/events", f"ipc://{folder}/depth"
        os.mkfifo(pipe)
        source_end, source_theirs = spawn.Pipe()
        live_end, live_theirs = spawn.Pipe()
        source = spawn.Process(target=send, args=(pipe, rate, load, source_theirs), name="source")
        runtime = spawn.Process(target=run_live, args=(f"pipe:{pipe}", address, load, live_theirs), name="live")
        source.start()
        source_end.recv()  # the source has generated its events
        runtime.start()
        try:
            with Subscriber(address, timeout=120) as subscriber:
                listen(run, load, subscriber, {"source": source, "live": runtime}, seconds, live_end, source_end)
                live_end.send("stop")
                for frame in subscriber:  # remaining frames, up to the last status
                    del frame
        finally:
            while runtime.is_alive():
                if live_end.poll(0.1):
                    try:
                        live_end.recv()
                    except EOFError:
                        break
            runtime.join()
            source.kill()
            source.join()
    return run


def listen(
    run: Run,
    load: Load,
    subscriber: Subscriber,
    processes: dict[str, Any],
    seconds: float,
    live_end: Any,
    source_end: Any,
) -> None:
    """Receive for some time while monitoring the processes."""
    truth = load.truth()
    began: float | None = None  # time after settling
    first: tuple[dict[str, float], StatusFrame, tuple[int, int]] | None = None
    cpu: dict[str, float] = {}
    source_counts = (0, 0)
    sampled = 0.0
    while True:
        frame = subscriber.receive(120)
        now = time.monotonic()
        assert frame is not None
        while live_end.poll():
            message = live_end.recv()
            if isinstance(message, BaseException):
                raise message
            cpu = message
        while source_end.poll():
            source_counts = source_end.recv()
        if began is None:
            began = now + SETTLING_S
        if isinstance(frame, DepthFrame):
            if first is not None:
                run.ages_ms.append(1e3 * now - 1e-3 * frame.t_end_us)
                run.wire_ms.append(1e-6 * (time.time_ns() - frame.t_publish_ns))
                for stage, ms in frame.latency_ms.items():
                    run.stages_ms.setdefault(stage, []).append(ms)
                wrong = np.abs(1 / frame.depth[::8, ::8] - truth[::8, ::8])
                run.errors.append(float(np.nanmedian(wrong)) / 2.0 if np.isfinite(wrong).any() else np.nan)
                run.quality += frame.quality
        elif isinstance(frame, StatusFrame):
            for name, n in frame.queues.items():
                run.queues[name] = max(run.queues.get(name, 0), n)
            if now > began and cpu:
                if first is None:
                    first, began = (cpu, frame, source_counts), now
                run.events_per_s = frame.events_per_s
                if now - began >= seconds:
                    break
        if first is not None and now > sampled + 1:
            sampled = now
            for name, megabytes in memory(processes).items():
                run.rss.setdefault(name, []).append((now - began, megabytes))
    assert first is not None
    assert began is not None
    run.seconds = now - began
    run.dropped = {why: n - first[1].drops.get(why, 0) for why, n in frame.drops.items()}
    run.sent, run.unsent = (b - a for a, b in zip(first[2], source_counts, strict=True))
    run.cpu = {stage: (used - first[0].get(stage, 0.0)) / run.seconds for stage, used in cpu.items()}
    run.quality /= max(1, len(run.ages_ms))


def memory(processes: dict[str, Any]) -> dict[str, float]:
    """Unshared memory of each process in MB; the camera's is a child of the runtime's."""
    found = {"subscriber": psutil.Process().memory_info().rss / 1e6}
    for name, process in processes.items():
        found[name] = psutil.Process(process.pid).memory_info().rss / 1e6
    for child in psutil.Process(processes["live"].pid).children():
        with suppress(psutil.Error):
            if "sources.worker" in " ".join(child.cmdline()):
                found["camera"] = child.memory_info().rss / 1e6
    return found


# The runtime's process


def run_live(address: str, publish: str, load: Load, ours: Connection) -> None:
    """Run `live` like the command; reports the CPU time of each thread once a second."""
    stop = threading.Event()
    threading.Thread(target=lambda: (ours.recv(), stop.set()), daemon=True).start()
    names = {
        "binning": "check, track and bin",
        "estimating": "estimate and encode",
        "publisher": "publish",
        "MainThread": "status",
    }

    def report(_: StatusFrame) -> None:
        used = {f"read (its own process), {pid}": seconds for pid, seconds in camera_times().items()}
        for thread in threading.enumerate():
            if thread.native_id is not None and thread.name in names:
                used[names[thread.name]] = thread_time(thread.native_id)
        whole = os.times()
        used["other threads"] = whole.user + whole.system - sum(v for k, v in used.items() if not k.startswith("read"))
        ours.send({stage.split(",")[0] if "read" in stage else stage: v for stage, v in used.items()})

    def notify(notice: str) -> None:
        print(f"live: {notice}", file=sys.stderr)

    try:
        live(
            address,
            load.calibration,
            RunOptions(load.estimator, load.weights, rate=load.depth_rate, downsample=load.downsample),
            publishing=Publishing(publish),
            stop=stop,
            callbacks=Callbacks(on_status=report, on_notice=notify),
        )
    except BaseException as error:
        ours.send(error)
        raise


def camera_times() -> dict[int, float]:
    """CPU time of the process that reads the camera, in s."""
    found = {}
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it may be ending
            if "sources.worker" in " ".join(child.cmdline()):
                times = child.cpu_times()
                found[child.pid] = times.user + times.system
    return found


def thread_time(native_id: int) -> float:
    """CPU time of a thread of this process, in s."""
    text = Path(f"/proc/self/task/{native_id}/stat").read_text().rpartition(")")[2].split()
    return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
