"""Colours and scales of the page's pictures, suited to colour-blind viewers."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from ...capture.reporting.figures import DEPTH_COLOURS, EVENT_COLOURS, depth_image

DEPTH_MAPS = (DEPTH_COLOURS, "cividis", "inferno", "gray")
DEVIATION_COLOURS = "cividis"
UNKNOWN_GREY = 217
_STOPS = 17


def depth_picture(
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    far_diopters: float,
    near_diopters: float,
    colour_map: str,
) -> np.ndarray:
    """(H, W, 3) uint8, with colours uniform in diopters; grey where unknown."""
    colours = depth_image(depth, far_diopters, near_diopters, colour_map)
    return np.where(colours[..., 3:] > 0, colours[..., :3], np.uint8(UNKNOWN_GREY))


def deviation_picture(
    std: np.ndarray,  # (H, W) 1/m, NaN where unknown
    limit: float,  # upper end of the scale, 1/m
) -> np.ndarray:
    """(H, W, 3) uint8; grey where unknown."""
    colours = matplotlib.colormaps[DEVIATION_COLOURS](np.nan_to_num(std / limit), bytes=True)[..., :3]
    return np.where(np.isfinite(std)[..., None], colours, np.uint8(UNKNOWN_GREY))


def event_picture(
    image: np.ndarray,  # (H, W) signed events
    limit: float,
) -> np.ndarray:
    """(H, W, 3) uint8: OFF in orange, ON in purple, white between."""
    return matplotlib.colormaps[EVENT_COLOURS](0.5 + 0.5 * image / limit, bytes=True)[..., :3]


def depth_scale(far_diopters: float, near_diopters: float, colour_map: str) -> str:
    """The scale of a depth picture as SVG, in metres."""
    ticks = np.linspace(far_diopters, near_diopters, 6)
    labels = [f"{1 / d:.2f}" if d > 0 else "∞" for d in ticks]
    return _scale(colour_map, labels, "depth (m), spaced evenly in 1/m", "no evidence")


def deviation_scale(limit: float) -> str:
    """The scale of a deviation picture as SVG, in 1/m."""
    labels = [f"{tick:.2g}" for tick in np.linspace(0, limit, 6)]
    return _scale(DEVIATION_COLOURS, labels, "one standard deviation (1/m)", "no evidence")


def event_scale(limit: float) -> str:
    """The scale of a picture of events as SVG."""
    labels = [f"{tick:+.2g}" if tick else "0" for tick in np.linspace(-limit, limit, 5)]
    return _scale(EVENT_COLOURS, labels, "events a pixel: − darker, + brighter", None)


def _scale(colour_map: str, labels: Sequence[str], title: str, unknown: str | None) -> str:
    left, right, bar = 12, 308, 12
    colours = matplotlib.colormaps[colour_map](np.linspace(0, 1, _STOPS))
    stops = "".join(f'<stop offset="{i / (_STOPS - 1):.4f}" stop-color="{to_hex(c)}"/>' for i, c in enumerate(colours))
    ticks = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bar}" y2="{bar + 4}" stroke="currentColor"/>'
        f'<text x="{x:.1f}" y="{bar + 14}" text-anchor="middle">{label}</text>'
        for x, label in zip(np.linspace(left, right, len(labels)), labels, strict=True)
    )
    grey = f"#{UNKNOWN_GREY:02x}" + f"{UNKNOWN_GREY:02x}" * 2
    key = (
        f'<rect x="{right - 70}" y="31" width="9" height="9" fill="{grey}" stroke="currentColor" stroke-width="0.5"/>'
        f'<text x="{right - 57}" y="39">{unknown}</text>'
        if unknown
        else ""
    )
    return (
        '<div style="padding:0 0.75em"><svg viewBox="0 0 320 43" width="100%" font-size="9" fill="currentColor" '
        f'font-family="sans-serif"><defs><linearGradient id="{colour_map}">{stops}</linearGradient></defs>'
        f'<rect x="{left}" y="0" width="{right - left}" height="{bar}" fill="url(#{colour_map})"/>{ticks}'
        f'<text x="{left}" y="39">{title}</text>{key}</svg></div>'
    )
