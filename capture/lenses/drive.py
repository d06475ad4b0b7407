"""Motion commands for a Lens Driver 4: sweep, and bring the lens to rest smoothly."""

import math
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..calibration import SweepSettings
from . import codec
from .lens import LensLimits
from .link import Link, Refused
from .settings import OptotuneSettings

RAMP_S = 0.3
"""Duration of a ramp from one current to another, and of reducing a sweep's amplitude to zero."""

STEP_S = 0.01
"""Time between steps of a ramp, and of a sweep in focal power; a liquid lens settles in about this time."""

_CONFIRMATIONS = 5


@dataclass(frozen=True)
class Rhythm:
    """Times with the focus at the far end: `origin_ns` on the host's monotonic clock, and every period from there."""

    origin_ns: int
    period_ns: float

    def last_far_end_ns(self, now_ns: int) -> int:
        """The latest far end before a time."""
        periods = math.floor((now_ns - self.origin_ns) / self.period_ns)
        return self.origin_ns + round(periods * self.period_ns)


class LensDrive:
    """The commands of one session over one link; no state is carried over between sessions."""

    def __init__(self, link: Link, settings: OptotuneSettings, sweep: SweepSettings) -> None:
        self._link = link
        self._settings = settings
        self._sweep = sweep
        self._max_ma = struct.unpack(">H", link.ask(codec.GET_MAX_CURRENT, b"CMA", 2))[0] / 100
        self._firmware_type = link.ask(codec.GET_FIRMWARE_TYPE, b"H", 1).decode("latin-1")
        version = struct.unpack(">BBHH", link.ask(codec.GET_FIRMWARE, b"V", 6))
        serial_number = link.ask(codec.GET_SERIAL_NUMBER, b"X", 8).decode("latin-1").strip("\0 ")
        power = None
        if settings.mode == "focal_power":
            limits = codec.set_temperature_limits(*settings.temperature_limits_c)
            power = codec.power_range(link.ask(limits, b"PTA", 5)[1:], self._firmware_type)
        self.limits = LensLimits(
            self._max_ma, power, serial_number, f"{self._firmware_type} {'.'.join(map(str, version))}"
        )
        self._check_ends()

    def temperature_c(self) -> float:
        """Temperature of the lens in °C."""
        return struct.unpack(">h", self._link.ask(codec.GET_TEMPERATURE, b"TCA", 2))[0] * codec.TEMPERATURE_STEP_C

    def begin_sweep(self) -> Rhythm:
        """Move smoothly to the far end and start sweeping there; in focal-power mode, call `step` regularly from then
        on."""
        if self._settings.mode == "focal_power":
            self._link.ask(codec.set_mode("focal power"), b"MCA", 5)
            return Rhythm(time.monotonic_ns(), 1e9 / self._sweep.frequency_hz)
        far, near = self._ends_raw()
        self._ramp(self._current(), far)
        self._confirm(far)
        self._send_all(codec.set_bounds(min(far, near), max(far, near)))
        self._link.send(codec.set_frequency(self._sweep.frequency_hz))
        # If the line corrupts one of them, the driver answers with an error, which the next `ask` receives.
        self.temperature_c()
        before_ns = time.monotonic_ns()
        self._link.ask(codec.set_mode("sine" if self._sweep.waveform == "sine" else "triangle"), self._moded(), 0)
        began_ns = (before_ns + time.monotonic_ns()) // 2
        period_ns = 1e9 / self._sweep.frequency_hz
        far_phase = 0.0 if far < near else 0.5
        return Rhythm(began_ns + round((far_phase - self._settings.generator_phase) * period_ns), period_ns)

    @property
    def is_led(self) -> bool:
        """Whether the host drives the sweep step by step."""
        return self._settings.mode == "focal_power"

    def step(self, rhythm: Rhythm) -> None:
        """Move the lens to its position at the current time."""
        far, near = self._settings.far_power, self._settings.near_power
        assert far is not None
        assert near is not None
        phase = (time.monotonic_ns() - rhythm.origin_ns) / rhythm.period_ns % 1
        share = focus_share(phase, self._sweep.waveform)
        self._link.send(codec.set_focal_power(far + share * (near - far), self._firmware_type))

    def rest(self) -> None:
        """Reduce the sweep to its far end and ramp the current to zero; returns when the driver confirms zero."""
        mode = self._link.ask(codec.GET_MODE, b"MMA", 1)[0]
        if mode in codec.GENERATOR_MODES and self._settings.mode == "current":
            far, near = self._ends_raw()
            for share in _shares():
                end = round(far + (1 - share) * (near - far))
                self._send_all(codec.set_bounds(min(far, end), max(far, end)))
            self._link.send(codec.set_current(far))
        else:
            # Start from the current that the driver reports, so that changing the mode does not move the lens.
            self._link.send(codec.set_current(self._current()))
        self._link.ask(codec.set_mode("current"), b"MDA", 0)
        self._ramp(self._current(), 0)
        self._confirm(0)

    def _check_ends(self) -> None:
        s = self._settings
        if s.mode == "current":
            assert s.far_ma is not None
            assert s.near_ma is not None
            if max(abs(s.far_ma), abs(s.near_ma)) > self._max_ma:
                raise Refused(
                    f"cannot drive {s.far_ma:g} to {s.near_ma:g} mA: its maximum current is {self._max_ma:g} mA"
                )
        elif self.limits.focal_power_diopters is not None:
            assert s.far_power is not None
            assert s.near_power is not None
            lowest, highest = self.limits.focal_power_diopters
            if not (lowest <= min(s.far_power, s.near_power) and max(s.far_power, s.near_power) <= highest):
                raise Refused(
                    f"cannot reach {s.far_power:g} to {s.near_power:g} diopters: between its temperature limits it "
                    f"has {lowest:g} to {highest:g}"
                )

    def _ends_raw(self) -> tuple[int, int]:
        s = self._settings
        assert s.far_ma is not None
        assert s.near_ma is not None
        return codec.raw_current(s.far_ma, self._max_ma), codec.raw_current(s.near_ma, self._max_ma)

    def _moded(self) -> bytes:
        return b"MSA" if self._sweep.waveform == "sine" else b"MTA"

    def _current(self) -> int:
        """The constant current set, as a raw value."""
        return struct.unpack(">h", self._link.ask(codec.GET_CURRENT, b"A", 2))[0]

    def _ramp(self, start: int, end: int) -> None:
        if start != end:
            for share in _shares():
                self._link.send(codec.set_current(round(start + share * (end - start))))

    def _confirm(self, raw: int) -> None:
        """Set a constant current, repeating until the driver reports it: this command has no answer."""
        for _ in range(_CONFIRMATIONS):
            self._link.send(codec.set_current(raw))
            try:
                if self._current() == raw:
                    return
            except Refused:
                continue  # the line corrupted the command
        raise Refused(f"does not accept a current of {raw / codec.FULL_SCALE * self._max_ma:.1f} mA")

    def _send_all(self, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            self._link.send(body)


def _shares() -> Iterator[float]:
    """Ramp from just above 0 to 1 within `RAMP_S` of real time; a slow line makes fewer steps, not a longer ramp."""
    began = time.monotonic()
    while (share := (time.monotonic() - began + STEP_S) / RAMP_S) < 1:
        yield share
        time.sleep(STEP_S)
    yield 1.0


def focus_share(phase: float, waveform: str) -> float:
    """Focus from 0 (far end) to 1 (near end) at a phase in [0, 1) of the full period."""
    if waveform == "sine":
        return (1 - math.cos(2 * math.pi * phase)) / 2
    if waveform == "sawtooth":
        return phase
    return 1 - abs(1 - 2 * phase)
