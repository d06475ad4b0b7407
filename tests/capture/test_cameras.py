"""Camera addresses and settings, and the relation of the cameras' clocks to the host's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepdepth.capture.cameras import CameraSettings, open_camera, parse_address
from sweepdepth.capture.cameras.clock import HostClock
from sweepdepth.capture.cameras.usb import orders
from sweepdepth.capture.errors import CameraError

from .consumer import QUICK

# Addresses


@pytest.mark.parametrize(
    "text, arguments",
    [
        ("dv", {"serial_number": None}),
        ("dv:DXA00093", {"serial_number": "DXA00093"}),
        ("tcp://camera.local:7777", {"host": "camera.local", "events_port": 7777, "triggers_port": None}),
        ("tcp://10.0.0.2:7777,7778", {"host": "10.0.0.2", "events_port": 7777, "triggers_port": 7778}),
        ("tcp://[::1]:7777", {"host": "::1", "events_port": 7777, "triggers_port": None}),
        ("pipe:/tmp/a:b.sock", {"path": "/tmp/a:b.sock"}),
    ],
)
def test_addresses_are_parsed(text, arguments):
    assert parse_address(text).arguments == arguments
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"an empty text: is no camera's address; give dv, dv:SERIAL, tcp://HOST:EVENTS"),
        ("usb", "usb: is no camera's address"),
        ("dv:", "names no camera"),
        ("pipe:", "is no camera's address"),
        ("tcp://host", "is no camera's address"),
        ("tcp://host:70000", "70000 is not a port"),
        ("tcp://host:1,1", "events and triggers come from two ports; 1 is given for both"),
        ("tcp://a b:1", "is no camera's address"),
    ],
)
def test_invalid_addresses_are_errors(text, message):
    with pytest.raises(CameraError, match=message):
        open_camera(text)


# Settings


def test_settings_come_from_their_own_table(tmp_path):
    (tmp_path / "lens.toml").write_text("[lens]\nf_number = 2\n[camera_settings]\nroi = [0, 0, 64, 48]\n")
    assert CameraSettings.load(tmp_path / "lens.toml").roi == (0, 0, 64, 48)
    (tmp_path / "lens.toml").write_text("[camera_settings]\nthreshold = 3\n")
    with pytest.raises(CameraError, match=r"lens\.toml: camera_settings: threshold \(3\) is not a known key"):
        CameraSettings.load(tmp_path / "lens.toml")
    (tmp_path / "lens.toml").write_text("[lens]\n")
    with pytest.raises(CameraError, match=r"has no table \[camera_settings\]"):
        CameraSettings.load(tmp_path / "lens.toml")
    with pytest.raises(CameraError, match=r"none\.toml: cannot be read: No such file"):
        CameraSettings.load(tmp_path / "none.toml")


EVERYTHING = {
    "DVXplorer": {"contrast_threshold_on": 9, "contrast_threshold_off": 9, "global_hold": False}
    | {"readout": "VARIABLE_5000", "external_trigger": True},
    "DVXplorerM": {"contrast_threshold_on": 9, "readout": "VARIABLE_5000"},
    "DAVIS": {"biases": {"Diff": [4, 39], "Refractory": [5, 20]}, "external_trigger": True}
    | {"background_activity_filter_us": 2000, "refractory_period_us": 500},
    "DVS128": {"biases": {"DIFF_ON": 482443}},
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_settings_map_to_methods_of_the_camera(name):
    """Checked against the library's signatures, since no camera is available in tests."""
    dv = pytest.importorskip("dv_processing")
    kind = getattr(dv.io.camera, name)
    table = {"roi": [8, 8, 64, 48], "flip_horizontal": True, "flip_vertical": False, **EVERYTHING[name]}
    found = orders(kind, CameraSettings.check(table))
    assert len(found) >= len(table)
    for method, arguments in found:
        signature = getattr(kind, method).__doc__.split("\n")[0]
        expected = [part.split(":")[1] for part in signature.split("(", 1)[1].split(")")[0].split(", ")[1:]]
        assert len(expected) == len(arguments), signature
        for argument, text in zip(arguments, expected, strict=True):
            word = {bool: "bool", int: "SupportsInt", tuple: "tuple_xywh"}.get(type(argument), type(argument).__name__)
            assert word in text, signature


def test_trigger_input_is_enabled_by_default():
    dv = pytest.importorskip("dv_processing")
    calls = dict(orders(dv.io.camera.DAVIS, CameraSettings()))
    assert calls["setDetectorRunning"] == (True,)
    assert calls["setDetectorRisingEdges"] == calls["setDetectorFallingEdges"] == (True,)
    assert calls["setFramesRunning"] == (False,)
    assert "setDetectorRunning" not in dict(orders(dv.io.camera.DAVIS, CameraSettings(external_trigger=False)))
    assert "setDetectorRunning" not in dict(orders(dv.io.camera.DVXplorerM, CameraSettings()))


@pytest.mark.parametrize(
    "name, table, message",
    [
        ("DVXplorerM", {"external_trigger": True}, "a DVXplorerM has no setting external_trigger; leave it out"),
        ("DVXplorer", {"biases": {"Diff": [1, 2]}}, "a DVXplorer has no setting biases"),
        ("DVXplorer", {"readout": "FAST"}, r"readout \('FAST'\) must be one of .*VARIABLE_5000"),
        ("DAVIS", {"contrast_threshold_on": 3}, "a DAVIS has no setting contrast_threshold_on"),
        ("DAVIS", {"biases": {"Dif": [1, 2]}}, r"biases\.Dif is unknown; it has .*Diff"),
        ("DAVIS", {"biases": {"Diff": 3}}, r"biases\.Diff \(3\) must be \[coarse, fine\]"),
    ],
)
def test_settings_that_a_camera_does_not_have_are_refused(name, table, message):
    dv = pytest.importorskip("dv_processing")
    with pytest.raises(CameraError, match=message):
        orders(getattr(dv.io.camera, name), CameraSettings.check(table))


@pytest.mark.parametrize("address", ["dv", "dv:DXA00093"])
def test_a_missing_camera_is_reported(address):
    dv = pytest.importorskip("dv_processing")
    if dv.io.camera.discover():
        pytest.skip("a camera is plugged in")
    with pytest.raises(CameraError, match=f"^{address}: no camera is plugged in, or none that this user may open"):
        open_camera(address, settings=QUICK)


# The host's clock


@given(
    lags=st.lists(st.integers(0, 200_000), min_size=1, max_size=50),
    offset_us=st.integers(-(10**15), 10**15),
)
def test_the_fastest_batch_relates_the_clocks(lags, offset_us):
    clock = HostClock()
    assert clock.sensor_us(0) is None
    for k, lag_us in enumerate(lags):
        clock.observe(10_000 * k + offset_us, 1000 * (10_000 * k + lag_us))
    found = clock.sensor_us(5_000_000_000)
    assert found is not None
    assert found == 5_000_000 + offset_us - min(lags)
