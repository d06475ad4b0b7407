"""Lens drivers: an Optotune Lens Driver 4 sweeps, survives a bad connection, and is always left at rest."""

import gc
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepdepth import Calibration
from sweepdepth.capture.errors import CalibrationError, LensError
from sweepdepth.capture.lenses import ExternalLens, OptotuneLens, codec, make_lens
from sweepdepth.capture.lenses.drive import focus_share

from .lens_peer import remainder
from .lens_peer_process import CURRENTS, DRIVER, POWERS, Peer

pytest.importorskip("serial")


def raw(milliamperes: float) -> int:
    return round(milliamperes * 4095 / 292.84)


@pytest.fixture
def peer(tmp_path) -> Iterator[Peer]:
    peer = Peer(tmp_path / "ttyLENS")
    yield peer
    peer.close()


@pytest.fixture
def calibrated(lens) -> Calibration:
    return Calibration.parse(lens + CURRENTS)


def await_status(lens: OptotuneLens, holds: Callable[[Any], bool], timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not holds(status := lens.status()):
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return status


def biggest_jump(currents: list[int]) -> float:
    """Largest step between consecutive constant currents in mA."""
    return max((abs(b - a) for a, b in pairwise(currents)), default=0) * 292.84 / 4095


# The protocol


@given(st.binary(max_size=40))
def test_the_checksum_is_that_of_polynomial_division(data):
    assert struct.pack("<H", codec.crc16(data)) == remainder(data)


def test_the_checksum_is_the_published_one():
    """CRC-16/ARC; the check value of the catalogue of parametrised CRC algorithms."""
    assert codec.crc16(b"123456789") == 0xBB3D


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=4), st.binary(max_size=6))
def test_answers_are_found_with_any_content(payloads, tail):
    """Answers may contain line ends; an incomplete one is kept."""
    buffer = bytearray(b"".join(codec.command(payload) + b"\r\n" for payload in payloads) + tail.replace(b"\n", b""))
    found = []
    while (taken := codec.take_answer(buffer))[0] is not None:
        found.append(taken[0])
    assert found == payloads


def test_an_answer_after_a_damaged_one_is_found():
    good, bad = codec.command(b"TCA\x01\xa8") + b"\r\n", b"TCX\x01\xa8zz\r\n"
    buffer = bytearray(bad + good)
    assert codec.take_answer(buffer) == (b"TCA\x01\xa8", True)
    assert buffer == b""


@pytest.mark.parametrize("firmware_type, value", [("A", 1300), ("B", 300), ("F", 300)])
def test_focal_power_counts_from_minus_five_diopters_on_type_a(firmware_type, value):
    assert codec.set_focal_power(1.5, firmware_type) == b"PwDA" + struct.pack(">h", value) + b"\0\0"


@pytest.mark.parametrize(
    "waveform, shares", [("triangle", [0, 0.5, 1, 0.5]), ("sine", [0, 0.5, 1, 0.5]), ("sawtooth", [0, 0.25, 0.5, 0.75])]
)
def test_a_focal_power_sweep_starts_at_the_far_end(waveform, shares):
    assert [focus_share(phase, waveform) for phase in (0, 0.25, 0.5, 0.75)] == pytest.approx(shares)


# A working lens


def test_a_lens_sweeps_as_its_calibration_says_and_comes_to_rest(peer, calibrated):
    with OptotuneLens(peer.port, calibrated) as lens:
        assert lens.limits.max_current_ma == 292.84
        assert lens.limits.serial_number == "AB\r\nCD42"
        assert lens.limits.firmware == "A 1.11.2748.13"
        assert peer.ask(state=True)["rests"]
        lens.start()
        state = peer.ask(state=True)
        assert (state["mode"], state["lower"], state["upper"]) == ("T", raw(40), raw(120))
        assert state["millihertz"] == 2500
        status = lens.status()
        assert status.connected
        assert status.moving
        assert status.temperature_c == 26.5
        lens.stop()
        assert peer.ask(state=True)["rests"]
        assert not lens.status().moving
        assert peer.ask(state=True)["wrong_crcs"] == 0


def test_the_current_never_jumps_at_start_or_stop(peer, calibrated):
    """Constant currents change in small steps, and the sweep shrinks to its far end before it is switched off."""
    with OptotuneLens(peer.port, calibrated) as lens:
        lens.start()
        lens.stop()
    state = peer.ask(state=True)
    assert raw(40) in state["currents"]
    assert biggest_jump(state["currents"]) < 10
    assert state["lower"] == state["upper"] == raw(40)


