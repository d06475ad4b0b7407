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
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sweepdepth import Calibration, Subscriber
from sweepdepth.capture.cameras.pipe import BATCH, HEADER, MAGIC
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE
from sweepdepth.net.estimators import NAMES
from sweepdepth.stream.live import live
from sweepdepth.stream.outputs import Publishing
from sweepdepth.stream.pipeline import Rate
from sweepdepth.stream.run_options import Callbacks, RunOptions
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame

SWEEP_US, STEP_US = 200_000, 5000
LENS = """
[camera]
width = {width}
height = {height}
pixel_pitch_um = 9.0
fx = {fx}
fy = {fx}
cx = {cx}
cy = {cy}
[lens]
focal_length_mm = 12.0
f_number = 1.4
[sweep]
waveform = "triangle"
frequency_hz = 2.5
far_diopters = 0.5
near_diopters = 2.5
sync = "trigger"
"""
TOO_LATE_S = 0.05
"""A source that is further behind drops events, like a camera."""

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


@dataclass(frozen=True)
class Load:
    """The load of a run: sensor size and estimator."""

    width: int
    height: int
    estimator: str | None
    weights: str | None
    depth_rate: Rate
    downsample: int = 1

    @property
    def camera(self) -> str:
        """How tables call it."""
        n = self.downsample
        return f"{self.width}×{self.height}" + (f", {n}×{n} binned" if n > 1 else "")

    @property
    def calibration(self) -> Calibration:
        """A calibration whose largest blur is the same fraction of the image at every size."""
        size = {"width": self.width, "height": self.height, "fx": 2.083 * self.width}
        return Calibration.parse(LENS.format(**size, cx=self.width / 2, cy=self.height / 2))

    def scene(self) -> np.ndarray:
        """(H, W) diopters: planes side by side."""
        columns = np.linspace(0.9, 2.1, 8)[np.arange(self.width) * 8 // self.width]
        return np.broadcast_to(columns, (self.height, self.width))

    def truth(self) -> np.ndarray:
        """The scene in the pixels of the depth."""
        n = self.downsample
        return self.scene()[n // 2 :: n, n // 2 :: n][: self.height // n, : self.width // n]


@dataclass
class Run:
    """Measurements of one run after settling."""

    load: Load
    rate: float  # requested M events/s
    seconds: float = 0.0
    ages_ms: list[float] = field(default_factory=list)  # of each depth frame at the subscriber
    wire_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)  # median of each depth frame, as a fraction of the range
    rss: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # process → (s, MB)
    cpu: dict[str, float] = field(default_factory=dict)  # stage → cores
    sent: int = 0
    unsent: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)  # largest lengths
    events_per_s: float = 0.0
    quality: float = 0.0

    @property
    def lost_events(self) -> int:
        return self.unsent + self.dropped.get("camera_events", 0)

    @property
    def lost_share(self) -> float:
        return self.lost_events / max(1, self.sent + self.unsent)

    @property
    def sweeps_without_depth(self) -> int:
        return max(0, round(self.seconds * 1e6 / SWEEP_US) - 1 - len(self.ages_ms))

    @property
    def depths_per_s(self) -> float:
        return len(self.ages_ms) / self.seconds

    @property
    def median_error(self) -> float:
        """Median over the depths of their median errors, as a fraction of the range; NaN without any."""
        return float(np.median([error for error in self.errors if np.isfinite(error)] or np.nan))

    @property
    def memory_gb(self) -> float:
        """The most of all processes together."""
        return sum(max(mb for _, mb in samples) for samples in self.rss.values()) / 1000

    def age_ms(self, *percent: float) -> np.ndarray:
        """Percentiles of the age; NaN without any depth."""
        return np.percentile(self.ages_ms, percent) if self.ages_ms else np.full(len(percent), np.nan)

    def summary(self) -> dict[str, Any]:
        """What tables and charts show, as JSON."""
        p50, p99, oldest = (round(float(age), 1) if self.ages_ms else None for age in self.age_ms(50, 99, 100))
        return {
            "camera": self.load.camera, "width": self.load.width, "height": self.load.height,
            "downsample": self.load.downsample, "rate": self.rate, "seconds": round(self.seconds, 1),
            "sent": self.sent, "unsent": self.unsent, "dropped": self.dropped, "lost": round(self.lost_share, 5),
            "depths_per_s": round(self.depths_per_s, 2), "age_p50_ms": p50, "age_p99_ms": p99, "age_max_ms": oldest,
            "memory_gb": round(self.memory_gb, 2), "cores": {name: round(n, 2) for name, n in self.cpu.items()},
        }  # fmt: skip


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


# The source's process


def make_sweep(rate: float, load: Load) -> np.ndarray:
    """One far→near sweep with `rate` million events per second, (N,) EVENT_DTYPE; pixels brighten before their focus
    and darken after it, or the reverse."""
    rng = np.random.default_rng(0)
    n = round(rate * SWEEP_US)
    events = np.zeros(n, EVENT_DTYPE)
    x, y = rng.integers(0, load.width, n, dtype=np.int16), rng.integers(0, load.height, n, dtype=np.int16)
    bright = rng.random((load.height, load.width)) < 0.5
    focus_us = ((load.scene() - 0.5) / 2.0 * SWEEP_US).astype(np.float32)[y, x]
    # Spread over the whole sweep for a constant rate.
    at = rng.permutation(np.arange(n) * (SWEEP_US / n)).astype(np.int64)
    events["timestamp"], events["x"], events["y"] = at, x, y
    events["polarity"] = (at < focus_us) == bright[y, x]
    return events[np.argsort(at, kind="stable")]


