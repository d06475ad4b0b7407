"""Finds the lens's trigger among a camera's inputs: its channel, and which turning point each edge marks."""

from collections import deque
from collections.abc import Callable

import numpy as np

from ..calibration import Calibration
from ..events import FALLING, RISING
from .rhythm import Edge
from .signal import SEARCH_PERIODS, History, Signal, contradiction, levels, recognise, recognise_loosely

RIVAL_PERIODS = 1.5
"""How long, in nominal periods, to wait for rival channels after one was found to fire at the lens's frequency."""

FEW_EDGES = 16
"""With at most this many edges in the whole recording, the nominal frequency may replace missing evidence."""

RIVAL_EDGES = 64
"""Number of edges of another channel that are examined for the lens's rhythm."""


class LensTrigger:
    """Selects the lens's edges from the triggers of a stream, by the calibration or by their rhythm.

    The channel is `sweep.trigger_channel` or, if not given, the only channel that fires, or of several the one with the
    rhythm of `frequency_hz`. Edges are returned once that is decided, at most `SEARCH_PERIODS` nominal periods after
    they occurred, in order up to `settled_us`. The decision does not depend on how the stream is cut into batches.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._sweep = calibration.sweep
        self._period_us = 1e6 / self._sweep.frequency_hz
        self._channels: dict[int, History] = {}
        self._held: deque[tuple[int, int, int]] = deque()  # time, edge, channel, while undecided
        self._keepers: dict[int, Signal] = {}  # channels with the lens's rhythm, while undecided
        self._deadline_us: float | None = None  # time of the decision
        self._refused: Callable[[], str] | None = None  # explains why no decision is possible
        self._warnings: list[str] = []
        self._rivals: set[int] = set()  # other channels found to have the rhythm after the decision
        self._kinds = {"rising": (RISING,), "falling": (FALLING,)}.get(self._sweep.trigger_edges, (RISING, FALLING))
        self.channel: int | None = self._sweep.trigger_channel
        self.signal: Signal | None = None  # None until it is known
        self.settled_us = 0  # all edges before this have been handed out

    def feed(self, triggers: np.ndarray, end_us: int) -> list[Edge]:
        """Add triggers; returns the lens's edges that are now decided, in time order and sensor time.

        Args:
            triggers: (M,) TRIGGER_DTYPE, of all channels, in time order.
            end_us: all triggers before this time have been fed.
        """
        for channel in np.unique(triggers["channel"]).tolist():
            times = triggers["timestamp"][triggers["channel"] == channel]
            self._history(channel).count(len(times), int(times[0]), int(times[-1]))
        edges: list[Edge] = []
        at = 0
        if self.signal is None and not self._refused:
            rows = zip(*(triggers[name].tolist() for name in ("timestamp", "edge", "channel")), strict=True)
            for time_us, edge, channel in rows:
                edges += self._judge(time_us)
                if self.signal is not None or self._refused:
                    break
                edges += self._consider(time_us, edge, channel)
                at += 1
                if self.signal is not None:
                    break
            else:
                edges += self._judge(end_us)
        rest = triggers[at:]
        if self.signal is not None:
            edges += self._lens_edges(rest)
            self._check_other_channels(rest)
            self._held.clear()
        self._forget(end_us)
        self.settled_us = min(self._held[0][0], end_us) if self._held else end_us
        return edges

    def finish(self) -> list[Edge]:
        """The remaining edges, decided on the available ones, even if they are few."""
        if self.signal is not None or self._refused or not self._held:
            return []
        fired = {channel for _, _, channel in self._held}
        for at_least in (3, 2, 1) if len(self._candidates()) == 1 else (3, 2):
            for channel in fired:
                history = self._channels[channel]
                may_help = at_least == 3 or history.n <= FEW_EDGES
                signal = recognise(history, self._sweep, at_least) if may_help else None
                if signal is not None:
                    self._keepers.setdefault(channel, signal)
            if self._keepers:
                break
        if self._keepers:
            return self._choose()
        if len(self._candidates()) == 1:
            (channel,) = fired
            history = self._channels[channel]
            signal = recognise_loosely(history, self._sweep)
            if signal is None and history.n <= FEW_EDGES and not contradiction(history, self._sweep):
                signal = levels(self._sweep)  # too few to infer; the nominal frequency is used
            if signal is not None:
                return self._decide(channel, signal)
        return []

    @property
    def notes(self) -> tuple[str, ...]:
        """Decisions made automatically, and other observations, one sentence each."""
        notes = list(self._warnings)
        others = [c for c in self._channels if c != self.channel]
        if self.signal is not None and others and self._sweep.trigger_channel is None:
            notes.insert(
                0,
                f"triggers came on {self.listed()}: channel {self.channel} has the lens's rhythm of "
                f"{self._sweep.frequency_hz:g} Hz and is used; sweep.trigger_channel or --trigger-channel chooses "
                "another",
            )
        notes += [f"trigger channel {c} has the lens's rhythm, too" for c in sorted(self._rivals)]
        return tuple(notes)

    def listed(self) -> str:
        """All channels with their counts and rates."""
        found = [
            f"channel {c} ({h.n:,} edge{'s' * (h.n != 1)}{f', {h.rate_hz:.4g} a second' if h.rate_hz else ''})"
            for c, h in sorted(self._channels.items())
        ]
        return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else "no channel"

    def why_not(self) -> str:
        """Why the lens's edges could not be found; empty if unknown."""
        if self._refused:
            return self._refused()
        if self.signal is not None or not self._channels:
            return ""
        choice = "set sweep.trigger_channel in lens.toml, or give --trigger-channel"
        wanted = self._sweep.trigger_channel
        if wanted is not None and wanted not in self._channels:
            return f"no trigger came on the chosen channel {wanted}, only on {self.listed()}: {choice}"
        if len(self._candidates()) > 1:
            return (
                f"no trigger channel has the lens's rhythm of {self._sweep.frequency_hz:g} Hz "
                f"(sweep.frequency_hz): triggers came on {self.listed()}; correct the frequency, or {choice}"
            )
        (channel,) = self._candidates()
        return contradiction(self._channels[channel], self._sweep)

    def _candidates(self) -> list[int]:
        """The channels that may be the lens's."""
        wanted = self._sweep.trigger_channel
        return list(self._channels) if wanted is None else [wanted]

    def _history(self, channel: int) -> History:
        return self._channels.setdefault(channel, History(self._sweep.duration_us, self._period_us))

    def _consider(self, time_us: int, edge: int, channel: int) -> list[Edge]:
        """Handle a trigger while the channel is undecided."""
        if edge not in self._kinds or channel not in self._candidates():
            return []
        history = self._history(channel)
        history.add(time_us, edge)
        self._held.append((time_us, edge, channel))
        self._forget(time_us)
        if history.is_too_fast:
            history.forget()
            self._held = deque(held for held in self._held if held[2] != channel)
            return []
        is_bounce = history.mixed[-1].at_us != time_us and history.trains[edge][-1] != time_us
        if channel in self._keepers or is_bounce:
            return []
        signal = recognise(history, self._sweep)
        alone = len(self._seen_until(time_us)) == 1
        if signal is None and alone:
            signal = recognise_loosely(history, self._sweep)
        if signal is None:
            return []
        self._keepers[channel] = signal
        if alone:
            return self._choose()
        if self._deadline_us is None:
            self._deadline_us = time_us + RIVAL_PERIODS * self._period_us
        return []

    def _seen_until(self, time_us: int) -> list[int]:
        """The channels that had fired by a time, ignoring later triggers of the batch."""
        return [c for c in self._candidates() if c in self._channels and self._channels[c].first_us <= time_us]

    def _forget(self, now_us: float) -> None:
        """Drop triggers too old to share a rhythm with a new one."""
        while self._held and self._held[0][0] < now_us - SEARCH_PERIODS * self._period_us:
            self._held.popleft()

    def _judge(self, now_us: int) -> list[Edge]:
        """Choose among the channels once the deadline has passed."""
        if self._deadline_us is None or now_us < self._deadline_us:
            return []
        self._forget(self._deadline_us)
        return self._choose()

    def _choose(self) -> list[Edge]:
        """Choose the one channel with the rhythm, or record that there are several."""
        if len(self._keepers) > 1:
            names = " and ".join(str(channel) for channel in sorted(self._keepers))
            self._held.clear()
            self._refused = lambda: (
                f"trigger channels {names} all have the lens's rhythm of {self._sweep.frequency_hz:g} Hz: triggers "
                f"came on {self.listed()}; set sweep.trigger_channel in lens.toml, or give --trigger-channel"
            )
            return []
        ((channel, signal),) = self._keepers.items()
        return self._decide(channel, signal)

    def _decide(self, channel: int, signal: Signal) -> list[Edge]:
        """Choose a channel as the lens's, and return its held triggers."""
        if signal.alternates and self._sweep.trigger_pulses != "both":
            f = self._sweep.frequency_hz
            self._held.clear()
            self._refused = lambda: (
                f"{signal.note} ({2 * f:g} times a second for a lens of {f:g} Hz), which does not distinguish the far "
                'from the near end: set sweep.trigger_pulses = "both" in lens.toml, and give --first-direction'
            )
            return []
        known = {kind: end for kind, end in signal.ends.items() if kind in self._kinds}
        self.channel, self.signal = channel, Signal(known, signal.note)
        if signal.note:
            self._warnings.append(signal.note)
        return [
            Edge(time_us, known[edge] is not False)
            for time_us, edge, held_channel in self._held
            if held_channel == channel and edge in known
        ]

    def _lens_edges(self, triggers: np.ndarray) -> list[Edge]:
        """The lens's edges among triggers, after the decision."""
        assert self.signal is not None
        ends = self.signal.ends
        mine = triggers[triggers["channel"] == self.channel]
        pairs = zip(mine["timestamp"].tolist(), mine["edge"].tolist(), strict=True)
        return [Edge(time_us, ends[edge] is not False) for time_us, edge in pairs if edge in ends]

    def _check_other_channels(self, triggers: np.ndarray) -> None:
        """Note other channels that turn out to have the rhythm, too, if the channel was chosen automatically."""
        if self._sweep.trigger_channel is not None:
            return
        others = triggers[triggers["channel"] != self.channel]
        for time_us, edge, channel in others[:RIVAL_EDGES].tolist():
            history = self._history(channel)
            if channel in self._rivals or history.n > RIVAL_EDGES or edge not in self._kinds:
                continue
            history.add(time_us, edge)
            if recognise(history, self._sweep) is not None:
                self._rivals.add(channel)