def test_the_sweep_can_be_a_sine_and_run_from_high_to_low_currents(peer, lens):
    text = lens.replace('"triangle"', '"sine"') + DRIVER + "far_ma = 150\nnear_ma = -20\n"
    with OptotuneLens(peer.port, Calibration.parse(text)) as optotune:
        optotune.start()
        state = peer.ask(state=True)
        assert (state["mode"], state["lower"], state["upper"]) == ("S", raw(-20), raw(150))
    assert peer.ask(state=True)["rests"]
    assert biggest_jump(peer.ask(state=True)["currents"]) < 15


@pytest.mark.parametrize("far_ma, near_ma, phase", [(40, 120, 0.0), (120, 40, 0.5)])
def test_the_time_of_the_last_far_end_is_known(peer, lens, far_ma, near_ma, phase):
    """The generator begins at its lower current, which is the far end or half a period from it."""
    text = lens + DRIVER + f"far_ma = {far_ma}\nnear_ma = {near_ma}\n"
    with OptotuneLens(peer.port, Calibration.parse(text)) as optotune:
        assert optotune.status().far_end_ns is None
        before_s = time.monotonic()
        optotune.start()
        began = peer.ask(state=True)["now"]
        for _ in range(3):
            now_s = time.monotonic()
            far_end_ns = optotune.status().far_end_ns
            assert far_end_ns is not None
            assert now_s - 0.4 - 0.05 <= far_end_ns * 1e-9 <= time.monotonic()
            # A whole number of periods after it was switched on, just before `start` returned.
            late_s = (far_end_ns * 1e-9 - began) % 0.4 / 0.4
            assert abs((late_s - phase + 0.5) % 1 - 0.5) < 0.3
            time.sleep(0.15)
        assert began - before_s < 5
        optotune.stop()
        assert optotune.status().far_end_ns is None


