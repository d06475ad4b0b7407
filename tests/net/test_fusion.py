"""Fusion of several sweeps."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.distribution import Distribution
from sweepdepth.net.estimators import make_estimator
from sweepdepth.net.evidence import CANDIDATES
from sweepdepth.net.fusion import FusedNetwork
from sweepdepth.net.network import EventNetwork, load_network

SIZE = 72, 96  # of the calibration's camera


def distribution(position, spread, noise=0.0, seed=0):
    """Normal distributions about a position, with noise on each pixel's mean."""
    mean = position + noise * np.random.default_rng(seed).normal(size=(SIZE[0] // 2, SIZE[1] // 2))
    p = np.exp(-0.5 * ((CANDIDATES[:, None, None] - mean) / spread) ** 2)
    return Distribution((p / p.sum(axis=0)).astype(np.float32), SIZE)


def fuse(distributions, sweeps, calibration, gap_us=0):
    fusion = FusedNetwork(None, sweeps)  # pyright: ignore[reportArgumentType]
    answers = []
    for k, given in enumerate(distributions):
        start = k * (200_000 + gap_us)
        direction = Direction.FAR_TO_NEAR if k % 2 == 0 else Direction.NEAR_TO_FAR
        stack = EventFocalStack.empty(Sweep(start, start + 200_000, direction, calibration), 24, "interpolated")
        answers.append(fusion._fuse(given, stack).read())
    return answers


@pytest.mark.parametrize("sweeps", [4, "auto"])
def test_fusing_four_sweeps_of_a_still_scene_halves_the_error(calibration, sweeps):
    answers = fuse([distribution(0.5, 0.12, 0.08, seed) for seed in range(4)], sweeps, calibration)
    errors = [np.abs(mean - 0.5).mean() for mean, _ in answers]
    assert errors[3] < 0.65 * errors[0]
    assert answers[3][1].mean() < 0.85 * answers[0][1].mean()


def test_fusion_is_limited_to_n_sweeps(calibration):
    """After a step, the weight of the old scene decays as N sweeps allow."""
    answers = fuse([distribution(0.3, 0.1)] * 6 + [distribution(0.6, 0.1)] * 6, 3, calibration)
    assert answers[5][0] == pytest.approx(0.3, abs=0.01)
    assert answers[6][0].mean() < 0.5
    assert answers[11][0] == pytest.approx(0.6, abs=0.04)


def test_auto_forgets_contradicted_pixels_at_once(calibration):
    answers = fuse([distribution(0.2, 0.04)] * 5 + [distribution(0.8, 0.04)], "auto", calibration)
    assert answers[5][0] == pytest.approx(0.8, abs=0.02)


def test_auto_follows_the_image(calibration):
    """A step in depth that moves a pixel per sweep, half a block, with the texture that it is seen by."""
    texture = gaussian_filter(np.random.default_rng(0).uniform(size=(72, 130)), 1.5)
    texture = np.clip((texture - texture.min()) / np.ptp(texture), 0, 1) ** 2
    fusion = FusedNetwork(None, "auto")  # pyright: ignore[reportArgumentType]

    def seen(k):
        """Depth of sweep k alone, and with the earlier ones."""
        direction = Direction.FAR_TO_NEAR if k % 2 == 0 else Direction.NEAR_TO_FAR
        stack = EventFocalStack.empty(Sweep(k * 200_000, (k + 1) * 200_000, direction, calibration), 24, "interpolated")
        stack.data[0] = 20 * texture[:, 30 - k :][:, :96]
        given = distribution(np.where(np.arange(48) < 20 + k // 2, 0.4, 0.55), 0.12, 0.08, seed=k)
        return given.read()[0], fusion._fuse(given, stack).read()[0]

    alone, fused = [seen(k) for k in range(8)][-1]
    edge = 2 * (20 + 7 // 2)
    passed = slice(8, -8), slice(edge - 8, edge)  # what the step has moved over
    assert np.abs(fused - 0.4)[passed].mean() < 0.7 * np.abs(alone - 0.4)[passed].mean()


def test_auto_remembers_a_still_scene_over_a_sweep_without_events(calibration):
    """Events of the two directions are in different places, which is no motion."""
    texture = gaussian_filter(np.random.default_rng(0).uniform(size=(72, 110)), 1.5)
    texture = np.clip((texture - texture.min()) / np.ptp(texture), 0, 1) ** 2
    fusion = FusedNetwork(None, "auto")  # pyright: ignore[reportArgumentType]
    kept = []
    for k in range(8):
        if k == 4:  # without events, which `__call__` keeps away
            continue
        direction = Direction.FAR_TO_NEAR if k % 2 == 0 else Direction.NEAR_TO_FAR
        stack = EventFocalStack.empty(Sweep(k * 200_000, (k + 1) * 200_000, direction, calibration), 24, "interpolated")
        stack.data[0] = 20 * texture[:, 3 * (k % 2) :][:, :96]
        fusion._fuse(distribution(0.4, 0.12, 0.05, seed=k), stack)
        kept.append(float(np.median(fusion._count)))
    assert np.all(np.diff(kept[1:]) > 0.8), kept  # each sweep counts in addition to the earlier ones


def test_a_fixed_number_of_sweeps_needs_no_motion(calibration, monkeypatch):
    monkeypatch.setattr("sweepdepth.net.fusion.activity", lambda stack: pytest.fail("measured"))
    fuse([distribution(0.5, 0.12)] * 3, 4, calibration)


def test_fusion_restarts_after_a_gap(calibration):
    near, far = distribution(0.3, 0.1), distribution(0.5, 0.1)
    assert fuse([near, near, far], 8, calibration, gap_us=500_000)[2][0] == pytest.approx(0.5, abs=0.01)
    assert fuse([near, near, far], 8, calibration)[2][0].mean() < 0.4


def test_the_classical_estimator_has_nothing_to_fuse():
    with pytest.raises(SweepdepthError, match="use the estimator net"):
        make_estimator("polarity", fuse=4)
    with pytest.raises(SweepdepthError, match="--fuse 0: must be from 1"):
        make_estimator("net", fuse=0)


@pytest.mark.parametrize("sweeps", [2, "auto"])
def test_frames_whose_size_is_not_divisible_by_four_are_fused(calibration, sweeps):
    """A DAVIS346's 346 columns, for instance."""
    camera = calibration.camera.model_copy(update={"width": 94, "height": 70, "cx": 46.5, "cy": 34.5})
    odd = calibration.model_copy(update={"camera": camera})
    network = load_network()
    assert isinstance(network, EventNetwork)
    fusion = FusedNetwork(network, sweeps)
    rng = np.random.default_rng(0)
    for k in range(3):
        sweep = Sweep(k * 200_000, (k + 1) * 200_000, Direction.FAR_TO_NEAR, odd)
        stack = EventFocalStack.empty(sweep, fusion.bins, fusion.polarity)
        stack.data[:] = rng.normal(size=stack.data.shape)
        assert fusion(stack).depth.shape == (70, 94)
