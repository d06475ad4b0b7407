"""A first calibration file from a few numbers."""

import math
from typing import Any

import pytest

from sweepdepth import Calibration, CalibrationError
from sweepdepth.capture.calibration.sensors import SENSORS
from sweepdepth.capture.calibration.template import lens_text

NUMBERS: dict[str, Any] = {"focal_length_mm": 12.0, "f_number": 1.4, "far_m": 2.0, "near_m": 0.4, "frequency_hz": 2.5}


@pytest.mark.parametrize("name", SENSORS)
def test_every_known_sensor_makes_a_calibration_with_a_comment_for_every_key(name):
    sensor = SENSORS[name]
    text = lens_text(width=sensor.width, height=sensor.height, pixel_pitch_um=sensor.pixel_pitch_um, **NUMBERS)
    lens = Calibration.parse(text)
    assert (lens.camera.width, lens.camera.height) == (sensor.width, sensor.height)
    assert lens.camera.fx == lens.camera.fy == pytest.approx(12_000 / sensor.pixel_pitch_um, abs=1e-3)
    assert (lens.camera.cx, lens.camera.cy) == (sensor.width / 2, sensor.height / 2)
    assert (lens.sweep.far_diopters, lens.sweep.near_diopters) == (0.5, 2.5)
    for key in ("pixel_pitch_um", "focal_length_mm", "f_number", "waveform", "frequency_hz", "far_diopters", "sync"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} = ")]
        assert "#" in line


def test_options_infinity_clock_and_waveform_are_accepted():
    numbers = {**NUMBERS, "far_m": math.inf}
    text = lens_text(width=640, height=480, pixel_pitch_um=9.0, waveform="sawtooth", sync="clock", **numbers)
    sweep = Calibration.parse(text).sweep
    assert (sweep.far_diopters, sweep.waveform, sweep.sync, sweep.start_us) == (0.0, "sawtooth", "clock", 0)
    assert "(infinity)" in text


@pytest.mark.parametrize("wrong", [{"near_m": 3.0}, {"f_number": 0.0}, {"near_m": -1.0}, {"far_m": 0.0}])
def test_numbers_that_make_no_calibration_are_refused(wrong):
    with pytest.raises(CalibrationError):
        lens_text(width=640, height=480, pixel_pitch_um=9.0, **{**NUMBERS, **wrong})
