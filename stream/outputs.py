"""Outputs of a run: the sinks of its pipeline, including publishing."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .pipeline import Sinks
from .run_options import Callbacks
from .wire.compression import Encoding
from .wire.messages import DepthFrame
from .wire.publisher import Publisher

FRESH, BURST = 2, 8
"""Messages that may wait for a slow subscriber. Live, each delays what it gets by one transfer; a replay at full speed
publishes in bursts."""


@dataclass(frozen=True)
class Publishing:
    """Address and keys for publishing."""

    address: str
    keys: Path | None = None  # the publisher's .key_secret
    clients: Path | None = None  # a folder with the .key of every allowed client
    wait_subscribers: int = 0  # start when this many are connected
    encoding: Encoding = "none"  # of the arrays


def open_sinks(
    resources: ExitStack,
    publishing: Publishing | None,
    depth: Sequence[Callable[[DepthFrame], None]],
    stop: threading.Event,
    callbacks: Callbacks,
    *,
    paced: bool,
) -> Sinks:
    """Combine the given sinks with a publisher, which `resources` will close; waits for the requested subscribers.

    Fresh frames matter more than all frames if the run is `paced`.

    Raises:
        WireError: the address is invalid or in use.
    """
    status = (callbacks.on_status,) if callbacks.on_status else ()
    if publishing is None:
        return Sinks(tuple(depth), status)
    publisher = resources.enter_context(
        Publisher(
            publishing.address,
            publishing.keys,
            publishing.clients,
            send_hwm=FRESH if paced else BURST,
            encoding=publishing.encoding,
        )
    )
    if callbacks.on_address:
        callbacks.on_address(publisher.address)
    wanted = publishing.wait_subscribers
    while wanted and not stop.is_set() and not publisher.wait_for_subscribers(wanted, timeout=0.2):
        continue
    on_status = callbacks.on_status
    if on_status:  # with the counts that subscribers get
        status = (lambda frame: on_status(publisher.with_own_counts(frame)),)
    return Sinks(
        (*depth, publisher.publish),
        (*status, publisher.publish),
        publisher.publish,
        lambda: publisher.has_subscribers("stack"),
    )
