"""Checks and repairs raw chunks, which become batches with guaranteed order and bounds.

Files and cameras produce events off the sensor, events out of order, and damaged timestamps anywhere between −2⁶³ and
2⁶³. They are dropped and counted here, so that no other module has to check:

- Events off the sensor are dropped. If they are 10 % of all, the size is wrong, or x and y are exchanged: an error.
- Events are sorted within a window of `WINDOW_US`, which delays the newest ones; events later than that are dropped. If
events stay more than a second behind, the clock was set back: an error, since two clocks have no common order. Events
of live sources are sorted within a chunk only, to avoid the delay.
- A step forward by more than `JUMP_US` must be confirmed: events are held back until `CONFIRMATIONS` of them agree, and
dropped if the stream returns to times before them. So a single wild timestamp affects only its own event. A step of
more than a day needs `FAR_CONFIRMATIONS`, more than the 10 000 events of one damaged AEDAT4 packet.
- Triggers are held, sorted, until the events' time has passed them; late ones, and those further than `LONELY_US` from
all events, are dropped.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, replace

import numpy as np
from numba import njit

from ..errors import RecordingError
from ..events import EVENT_DTYPE, FALLING, RISING, TRIGGER_DTYPE, Batch, join
from .chunks import NO_EVENTS, NO_TRIGGERS, Chunk, Losses
from .steps import StepTally

WINDOW_US = 20_000
JUMP_US = 100_000
CONFIRMATIONS = 64
FAR_JUMP_US = 86_400_000_000
FAR_CONFIRMATIONS = 20_000
SETBACK_US = 1_000_000
SETBACK_EVENTS = 100_000
LONELY_US = 60_000_000
BATCH_US = 20_000
MOST_TRIGGERS_WAITING = 4_000_000
_JUDGED_AFTER_EVENTS = 1_000_000
_SIZE_JUDGED_AFTER_EVENTS = 100_000
_MOST_OFF_SENSOR = 0.1
_MANY_DROPPED = 0.01
_TRAILING_SETBACK_EVENTS = 1_000

CLOCK_DTYPE = np.dtype(
    [
        ("last_us", "<i8"),  # time of the newest admitted event
        ("floor_us", "<i8"),  # everything before this has been delivered
        ("held_us", "<i8"),  # time of the newest held event
        ("admitted", "<i8"),
        ("needed", "<i8"),  # confirmations that the held events need
        ("unsorted", "<i8"),  # whether admitted or held events are out of order
        ("reordered", "<i8"),
        ("latest_us", "<i8"),  # how far behind the newest of these was
        ("off_sensor", "<i8"),
        ("exchanged", "<i8"),  # those that would be on the sensor with x and y exchanged
        ("backwards", "<i8"),
        ("wild", "<i8"),
        ("setback_events", "<i8"),  # consecutive events more than SETBACK_US behind
        ("setback_to_us", "<i8"),  # time of the first of them
    ]
)


@dataclass(frozen=True)
class Repairs:
    """Counts of events that were dropped or reordered to make a recording consistent, and other notes.

    `kept` events passed, `latest_us` is the largest delay of a reordered event, and `coarse_us` is the step of
    timestamps that advance in steps, None if the clock is fine.
    """

    off_sensor: int = 0
    backwards: int = 0
    wild: int = 0
    triggers: int = 0
    notes: tuple[str, ...] = ()
    undated: int = 0
    """Events without a valid time, dropped by the decoder; a note says why."""
    reordered: int = 0
    latest_us: int = field(default=0, compare=False)
    kept: int = field(default=0, compare=False)
    coarse_us: int | None = None

    @property
    def events(self) -> int:
        """Total number of dropped events."""
        return self.off_sensor + self.backwards + self.wild + self.undated

    def __bool__(self) -> bool:
        return bool(self.events or self.triggers or self.reordered or self.coarse_us or self.notes)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The repairs, one sentence each."""
        counts = (
            (self.off_sensor, "event off the sensor", "events off the sensor"),
            (self.backwards, "event that came too late", "events that came too late"),
            (self.wild, "event with a wild timestamp", "events with wild timestamps"),
            (self.undated, "event without a valid time", "events without a valid time"),
            (self.triggers, "trigger out of time", "triggers out of time"),
        )
        dropped = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
        said = [f"dropped {', '.join(dropped)}"] if dropped else []
        if self.events > _MANY_DROPPED * (self.events + self.kept):
            share = self.events / (self.events + self.kept)
            said.append(f"warning: {share:.1%} of the events are lost, so depth may be wrong; check the recording")
        if self.reordered:
            one = "1 event that was" if self.reordered == 1 else f"{self.reordered:,} events that were"
            said.append(f"put in order {one} up to {self.latest_us / 1e3:.3g} ms late")
        if self.coarse_us:
            said.append(
                f"its timestamps advance in steps of {self.coarse_us / 1e3:.3g} ms: finer timing is lost, and "
                "depth is no finer than the focus moves in a step"
            )
        return (*said, *self.notes)

    def __str__(self) -> str:
        return "; ".join(self.sentences) or "nothing repaired"


