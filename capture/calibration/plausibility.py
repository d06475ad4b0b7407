"""Plausibility checks: calibrations that are self-consistent but match no real lens or camera.

Most come from a wrong unit or a typing error. Impossible values are errors; implausible ones are warnings.
"""

from typing import TYPE_CHECKING

from ..optics import aperture_m, blur_diameter_px

if TYPE_CHECKING:
    from .model import CameraModel, LensModel, SweepSettings

IMAGE_DISTANCE, ODD_IMAGE_DISTANCE = 3.0, 1.3
"""Largest ratio of fx times the pixel pitch (the image distance) to the focal length: an error, and a warning. The
image distance exceeds the focal length a little when the lens is focused near."""

SQUARE, ODD_SQUARE = 2.0, 1.1
"""Largest ratio of fx to fy: an error, and a warning."""

BLUR_PX, ODD_BLUR_PX = 0.5, 2.0
"""Least blur over the whole range in pixels, below which pixels do not see the focus change: an error, and a
warning."""

ODD_LARGEST_BLUR_PX = 60.0
"""Blur over the whole range above which a warning is given: twice the largest that the networks are trained on."""

ODD_CLOSENESS = 5.0
"""Distance of the near end in focal lengths below which a warning is given, unless the image distance is that of a
macro lens."""

PITCH_UM, ODD_PITCH_UM = (0.5, 500.0), (2.0, 60.0)
F_NUMBER, ODD_F_NUMBER = (0.3, 200.0), (0.7, 32.0)
FREQUENCY_HZ, ODD_FREQUENCY_HZ = (1e-3, 10_000.0), (0.02, 250.0)
"""Possible and usual ranges of pixel pitch, f-number and sweep frequency."""


def impossibilities(camera: "CameraModel", lens: "LensModel", sweep: "SweepSettings") -> list[str]:
    """Errors about impossible values, one sentence each with key, value and what was expected."""
    found = _outside(camera, lens, sweep, PITCH_UM, F_NUMBER, FREQUENCY_HZ, "must be between")
    ratio = _factor(camera.fx, camera.fy)
    if ratio > SQUARE:
        found.append(
            f"camera.fx ({camera.fx:g}) and camera.fy ({camera.fy:g}) are {ratio:.3g} times apart; both are px"
        )
    ratio = _factor(_image_distance_mm(camera), lens.focal_length_mm)
    if ratio > IMAGE_DISTANCE:
        found.append(_misfit(camera, lens, ratio))
    if sweep.near_diopters * lens.focal_length_mm * 1e-3 >= 1:
        found.append(
            f"sweep.near_diopters ({sweep.near_diopters:g}) is {1e3 / sweep.near_diopters:.3g} mm, inside the focal "
            f"length of the lens (lens.focal_length_mm, {lens.focal_length_mm:g}), where nothing can be in focus; "
            "diopters are 1/m"
        )
    blur = _blur_px(camera, lens, sweep)
    if blur < BLUR_PX and not found:  # otherwise a consequence of the errors found
        found.append(_no_blur(lens, sweep, blur))
    return found


def doubts(camera: "CameraModel", lens: "LensModel", sweep: "SweepSettings") -> list[str]:
    """Warnings about implausible values, one sentence each."""
    found = _outside(camera, lens, sweep, ODD_PITCH_UM, ODD_F_NUMBER, ODD_FREQUENCY_HZ, "is mostly between")
    ratio = _factor(camera.fx, camera.fy)
    if ratio > ODD_SQUARE:
        found.append(f"camera.fx ({camera.fx:g}) and camera.fy ({camera.fy:g}) differ; pixels are mostly square")
    ratio = _factor(_image_distance_mm(camera), lens.focal_length_mm)
    near = lens.focal_length_mm / max(1e-9, 1 - sweep.near_diopters * lens.focal_length_mm * 1e-3)
    if ratio > ODD_IMAGE_DISTANCE and not lens.focal_length_mm < _image_distance_mm(camera) < near:
        found.append(_misfit(camera, lens, ratio))
    blur = _blur_px(camera, lens, sweep)
    if blur < ODD_BLUR_PX:
        found.append(_no_blur(lens, sweep, blur))
    closeness = 1e3 / (sweep.near_diopters * lens.focal_length_mm)
    if closeness < ODD_CLOSENESS and ratio <= ODD_IMAGE_DISTANCE:
        found.append(
            f"sweep.near_diopters ({sweep.near_diopters:g}) is {1e3 / sweep.near_diopters:.3g} mm, only "
            f"{closeness:.2g} focal lengths (lens.focal_length_mm, {lens.focal_length_mm:g}) from the lens; diopters "
            "are 1/m"
        )
    elif blur > ODD_LARGEST_BLUR_PX:
        found.append(
            f"from one end of the sweep to the other (sweep.far_diopters {sweep.far_diopters:g} to near_diopters "
            f"{sweep.near_diopters:g}) a point is blurred over {blur:.3g} px, more than usual; expected 3 to 30 px"
        )
    if not (0 <= camera.cx <= camera.width and 0 <= camera.cy <= camera.height):
        found.append(
            f"camera.cx, cy ({camera.cx:g}, {camera.cy:g}) lie off the {camera.width}×{camera.height} sensor; the "
            "optical axis mostly meets its middle"
        )
    return found


def _outside(
    camera: "CameraModel",
    lens: "LensModel",
    sweep: "SweepSettings",
    pitch_um: tuple[float, float],
    f_number: tuple[float, float],
    frequency_hz: tuple[float, float],
    what: str,
) -> list[str]:
    values = (
        ("camera.pixel_pitch_um", camera.pixel_pitch_um, pitch_um, "micrometres"),
        ("lens.f_number", lens.f_number, f_number, "focal length over aperture"),
        ("sweep.frequency_hz", sweep.frequency_hz, frequency_hz, "full periods a second"),
    )
    return [
        f"{key} ({value:g}) {what} {low:g} and {high:g}, {unit}"
        for key, value, (low, high), unit in values
        if not low <= value <= high
    ]


def _image_distance_mm(camera: "CameraModel") -> float:
    return camera.fx * camera.pixel_pitch_um * 1e-3


def _misfit(camera: "CameraModel", lens: "LensModel", ratio: float) -> str:
    return (
        f"lens.focal_length_mm ({lens.focal_length_mm:g}) does not fit camera.fx ({camera.fx:g} px) times "
        f"camera.pixel_pitch_um ({camera.pixel_pitch_um:g}), which is {_image_distance_mm(camera):.4g} mm, "
        f"{ratio:,.{0 if ratio >= 10 else 1}f} times apart"
    )


def _no_blur(lens: "LensModel", sweep: "SweepSettings", blur_px: float) -> str:
    return (
        f"from one end of the sweep to the other (sweep.far_diopters {sweep.far_diopters:g} to near_diopters "
        f"{sweep.near_diopters:g}) a point is blurred over {blur_px:.2g} px, too little to see the focus by; expected "
        f"{ODD_BLUR_PX:g} px or more: a wider range, or more aperture (lens.f_number {lens.f_number:g})"
    )


def _blur_px(camera: "CameraModel", lens: "LensModel", sweep: "SweepSettings") -> float:
    aperture = aperture_m(lens.focal_length_mm, lens.f_number)
    return float(blur_diameter_px(sweep.near_diopters, sweep.far_diopters, camera.fx, aperture))


def _factor(a: float, b: float) -> float:
    return max(a / b, b / a)
