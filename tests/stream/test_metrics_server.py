"""The status as Prometheus metrics, scraped over HTTP during a run and read with Prometheus's parser."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from sweepdepth import Subscriber
from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.metrics import MetricsServer
from sweepdepth.stream.wire.messages import Percentiles, StatusFrame

parser = import_module("prometheus_client.parser")
COMMAND = Path(sys.executable).with_name("sweepdepth")


def scrape(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return {family.name: family for family in parser.text_string_to_metric_families(answer.read().decode())}


def value(families: dict[str, Any], name: str, **labels: str) -> float:
    (found,) = [s.value for f in families.values() for s in f.samples if s.name == name and s.labels == labels]
    return found


def test_metrics_are_scraped_during_a_run():
    words = [COMMAND, "replay", recording_path(), "--publish", "tcp://127.0.0.1:*", "--wait-subscribers", "1"]
    words += ["--speed", "0.1", "--estimator", "polarity", "--metrics", "0"]
    with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url, address = "", ""
            while not (url and address):
                line = process.stderr.readline()
                assert line, "it ended"
                url = line.split()[-1] if line.startswith("metrics at") else url
                address = line.split()[-1] if line.startswith("publishing on") else address
            assert value(scrape(url), "sweepdepth_info", version="0.1.0") == 1
            seen = []
            with Subscriber(address, timeout=60) as frames:
                for frame in frames:
                    if not isinstance(frame, StatusFrame) or frame.end:
                        continue
                    families = scrape(url)
                    seen.append(families)
                    assert value(families, "sweepdepth_events_total") >= frame.n_events
                    assert value(families, "sweepdepth_depth_frames_total") >= frame.n_frames
                    assert 0 <= value(families, "sweepdepth_status_age_seconds") < 60
                    assert value(families, "sweepdepth_dropped_total", reason="slow_subscriber") == 0
                    assert value(families, "sweepdepth_queue_length", queue="outbox") >= 0
                    assert value(families, "process_resident_memory_bytes") > 1e6
                    if frame.n_frames:
                        p50, p99 = (
                            value(families, "sweepdepth_latency_seconds", stage="total", quantile=quantile)
                            for quantile in ("0.5", "0.99")
                        )
                        assert 0 < p50 <= p99
            counts = [value(families, "sweepdepth_events_total") for families in seen]
            assert counts == sorted(counts)
            assert counts[-1] > counts[0]
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.communicate()


def test_every_count_is_a_counter_and_every_name_has_its_unit():
    latency = {"age": Percentiles(p50=61.0, p99=74.0)}
    status = StatusFrame(2e6, 5.0, latency, {"stacks": 1}, {"camera_events": 3}, ("dusty", "late"), False)
    with MetricsServer("0") as server:
        server.update(status)
        families = scrape(server.url)
    ours = {name: family for name, family in families.items() if name.startswith("sweepdepth_")}
    kinds = {name.removeprefix("sweepdepth_"): family.type for name, family in ours.items()}
    assert kinds == {
        "info": "gauge",
        "events": "counter",
        "events_left_out": "counter",
        "depth_frames": "counter",
        "dropped": "counter",
        "queue_length": "gauge",
        "latency_seconds": "gauge",
        "sync_quality": "gauge",
        "warnings": "gauge",
        "status_age_seconds": "gauge",
    }
    assert all(family.documentation for family in ours.values())
    assert value(families, "sweepdepth_latency_seconds", stage="age", quantile="0.99") == pytest.approx(0.074)
    assert value(families, "sweepdepth_dropped_total", reason="camera_events") == 3
    assert value(families, "sweepdepth_warnings") == 2
    assert "dusty" not in str(families)


def test_metrics_are_on_loopback_by_default_and_gone_afterwards():
    with MetricsServer("0") as server:
        assert server.url.startswith("http://127.0.0.1:")
        port = int(server.url.split(":")[-1].split("/")[0])
        with pytest.raises(SweepdepthError, match=rf"--metrics {port}: cannot be bound \(address already in use\)"):
            MetricsServer(str(port))
    with MetricsServer("0.0.0.0:0") as server:
        assert server.url.startswith("http://0.0.0.0:")
    with pytest.raises(urllib.error.URLError):
        scrape(server.url)


@pytest.mark.parametrize("address", ["", "metrics", "127.0.0.1", "70000", "host:port", "[1.2.3.4]:9100", "a b:1", ":1"])
def test_invalid_addresses_are_refused(address):
    with pytest.raises(SweepdepthError, match="--metrics"):
        MetricsServer(address)


def test_a_silent_client_is_disconnected(monkeypatch):
    monkeypatch.setattr("sweepdepth.stream.metrics.REQUEST_TIMEOUT_S", 0.3)
    with MetricsServer("0") as server, socket.create_connection(("127.0.0.1", int(server.url.split(":")[2][:-8]))) as s:
        s.settimeout(30)
        began = time.monotonic()
        assert s.recv(1) == b""
        assert time.monotonic() - began >= 0.25
        assert scrape(server.url)