@njit(nogil=True, cache=True)
def admit_events(
    events: np.ndarray,  # (N,) EVENT_DTYPE, raw
    out: np.ndarray,  # (≥ admitted + held + N,) EVENT_DTYPE: admitted events, then held ones
    n: int,
    held: int,
    clock: np.ndarray,  # (1,) CLOCK_DTYPE
    width: int,
    height: int,
    window_us: int,
) -> tuple[int, int]:
    """Append the valid events to `out`; returns the numbers of admitted and of held events in it.

    Events up to `window_us` late are appended out of order, which sets `clock.unsorted`. Stops early once
    `clock.setback_events` has reached SETBACK_EVENTS, when the clock was set back permanently.
    """
    c = clock[0]
    last = c.last_us
    for i in range(len(events)):
        event = events[i]
        t = event.timestamp
        if event.x < 0 or event.x >= width or event.y < 0 or event.y >= height:
            c.off_sensor += 1
            if event.y >= 0 and event.y < width and event.x >= 0 and event.x < height:
                c.exchanged += 1
            continue
        late = t < last and t >= last - window_us and t >= c.floor_us
        if t < last and not late:
            c.backwards += 1
            if t < last - SETBACK_US:
                if c.setback_events == 0:
                    c.setback_to_us = t
                c.setback_events += 1
                if c.setback_events >= SETBACK_EVENTS:
                    break
            continue
        if held > 0 and c.held_us - t > JUMP_US:
            while held > 0 and out[n + held - 1].timestamp - t > JUMP_US:
                held -= 1
                c.wild += 1
            c.held_us = t
            for j in range(n, n + held):
                c.held_us = max(c.held_us, out[j].timestamp)
        newest = last if held == 0 else c.held_us
        if t < newest:
            if t < newest - window_us:
                c.backwards += 1
                continue
            c.reordered += 1
            c.unsorted = 1
            c.latest_us = max(c.latest_us, newest - t)
        newest = max(newest, t)
        at = n + held
        out[at].timestamp = t
        out[at].x = event.x
        out[at].y = event.y
        out[at].polarity = 1 if event.polarity > 0 else 0
        if held == 0 and t - last > JUMP_US:
            far = t - last > FAR_JUMP_US and c.admitted >= CONFIRMATIONS
            c.needed = FAR_CONFIRMATIONS if far else CONFIRMATIONS
            c.held_us = t
            held = 1
        elif held > 0 and held + 1 < c.needed:
            c.held_us = newest
            held += 1
        else:
            n += held + 1
            c.admitted += held + 1
            c.setback_events = 0
            last = newest
            held = 0
    c.last_us = last
    return n, held


