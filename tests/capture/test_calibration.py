"""The calibration file: valid files load; errors name file, key, value and what was expected."""

import re

import numpy as np
import pytest

from sweepdepth import Calibration, CalibrationError
from sweepdepth.capture.files.description import describe_calibration


def test_a_valid_file_loads_and_survives_its_own_text(lens):
    text = lens + (
        "start_us = -5\ndelay_us = 9000\n"
        "[breathing]\nscale_per_diopter = 0.015\ncenter = [48.0, 36.0]\n"
        "[focus_curve]\nphase = [0.0, 0.5, 1.0]\ndiopters = [0.5, 1.45, 2.5]\n"
        '[driver]\nkind = "optotune"\nfar_ma = 40.0\n'
    )
    text = text.replace("cy = 36.0", "cy = 36.0\ndistortion = [0.1, 0.0, 0.0, 0.0, 0.0]\nhot_pixels = [[1, 2], [3, 4]]")
    calibration = Calibration.parse(text)
    assert calibration.lens.aperture_m == pytest.approx(0.012 / 1.4)
    assert calibration.sweep.duration_us == 200_000
    assert calibration.camera.hot_pixels == ((1, 2), (3, 4))
    assert Calibration.parse(calibration.to_toml()) == calibration


@pytest.mark.parametrize(
    "change,expected",
    [
        (
            ("near_diopters = 2.5", "near_diopters = 0.4"),
            r"near_diopters \(0.4\) must be greater than far_diopters \(0.5\)",
        ),
        (("fx = 700.0", "fx = -1.0"), r"camera\.fx \(-1\.0\): must be greater than 0"),
        (("fx = 700.0", "fx = nan"), r"camera\.fx \(nan\): must be (a finite number|greater than 0)"),
        (("fx = 700.0\n", ""), r"camera\.fx is missing"),
        (("fx = 700.0", "fx = 700.0\nfocal = 3"), r"camera\.focal \(3\) is not a known key"),
        (("width = 96", "width = 0"), r"camera\.width \(0\)"),
        (('"triangle"', '"square"'), r"sweep\.waveform \('square'\).*'triangle'"),
        (('sync = "trigger"', 'sync = "clock"\ndelay_us = 5'), r"delay_us \(5\) must be 0"),
        (("cy = 36.0", "cy = 36.0\nhot_pixels = [[96, 0]]"), r"\[96, 0\] is off the 96×72 sensor"),
        (("[lens]", "[lenses]"), r"lenses is not a known section; did you mean lens\?$"),
        (("[lens]", "[lens"), r"is not valid TOML"),
    ],
)
def test_errors_in_a_file_are_named(tmp_path, lens, change, expected):
    path = tmp_path / "lens.toml"
    assert change[0] in lens
    path.write_text(lens.replace(*change))
    with pytest.raises(CalibrationError, match=expected) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "curve,expected",
    [
        ("phase = [0.0, 0.5, 1.0]\ndiopters = [0.5, 2.6, 2.5]", r"diopters must rise .* 2\.5 follows 2\.6"),
        ("phase = [0.0, 1.0]\ndiopters = [0.5, 1.0, 2.5]", r"phase has 2 values and diopters 3"),
        ("phase = [0.1, 1.0]\ndiopters = [0.5, 2.5]", r"phase must run from 0 to 1"),
        ("phase = [0.0, 1.0]\ndiopters = [0.6, 2.5]", r"0\.6 is not sweep\.far_diopters \(0\.5\)"),
    ],
)
def test_errors_in_a_focus_curve_are_named(lens, curve, expected):
    with pytest.raises(CalibrationError, match=expected):
        Calibration.parse(f"{lens}\n[focus_curve]\n{curve}\n")


