"""Interpretation of a U-Net's last layer."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.architecture import PRESETS, UNetConfig
from sweepdepth.net.representation import Representation, sweep_conditions
from sweepdepth.net.weights import make_network

LEARNED = ("default", "frames", "paper", "edff", "edfv", "edges", "single", "prior")


def answer(config, raw, calibration):
    """Estimate of a network whose last layer is constant over the image."""
    network = make_network(config).eval()
    network.get_parameter("head.bias").data = torch.tensor(raw, dtype=torch.float32).repeat_interleave(config.stem**2)
    channels = torch.zeros(1, config.representation.channels, 32, 32)
    conditions = torch.from_numpy(sweep_conditions(Sweep(0, 100_000, Direction.FAR_TO_NEAR, calibration)))
    channels[0, -len(conditions) :] = conditions[:, :32, :32]
    with torch.inference_mode():
        out = network(channels)
    assert out.shape == (1, 2, 32, 32)
    assert float(out.amax((2, 3)).sub(out.amin((2, 3))).abs().max()) < 1e-5
    return out[0, 0, 5, 5].item(), out[0, 1, 5, 5].exp().sqrt().item()


@pytest.mark.parametrize("position", [-0.1, 0.0, 0.25, 0.6, 1.0, 1.2])
def test_the_position_follows_from_the_widths_of_blur_on_either_side_of_the_focus(calibration, position):
    """The widths are those that a thin lens makes of a surface, wherever it is: of the last layer, softplus times 4."""
    sweep, camera = calibration.sweep, calibration.camera
    range_px = camera.fx * calibration.lens.aperture_m * sweep.range_diopters
    widths = range_px * np.abs(np.array([0.25, 0.75]) - position) + 1e-6
    raw = np.log(np.expm1(widths / 4))
    found, _ = answer(PRESETS["edges"], [*raw, 0.0], calibration)
    assert found == pytest.approx(position, abs=1e-3)


def test_a_distribution_answers_with_its_mean_and_deviation(calibration):
    """All weight on two neighbours of five positions: the mean lies between them, the deviation is half their gap."""
    config = UNetConfig(representation=Representation(bins=5, polarity="signed"), widths=(8, 16), answer="distribution")
    mean, deviation = answer(config, [-30.0, 20.0, 20.0, -30.0, -30.0], calibration)
    assert mean == pytest.approx(0.375, abs=1e-3)
    assert deviation == pytest.approx(0.125, abs=1e-3)
    mean, deviation = answer(config, [-30.0, -30.0, -30.0, -30.0, -30.0], calibration)  # alike: nothing is known
    assert (mean, deviation) == (pytest.approx(0.5, abs=1e-3), pytest.approx(0.125**0.5, abs=1e-3))


def test_the_networks_that_are_compared_are_of_one_size():
    sizes = {name: sum(p.numel() for p in make_network(PRESETS[name]).parameters()) for name in LEARNED}
    assert max(sizes.values()) < 2 * min(sizes.values())


@pytest.mark.parametrize(
    "values, message",
    [
        ({"answer": "blur"}, "blur is measured in a focus_pair"),
        ({"answer": "distribution", "probabilistic": False}, "state no deviation"),
    ],
)
def test_unsupported_network_outputs_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        UNetConfig(**values)


@pytest.mark.parametrize("name", LEARNED)
def test_no_network_has_a_1x1_convolution_with_a_stride(name):
    """oneDNN corrupts the heap in its backward pass on processors with AVX2."""
    for part in make_network(PRESETS[name]).modules():
        if isinstance(part, torch.nn.Conv2d) and part.kernel_size == (1, 1):
            assert part.stride == (1, 1)
