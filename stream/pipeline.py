"""The runtime: source → sweeps → stack → estimator → sinks, the same for a file, a camera and a network stream.

Three threads, each the only owner of what it touches: the binning thread reads the source, cuts it into sweeps and
bins the events while the lens moves; the estimating thread turns finished stacks into depth and hands frames to the
sinks; the calling thread reports once a second and stops the others. One bounded queue lies between the first two.
"""

import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..capture import disturbances
from ..capture.calibration import Calibration
from ..capture.errors import SweepdepthError
from ..capture.events import EVENT_DTYPE, Batch
from ..capture.stack import EventFocalStack
from ..capture.sweeps import Direction, Sweep
from ..capture.tracking import Span, Tracker
from ..net.estimate import Estimator
from ..net.fill import fill
from ..net.fusion import FusedNetwork
from .binner import Binner, RollingBinner
from .wire.messages import DepthFrame, Percentiles, StackFrame, StatusFrame, StreamInfo

WAITING_STACKS = 2
"""Finished stacks that may wait for the estimator, so that it never idles. Where events do not wait, one may: a busy
estimator then always goes on with the newest."""

MOST_GIVEN_UP = 3
"""Incomplete sweeps in a row that are given up; depth of the next is made of what there is."""

MOST_HOLES = 256
"""Places where events are missing that are remembered: from, up to, how many. Sweeps that end forget theirs."""

BEHIND_S = 0.2
"""A lossless run that is later than this says so: less is the time that a batch takes."""

Rate = Literal["sweep", "bin"]

STATUS_PERIOD_S = 1.0

OUTSIDE_SHARE = 0.25
"""Events in no sweep that are worth a warning; fewer lie before the first and after the last turning point."""

_NATURAL = {"sweeps", "partial_sweeps", "events_outside"}
"""Counts of a tracker that no warning is needed of: every recording begins and ends somewhere in a sweep."""

RECENT_FRAMES = 1000
"""Frames whose latencies the percentiles of a status are taken from."""


@dataclass(frozen=True)
class Sinks:
    """Where results go. Each is called from one thread only, and must not block for long when events are live."""

    depth: tuple[Callable[[DepthFrame], None], ...] = ()
    status: tuple[Callable[[StatusFrame], None], ...] = ()
    stack: Callable[[StackFrame], None] | None = None
    wants_stack: Callable[[], bool] = lambda: False  # asked before each preview is made


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    n_frames: int
    n_events: int
    seconds: float
    stopped: bool  # by request, before the source ended
    latency_ms: Mapping[str, Percentiles]
    drops: Mapping[str, int]
    warnings: tuple[str, ...]


@dataclass
class _Finished:
    """A stack on its way to the estimator."""

    stack: EventFocalStack
    start_us: int  # sensor time of the oldest events in it
    end_us: int
    quality: float  # of the timing and of what went in, 0 to 1
    closed_at: float  # host clock when the batch that closed the sweep, or renewed the bin, came
    binned_at: float
    bin_spans_us: tuple[tuple[int, int], ...] = ()


