"""The status of a run as Prometheus metrics, served over HTTP."""

import ipaddress
import re
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version

from ..capture.closing import Closing
from ..capture.errors import SweepdepthError
from .wire.messages import StatusFrame

try:
    from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ImportError as error:
    raise SweepdepthError("metrics need prometheus-client; pip install 'sweepdepth[metrics]'") from error

REQUEST_TIMEOUT_S = 10.0
"""After which a client that sends no complete request is disconnected."""

_QUANTILES = (("0.5", "p50"), ("0.99", "p99"))


class MetricsServer(Closing):
    """Serves the latest status at `/metrics` until it is closed. A context manager.

    It has no login, and serves numbers only: no depth, no events, no texts.

    Args:
        address: `PORT` on 127.0.0.1, or `HOST:PORT`; port 0 is any free one.

    Attributes:
        url: where the metrics are.

    Raises:
        SweepdepthError: the address is malformed, in use, or not of this machine.
    """

    def __init__(self, address: str) -> None:
        host, port = _parse(address)
        self._lock = threading.Lock()
        self._status: StatusFrame | None = None
        self._updated = time.monotonic()
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(self)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise SweepdepthError(
                f"--metrics {address}: cannot be bound ({(error.strerror or str(error)).lower()}); choose another"
            ) from error
        self._server.RequestHandlerClass.timeout = REQUEST_TIMEOUT_S  # pyright: ignore[reportAttributeAccessIssue]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._server.server_port}/metrics"

    def update(self, status: StatusFrame) -> None:
        """Set the status to serve from now on."""
        with self._lock:
            self._status, self._updated = status, time.monotonic()

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of the latest status, as prometheus-client asks for them."""
        with self._lock:
            status, age_s = self._status, time.monotonic() - self._updated
        info = GaugeMetricFamily("sweepdepth_info", "Version of sweepdepth.", labels=["version"])
        info.add_metric([version("sweepdepth")], 1)
        yield info
        if status is None:
            return
        yield CounterMetricFamily(
            "sweepdepth_events", "Events received, inside the window of the sensor.", status.n_events
        )
        yield CounterMetricFamily(
            "sweepdepth_events_left_out", "Events outside the window of the sensor.", status.n_left_out
        )
        yield CounterMetricFamily("sweepdepth_depth_frames", "Depth frames computed.", status.n_frames)
        dropped = CounterMetricFamily(
            "sweepdepth_dropped", "Events, sweeps, bins or messages dropped, by reason.", labels=["reason"]
        )
        for reason, n in status.drops.items():
            dropped.add_metric([reason], n)
        yield dropped
        waiting = GaugeMetricFamily("sweepdepth_queue_length", "Items waiting in a queue.", labels=["queue"])
        for queue, n in status.queues.items():
            waiting.add_metric([queue], n)
        yield waiting
        latency = GaugeMetricFamily(
            "sweepdepth_latency_seconds",
            "Latency of the latest depth frames, by stage; age counts from the end of the sweep.",
            labels=["stage", "quantile"],
        )
        for stage, percentiles in status.latency_ms.items():
            for quantile, name in _QUANTILES:
                latency.add_metric([stage, quantile], 1e-3 * getattr(percentiles, name))
        yield latency
        yield GaugeMetricFamily(
            "sweepdepth_sync_quality", "Certainty of the lens's turning points, 0 to 1.", status.sync_quality
        )
        yield GaugeMetricFamily("sweepdepth_warnings", "Warnings in the latest status.", len(status.warnings))
        yield GaugeMetricFamily(
            "sweepdepth_status_age_seconds", "Time since the latest status, which comes once a second.", age_s
        )

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _parse(address: str) -> tuple[str, int]:
    """Host and port of `PORT`, `HOST:PORT` or `[HOST]:PORT`."""
    match = re.fullmatch(r"(?:(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\s\[\]:]+)):)?(?P<port>\d{1,5})", address)
    if match is None or int(match["port"]) > 65535:
        raise SweepdepthError(f"--metrics {address}: is not an address; expected PORT or HOST:PORT")
    if match["v6"] is not None:
        try:
            ipaddress.IPv6Address(match["v6"])
        except ValueError as error:
            raise SweepdepthError(f"--metrics {address}: {error}") from error
    return match["v6"] or match["host"] or "127.0.0.1", int(match["port"])
