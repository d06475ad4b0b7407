"""The pipeline: source → sweeps → stack → estimator → sinks, the same for files, cameras and network streams.

Three threads with separate data: the binning thread reads the source, cuts it into sweeps and bins the events while the
lens moves; the estimating thread computes depth from finished stacks and passes frames to the sinks; the calling thread
reports once a second and stops the others. A bounded queue connects the first two.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
from .intake import Intake
from .overload import WAITING_STACKS, Handover
from .pacing import Pacer
from .telemetry import Summary, Telemetry, timing_warnings
from .wire.messages import DepthFrame, StackFrame, StatusFrame, StreamInfo

Rate = Literal["sweep", "bin"]

STATUS_PERIOD_S = 1.0

NICENESS = 5
"""By which the estimator's threads give way in live runs: events that are not read in time are lost, depth can wait."""

BEHIND_S = 0.2
"""Delay of a lossless run from which it is reported; a batch takes less."""


@dataclass(frozen=True)
class Sinks:
    """Consumers of results. Each is called from one thread only, and must not block for long in live runs."""

    depth: tuple[Callable[[DepthFrame], None], ...] = ()
    status: tuple[Callable[[StatusFrame], None], ...] = ()
    stack: Callable[[StackFrame], None] | None = None
    wants_stack: Callable[[], bool] = lambda: False  # whether to make previews of stacks


@dataclass
class _Finished:
    """A finished stack for the estimator."""

    stack: EventFocalStack
    start_us: int  # sensor time of its oldest events
    end_us: int
    quality: float  # of timing and events, 0 to 1
    closed_at: float  # host time at which the batch that closed the sweep, or renewed the bin, arrived
    binned_at: float
    bin_spans_us: tuple[tuple[int, int], ...] = ()


