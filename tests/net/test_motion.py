"""Image motion between sweeps."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from sweepdepth.net.motion import activity, image_motion, moved


def activity_of(rate, seed):
    """Activity in a sweep with these mean event counts (H, W), with the noise of counting."""
    events = np.random.default_rng(seed).poisson(rate).astype(np.float32)
    return activity(events, (rate.shape[0] // 2, rate.shape[1] // 2))


def textured(size=(130, 180)):
    texture = gaussian_filter(np.random.default_rng(0).normal(size=size), 2.0)
    return 1.5 * np.exp(texture / texture.std())


@pytest.mark.parametrize("right,down", [(0.0, 0.0), (0.5, 0.0), (-1.0, 2.0), (3.0, -1.5)])
def test_motion_is_found_to_a_quarter_of_a_pixel_or_a_fifth(right, down):
    rate = textured()
    moving = np.maximum(shift(rate, (down, right), order=1, mode="nearest"), 0)
    motion = 2 * image_motion(activity_of(rate, 1), activity_of(0.7 * moving, 2))
    inside = motion[:, 8:-8, 8:-8]
    assert np.median(inside, axis=(1, 2)) == pytest.approx([right, down], rel=0.2, abs=0.25)
    assert np.abs(inside - np.array([right, down])[:, None, None]).mean() < 0.5


def test_noise_alone_does_not_move():
    flat = np.full((96, 128), 0.3)
    motion = image_motion(activity_of(flat, 1), activity_of(flat, 2))
    assert np.abs(motion).mean() < 0.3
    still = image_motion(*[np.zeros((48, 64), np.float32)] * 2)
    assert not still.any()


def test_padded_frames_have_no_activity_in_the_padding():
    found = activity(np.ones((2, 3, 7, 9), np.float32), (4, 6))
    assert found[:3, :4] == pytest.approx(np.full((3, 4), 24**0.5))
    assert not found[:, 5].any()


def test_a_volume_moves_by_fractions_of_a_block():
    volume = np.random.default_rng(0).uniform(size=(3, 12, 16)).astype(np.float32)
    motion = np.empty((2, 12, 16), np.float32)
    motion[0], motion[1] = 1.5, -0.25
    expected = np.stack([shift(image, (-0.25, 1.5), order=1, mode="nearest") for image in volume])
    assert moved(volume, motion) == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(moved(volume, np.zeros_like(motion)), volume)