@dataclass
class Pipeline:
    """Runs one source through to its sinks.

    `speed` None is offline: as fast as it goes, nothing dropped, the source waits for the estimator. A number paces
    the source by its own clock, 1 being as recorded; a `live` source has its own pace. With both the latest stack wins
    under overload and every drop is counted, unless the run is `lossless`: then a paced source waits for the estimator,
    too, and the pace falls behind, which the warnings say.

    `rate` "bin" makes depth of the rolling stack each time the lens has passed a bin, not only a sweep. Paced, a bin
    that is renewed while the estimator is busy is passed over, and counted: the next stack has it all the same.

    Hot pixels are masked, and what spoils depth is told in the warnings and in each frame's quality; `suppressing`
    averages flickering light away where there is much of it (`capture.disturbances`).

    `losses` are counts that the source adds to the drops of a status. `sensor_us` is the sensor's time at a time of
    `time.monotonic_ns`, where it is known: frames then tell their age.
    """

    calibration: Calibration
    tracker: Tracker
    estimator: Estimator
    sinks: Sinks
    speed: float | None = None
    filling: bool = False
    rate: Rate = "sweep"
    repairs: Callable[[], Iterable[str]] = tuple  # warnings of the source, asked for with every status
    live: bool = False
    lossless: bool = False
    suppressing: bool = True
    losses: Callable[[], Mapping[str, int]] = dict
    sensor_us: Callable[[int], int | None] = lambda _: None
    stopping: threading.Event = field(default_factory=threading.Event)  # set it to end the run early
    _queue: queue.Queue[_Finished | None] = field(init=False)
    _watch: disturbances.Watch = field(init=False)
    _pacer: "Pacer" = field(init=False)
    _idle: threading.Event = field(default_factory=threading.Event, init=False)  # the estimator waits for a stack
    _failures: list[BaseException] = field(default_factory=list, init=False)
    _passed_over: bool = field(default=False, init=False)  # a bin was renewed since the last stack handed over
    _drops: Counter[str] = field(default_factory=Counter, init=False)
    _latencies: dict[str, deque[float]] = field(default_factory=dict, init=False)
    _n_events: int = field(default=0, init=False)
    _n_frames: int = field(default=0, init=False)
    _holes: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=MOST_HOLES), init=False)
    _given_up: int = field(default=0, init=False)  # incomplete sweeps in a row
    _is_warm: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.rate == "bin" and isinstance(self.estimator, FusedNetwork):
            raise SweepdepthError("--rate bin shares bins between its depths; leave --fuse out, or take --rate sweep")
        self._queue = queue.Queue(WAITING_STACKS if self.speed is None and not self.live else 1)
        self._pacer = Pacer(self.speed, self.stopping)
        self._watch = disturbances.Watch(self.calibration, suppressing=self.suppressing)

    @property
    def _source_waits(self) -> bool:
        return (self.speed is None or self.lossless) and not self.live

    def run(self, source: Iterable[Batch]) -> Summary:
        """Run until the source ends or `stopping` is set.

        When stopped, the sweep under way is given up; finished stacks are still estimated and sent.

        An error of the source, the estimator or a sink stops the run and is raised here, after the frames computed
        before it went out.
        """
        self.warm_up()
        started = time.monotonic()
        threads = [
            threading.Thread(target=self._guarded, args=(self._bin, source), name="binning"),
            threading.Thread(target=self._guarded, args=(self._estimate,), name="estimating"),
        ]
        for thread in threads:
            thread.start()
        try:
            last = started, 0, 0
            while any(thread.is_alive() for thread in threads):
                threads[-1].join(max(0.0, last[0] + STATUS_PERIOD_S - time.monotonic()))
                if time.monotonic() >= last[0] + STATUS_PERIOD_S:
                    last = self._report(last)
        except BaseException:
            self.stopping.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        self._report((started, 0, 0), end=True)
        if self._failures:
            raise self._failures[0]
        return Summary(
            self._n_frames,
            self._n_events,
            time.monotonic() - started,
            self.stopping.is_set(),
            self._percentiles(),
            {**self._drops, **self.losses()},
            self._warnings(),
        )

    def lose(self, start_us: int, end_us: int, n_events: int) -> None:
        """Learn that events are missing between two sensor times; for the thread that iterates over the source.

        A sweep that they are missing from is not binned to its end: what is left of it is passed over, which makes up
        for the lag that the loss came from, so that overload costs whole sweeps and the others stay whole and fresh.
        """
        self._holes.append((start_us, end_us, n_events))

    def warm_up(self) -> None:
        """Compile and load everything before the first sweep counts, with a stack of no events. `run` does it, too."""
        if self._is_warm:
            return
        self._is_warm = True
        disturbances.warm_up()
        sweep = Sweep(0, max(1, round(self.calibration.sweep.duration_us)), Direction.FAR_TO_NEAR, self.calibration)
        stack = EventFocalStack.build(np.zeros(1, EVENT_DTYPE), sweep, self.estimator.bins, self.estimator.polarity)
        estimate = self.estimator(stack)
        if self.filling:
            fill(estimate, stack)

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Run a thread's work; its failure stops the others and is raised by `run`."""
        try:
            work(*arguments)
        except BaseException as error:
            self._failures.append(error)
            self.stopping.set()
            if work == self._estimate:
                self._drain()

    def _bin(self, source: Iterable[Batch]) -> None:
        kind = RollingBinner if self.rate == "bin" else Binner
        binner = kind(self.estimator.bins, self.estimator.polarity)
        end_us: int | None = None
        try:
            for batch in source:
                self._pacer.wait(batch)
                if self.stopping.is_set():
                    return
                received = time.monotonic()
                self._n_events += len(batch.events)
                self._feed(binner, self.tracker.feed(self._watch.clean(batch)), received)
                end_us = batch.end_us
            if self.stopping.is_set():
                return
            if end_us is not None:
                self._feed(binner, self.tracker.feed(self._watch.finish(end_us)), time.monotonic())
            self._feed(binner, self.tracker.finish(), time.monotonic())
            if isinstance(binner, RollingBinner) and self._passed_over:
                self._renew(binner, time.monotonic(), last=True)
        finally:
            self._drops["sweeps_binned_late"] += binner.unmended
            self._queue.put(None)

    def _feed(self, binner: Binner | RollingBinner, spans: Iterable[Span], received: float) -> None:
        for span in spans:
            missing = self._missing(span)
            if not missing:  # else what is missing would be taken for motion
                self._watch.see(span)
            if missing and self._given_up < MOST_GIVEN_UP:
                if span.closed:
                    self._drops["sweeps_incomplete"] += 1
                    self._given_up += 1
                continue
            self._given_up = 0 if span.closed else self._given_up
            if isinstance(binner, RollingBinner):
                for _ in binner.feed(span):
                    self._renew(binner, received)
                continue
            stack = binner.feed(span)
            if stack is not None:
                sweep = stack.sweep
                quality = self._quality * stack.n_events / max(1, stack.n_events + missing)
                self._hand_over(_Finished(stack, sweep.start_us, sweep.end_us, quality, received, time.monotonic()))

    def _missing(self, span: Span) -> int:
        """How many events may be missing from a sweep, as far as is known by now."""
        if not self._holes:
            return 0
        sweep = span.sweep
        while self._holes and self._holes[0][1] <= sweep.start_us:
            self._holes.popleft()  # sweeps come in time order
        return sum(n for start_us, _, n in self._holes if start_us < sweep.end_us)

    @property
    def _quality(self) -> float:
        """Of the timing and of the events, as they are now."""
        return self.tracker.quality * self._watch.quality

    def _renew(self, binner: RollingBinner, received: float, *, last: bool = False) -> None:
        """Hand the rolling stack over, unless events are live and the estimator is busy."""
        if not (self._source_waits or last):
            if not self._idle.is_set():
                self._drops["bins_passed_over"] += 1
                self._passed_over = True
                return
            self._idle.clear()
        view = binner.view()
        if view is None:
            if not self._source_waits:
                self._idle.set()
            return
        self._passed_over = False
        self._queue.put(
            _Finished(
                view.stack,
                view.start_us,
                view.end_us,
                self._quality,
                received,
                time.monotonic(),
                tuple((int(a), int(b)) for a, b in view.spans_us),
            )
        )

    def _hand_over(self, finished: _Finished) -> None:
        """Queue a stack for the estimator: offline wait for room, else let the latest win."""
        if self._source_waits:
            return self._queue.put(finished)
        while True:
            try:
                return self._queue.put_nowait(finished)
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self._drops["estimator_busy"] += 1
                except queue.Empty:
                    pass

    def _estimate(self) -> None:
        info = StreamInfo.of(self.calibration, self.estimator.name)
        while (finished := self._next()) is not None:
            stack = finished.stack
            taken = time.monotonic()
            estimate = self.estimator(stack)
            quality = estimate.quality * finished.quality
            if self.filling:
                estimate = fill(estimate, stack)
            done = time.monotonic()
            latency_ms = {
                "bin": 1e3 * (finished.binned_at - finished.closed_at),
                "queue": 1e3 * (taken - finished.binned_at),
                "estimate": 1e3 * (done - taken),
                "total": 1e3 * (done - finished.closed_at),
            }
            now_us = self.sensor_us(time.monotonic_ns())
            if now_us is not None:
                latency_ms["age"] = 1e-3 * (now_us - finished.end_us)
            for stage, ms in latency_ms.items():
                self._latencies.setdefault(stage, deque(maxlen=RECENT_FRAMES)).append(ms)
            when = info, finished.start_us, finished.end_us, stack.sweep.direction
            frame = DepthFrame(estimate.depth, estimate.std, *when, quality, latency_ms, finished.bin_spans_us)
            for sink in self.sinks.depth:
                sink(frame)
            self._n_frames += 1
            if self.sinks.stack is not None and self.sinks.wants_stack():
                self.sinks.stack(StackFrame(stack.data, *when))

    def _next(self) -> _Finished | None:
        """Wait for the next stack; None when there is no more."""
        if self._queue.empty():
            self._idle.set()
        return self._queue.get()

    def _drain(self) -> None:
        """Keep emptying the queue after the estimator failed, so that the binning thread can end."""
        while self._queue.get() is not None:
            pass

    def _report(self, since: tuple[float, int, int], *, end: bool = False) -> tuple[float, int, int]:
        """Send a status with the rates since the one before."""
        now = time.monotonic(), self._n_events, self._n_frames
        seconds = max(now[0] - since[0], 1e-9)
        status = StatusFrame(
            (now[1] - since[1]) / seconds,
            (now[2] - since[2]) / seconds,
            self._percentiles(),
            {"stacks": self._queue.qsize()},
            {**self._drops, **self.losses()},
            self._warnings(),
            end,
            sync_quality=self.tracker.quality,
        )
        for sink in self.sinks.status:
            sink(status)
        return now

    def _percentiles(self) -> dict[str, Percentiles]:
        return {
            stage: Percentiles(p50=float(np.percentile(list(values), 50)), p99=float(np.percentile(list(values), 99)))
            for stage, values in list(self._latencies.items())
        }

    def _warnings(self) -> tuple[str, ...]:
        """What the tracker and the source had to cope with, a line each."""
        counts = vars(self.tracker.counts)
        told = [_counted(counts[name], name) for name in counts if counts[name] and name not in _NATURAL]
        outside = counts["events_outside"]
        if outside > OUTSIDE_SHARE * self._n_events:
            told.append(f"{100 * outside / self._n_events:.0f} % of the events lie in no sweep")
        quality = self.tracker.quality
        if math.isfinite(quality) and quality < 0.5:
            told.append(f"sweep timing is uncertain (quality {quality:.2f})")
        if self.lossless and self._pacer.behind_s > BEHIND_S:
            told.append(
                f"fell behind the recording's pace by up to {self._pacer.behind_s:.1f} s, so that nothing is dropped"
            )
        doubts = [f"calibration: {doubt}" for doubt in self.calibration.doubts]
        return (*self.repairs(), *doubts, *self.tracker.notes, *told, *self._watch.warnings)


def _counted(n: int, name: str) -> str:
    """A count of `Counts` in words."""
    words = name.replace("_", " ")
    return f"{n:,} {words.removesuffix('s') if n == 1 else words}"


class Pacer:
    """Holds a recording to its own clock. `behind_s` is by how much it was late at most."""

    def __init__(self, speed: float | None, stop: threading.Event) -> None:
        self._speed = speed
        self.stopping = stop
        self.behind_s = 0.0
        self._origin: tuple[float, int] | None = None  # host time in s, sensor time in µs

    def wait(self, batch: Batch) -> None:
        """Return when the batch would have been complete at a live camera, or when the run is stopped."""
        if self._speed is None:
            return
        if self._origin is None:
            times = [int(part["timestamp"][0]) for part in (batch.events, batch.triggers) if len(part)]
            self._origin = time.monotonic(), min(times, default=batch.end_us)
        start, first_us = self._origin
        due = start + (batch.end_us - first_us) * 1e-6 / self._speed
        early_s = due - time.monotonic()
        self.behind_s = max(self.behind_s, -early_s)
        self.stopping.wait(max(0.0, early_s))