@dataclass
class Pipeline:
    """Runs a source through to its sinks.

    `speed` None is offline: as fast as possible without drops; the source waits for the estimator. A number paces the
    source by its timestamps, 1 being real time; a `live` source is not paced. In both cases, under overload the latest
    stack replaces waiting ones, and drops are counted, unless the run is `lossless`: then a paced source waits for the
    estimator and falls behind, which a warning reports.

    `rate` "bin" estimates depth from the rolling stack each time the lens has passed a bin, not only once per sweep. In
    paced and live runs, bins renewed while the estimator is busy are skipped and counted; the next stack includes them.

    Hot pixels are masked, and disturbances are reported in the warnings and in each frame's quality; `suppressing`
    removes strong flicker by averaging (`capture.disturbances`).

    `calibration` describes the window that the events come from, `doubts` are those about the whole file. `losses`
    returns the source's counts, which are added to the drops of a status, `left_out` how many events lay outside the
    window. `sensor_us` converts `time.monotonic_ns` to sensor time if known; frames then contain their age.
    """

    calibration: Calibration
    tracker: Tracker
    estimator: Estimator
    sinks: Sinks
    speed: float | None = None
    filling: bool = False
    rate: Rate = "sweep"
    repairs: Callable[[], Iterable[str]] = tuple  # warnings of the source, for every status
    live: bool = False
    lossless: bool = False
    suppressing: bool = True
    losses: Callable[[], Mapping[str, int]] = dict
    left_out: Callable[[], int] = lambda: 0
    doubts: Sequence[str] = ()
    sensor_us: Callable[[int], int | None] = lambda _: None
    stopping: threading.Event = field(default_factory=threading.Event)  # set it to end the run early
    _handover: Handover[_Finished] = field(init=False)
    _intake: Intake = field(init=False)
    _pacer: Pacer = field(init=False)
    _telemetry: Telemetry = field(init=False)
    _failures: list[BaseException] = field(default_factory=list, init=False)
    _passed_over: bool = field(default=False, init=False)  # whether a bin was renewed since the latest queued stack
    _is_warm: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.rate == "bin" and isinstance(self.estimator, FusedNetwork):
            raise SweepdepthError("--rate bin excludes --fuse, since its frames share bins; use --rate sweep")
        waits = (self.speed is None or self.lossless) and not self.live
        self._telemetry = Telemetry(self.losses, self.left_out)
        drops = self._telemetry.drops
        self._handover = Handover(waits, WAITING_STACKS if self.speed is None and not self.live else 1, drops)
        self._intake = Intake(self.calibration, self.tracker, drops, suppressing=self.suppressing)
        self._pacer = Pacer(self.speed, self.stopping)

    def run(self, source: Iterable[Batch]) -> Summary:
        """Run until the source ends or `stopping` is set.

        When stopped, the current sweep is discarded; finished stacks are still estimated and sent.

        An error of the source, the estimator or a sink stops the run and is raised here, after earlier frames have been
        sent.
        """
        self.warm_up()
        self._telemetry.begin()
        threads = [
            threading.Thread(target=self._guarded, args=(self._bin, source), name="binning"),
            threading.Thread(target=self._guarded, args=(self._estimate,), name="estimating"),
        ]
        for thread in threads:
            thread.start()
        try:
            due = time.monotonic() + STATUS_PERIOD_S
            while any(thread.is_alive() for thread in threads):
                threads[-1].join(max(0.0, due - time.monotonic()))
                if time.monotonic() >= due:
                    due = time.monotonic() + STATUS_PERIOD_S
                    self._report()
        except BaseException:
            self.stopping.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        self._report(end=True)
        if self._failures:
            raise self._failures[0]
        return self._telemetry.summary(self.stopping.is_set(), self._warnings())

    def lose(self, start_us: int, end_us: int, n_events: int) -> None:
        """Record that events are missing between two sensor times; for the thread that iterates over the source.

        The rest of the affected sweep is skipped, which catches up with the source: overload costs whole sweeps, and
            the others stay complete and recent.
        """
        self._intake.missing.add(start_us, end_us, n_events)

    def warm_up(self) -> None:
        """Compile and load everything, by processing an empty stack. `run` does this, too."""
        if self._is_warm:
            return
        self._is_warm = True
        disturbances.warm_up()
        sweep = Sweep(0, max(1, round(self.calibration.sweep.duration_us)), Direction.FAR_TO_NEAR, self.calibration)
        stack = EventFocalStack.build(np.zeros(1, EVENT_DTYPE), sweep, self.estimator.bins, self.estimator.polarity)
        if self.live:  # in a thread with the priority of the one that will estimate, which the engine's threads inherit
            with ThreadPoolExecutor(1, initializer=self._give_way) as beside:
                estimate = beside.submit(self.estimator, stack).result()
        else:
            estimate = self.estimator(stack)
        if self.filling:
            fill(estimate, stack)

    def _give_way(self) -> None:
        """Let the binning thread come first, where threads have priorities of their own: on Linux."""
        if self.live and sys.platform == "linux":
            thread = threading.get_native_id()
            with suppress(OSError):  # where a sandbox forbids it
                os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Run a thread's work; an exception stops the others and is raised by `run`."""
        try:
            work(*arguments)
        except BaseException as error:
            self._failures.append(error)
            self.stopping.set()
            if work == self._estimate:
                self._handover.drain()

    def _bin(self, source: Iterable[Batch]) -> None:
        kind = RollingBinner if self.rate == "bin" else Binner
        binner = kind(self.estimator.bins, self.estimator.polarity)
        try:
            for batch in source:
                self._pacer.wait(batch)
                if self.stopping.is_set():
                    return
                received = time.monotonic()
                self._telemetry.n_events += len(batch.events)
                self._feed(binner, self._intake.feed(batch), received)
            if self.stopping.is_set():
                return
            self._feed(binner, self._intake.finish(), time.monotonic())
            if isinstance(binner, RollingBinner) and self._passed_over:
                self._renew(binner, time.monotonic(), last=True)
        finally:
            self._telemetry.drops["sweeps_binned_late"] += binner.not_rebinned
            self._handover.end()

    def _feed(self, binner: Binner | RollingBinner, spans: Iterable[tuple[Span, int]], received: float) -> None:
        for span, missing in spans:
            if isinstance(binner, RollingBinner):
                for _ in binner.feed(span):
                    self._renew(binner, received)
                continue
            stack = binner.feed(span)
            if stack is not None:
                sweep = stack.sweep
                quality = self._intake.quality * stack.n_events / max(1, stack.n_events + missing)
                self._handover.put(_Finished(stack, sweep.start_us, sweep.end_us, quality, received, time.monotonic()))

    def _renew(self, binner: RollingBinner, received: float, *, last: bool = False) -> None:
        """Queue the rolling stack, unless the run is live or paced and the estimator is busy."""
        if not (last or self._handover.claim()):
            self._telemetry.drops["bins_passed_over"] += 1
            self._passed_over = True
            return
        view = binner.view()
        if view is None:
            self._handover.unclaim()
            return
        self._passed_over = False
        self._handover.put_claimed(
            _Finished(
                view.stack,
                view.start_us,
                view.end_us,
                self._intake.quality,
                received,
                time.monotonic(),
                tuple((int(a), int(b)) for a, b in view.spans_us),
            )
        )

    def _estimate(self) -> None:
        self._give_way()
        info = StreamInfo.of(self.calibration, self.estimator.name)
        while (finished := self._handover.take()) is not None:
            stack = finished.stack
            taken = time.monotonic()
            estimate = self.estimator(stack)
            quality = estimate.quality * finished.quality
            if self.filling:
                estimate = fill(estimate, stack)
            latency_ms = self._latencies(finished, taken, time.monotonic())
            self._telemetry.add_latencies(latency_ms)
            when = info, finished.start_us, finished.end_us, stack.sweep.direction
            frame = DepthFrame(estimate.depth, estimate.std, *when, quality, latency_ms, finished.bin_spans_us)
            for sink in self.sinks.depth:
                sink(frame)
            self._telemetry.n_frames += 1
            if self.sinks.stack is not None and self.sinks.wants_stack():
                self.sinks.stack(StackFrame(stack.data, *when))

    def _latencies(self, finished: _Finished, taken: float, done: float) -> dict[str, float]:
        """Latency of a stack by stage in ms, and the age of its depth if sensor time is known."""
        latency_ms = {
            "bin": 1e3 * (finished.binned_at - finished.closed_at),
            "queue": 1e3 * (taken - finished.binned_at),
            "estimate": 1e3 * (done - taken),
            "total": 1e3 * (done - finished.closed_at),
        }
        now_us = self.sensor_us(time.monotonic_ns())
        return latency_ms if now_us is None else latency_ms | {"age": 1e-3 * (now_us - finished.end_us)}

    def _report(self, *, end: bool = False) -> None:
        """Send a status."""
        status = self._telemetry.status(self._handover.waiting, self.tracker.quality, self._warnings(), end=end)
        for sink in self.sinks.status:
            sink(status)

    def _warnings(self) -> tuple[str, ...]:
        """Warnings of tracker, source and pacing, one line each."""
        timing = timing_warnings(self.tracker, self._telemetry.n_events)
        if self.lossless and self._pacer.behind_s > BEHIND_S:
            timing.append(f"fell behind real time by up to {self._pacer.behind_s:.1f} s, because nothing is dropped")
        doubts = [f"calibration: {doubt}" for doubt in self.doubts]
        return (*self.repairs(), *doubts, *self.tracker.notes, *timing, *self._intake.warnings)
