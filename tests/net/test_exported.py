"""Exported networks run without torch, and give the same depth as their weights."""

import subprocess
import sys
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
import torch

from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.net.architecture import EvidenceConfig
from sweepdepth.net.engines import EngineError
from sweepdepth.net.engines.exported import export
from sweepdepth.net.estimators import make_estimator
from sweepdepth.net.evidence_net import EvidenceNet
from sweepdepth.net.weights import WeightsError, describe_weights, load_module, open_weights, save_weights
from sweepdepth.stream.demo import recording_path

if find_spec("openvino") is None:  # not importorskip, which would import it with its telemetry
    pytest.skip("OpenVINO is not installed", allow_module_level=True)

FACTS = {"deviation": {"scale": 1.5, "temperature": 1.7, "knots": [[0.05, 0.3], [0.02, 0.4]]}, "scenes": 3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network in which every parameter affects the result, with calibrated deviations."""
    torch.manual_seed(0)
    network = EvidenceNet(EvidenceConfig(widths=(8, 12), blocks=(1, 1), reach=(3, 3), fine=4)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, network, FACTS)
    return path


@pytest.fixture
def stack(sweep, textured_planes, calibration):
    events = textured_planes(sweep, np.linspace(0.6, 2.4, calibration.camera.width))
    return EventFocalStack.build(events, sweep, make_estimator("net").bins, make_estimator("net").polarity)


# The same graph gives the same numbers; another graph of the network rounds differently, to 8 bits in bfloat16.
@pytest.mark.parametrize("name,tolerance", [("robot_openvino", 1e-6), ("robot.onnx", 0.06)])
def test_an_exported_network_gives_the_same_depth_and_deviation(weights, stack, tmp_path, name, tolerance):
    if name.endswith("onnx"):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
    out = export(weights, tmp_path / name, 96, 72)
    expected, got = make_estimator(weights=weights)(stack), make_estimator(weights=out)(stack)
    np.testing.assert_allclose(got.diopters, expected.diopters, atol=tolerance)
    np.testing.assert_allclose(got.std, expected.std, atol=tolerance)
    assert np.abs(got.diopters - expected.diopters).mean() <= tolerance / 10
    assert expected.diopters.std() > 0.05
    file = open_weights(out)
    assert (file.temperature, file.deviation, file.facts) == (1.7, (1.5, 0.29), FACTS)
    assert describe_weights(out)["network"]["exported for"] == "96×72 pixels"

    with pytest.raises(RecordingError, match="exists; give --force"):
        export(weights, out, 96, 72)
    export(weights, out, 48, 36, force=True)
    with pytest.raises(WeightsError, match=r"exported for 48×36 pixels, and the frames have 96×72; export with --size"):
        make_estimator(weights=out)(stack)
    with pytest.raises(WeightsError, match="is an exported network; give the weights"):
        load_module(open_weights(out))
    with pytest.raises(EngineError, match="are run by OpenVINO, not by torch"):
        make_estimator(weights=out, engine="torch")(stack)
    with pytest.raises(WeightsError, match="is already exported"):
        export(out, tmp_path / "again_openvino", 48, 36)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_files_that_are_no_exported_network_are_refused(weights, tmp_path):
    export(weights, tmp_path / "cut_openvino", 48, 36)
    graph = tmp_path / "cut_openvino" / "model.xml"
    text = graph.read_text()
    graph.write_text(text[: len(text) // 2])
    with pytest.raises(WeightsError, match=r"cut_openvino: is damaged, or no network"):
        open_weights(tmp_path / "cut_openvino")
    graph.write_text(text.replace("sweepdepth-weights/1", "another/1"))
    with pytest.raises(WeightsError, match="holds no weights of sweepdepth"):
        open_weights(tmp_path / "cut_openvino")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"empty\.onnx: is "):
        open_weights(tmp_path / "empty.onnx")
    with pytest.raises(WeightsError, match=r"exported to NAME\.onnx, or to a folder NAME_openvino"):
        export(weights, tmp_path / "network", 48, 36)


def test_exported_and_shipped_networks_replay_without_torch(tmp_path):
    def run(*arguments):
        code = "import sys; sys.modules['torch'] = None; from sweepdepth.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr

    with h5py.File(recording_path()) as file:
        (tmp_path / "lens.toml").write_text(str(file.attrs["lens_toml"]))
    robot = tmp_path / "robot_openvino"
    run("export", "default", robot, "--lens", tmp_path / "lens.toml")
    run("replay", recording_path(), "--weights", robot, "--out", tmp_path / "exported.h5")
    run("replay", recording_path(), "--out", tmp_path / "shipped.h5")
    exported, shipped = (read_depth_file(tmp_path / f"{name}.h5") for name in ("exported", "shipped"))
    assert len(shipped.depth) >= 4
    np.testing.assert_allclose(exported.depth, shipped.depth, rtol=1e-5)
    np.testing.assert_allclose(exported.std, shipped.std, rtol=1e-5)
