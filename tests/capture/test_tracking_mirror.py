"""Turning points from pairs of events at the same level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sweepdepth.capture.events import join
from sweepdepth.capture.tracking.mirror import Lattice, SampledEvents, Thinning, count_votes, find_lattice, vote_times

from .analytic import EPOCH_US, Scene, calibration, random_events, record

SWEEP_US = 50_000


@settings(deadline=None)
@given(
    times=hnp.arrays(np.int64, st.integers(0, 150), elements=st.integers(EPOCH_US, EPOCH_US + 5_000)),
    pixels=st.integers(1, 4),
    seed=st.integers(0, 1000),
    off=st.integers(80, 800),
    longest_us=st.integers(1, 6_000),
    later=st.booleans(),
)
def test_the_kernel_counts_the_same_votes_as_its_readable_reference(
    times: np.ndarray, pixels: int, seed: int, off: int, longest_us: int, later: bool
):
    rng = np.random.default_rng(seed)
    sample = SampledEvents(
        np.sort(times), rng.integers(0, pixels, len(times), dtype=np.int32), rng.random(len(times)) < 0.5
    )
    bin_us, bins = 30, 100
    origin_us = EPOCH_US + 1_000
    votes = count_votes(
        sample.timestamp, sample.pixel, sample.on, pixels, off, longest_us, origin_us, bin_us, bins, later
    )
    number = (vote_times(sample, off, longest_us, later) - 2 * origin_us) // (2 * bin_us)
    expected = np.bincount(number[(number >= 0) & (number < bins)], minlength=bins)
    assert np.array_equal(votes, expected)


def lattice_of(scene: Scene, waveform: str = "triangle", nominal: float = 1.0, sweeps: int = 6) -> Lattice | None:
    lens = calibration(waveform=waveform, frequency_hz=1e6 / SWEEP_US / (1 if waveform == "sawtooth" else 2))
    events = record(scene, lens, EPOCH_US + SWEEP_US * np.arange(sweeps + 1))
    thinning = Thinning(lens.camera.width, lens.camera.height)
    return find_lattice(thinning.pick(events), thinning.pixels, nominal * SWEEP_US, waveform == "sawtooth")


def errors_us(lattice: Lattice) -> np.ndarray:
    """Of the first turning points, against multiples of the sweep's length."""
    at = lattice.origin_us - EPOCH_US + lattice.first_us + lattice.spacing_us * np.arange(6)
    return at - SWEEP_US * np.round(at / SWEEP_US)


@pytest.mark.parametrize("waveform", ["triangle", "sine", "sawtooth"])
@pytest.mark.parametrize("nominal", [0.7, 1.0, 1.3])
def test_turning_points_are_found_though_the_nominal_frequency_is_wrong(waveform: str, nominal: float):
    lattice = lattice_of(Scene(), waveform, nominal, sweeps=8)
    assert lattice is not None
    assert np.abs(errors_us(lattice)).max() < 0.005 * SWEEP_US
    assert lattice.quality > 0.4


@pytest.mark.parametrize(
    "scene",
    [
        Scene(off_ratio=0.7),
        Scene(off_ratio=1.4),
        Scene(mismatch=0.15),
        Scene(noise_hz=20),
        Scene(threshold=0.3),
        Scene(drift_px_s=10),
        Scene(planes=(0.8,)),
    ],
    ids=["off early", "off late", "mismatch", "noise", "few events", "moving", "one plane"],
)
def test_turning_points_are_found_though_pixels_and_scene_are_not_ideal(scene: Scene):
    lattice = lattice_of(scene)
    assert lattice is not None
    assert np.abs(errors_us(lattice)).max() < 0.01 * SWEEP_US
    assert lattice.quality > 0.4


def test_the_latency_of_the_pixels_shifts_the_turning_points_with_the_events():
    prompt, late = lattice_of(Scene()), lattice_of(Scene(latency_us=3_000))
    assert prompt is not None
    assert late is not None
    assert np.median(errors_us(late)) - np.median(errors_us(prompt)) == pytest.approx(3_000, abs=20)


def test_a_single_plane_in_mid_range_is_ambiguous_and_lowers_the_quality():
    lattice = lattice_of(Scene(planes=(1.5,)))
    assert lattice is not None
    assert lattice.quality < 0.2


def test_a_single_reversal_is_no_sweep():
    lens = calibration()
    events = record(Scene(noise_hz=5), lens, EPOCH_US + SWEEP_US * np.arange(7))
    sweeps = (events["timestamp"] - EPOCH_US) / SWEEP_US
    noise = random_events(np.random.default_rng(0), 5_000, EPOCH_US, EPOCH_US + 6 * SWEEP_US)
    both = join([events[(sweeps > 2.2) & (sweeps < 3.8)], noise])
    thinning = Thinning(lens.camera.width, lens.camera.height)
    sample = thinning.pick(both[np.argsort(both["timestamp"], kind="stable")])
    lattice = find_lattice(sample, thinning.pixels, SWEEP_US, later=False)
    assert lattice is None or lattice.quality < 0.1


def test_noise_has_no_turning_points():
    thinning = Thinning(64, 48)
    events = random_events(np.random.default_rng(0), 100_000, EPOCH_US, EPOCH_US + 8 * SWEEP_US)
    lattice = find_lattice(thinning.pick(events), thinning.pixels, SWEEP_US, later=False)
    assert lattice is None or lattice.quality < 0.05


def test_a_large_sensor_is_thinned_out_evenly():
    thinning = Thinning(1280, 720)
    assert thinning.pixels < 110_000
    y, x = np.mgrid[0:720, 0:1280]
    events = np.zeros(1280 * 720, random_events(np.random.default_rng(0), 0, 0, 1).dtype)
    events["x"], events["y"] = x.ravel(), y.ravel()
    pixel = thinning.pick(events).pixel
    assert len(np.unique(pixel)) == len(pixel)
    assert pixel.max() < thinning.pixels