@pytest.mark.parametrize("firmware_type", ["A", "B"])
def test_focal_power_is_commanded_step_by_step(tmp_path, lens, firmware_type):
    peer = Peer(tmp_path / "ttyLENS", firmware_type)
    try:
        with OptotuneLens(peer.port, Calibration.parse(lens + POWERS)) as optotune:
            assert optotune.limits.focal_power_diopters == (-2.0, 3.0)
            optotune.start()
            peer.await_state(lambda s: len(s["powers"]) > 20 and s["powers"][-1][0] > s["powers"][0][0] + 0.8)
            far_end_s = (optotune.status().far_end_ns or 0) * 1e-9
            optotune.stop()
        state = peer.ask(state=True)
        assert state["rests"]
        times, powers = zip(*state["powers"], strict=True)
        assert min(powers) == pytest.approx(-1.0, abs=0.2)
        assert max(powers) == pytest.approx(1.5, abs=0.2)
        assert len(powers) > 20
        # Each lies on the triangle at that time, except for delays of the line and a busy machine.
        expected = [-1.0 + 2.5 * focus_share((t - far_end_s) / 0.4 % 1, "triangle") for t in times]
        errors = sorted(abs(a - b) for a, b in zip(powers, expected, strict=True))
        assert errors[len(errors) // 2] < 0.1
    finally:
        peer.close()


# A bad connection


def test_corrupted_answers_are_asked_for_again_and_counted(peer, calibrated):
    with OptotuneLens(peer.port, calibrated) as lens:
        peer.ask(corrupt=3)
        lens.start()
        assert await_status(lens, lambda s: s.crc_errors >= 3).reconnects == 0
        lens.stop()
    assert peer.ask(state=True)["rests"]


def test_garbled_commands_are_sent_again(peer, calibrated):
    with OptotuneLens(peer.port, calibrated) as lens:
        peer.ask(garble=2)
        lens.start()
        state = peer.ask(state=True)
        assert (state["mode"], state["lower"], state["upper"]) == ("T", raw(40), raw(120))
        peer.ask(garble=2)
        lens.stop()
    state = peer.ask(state=True)
    assert state["rests"]
    assert state["wrong_crcs"] > 0


def test_firmware_that_answers_late_is_waited_for(peer, calibrated):
    """Answers arrive after the first timeout, so each question is asked and answered twice."""
    with OptotuneLens(peer.port, calibrated) as lens:
        peer.ask(slow=0.5)
        lens.start()
        state = peer.ask(state=True)
        assert (state["mode"], state["lower"], state["upper"]) == ("T", raw(40), raw(120))
        status = lens.status()
        assert status.timeouts >= 1
        assert status.late_answers >= 1
        assert status.reconnects == 0
        lens.stop()
        assert peer.ask(state=True)["rests"]


def test_a_silent_driver_is_reconnected(peer, calibrated):
    with OptotuneLens(peer.port, calibrated) as lens:
        lens.start()
        peer.ask(mute=True)
        status = await_status(lens, lambda s: not s.connected)
        assert "no whole answer" in status.last_error or "no Lens Driver 4" in status.last_error
        peer.ask(mute=False)
        status = await_status(lens, lambda s: s.moving)
        assert status.connected
        assert status.reconnects == 1
    assert peer.ask(state=True)["rests"]


@pytest.mark.parametrize("powered", [False, True], ids=["without power", "powered elsewhere"])
def test_a_lens_that_was_unplugged_sweeps_again(peer, calibrated, powered):
    with OptotuneLens(peer.port, calibrated) as lens:
        lens.start()
        peer.ask(unplug=True)
        assert await_status(lens, lambda s: not s.connected).far_end_ns is None
        peer.ask(plug=True, powered=powered)
        assert await_status(lens, lambda s: s.moving).reconnects == 1
        state = peer.await_state(lambda s: s["mode"] == "T")
        assert (state["lower"], state["upper"], state["millihertz"]) == (raw(40), raw(120), 2500)
    assert peer.ask(state=True)["rests"]


def test_a_lens_reconnected_after_stopping_is_brought_to_rest(peer, calibrated):
    with OptotuneLens(peer.port, calibrated) as lens:
        lens.start()
        peer.ask(unplug=True)
        await_status(lens, lambda s: not s.connected)
        started = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sweepdepth.capture.lenses.optotune.RESTING_TIMEOUT_S", 0.5)
            with pytest.raises(LensError, match=r"does not confirm that it rests within 0\.5 s"):
                lens.stop()
        assert time.monotonic() - started < 3
        assert not peer.ask(plug=True, powered=True)["rests"]
        peer.await_state(lambda s: s["rests"])


# At rest whatever happens


OWNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from sweepdepth import Calibration
from sweepdepth.capture.lenses import OptotuneLens
lens = OptotuneLens(sys.argv[1], Calibration.load(sys.argv[2]))
lens.start()
print(lens._keeper.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def owner(peer, tmp_path, lens) -> Iterator["subprocess.Popen[str]"]:
    """A process that makes the lens sweep; the first line it prints is its keeper's id."""
    (tmp_path / "lens.toml").write_text(lens + CURRENTS)
    command = [sys.executable, "-c", OWNER, peer.port, str(tmp_path / "lens.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_the_lens_comes_to_rest_when_its_owner_dies(peer, owner, number):
    keeper = psutil.Process(int(owner.stdout.readline()))
    assert peer.ask(state=True)["mode"] == "T"
    owner.send_signal(number)
    state = peer.await_state(lambda s: s["rests"])
    assert biggest_jump(state["currents"]) < 10
    assert psutil.wait_procs([keeper], timeout=5)[0] == [keeper]


def test_the_lens_comes_to_rest_when_owner_and_line_die_together(peer, owner):
    keeper = psutil.Process(int(owner.stdout.readline()))
    peer.ask(unplug=True)
    owner.kill()
    owner.wait()
    assert not peer.ask(plug=True, powered=True)["rests"]
    peer.await_state(lambda s: s["rests"])
    assert psutil.wait_procs([keeper], timeout=5)[0] == [keeper]


def test_a_terminated_keeper_brings_the_lens_to_rest_first(peer, owner):
    os.kill(int(owner.stdout.readline()), signal.SIGTERM)
    peer.await_state(lambda s: s["rests"])


def test_another_keeper_takes_over_from_one_that_was_killed(peer, calibrated):
    with OptotuneLens(peer.port, calibrated) as lens:
        lens.start()
        (keeper,) = [p for p in psutil.Process().children() if "lenses.keeper" in " ".join(p.cmdline())]
        keeper.kill()
        keeper.wait(5)
        assert lens.status().moving is False
        status = await_status(lens, lambda s: s.moving)
        assert status.reconnects == 1
        lens.stop()
        assert peer.ask(state=True)["rests"]


def test_a_sweep_left_by_a_driver_that_crashed_is_stopped_on_opening(peer, owner, calibrated):
    """Owner and keeper were killed; the next program that opens the port finds the lens moving."""
    os.kill(int(owner.stdout.readline()), signal.SIGKILL)
    owner.kill()
    assert peer.ask(state=True)["mode"] == "T"
    with OptotuneLens(peer.port, calibrated):
        peer.await_state(lambda s: s["rests"])


def test_the_lens_comes_to_rest_when_garbage_collected(peer, calibrated):
    lens = OptotuneLens(peer.port, calibrated)
    lens.start()
    del lens
    gc.collect()
    assert peer.ask(state=True)["rests"]


# Errors


def test_a_port_that_another_program_uses_is_refused(peer, calibrated, monkeypatch):
    monkeypatch.setattr("sweepdepth.capture.lenses.optotune.BUSY_PATIENCE_S", 0.5)
    with (
        OptotuneLens(peer.port, calibrated),
        pytest.raises(LensError, match="cannot be opened: another program uses it"),
    ):
        OptotuneLens(peer.port, calibrated)


def test_a_port_that_is_not_there_is_refused(tmp_path, calibrated):
    with pytest.raises(LensError, match=r"optotune:.*ttyX: cannot be opened: no such port; is it plugged in\?"):
        make_lens(f"optotune:{tmp_path / 'ttyX'}", calibrated)


def test_a_port_without_answers_is_refused(peer, calibrated):
    peer.ask(mute=True)
    with pytest.raises(LensError, match="cannot be opened: no Lens Driver 4 answers there"):
        OptotuneLens(peer.port, calibrated)


def test_a_focal_power_out_of_reach_is_refused(peer, lens):
    text = lens + DRIVER + 'mode = "focal_power"\nfar_power = -4\nnear_power = 1\n'
    with pytest.raises(
        LensError, match=r"cannot reach -4 to 1 diopters: between its temperature limits it has -2 to 3"
    ):
        OptotuneLens(peer.port, Calibration.parse(text))
    peer.await_state(lambda s: s["rests"])


@pytest.mark.parametrize(
    "driver, message",
    [
        ("", r"has no \[driver\] table; an Optotune lens needs kind"),
        ('\n[driver]\nkind = "other"\n', r"driver: kind \('other'\)"),
        (DRIVER + "far_ma = 40\n", 'driver: near_ma is missing; mode = "current" needs it'),
        (DRIVER + "far_ma = 40\nnear_ma = 40\n", r"far_ma and near_ma are the same \(40\.0\)"),
        (DRIVER + "far_ma = 40\nnear_ma = 400\n", r"driver: near_ma \(400\)"),
        (CURRENTS + "nearma = 3\n", r"driver: nearma \(3\) is not a known key"),
        (CURRENTS + 'mode = "focal_power"\n', "far_power is missing"),
        (CURRENTS + "temperature_limits_c = [50, 20]\n", r"temperature_limits_c \(50\.0, 20\.0\) must rise"),
    ],
)
def test_a_driver_table_that_is_wrong_is_an_error(lens, driver, message):
    with pytest.raises(CalibrationError, match=message):
        OptotuneLens("/dev/null", Calibration.parse(lens + driver))


def test_the_generator_makes_no_sawtooth(lens):
    text = lens.replace('"triangle"', '"sawtooth"') + CURRENTS
    with pytest.raises(
        CalibrationError, match=r'sweep\.waveform \("sawtooth"\) cannot be made by the signal generator'
    ):
        OptotuneLens("/dev/null", Calibration.parse(text))


def test_an_external_lens_is_left_alone(calibration):
    with make_lens("external", calibration) as lens:
        assert isinstance(lens, ExternalLens)
        lens.start()
        assert lens.status().moving
        assert lens.status().far_end_ns is None
        lens.stop()


@pytest.mark.parametrize("driver", ["optotune", "optotune:", "canon:/dev/ttyX", ""])
def test_an_unknown_driver_is_an_error(calibration, driver):
    with pytest.raises(LensError, match="is not a lens driver; give optotune:/dev/ttyX, or external"):
        make_lens(driver, calibration)


def test_a_closed_lens_cannot_be_started(peer, calibrated):
    lens = OptotuneLens(peer.port, calibrated)
    lens.close()
    lens.close()
    assert not lens.status().connected
    with pytest.raises(LensError, match="is closed; open it again"):
        lens.start()
