"""Detection of connected devices in Linux's system folders."""

from pathlib import Path

from sweepdepth.capture.cameras.plugged import RULE, look


def plug(root: Path, name: str, **attributes: str) -> None:
    device = root / "sys/bus/usb/devices" / name
    device.mkdir(parents=True)
    for key, value in attributes.items():
        (device / key).write_text(value + "\n")


def test_a_machine_without_devices_gets_instructions(tmp_path):
    found = {finding.what: finding for finding in look(tmp_path)}
    assert {what: finding.verdict for what, finding in found.items()} == {
        "camera": "missing",
        "udev rule": "missing",
        "lens driver": "missing",
    }
    assert RULE in found["udev rule"].remedy


def test_cameras_ports_rules_and_missing_permissions_are_found(tmp_path):
    inivation = {"idVendor": "152a", "manufacturer": "iniVation", "busnum": "2"}
    plug(tmp_path, "2-1", **inivation, idProduct="8419", product="DVXplorer", serial="DXA00012", devnum="7")
    plug(tmp_path, "2-2", **inivation, idProduct="841b", product="DAVIS346", serial="00000336", devnum="8")
    plug(tmp_path, "2-3", idVendor="04b4", idProduct="00f5", manufacturer="Prophesee", product="EVK4")
    plug(tmp_path, "1-1", idVendor="046d", idProduct="c31c", product="Keyboard")
    node = tmp_path / "dev/bus/usb/002/007"
    node.parent.mkdir(parents=True)
    node.touch()
    (tmp_path / "dev/ttyACM0").touch()
    rules = tmp_path / "etc/udev/rules.d/65-inivation.rules"
    rules.parent.mkdir(parents=True)
    rules.write_text(RULE)
    found = look(tmp_path)
    assert [(finding.what, finding.verdict) for finding in found] == [
        ("camera", "ok"),
        ("camera", "failed"),
        ("camera", "ok"),
        ("udev rule", "ok"),
        ("serial port", "ok"),
    ]
    assert found[0].message == "iniVation DVXplorer DXA00012 is plugged in; --camera dv:DXA00012"
    assert "DAVIS346 00000336 is plugged in, but this user may not open" in found[1].message
    assert RULE in found[1].remedy
    assert "pipe" in found[2].remedy
    assert "optotune:" in found[4].message
