"""Frames to send in tests of the wire."""

from collections.abc import Callable

import numpy as np
import pytest

from sweepdepth.capture.sweeps import Direction
from sweepdepth.stream.wire.messages import CameraInfo, DepthFrame, StreamInfo

FrameMaker = Callable[..., DepthFrame]


@pytest.fixture
def make_frame() -> FrameMaker:
    """Makes different depth frames: `make_frame(k)`, or `make_frame(k, width, height)`."""

    def make(k: int, width: int = 34, height: int = 26) -> DepthFrame:
        info = StreamInfo(
            camera=CameraInfo(width=width, height=height, fx=64.8, fy=64.8, cx=width / 2, cy=height / 2),
            far_diopters=0.5,
            near_diopters=2.5,
            estimator="polarity",
        )
        rng = np.random.default_rng(k)
        depth = rng.uniform(0.4, 2.0, (height, width)).astype(np.float32)
        depth[rng.random((height, width)) < 0.2] = np.nan
        std = (0.05 * depth).astype(np.float32)
        start_us = 1_763_000_000_000_000 + 200_000 * k
        direction = Direction.FAR_TO_NEAR if k % 2 == 0 else Direction.NEAR_TO_FAR
        return DepthFrame(depth, std, info, start_us, start_us + 200_000, direction, 0.75, {"bin": 1.5, "total": 9.0})

    return make