def test_breathing_that_would_turn_the_image_over_is_refused(lens):
    with pytest.raises(CalibrationError, match=r"scale_per_diopter \(-0.4\)"):
        Calibration.parse(f"{lens}\n[breathing]\nscale_per_diopter = -0.4\ncenter = [0.0, 0.0]\n")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00binary", b"[[[[" * 500, b"a = " + b"[" * 100_000])
def test_other_files_than_calibrations_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "lens.toml"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"lens\.toml"):
        Calibration.load(path)
    with pytest.raises(CalibrationError, match=r"missing\.toml: cannot be read: No such file"):
        Calibration.load(tmp_path / "missing.toml")


@pytest.mark.parametrize("waveform", ["triangle", "sawtooth", "sine"])
def test_focus_runs_from_the_far_to_the_near_end(lens, waveform):
    calibration = Calibration.parse(lens.replace('"triangle"', f'"{waveform}"'))
    focus = calibration.focus_at(np.linspace(0, 1, 101))
    assert focus[[0, 50, 100]] == pytest.approx([0.5, 1.5, 2.5])
    assert (np.diff(focus) > 0).all()


def test_a_measured_curve_replaces_the_waveform(lens):
    calibration = Calibration.parse(f"{lens}\n[focus_curve]\nphase = [0.0, 0.5, 1.0]\ndiopters = [0.5, 1.0, 2.5]\n")
    assert calibration.focus_at(np.array([0.25, 0.5, 0.75])) == pytest.approx([0.75, 1.0, 1.75])


def test_all_errors_of_a_file_are_named_at_once(tmp_path, lens, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = lens.replace("width = 96", "wdith = 96").replace("height = 72", "height = 72.5")
    text = text.replace("fx = 700.0\n", "").replace("cx = 48.0", 'cx = "left"').replace('"triangle"', '"tringle"')
    text = text.replace("frequency_hz", "frequencyHz").replace("[sweep]", "[sweep]\nstart = 3")
    (tmp_path / "my lens.toml").write_text(text + "[brething]\nscale_per_diopter = 0.0\n")
    with pytest.raises(CalibrationError) as caught:
        Calibration.load("./my lens.toml")
    expected = (
        "camera.wdith (96) is not a known key; did you mean width?",
        "camera.height (72.5): must be a whole number",
        "camera.fx is missing",
        "camera.cx ('left'): must be a number",
        "sweep.waveform ('tringle'): must be 'triangle', 'sawtooth' or 'sine'",
        "sweep.frequencyHz (2.5) is not a known key; did you mean frequency_hz?",
        "sweep.start (3) is not a known key; did you mean start_us?",
        "brething is not a known section; did you mean breathing?",
    )
    name, _, faults = str(caught.value).partition(": ")
    assert name == "./my lens.toml"
    assert sorted(faults.split("; ")) == sorted("; ".join(expected).split("; "))


@pytest.mark.parametrize(
    "key,value,expected",
    [
        ("focal_length_mm", 0.012, r"lens.focal_length_mm \(0.012\) does not fit camera.fx .* 1,079 times apart$"),
        ("focal_length_mm", 120, r"lens.focal_length_mm \(120\) does not fit"),
        ("fx", 70.0, r"camera.fx \(70\) and camera.fy \(700\) are 10 times apart"),
        ("pixel_pitch_um", 0.0185, r"camera.pixel_pitch_um \(0.0185\) must be between 0.5 and 500, micrometres"),
        ("f_number", 190, r"a point is blurred over 0.088 px, too little to see the focus by"),
        ("f_number", 0.014, r"lens.f_number \(0.014\) must be between 0.3 and 200"),
        ("frequency_hz", 2_500_000, r"sweep.frequency_hz \(2.5e\+06\) must be between 0.001 and 10000"),
        ("near_diopters", 400, r"sweep.near_diopters \(400\) is 2.5 mm, inside the focal length"),
        ("near_diopters", 0.51, r"a point is blurred over 0.06 px"),
    ],
)
def test_an_impossible_calibration_is_refused(lens, key, value, expected):
    with pytest.raises(CalibrationError, match=rf"^lens.toml: .*{expected}"):
        Calibration.parse(re.sub(rf"^{key} = .*$", f"{key} = {value}", lens, flags=re.MULTILINE))


@pytest.mark.parametrize(
    "key,value,expected",
    [
        ("focal_length_mm", 25, r"lens.focal_length_mm \(25\) does not fit camera.fx"),
        ("fy", 600.0, r"camera.fx \(700\) and camera.fy \(600\) differ"),
        ("f_number", 12, r"blurred over 1.4 px, too little"),
        ("frequency_hz", 400, r"sweep.frequency_hz \(400\) is mostly between"),
        ("near_diopters", 40.0, r"sweep.near_diopters \(40\) is 25 mm, only 2.1 focal lengths"),
        ("near_diopters", 16.0, r"a point is blurred over 93 px, more than usual; expected 3 to 30 px"),
        ("cx", 480.0, r"camera.cx, cy \(480, 36\) lie off the 96×72 sensor"),
    ],
)
def test_an_implausible_calibration_is_reported(lens, key, value, expected):
    assert Calibration.parse(lens).doubts == ()
    calibration = Calibration.parse(re.sub(rf"^{key} = .*$", f"{key} = {value}", lens, flags=re.MULTILINE))
    assert any(re.search(expected, doubt) for doubt in calibration.doubts)
    assert list(calibration.doubts) == describe_calibration(calibration)["doubts"]["implausible"]


def test_a_macro_lens_has_an_image_distance_beyond_its_focal_length(lens):
    """50 mm focused at 0.1 m: the image is at 100 mm."""
    text = lens.replace("focal_length_mm = 12.0", "focal_length_mm = 50.0").replace("f_number = 1.4", "f_number = 4.0")
    text = text.replace("far_diopters = 0.5", "far_diopters = 9.5").replace(
        "near_diopters = 2.5", "near_diopters = 10.0"
    )
    text = text.replace("fx = 700.0", "fx = 5148.0").replace("fy = 700.0", "fy = 5148.0")
    assert Calibration.parse(text).doubts == ()