def admit_events_plainly(
    events: np.ndarray,  # (N,) EVENT_DTYPE, raw
    admitted: list[np.void],
    held: list[np.void],
    clock: np.ndarray,  # (1,) CLOCK_DTYPE
    width: int,
    height: int,
    window_us: int,
) -> None:
    """The readable reference of `admit_events`, which extends lists in place."""
    c = clock[0]
    on_sensor = (events["x"] >= 0) & (events["x"] < width) & (events["y"] >= 0) & (events["y"] < height)
    turned = (events["y"] >= 0) & (events["y"] < width) & (events["x"] >= 0) & (events["x"] < height)
    c["off_sensor"] += np.count_nonzero(~on_sensor)
    c["exchanged"] += np.count_nonzero(~on_sensor & turned)
    events = events[on_sensor]
    events["polarity"] = events["polarity"] > 0
    for event in events:
        t = int(event["timestamp"])
        last = int(c["last_us"])
        if t < max(last - window_us, int(c["floor_us"])):
            c["backwards"] += 1
            if t < last - SETBACK_US:
                c["setback_to_us"] = t if c["setback_events"] == 0 else c["setback_to_us"]
                c["setback_events"] += 1
            continue
        if held and c["held_us"] > t + JUMP_US:
            while held and int(held[-1]["timestamp"]) > t + JUMP_US:
                held.pop()
                c["wild"] += 1
            c["held_us"] = max([t, *(int(other["timestamp"]) for other in held)])
        newest = int(c["held_us"]) if held else last
        if t < newest - window_us:
            c["backwards"] += 1
            continue
        if t < newest:
            c["reordered"] += 1
            c["unsorted"] = 1
            c["latest_us"] = max(int(c["latest_us"]), newest - t)
        if not held:
            far = t > last + FAR_JUMP_US and c["admitted"] >= CONFIRMATIONS
            needed = FAR_CONFIRMATIONS if far else CONFIRMATIONS
            c["needed"] = needed if t > last + JUMP_US else c["needed"]
        held.append(event)
        waits = int(held[0]["timestamp"]) > last + JUMP_US and len(held) < c["needed"]
        if waits:
            c["held_us"] = max(newest, t)
        else:
            c["last_us"] = max(newest, t)
            c["admitted"] += len(held)
            c["setback_events"] = 0
            admitted += held
            held.clear()


