"""Which driver an address names: a driver of another lens is added here."""

from ..calibration import Calibration
from ..errors import LensError
from .external import ExternalLens
from .lens import Lens
from .optotune import OptotuneLens


def make_lens(driver: str, calibration: Calibration) -> Lens:
    """The lens that `driver` names: `optotune:/dev/ttyX`, or `external` for one that something else drives.

    Raises:
        LensError: no such driver, or the lens cannot be reached.
        CalibrationError: the calibration's `[driver]` table does not have what the driver needs.
    """
    kind, _, port = driver.partition(":")
    if kind == "optotune" and port:
        return OptotuneLens(port, calibration)
    if driver == "external":
        return ExternalLens(calibration)
    raise LensError(
        f"{driver}: is no lens driver; give optotune:/dev/ttyX, or external for one driven by something else"
    )
