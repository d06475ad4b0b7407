"""`make_lens`: the lens driver that an address names. New lens drivers are added here."""

from ..calibration import Calibration
from ..errors import LensError
from .external import ExternalLens
from .lens import Lens
from .optotune import OptotuneLens


def make_lens(driver: str, calibration: Calibration) -> Lens:
    """Open a lens: `optotune:/dev/ttyX`, or `external` for one driven by other equipment.

    Raises:
        LensError: no such driver, or the lens is unreachable.
        CalibrationError: the calibration's `[driver]` table is missing or invalid.
    """
    kind, _, port = driver.partition(":")
    if kind == "optotune" and port:
        return OptotuneLens(port, calibration)
    if driver == "external":
        return ExternalLens(calibration)
    raise LensError(
        f"{driver}: is not a lens driver; give optotune:/dev/ttyX, or external for one driven by something else"
    )
