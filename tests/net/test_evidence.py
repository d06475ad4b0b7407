"""The evidence volume: kernels against plain NumPy, physics, and the network that reads it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net import evidence_kernel as kernel
from sweepdepth.net.architecture import PRESETS, EvidenceConfig, parameter_shapes
from sweepdepth.net.distribution import Distribution, normalised
from sweepdepth.net.engines import make_engine
from sweepdepth.net.engines.evidence_graph import build_graph
from sweepdepth.net.evidence import (
    BINS,
    CANDIDATES,
    LEVELS,
    band,
    evidence_of,
    make_evidence,
    matched_templates,
    motion_px,
    rate_weights,
)
from sweepdepth.net.exported_graph import import_openvino
from sweepdepth.net.network import EventNetwork, load_network
from sweepdepth.net.training.loss import distribution_loss, read_distribution
from sweepdepth.net.weights import WeightsError, make_network, open_weights, read_parameters, save_weights

SMALL = EvidenceConfig(widths=(8, 12, 12), blocks=(1, 2, 1), reach=(3, 3, 5), fine=4)


def evidence_numpy(stack, templates, motion):
    """`evidence_kernel.make_volume` in plain NumPy, for frames that are multiples of 8."""

    def filtered(images, taps):
        taps = taps.astype(np.float64)
        return correlate1d(correlate1d(images, taps, axis=1, mode="nearest"), taps, axis=2, mode="nearest")

    def halved(images):
        return (images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2]) / 4

    def smoothed(images):
        return filtered(images, np.full(3, 1 / 3))

    now, half, quarter, totals = filtered(stack.astype(np.float64), kernel.FIRST_TAPS), [], [], []
    for level in range(LEVELS):
        blurred = filtered(now, kernel.BLUR_TAPS)
        detail, now = now - blurred, halved(blurred) if level < LEVELS - 1 else blurred
        energies = [
            np.square(np.einsum("cb,bhw->chw", curve.astype(np.float64), detail)) for curve in templates.curves[level]
        ]
        whole = np.square(detail).sum(axis=0, keepdims=True)
        total = whole
        noise = float(max((curve.astype(np.float64) ** 2).sum() for curve in templates.curves[level, 0]))
        whole = whole * noise
        if level == 0:
            energies, whole = [halved(e) for e in energies], halved(whole)
        if level == 3:
            energies = [e.repeat(2, 1).repeat(2, 2) for e in energies]
            whole, total = whole.repeat(2, 1).repeat(2, 2), total.repeat(2, 1).repeat(2, 2)
        while total.shape[1] > stack.shape[1] // 4:
            total = halved(total)
        totals.append(total[0])
        moved = np.square(motion if level < 2 else motion[::2, ::2])
        odd, even = templates.sizes[level][:, :, None, None].astype(np.float64)
        shares = [smoothed(e) / (smoothed(whole) + 0.05) for e in energies]
        (half if level < 2 else quarter).append([odd * energies[0] + even * moved * energies[1], *shares])
    rows = np.abs(stack).astype(np.float64)
    rate = 4 * np.einsum("cb,bhw->chw", rate_weights(len(stack)).astype(np.float64), halved(rows))
    matched = sum(parts[0] for parts in half) + sum(parts[0].repeat(2, 1).repeat(2, 2) for parts in quarter)
    combined = smoothed(matched)
    combined /= combined.max(axis=0) + 1e-3

    def ordered(levels):
        return [levels[k][part] for part in range(3) for k in range(2)]

    return np.stack([*ordered(half), rate, combined]), np.stack(ordered(quarter)), np.stack(totals)


def test_the_kernels_agree_with_numpy():
    random = np.random.default_rng(0)
    stack = random.normal(size=(BINS, 40, 64)).astype(np.float32) * (random.random((BINS, 40, 64)) < 0.2)
    motion = random.uniform(0, 3, (20, 32)).astype(np.float32)
    templates = matched_templates(9.0, BINS)
    found = kernel.make_volume(stack, templates.curves, templates.sizes, motion, rate_weights(BINS))
    for mine, plain in zip(found, evidence_numpy(stack, templates, motion), strict=True):
        assert mine.shape == plain.shape
        assert np.allclose(mine, plain, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("level", range(LEVELS))
def test_a_band_passes_its_octave_and_the_stated_noise(level):
    response, noise = band(level)
    assert response.argmax() not in (0, len(response) - 1)
    random = np.random.default_rng(level)
    detail = list(kernel.pyramid(random.normal(size=(4, 256, 256)).astype(np.float32)))[level]
    inner = detail[:, 8:-8, 8:-8] if detail.shape[1] > 32 else detail[:, 4:-4, 4:-4]
    assert np.square(inner).mean() == pytest.approx(noise, rel=0.15)


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("position", [0.25, 0.4, 0.75])
def test_the_candidate_at_the_surface_explains_most(calibration, textured_planes, direction, position):
    settings = calibration.sweep
    sweep = Sweep(0, 200_000, direction, calibration)
    diopters = np.full(calibration.camera.width, settings.far_diopters + position * settings.range_diopters)
    stack = EventFocalStack.build(textured_planes(sweep, diopters, threshold=0.1), sweep, BINS, "interpolated")
    evidence = make_evidence(stack)
    best = CANDIDATES[evidence.in_range_order.half[7].sum(axis=(1, 2)).argmax()]
    assert best == pytest.approx(position, abs=0.07)
    # In the order of the sweep a near→far one is mirrored.
    seen = CANDIDATES[evidence.half[7].sum(axis=(1, 2)).argmax()]
    assert seen == pytest.approx(best if direction == Direction.FAR_TO_NEAR else 1 - best, abs=1e-6)
    assert evidence.candidate[2, 0] == pytest.approx(-0.125 if direction == Direction.FAR_TO_NEAR else 1.125)


def test_motion_evidence_is_weighted_by_breathing(calibration):
    assert not motion_px(calibration).any()
    still = evidence_of(np.ones((BINS, 72, 96), np.float32), Sweep(0, 100_000, Direction.FAR_TO_NEAR, calibration))
    assert not still.pixel[LEVELS].any()
    assert still.candidate[3, 0] == pytest.approx(-1)  # half of 0.2 s
    breathing = Breathing(scale_per_diopter=0.02, center=(48.0, 36.0))
    moving = calibration.model_copy(update={"breathing": breathing})
    moved = motion_px(moving)
    assert moved[36, 95] == pytest.approx(0.02 * calibration.sweep.range_diopters * 47.5, rel=0.01)
    assert moved[36, 47] < 0.05
    corner = evidence_of(np.ones((BINS, 72, 96), np.float32), Sweep(0, 100_000, Direction.FAR_TO_NEAR, moving))
    assert corner.pixel[LEVELS, 0, 0] > 0.05


def test_the_even_part_dominates_at_small_blur():
    """Evidence of one pixel of motion relative to that of blur, over the same bins."""
    ratio = [float((t.sizes[0, 1] / t.sizes[0, 0]).mean()) for t in (matched_templates(b, BINS) for b in (3, 10, 30))]
    assert ratio[0] > 4 * ratio[1] > 4 * ratio[2]


def test_a_stack_of_another_kind_is_refused(sweep):
    with pytest.raises(ValueError, match="an interpolated stack of 24 bins, not signed, 24"):
        make_evidence(EventFocalStack.empty(sweep, BINS, "signed"))


@pytest.fixture
def network():
    """A small network in which every parameter affects the result."""
    torch.manual_seed(0)
    network = make_network(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
            torch.nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
    return network


@pytest.fixture
def weights(network, tmp_path):
    save_weights(tmp_path / "small.safetensors", network, {"deviation": {"scale": 1.5, "temperature": 2.0}})
    return open_weights(tmp_path / "small.safetensors")


def inputs(height, width):
    random = np.random.default_rng(0)
    rows, columns, count = -(-height // 4), -(-width // 4), len(CANDIDATES)
    shapes = (8, count, 2 * rows, 2 * columns), (6, count, rows, columns), (5, rows, columns), (4, count)
    return tuple(random.uniform(0, 2, shape).astype(np.float32) for shape in shapes)


@pytest.mark.parametrize("size", [(64, 96), (43, 61)])
def test_openvino_runs_the_graph_that_torch_runs(network, weights, size: tuple[int, int]):
    """Parameters travel in 16 bits; OpenVINO computes in bfloat16 where the chip does."""
    shown = inputs(*size)
    ours = make_engine(weights, *size, "torch")(shown)
    theirs = make_engine(weights, *size, "openvino")(shown)
    with torch.inference_mode():
        expected = network(*(torch.from_numpy(part[None]) for part in shown))[0].numpy()
    assert ours.shape == theirs.shape == expected.shape
    assert np.ptp(expected) > 0.5
    assert np.abs(ours - expected).max() < 0.01 * np.ptp(expected)
    assert np.abs(theirs - expected).max() < 0.03 * np.ptp(expected)


@pytest.mark.parametrize("size", [(64, 96), (43, 61)])
def test_the_graph_agrees_with_torch_in_single_precision(weights, size: tuple[int, int]):
    shown = inputs(*size)
    graph = build_graph(weights.config, read_parameters(weights), *size)
    compiled = import_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = make_engine(weights, *size, "torch")(shown)
    assert np.abs(compiled([part[None] for part in shown])[0][0] - expected).max() < 1e-4 * np.ptp(expected)


@pytest.mark.parametrize("config", [SMALL, PRESETS["default"]], ids=["small", "default"])
def test_the_shapes_of_all_parameters_are_known_without_torch(config):
    state = make_network(config).state_dict()
    assert parameter_shapes(config) == {
        name: tuple(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")
    }


def test_blocks_and_reaches_must_match_resolutions():
    with pytest.raises(ValueError, match="widths, blocks and reach"):
        EvidenceConfig(widths=(8, 8), blocks=(1, 1), reach=(3, 3, 3))
    with pytest.raises(ValueError, match="only odd numbers"):
        EvidenceConfig(widths=(8, 8), blocks=(1, 1), reach=(3, 2))


def test_variances_beyond_sixteen_bits_are_kept(network, tmp_path):
    with torch.no_grad():
        network.get_buffer("stem_norm.running_var").fill_(1e6)
    save_weights(tmp_path / "w.safetensors", network, {})
    assert read_parameters(open_weights(tmp_path / "w.safetensors"))["stem_norm.running_var"] == pytest.approx(1e6)


def test_the_default_network_fits_into_four_megabytes():
    assert 2 * sum(value.numel() for value in make_network(PRESETS["default"]).state_dict().values()) < 4e6


def test_parameters_of_another_shape_are_refused_without_torch(weights, network, tmp_path):
    other = make_network(EvidenceConfig(widths=(8, 12, 16), blocks=(1, 2, 1), reach=(3, 3, 5), fine=4))
    save_weights(tmp_path / "w.safetensors", other, {})
    content = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(content.replace(b'\\"fine\\":4', b'\\"fine\\":2'))
    with pytest.raises(WeightsError, match=r"does not fit its own configuration: detail\.\w+ is 4"):
        read_parameters(open_weights(tmp_path / "w.safetensors"))


def test_a_network_on_evidence_is_an_estimator_whose_answer_is_a_distribution(weights, sweep, textured_planes):
    estimator = load_network(weights.path)
    assert isinstance(estimator, EventNetwork)
    events = textured_planes(sweep, np.full(96, 1.5))
    estimate = estimator(EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity))
    settings = sweep.calibration.sweep
    assert estimate.diopters.shape == (72, 96)
    assert (estimate.diopters >= settings.far_diopters).all()
    assert (estimate.diopters <= settings.near_diopters).all()
    assert 0 <= estimate.quality <= 1
    assert estimate.distribution is not None
    of_pixel = estimate.distribution.at(10, 20)
    assert of_pixel.sum() == pytest.approx(1, abs=1e-3)
    mean = float((of_pixel * CANDIDATES.clip(0, 1)).sum())
    spread = float(np.sqrt((of_pixel * CANDIDATES.clip(0, 1) ** 2).sum() - mean**2))
    assert estimate.std[20, 10] == pytest.approx(1.5 * spread * settings.range_diopters, rel=1e-3)


def test_the_other_direction_gives_candidates_in_the_same_order(weights, calibration, textured_planes):
    """The network gets both in the order of time, so its output for the first candidate becomes that of the last."""
    events = textured_planes(Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration), np.full(96, 1.5))
    estimator = load_network(weights.path)
    assert isinstance(estimator, EventNetwork)
    sweep = Sweep(0, 200_000, Direction.NEAR_TO_FAR, calibration)
    stack = EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity)
    evidence = make_evidence(stack)
    scores = make_engine(weights, 72, 96)([evidence.half, evidence.quarter, evidence.pixel, evidence.candidate])
    found = estimator(stack).distribution
    assert found is not None
    assert np.allclose(found.probability, normalised(scores[::-1], 2.0), atol=1e-4)


def test_training_and_inference_interpret_distributions_alike():
    scores = np.random.default_rng(1).normal(size=(len(CANDIDATES), 12, 16)).astype(np.float32) * 3
    mean, deviation = read_distribution(torch.from_numpy(scores[None]), (24, 32))
    ours = Distribution(normalised(scores), (24, 32)).read()
    rough = np.abs(np.diff(mean[0].numpy(), axis=0, prepend=0)) > 1  # nothing: every value is compared
    assert not rough.any()
    assert np.allclose(ours[1], deviation[0].numpy(), atol=1e-3)
    assert np.abs(ours[0] - mean[0].numpy()).max() < 0.06  # between smooth neighbours it interpolates


def test_small_distant_probabilities_do_not_shift_depth():
    probability = np.zeros((len(CANDIDATES), 4, 6), np.float32)
    probability[6], probability[18] = 0.85, 0.15
    position, deviation = Distribution(probability, (8, 12)).read()
    assert position == pytest.approx(CANDIDATES[6], abs=0.01)
    assert deviation.min() > 0.2  # which the deviation reflects


def test_edges_between_surfaces_stay_sharp():
    scores = np.full((len(CANDIDATES), 4, 6), -20.0, np.float32)
    scores[4, :, :3], scores[14, :, 3:] = 0, 0
    mean, _ = Distribution(normalised(scores), (8, 12)).read()
    assert mean[:, :6] == pytest.approx(CANDIDATES[4])
    assert mean[:, 6:] == pytest.approx(CANDIDATES[14])


def test_the_loss_is_least_for_the_distribution_of_the_truth():
    truth = torch.full((1, 4, 4), float(CANDIDATES[6]) + 0.25 * float(CANDIDATES[1] - CANDIDATES[0]))
    right = torch.full((1, len(CANDIDATES), 2, 2), -20.0)
    right[:, 6], right[:, 7] = np.log(0.75), np.log(0.25)
    weight = torch.ones_like(truth)
    least = distribution_loss(right, truth, weight)
    for wrong in (right.roll(1, 1), torch.zeros_like(right), 2 * right):
        assert distribution_loss(wrong, truth, weight) > least + 0.01
    assert distribution_loss(right.roll(1, 1), truth, 0 * weight) == 0


def test_depth_from_the_network_loads_no_torch(tmp_path):
    """With OpenVINO, torch is neither installed nor loaded, which saves seconds at the start."""
    script = (
        "import sys; import numpy as np\n"
        "from conftest import LENS, plane_events\n"
        "from sweepdepth import Calibration\n"
        "from sweepdepth.capture.stack import EventFocalStack\n"
        "from sweepdepth.capture.sweeps import Direction, Sweep\n"
        "from sweepdepth.net.estimators import make_estimator\n"
        "sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, Calibration.parse(LENS))\n"
        "estimator = make_estimator('net', engine='openvino')\n"
        "events = plane_events(sweep, np.full(96, 1.5), 0.2)\n"
        "stack = EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity)\n"
        "assert np.isfinite(estimator(stack).depth).all()\n"
        "import sweepdepth.stream.replay, sweepdepth.stream.live, sweepdepth.stream.demo\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    assert done.returncode == 0, done.stderr
