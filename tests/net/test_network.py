"""Networks, their weights files, and the engines that run them."""

import json
import struct

import numpy as np
import pytest
import torch

from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.net.architecture import PRESETS, EvidenceConfig, UNetConfig
from sweepdepth.net.engines import EngineError, make_engine
from sweepdepth.net.network import EventNetwork, load_network
from sweepdepth.net.representation import Representation
from sweepdepth.net.training.loss import position_loss
from sweepdepth.net.unet import LOG_VARIANCE, DepthNet
from sweepdepth.net.weights import SHIPPED, WeightsError, load_module, open_weights, save_weights, shipped_weights

UNETS = {name: config for name, config in PRESETS.items() if isinstance(config, UNetConfig)}
SMALL = UNetConfig(representation=Representation(bins=4), widths=(4, 8, 8))


@pytest.fixture
def network():
    """A small network in which every parameter affects the result."""
    torch.manual_seed(0)
    network = DepthNet(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
            torch.nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
    return network


@pytest.fixture
def weights(network, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_weights(tmp_path / "small.safetensors", network, {"deviation": {"scale": 1.5}, "scenes": 3})
    return open_weights(tmp_path / "small.safetensors")


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("size", [(64, 96), (33, 47), (260, 346)])
def test_any_frame_size_gives_an_answer_for_every_pixel(name, size):
    config = UNETS[name]
    with torch.inference_mode():
        out = DepthNet(config).eval()(torch.randn(1, config.representation.channels, *size))
    assert out.shape == (1, 1 + config.probabilistic, *size)
    if config.probabilistic:
        assert ((out[:, 1] >= LOG_VARIANCE[0]) & (out[:, 1] <= LOG_VARIANCE[1])).all()


def test_weights_are_restored_to_half_precision(network, weights):
    assert weights.config == SMALL
    assert weights.facts["scenes"] == 3
    again = load_module(weights).state_dict()
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            kept = value if name.endswith(("running_mean", "running_var")) else value.half().float()
            assert torch.equal(again[name], kept)


def test_weights_are_only_overwritten_by_force(network, weights):
    with pytest.raises(RecordingError, match="exists; give --force"):
        save_weights(weights.path, network, {})
    save_weights(weights.path, network, {}, force=True)


def rewritten(path, change):
    """A weights file with a changed header."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def without_a_layer(header):
    header["head.another"] = header.pop("head.bias")


def huge(header):
    header["__metadata__"]["network"] = json.dumps({"widths": [4096] * 8})


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR."),
    "no header": lambda path: path.write_bytes(b"\xff" * 1000),
    "another program's": lambda path: rewritten(path, lambda h: h.pop("__metadata__")),
    "strange": lambda path: rewritten(path, lambda h: h["__metadata__"].update(network='{"widths": "wide"}')),
    "not its own": lambda path: rewritten(path, without_a_layer),
    "huge": lambda path: rewritten(
        path, lambda h: h["__metadata__"].update(network='{"widths": [4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096]}')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_and_foreign_weights_are_refused_in_one_line(weights, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DAMAGES[damage](weights.path)
    with pytest.raises(WeightsError, match=r"small\.safetensors: \w+"):
        load_module(open_weights(weights.path))
    assert not (tmp_path / "hacked").exists()


def test_networks_of_another_version_are_named(weights):
    network = json.dumps(UNetConfig(widths=(8, 16)).model_dump() | {"thin": 2, "fine": 2})
    rewritten(weights.path, lambda header: header["__metadata__"].update(network=network))
    with pytest.raises(WeightsError, match="of another version of sweepdepth, with settings fine, thin; use --weights"):
        open_weights(weights.path)


def test_interim_weights_are_named_with_what_to_do(weights):
    network = EvidenceConfig().model_dump(exclude={"blocks", "reach"}) | {"thin": 16, "widths": [64, 96, 128, 128]}
    rewritten(weights.path, lambda header: header["__metadata__"].update(network=json.dumps(network)))
    said = "holds the interim network on evidence, from before version 0.1.0, .*; use --weights default, or train"
    with pytest.raises(WeightsError, match=said):
        open_weights(weights.path)


def test_shipped_weights_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert next(iter(shipped_weights())) == "default"
    for name, path in shipped_weights().items():
        assert open_weights(name).path == path
    assert load_network("default").network.file.path == SHIPPED
    with pytest.raises(WeightsError, match=r"defualt: there are no weights of this name.*names: default"):
        open_weights("defualt")


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors: cannot be read: No such file"):
        open_weights(tmp_path / "nowhere.safetensors")


def test_parameters_that_are_not_numbers_are_refused(network, tmp_path):
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    save_weights(tmp_path / "w.safetensors", network, {})
    with pytest.raises(WeightsError, match="not finite"):
        load_module(open_weights(tmp_path / "w.safetensors"))


def test_engines_agree(network, weights):
    """The same channels give the same depth; OpenVINO stores parameters in 16 bits, too, and sums in another order."""
    channels = np.random.default_rng(0).normal(size=(SMALL.representation.channels, 40, 52)).astype(np.float32)
    ours = make_engine(weights, 40, 52, "torch")([channels])
    theirs = make_engine(weights, 40, 52, "openvino")([channels])
    with torch.inference_mode():
        expected = load_module(weights)(torch.from_numpy(channels[None]))[0].numpy()
    assert np.ptp(expected[0]) > 0.1
    assert np.allclose(ours, expected, atol=1e-4)
    assert np.abs(theirs[0] - expected[0]).max() < 0.005  # of the range
    assert np.abs(theirs[1] - expected[1]).max() < 0.05


@pytest.mark.parametrize("name", {config.answer: name for name, config in UNETS.items()}.values())
def test_openvino_runs_every_kind_of_answer(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = UNETS[name].model_copy(update={"widths": (4, 8), "stem": 1})
    torch.manual_seed(0)
    network = DepthNet(config).eval()
    torch.nn.init.normal_(network.head.weight)
    save_weights(tmp_path / "w.safetensors", network, {})
    file = open_weights(tmp_path / "w.safetensors")
    channels = np.random.default_rng(0).normal(size=(config.representation.channels, 24, 32)).astype(np.float32)
    expected, found = (make_engine(file, 24, 32, engine)([channels]) for engine in ("torch", "openvino"))
    assert np.ptp(expected[0]) > 0.01
    assert np.abs(found - expected).max() < 0.05


def test_openvino_keeps_its_export_and_survives_a_damaged_one(weights, tmp_path):
    channels = np.ones((SMALL.representation.channels, 40, 52), np.float32)
    first = make_engine(weights, 40, 52, "openvino")([channels]).copy()
    (export,) = (tmp_path / "cache").rglob("*.xml")
    assert np.allclose(make_engine(weights, 40, 52, "openvino")([channels]), first, atol=0.01)
    export.write_text("<net>")
    assert np.allclose(make_engine(weights, 40, 52, "openvino")([channels]), first, atol=0.01)


def test_an_unknown_engine_is_named(weights):
    with pytest.raises(EngineError, match="'abacus' is unknown; choose one of auto, openvino, torch"):
        make_engine(weights, 40, 52, "abacus")


def test_a_network_is_an_estimator(weights, sweep, textured_planes):
    estimator = load_network(weights.path)
    assert isinstance(estimator, EventNetwork)
    events = textured_planes(sweep, np.full(96, 1.5))
    estimate = estimator(EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity))
    settings = sweep.calibration.sweep
    assert estimate.diopters.shape == (72, 96)
    assert (estimate.diopters >= settings.far_diopters).all()
    assert (estimate.diopters <= settings.near_diopters).all()
    assert 0 <= estimate.quality <= 1
    engine = make_engine(weights, 72, 96)
    out = engine(SMALL.representation.of_events(events, sweep))
    assert estimate.std == pytest.approx(1.5 * np.exp(0.5 * out[1]) * settings.range_diopters, rel=0.02)  # bf16


def test_the_loss_is_least_at_the_truth_and_its_deviation():
    """Over constant predictions, the mean loss is least at the mean position and the mean squared deviation."""
    truth = torch.tensor([0.3, 0.5, 0.7]).repeat(4, 1)[None]
    variance = float(truth.var(unbiased=False))

    def loss(position, log_variance):
        shape = (1, 1, *truth.shape[1:])
        out = torch.cat([torch.full(shape, position), torch.full(shape, log_variance)], dim=1).requires_grad_()
        value = position_loss(out, truth, torch.ones_like(truth))
        value.backward()
        assert out.grad is not None
        return out.grad.sum(dim=(0, 2, 3)).numpy()

    assert loss(0.5, float(np.log(variance))) == pytest.approx([0, 0], abs=1e-5)
    assert loss(0.6, float(np.log(variance)))[0] > 0
    assert loss(0.5, float(np.log(2 * variance)))[1] > 0


def test_surfaces_beyond_the_range_are_trained_as_its_end():
    truth = torch.full((1, 4, 4), 1.3)
    out = torch.tensor([1.0, float(np.log(0.3**2))])[None, :, None, None].repeat(1, 1, 4, 4).requires_grad_()
    position_loss(out, truth, torch.ones_like(truth)).backward()
    assert out.grad is not None
    assert out.grad.abs().max() < 1e-6


def test_unknown_truth_has_no_weight():
    truth, weight = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    weight[:, 0, 0] = 1
    out = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    position_loss(out, truth, weight).backward()
    assert out.grad is not None
    assert out.grad[0, 0, 0, 0] != 0
    assert out.grad.abs().sum() == out.grad[0, 0, 0, 0].abs()