class Sanitizer:
    """Turns the raw chunks of one source into batches, holding back events that cannot be judged yet.

    `name` is the source's name in error messages. Events older than `earliest_us` are invalid. Events of a `live`
    source do not wait for later ones.
    """

    def __init__(self, name: str, width: int, height: int, *, earliest_us: int = 0, live: bool = False) -> None:
        self._name = name
        self._earliest_us = earliest_us
        self._live = live
        self._width = width
        self._height = height
        # A limit on simultaneous events: simulators may fire a pixel several times, but not more often than this.
        self._most_waiting = max(1 << 22, 16 * width * height)
        self._clock = np.zeros(1, CLOCK_DTYPE)
        self._clock["last_us"] = self._clock["floor_us"] = earliest_us
        self._steps = StepTally()
        self._waiting = NO_EVENTS  # events that later ones may still precede or share their time with, then held ones
        self._held = 0
        self._triggers = NO_TRIGGERS  # sorted
        self._dropped_triggers = 0
        self._undated = 0
        self._end_us: int | None = None  # of the last batch
        self._setback: RecordingError | None = None
        self.notes: tuple[str, ...] = ()

    @property
    def repairs(self) -> Repairs:
        """The repairs so far."""
        c = self._clock[0]
        return Repairs(
            int(c["off_sensor"]),
            int(c["backwards"]),
            int(c["wild"]),
            self._dropped_triggers,
            notes=self.notes,
            undated=self._undated,
            reordered=int(c["reordered"]),
            latest_us=int(c["latest_us"]),
            kept=int(c["admitted"]),
            coarse_us=self._steps.coarse_us,
        )

    def add_losses(self, losses: Losses) -> None:
        """Add what the decoder dropped."""
        self._undated += losses.events
        self._dropped_triggers += losses.triggers
        self.notes = (*self.notes, *losses.notes)

    @property
    def progress(self) -> tuple[int, int]:
        """Number of events admitted, and the time of the newest in µs."""
        return int(self._clock[0]["admitted"]), int(self._clock[0]["last_us"])

    @property
    def setback_events(self) -> int:
        """Consecutive events more than a second behind; grows steadily after the clock was set back."""
        return int(self._clock[0]["setback_events"])

    def admit(self, chunk: Chunk) -> list[Batch]:
        """Check a chunk and return the batches that are now complete. The chunk's memory is not kept.

        Raises:
            RecordingError: the clock was set back permanently in the previous chunk, most events had to be dropped, or
                the times are nonsensical.
        """
        if self._setback is not None:
            raise self._setback
        waiting = len(self._waiting)
        events = np.empty(waiting + len(chunk.events), EVENT_DTYPE)
        events[:waiting] = self._waiting
        n, self._held = admit_events(
            chunk.events, events, waiting - self._held, self._held, self._clock, self._width, self._height, WINDOW_US
        )
        if self._clock[0]["setback_events"] >= SETBACK_EVENTS:
            self._setback = self._explain_setback()
        self._judge(final=False)
        self._queue(chunk.triggers)

        if chunk.complete_us is not None:
            n = self._advance(events["timestamp"], n, chunk.complete_us)
        self._sort(events[:n])
        c = self._clock[0]
        last_us = int(c["last_us"])
        certain_us = last_us if self._live or chunk.complete_us is not None else last_us - WINDOW_US
        certain_us = max(certain_us, int(c["floor_us"]))
        times = events["timestamp"]
        settled = bisect_left(times, certain_us, 0, n)
        if n + self._held - settled > self._most_waiting:  # too many events in the window to hold back
            certain_us = last_us
            settled = bisect_left(times, certain_us, 0, n)
        c["floor_us"] = certain_us
        self._waiting = events[settled : n + self._held].copy()
        if len(self._waiting) > self._most_waiting:
            raise RecordingError(
                f"{self._name}: has {len(self._waiting):,} events at {certain_us} µs, more than a "
                f"{self._width}×{self._height} sensor can fire at one instant; its timestamps are damaged"
            )
        batches = self._batches(events[:settled], certain_us)
        if not batches and chunk.complete_us is not None and certain_us > self._delivered_us:
            batches.append(Batch(NO_EVENTS, NO_TRIGGERS, certain_us))
            self._end_us = certain_us
        return batches

    def finish(self) -> list[Batch]:
        """The remaining batches when the source has ended.

        Raises:
            RecordingError: as for `admit`, judged on the whole recording.
        """
        if self._setback is not None:
            raise self._setback
        c = self._clock[0]
        events = self._waiting
        if self._held:
            self._sort(events[len(events) - self._held :])
        if self._held and c["needed"] > CONFIRMATIONS:
            events = events[: -self._held]
            c["wild"] += self._held
        elif self._held:
            c["admitted"] += self._held
            c["last_us"] = max(int(c["last_us"]), int(events["timestamp"][-1]))
        self._waiting, self._held = events, 0
        setback = int(c["setback_events"])
        if setback >= _TRAILING_SETBACK_EVENTS and setback * 10 >= c["admitted"]:
            raise self._explain_setback()
        self._judge(final=True)
        if c["admitted"]:
            self._drop_triggers(self._triggers["timestamp"] - LONELY_US > c["last_us"])
        self._waiting = NO_EVENTS
        return self._all(events)

    def rest(self) -> list[Batch]:
        """The remaining batches when a source has failed: all but the held events. Nothing may be admitted
        afterwards."""
        events, self._waiting = self._waiting[: len(self._waiting) - self._held], NO_EVENTS
        self._triggers = self._triggers[self._triggers["timestamp"] <= self._clock[0]["last_us"]]
        return self._all(events)

    def _all(self, events: np.ndarray) -> list[Batch]:
        newest = [int(array["timestamp"][-1]) for array in (events, self._triggers) if len(array)]
        return self._batches(events, max(newest) + 1) if newest else []

    @property
    def _delivered_us(self) -> int:
        """Everything before this time has been delivered."""
        return self._earliest_us if self._end_us is None else self._end_us

    def _sort(self, events: np.ndarray) -> None:
        """Sort events in place if some are late."""
        c = self._clock[0]
        if c["unsorted"]:
            order = np.argsort(events["timestamp"], kind="stable")
            events.view("V16")[:] = events[order].view("V16")
            c["unsorted"] = 1 if self._held else 0

    def _advance(self, times: np.ndarray, n: int, complete_us: int) -> int:
        """For live sources: confirm held events before `complete_us`, since none before it will follow."""
        c = self._clock[0]
        if self._held and c["held_us"] <= complete_us:
            c["admitted"] += self._held
            n, self._held = n + self._held, 0
        if not self._held:
            c["last_us"] = max(c["last_us"], complete_us)
        return n

    def _queue(self, triggers: np.ndarray) -> None:
        """Insert new triggers among the waiting ones."""
        if not len(triggers):
            return
        late = triggers["timestamp"] < self._delivered_us
        unknown = (triggers["edge"] != RISING) & (triggers["edge"] != FALLING)
        self._dropped_triggers += np.count_nonzero(late | unknown)
        waiting = join([self._triggers, triggers[~(late | unknown)]], TRIGGER_DTYPE)
        self._triggers = waiting[np.argsort(waiting["timestamp"], kind="stable")]
        if len(self._triggers) > MOST_TRIGGERS_WAITING:
            raise RecordingError(
                f"{self._name}: has {len(self._triggers):,} triggers ahead of its events; its timestamps are damaged"
            )

    def _drop_triggers(self, which: np.ndarray) -> None:
        self._dropped_triggers += np.count_nonzero(which)
        self._triggers = self._triggers[~which]

    def _batches(self, events: np.ndarray, end_us: int) -> list[Batch]:
        """Cut the events before `end_us` into batches of at most `BATCH_US`, with their triggers."""
        if self._end_us is None and self.progress[0]:
            first_us = int(events["timestamp"][0]) if len(events) else end_us
            self._drop_triggers(self._triggers["timestamp"] < first_us - LONELY_US)
        due = bisect_left(self._triggers["timestamp"], end_us)
        triggers, self._triggers = self._triggers[:due], self._triggers[due:]
        event_us, trigger_us = events["timestamp"], triggers["timestamp"]
        self._steps.feed(event_us)
        batches = []
        i = j = 0
        while i < len(events) or j < len(triggers):
            first_us = min(int(times[at]) for times, at in ((event_us, i), (trigger_us, j)) if at < len(times))
            cut_us = min(first_us + BATCH_US, end_us)
            next_i, next_j = bisect_left(event_us, cut_us, i), bisect_left(trigger_us, cut_us, j)
            batches.append(Batch(events[i:next_i], triggers[j:next_j], cut_us))
            i, j = next_i, next_j
        if batches and end_us > batches[-1].end_us:
            batches[-1] = replace(batches[-1], end_us=end_us)
        if batches:
            self._end_us = end_us
        return batches

    def _judge(self, final: bool) -> None:
        c = self._clock[0]
        off_sensor, admitted, held = int(c["off_sensor"]), int(c["admitted"]), self._held
        dropped = off_sensor + int(c["backwards"]) + int(c["wild"])
        seen = dropped + admitted + held
        judged = final or seen >= _SIZE_JUDGED_AFTER_EVENTS
        if judged and off_sensor > _MOST_OFF_SENSOR * seen:
            where = f"{off_sensor:,} of its {seen:,} events lie off the sensor of {self._width}×{self._height} pixels"
            if c["exchanged"] >= 0.9 * off_sensor:
                hint = (
                    "x and y seem to be exchanged: give text or arrays with --columns in the right order, or exchange "
                    "width and height in lens.toml"
                )
            else:
                hint = "is this its size? give that of the camera that recorded it, with --lens or --size"
            raise RecordingError(f"{self._name}: {where}; {hint}")
        if (final or seen >= _JUDGED_AFTER_EVENTS) and dropped > admitted + held:
            raise RecordingError(
                f"{self._name}: most of its events are invalid ({self.repairs}; kept {admitted:,}); "
                "it is damaged, or not in time order"
            )

    def _explain_setback(self) -> RecordingError:
        c = self._clock[0]
        return RecordingError(
            f"{self._name}: its clock falls back from {c['last_us']} to {c['setback_to_us']} µs, "
            f"by {(c['last_us'] - c['setback_to_us']) / 1e6:.1f} s, and stays there; split the recording at that point"
        )
