"""`lens test` on the simulated lens driver."""

import pytest

from sweepdepth import Calibration
from sweepdepth.capture.lenses.trial import try_lens

from .lens_peer_process import CURRENTS, Peer

pytest.importorskip("serial")


def test_a_lens_moves_reports_and_rests(tmp_path, lens):
    peer = Peer(tmp_path / "lens")
    try:
        done: list[float] = []
        trial = try_lens(f"optotune:{peer.port}", Calibration.parse(lens + CURRENTS), 1.0, on_progress=done.append)
        state = peer.await_state(lambda state: state["rests"])
    finally:
        peer.close()
    assert trial.is_well
    assert 0.5 < trial.seconds < 10
    assert trial.limits.max_current_ma == pytest.approx(292.84)
    assert trial.coldest_c is not None
    assert not trial.after.moving
    assert state["commands"] > 5
    assert done[-1] == 1.0


def test_a_lens_on_a_bad_line_fails_the_test(tmp_path, lens):
    peer = Peer(tmp_path / "lens")
    try:
        peer.ask(corrupt=3)
        trial = try_lens(f"optotune:{peer.port}", Calibration.parse(lens + CURRENTS), 1.0)
    finally:
        peer.close()
    assert not trial.is_well
    assert trial.moving.crc_errors + trial.moving.timeouts > 0
