"""Template of a `lens.toml`, filled from a few numbers, with a comment for every key."""

from .model import Calibration

_TEMPLATE = """\
# The calibration of one camera behind one sweeping lens. Values marked "measure" are computed from nominal numbers:
# `sweepdepth calibrate` measures focus, delay and breathing from a target at known distances.

[camera]
width = {width}                # pixels
height = {height}
pixel_pitch_um = {pitch}       # distance of two pixels' centres
fx = {fx}                  # focal length in pixels, here focal_length_mm * 1000 / pixel_pitch_um; measure
fy = {fx}
cx = {cx}                   # principal point in pixels, pixel centres at +0.5; here the centre; measure
cy = {cy}
# distortion = [0.0, 0.0, 0.0, 0.0, 0.0]   # k1, k2, p1, p2, k3 as OpenCV has them
# hot_pixels = [[10, 20]]                  # x, y of pixels to ignore; `calibrate --rest` finds them

[lens]
focal_length_mm = {focal_length}       # of the complete lens
f_number = {f_number}              # as set on the lens; determines the blur

[sweep]
waveform = "{waveform}"      # triangle, sine, or sawtooth (far to near, then jumps back)
frequency_hz = {frequency}         # full periods per second; a triangle has two sweeps per period
far_diopters = {far}           # 1 / farthest distance in focus, in metres ({far_m}); measure
near_diopters = {near}          # 1 / nearest distance in focus ({near_m}); measure
sync = "{sync}"          # how turning points are found: trigger (edges in the recording), clock, or events
delay_us = 0               # delay from trigger edge to turning point, in microseconds; measure
{start}
[breathing]
scale_per_diopter = 0.0    # change of magnification per 1/m of focus; measure
center = [{cx}, {cy}]   # fixed point of the magnification, pixels

# [driver]                 # for `live --driver optotune:/dev/ttyX`: the currents at both ends
# kind = "optotune"
# far_ma = 40.0
# near_ma = 120.0
"""


def lens_text(
    *,
    width: int,
    height: int,
    pixel_pitch_um: float,
    focal_length_mm: float,
    f_number: float,
    far_m: float,
    near_m: float,
    frequency_hz: float,
    waveform: str = "triangle",
    sync: str = "trigger",
) -> str:
    """The text of a calibration file.

    Args:
        far_m, near_m: the ends of the sweep in metres; `far_m` may be infinite.

    Raises:
        CalibrationError: the numbers make no calibration.
    """
    text = _TEMPLATE.format(
        width=width,
        height=height,
        pitch=float(pixel_pitch_um),
        fx=round(1000 * focal_length_mm / pixel_pitch_um, 3) if pixel_pitch_um > 0 else 0.0,
        cx=width / 2,
        cy=height / 2,
        focal_length=float(focal_length_mm),
        f_number=float(f_number),
        waveform=waveform,
        frequency=float(frequency_hz),
        far=round(1 / far_m, 6) if far_m > 0 else -1.0,
        near=round(1 / near_m, 6) if near_m > 0 else -1.0,
        far_m="infinity" if far_m == float("inf") else f"{far_m:g} m",
        near_m=f"{near_m:g} m",
        sync=sync,
        start='start_us = 0               # sync = "clock": sensor time at which the lens is at its far end\n'
        if sync == "clock"
        else "",
    )
    Calibration.parse(text, name="the calibration")
    return "".join(map(_aligned, text.splitlines(keepends=True)))


def _aligned(line: str) -> str:
    """Align the comment of a TOML line with those of the other lines."""
    setting, mark, comment = line.partition(" #")
    return line if not mark or line.startswith("#") else f"{setting.rstrip():<28} #{comment}"