def send(path: str, rate: float, load: Load, ours: Connection) -> None:
    """Send sweeps in both directions until killed; reports the numbers of events sent and dropped."""
    forward = make_sweep(rate, load)
    backward = forward[::-1].copy()
    backward["timestamp"] = SWEEP_US - 1 - backward["timestamp"]
    backward["polarity"] = 1 - backward["polarity"]
    sweeps = forward, backward
    cuts = [np.searchsorted(s["timestamp"], np.arange(0, SWEEP_US + 1, STEP_US)) for s in sweeps]
    counts = [0, 0]
    ours.send("ready")
    while True:  # start over for a new reader
        with suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
            send_sweeps(pipe, load, sweeps, cuts, counts, lambda: ours.send(tuple(counts)))


def send_sweeps(
    pipe: Any,
    load: Load,
    sweeps: tuple[np.ndarray, ...],
    cuts: list[np.ndarray],
    counts: list[int],
    notify: Callable[[], None],
) -> None:
    """Send sweeps in real time until the reader disconnects; `counts` are events sent and dropped."""

    def write(data: Any) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[pipe.write(rest) :]

    write(HEADER.pack(MAGIC, 1, load.width, load.height, 0))
    edge = np.zeros(1, TRIGGER_DTYPE)
    origin_us = time.monotonic_ns() // 1000 + STEP_US
    printed = 0.0
    for k in itertools.count():
        at_us = origin_us + k * SWEEP_US
        events, cut = sweeps[k % 2], cuts[k % 2]
        edge["timestamp"], edge["edge"] = at_us, 1 + k % 2
        write(BATCH.pack(2, 1, -1) + edge.tobytes())
        for i in range(len(cut) - 1):
            end_us, n = at_us + (i + 1) * STEP_US, int(cut[i + 1] - cut[i])
            late_s = time.monotonic() - 1e-6 * end_us
            if late_s > TOO_LATE_S:
                counts[1] += n
                write(BATCH.pack(1, 0, end_us))
                continue
            time.sleep(max(0.0, -late_s))
            part = events[cut[i] : cut[i + 1]].copy()
            part["timestamp"] += at_us
            counts[0] += n
            write(BATCH.pack(1, n, end_us))
            write(part.view(np.uint8))
        if time.monotonic() > printed + 0.5:
            printed = time.monotonic()
            notify()


# Tables


def print_long(run: Run, options: argparse.Namespace) -> None:
    p50, p99, oldest = run.age_ms(50, 99, 100)
    lost = {**{why: n for why, n in run.dropped.items() if n}, **({"not sent": run.unsent} if run.unsent else {})}
    estimator = options.estimator or "the default estimator"
    print(f"\n### {run.seconds / 60:.1f} minutes at {run.rate:g} M events/s, {estimator}, {options.cores} cores\n")
    table(
        ("", ""),
        [
            ("events", f"{run.sent:,} sent, {run.sent / run.seconds / 1e6:.1f} M/s"),
            ("lost", ", ".join(f"{n:,} {why}" for why, n in lost.items()) or "nothing"),
            (
                "depths",
                f"{len(run.ages_ms)}, {len(run.ages_ms) / run.seconds:.2f} a second of {1e6 / SWEEP_US:g} sweeps",
            ),
            ("from the end of the sweep to the subscriber", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"),
            ("the oldest", f"{oldest:.0f} ms"),
            ("queues at their longest", ", ".join(f"{name} {n}" for name, n in run.queues.items())),
            ("median error of depth", f"{run.median_error:.3f} of the range"),
        ],
    )
    print()
    rows = [
        (name, *(f"{np.percentile(ms, q):.1f}" for q in (50, 99)))
        for name, ms in {**run.stages_ms, "wire": run.wire_ms}.items()
    ]
    table(("stage", "p50, ms", "p99, ms"), rows)
    print()
    table(("processor time", "cores"), [(name, f"{cores:.2f}") for name, cores in run.cpu.items()])
    print()
    rows = []
    for name, samples in run.rss.items():
        at, megabytes = np.array(samples).T
        settled = at >= at[-1] / 3  # earlier, buffers are still being touched for the first time
        slope = np.polyfit(at[settled], megabytes[settled], 1)[0] * 60 if settled.sum() > 2 else np.nan
        rows.append((name, f"{megabytes[0]:.1f}", f"{megabytes[-1]:.1f}", f"{megabytes.max():.1f}", f"{slope:+.2f}"))
    table(("memory, MB", "at first", "at the end", "most", "slope, MB a minute"), rows)


def print_runs(runs: Iterable[Run]) -> list[Run]:
    """Print a row for each run, as soon as it is there; returns the runs."""
    head = ("camera", "M events/s", "lost", "depths/s", "age, median", "age, p99", "error", "memory", "dropped")
    table(head, [])
    done = []
    for run in runs:
        p50, p99 = run.age_ms(50, 99)
        dropped = run.dropped | ({"not sent": run.unsent} if run.unsent else {})
        cells = (
            run.load.camera,
            f"{run.rate:g}",
            f"{run.lost_share:.1%}" if run.lost_events else "0",
            f"{run.depths_per_s:.1f}",
            f"{p50:.0f} ms" if run.ages_ms else "none",
            f"{p99:.0f} ms" if run.ages_ms else "none",
            f"{run.median_error:.3f}",
            f"{run.memory_gb:.2f} GB",
            ", ".join(f"{n:,} {why.replace('_', ' ')}" for why, n in dropped.items() if n) or "nothing",
        )
        print_row(cells)
        done.append(run)
    return done


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    print_row(head)
    print("|" + "---|" * len(head))
    for row in rows:
        print_row(row)


def print_row(cells: tuple[str, ...]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
