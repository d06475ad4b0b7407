"""A conventional camera behind the sweeping lens: light, time, noise and blur."""

import numpy as np

from sweepdepth.synth.optics.conventional import (
    FULL_WELL_ELECTRONS,
    READ_NOISE_ELECTRONS,
    coupled_plan,
    expose,
    named_plan,
    photograph,
    photograph_sweep,
    take,
    white_electrons,
)


def test_exposure_ends_when_the_pixels_saturate(calibration):
    bright, short = white_electrons(calibration, 1000.0, 20_000.0)
    dim, long = white_electrons(calibration, 0.1, 20_000.0)
    assert bright == FULL_WELL_ELECTRONS
    assert short < 20_000.0
    assert dim < 1000
    assert long == 20_000.0
    half, _ = white_electrons(calibration, 0.05, 20_000.0)
    np.testing.assert_allclose(half, dim / 2)


def test_noise_is_shot_and_read_noise():
    random = np.random.default_rng(0)
    for level in (0.0, 0.01, 0.5):
        image = photograph(np.full((200, 200), level), 2000.0, random)
        np.testing.assert_allclose(image.mean(), level, atol=3e-4)
        np.testing.assert_allclose(image.std() * 2000, np.hypot(READ_NOISE_ELECTRONS, np.sqrt(2000 * level)), rtol=0.03)
    assert photograph(np.full((50, 50), 3.0), FULL_WELL_ELECTRONS, random).max() == 1.0


def test_frames_follow_the_focus_and_blur_with_it_during_the_exposure(calibration):
    focus = np.linspace(0.5, 2.5, 41)
    stack = np.broadcast_to(focus[:, None, None] / 5, (41, 72, 96)).astype(np.float32)  # radiance tells the focus
    random = np.random.default_rng(0)
    frames, diopters = photograph_sweep(stack, calibration, 1000.0, 4, random)
    assert frames.shape == (4, 72, 96)
    np.testing.assert_allclose(diopters, [0.75, 1.25, 1.75, 2.25])
    np.testing.assert_allclose(frames.mean(axis=(1, 2)) * 5, diopters, rtol=0.01)

    flash = np.zeros((41, 72, 96), np.float32)
    flash[20:] = 1.0  # something that appears in the middle of the sweep
    long_exposed, _ = photograph_sweep(flash, calibration, 0.05, 1, random)
    short_exposed, _ = photograph_sweep(flash, calibration, 1e6, 1, random)
    assert 0.45 < long_exposed.mean() < 0.55
    assert short_exposed.mean() > 0.5


def test_a_coupled_pair_differs_by_a_pixel_of_blur_and_by_the_aperture(calibration):
    asked = []

    def image_at(focus, scale):
        asked.append((focus, scale))
        return np.full((72, 96), 0.25)

    ideal = take(image_at, coupled_plan(calibration))
    assert (ideal.images == 0.25).all()
    pair = expose(ideal, calibration, 0.2, np.random.default_rng(0))
    assert pair.images.shape == (4, 72, 96)
    assert asked == list(zip(pair.diopters.tolist(), pair.aperture_scale.tolist(), strict=True))
    blur_per_diopter = calibration.camera.fx * calibration.lens.aperture_m * 0.9
    np.testing.assert_allclose((pair.diopters[0] - pair.diopters[1]) * blur_per_diopter, 1.0)
    np.testing.assert_allclose(pair.diopters[2:], 1.5)
    noise = pair.images.std(axis=(1, 2))
    np.testing.assert_allclose(noise[3] / noise[2], 1 / 0.8, rtol=0.1)


def test_photographs_share_the_time_of_one_sweep_and_a_small_aperture_takes_a_sixteenth_of_the_light(calibration):
    def flat(focus, scale):
        return np.full((72, 96), 0.5)

    def electrons(name, lux):
        """By the noise of each image: its variance over its mean, of numbers that obey Poisson's law."""
        images = expose(take(flat, named_plan(name, calibration)), calibration, lux, np.random.default_rng(0)).images
        return 0.5 / images.var(axis=(1, 2))

    small, large = electrons("two_apertures", 0.3)
    whole = electrons("defocused", 0.3)
    np.testing.assert_allclose(large / small, 16, rtol=0.1)
    np.testing.assert_allclose(whole / large, 2, rtol=0.1)
    np.testing.assert_allclose(electrons("two_apertures", 1e5), FULL_WELL_ELECTRONS, rtol=0.1)
    far, near = calibration.sweep.far_diopters, calibration.sweep.near_diopters
    focus, scale = named_plan("focus_pair", calibration)
    np.testing.assert_allclose(focus, [far + (near - far) / 4, near - (near - far) / 4])
    assert (scale == 1).all()
