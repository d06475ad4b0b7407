"""The live page as a whole: shows the latest frames of a stream at a limited rate."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..wire.messages import DepthFrame, StackFrame
from .feed import Feed
from .page import Page
from .plots import History
from .server import PageServer

_PLAY_S = 0.5
"""Seconds per bin of the stack while playing."""


def view(
    address: str,
    stop: threading.Event,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    keys: str | Path | None = None,
    server_key: str | Path | None = None,
    on_url: Callable[[str], None] = lambda url: None,
) -> None:
    """Show the stream published on `address` on a web page until `stop` is set.

    The page waits for a publisher, and continues when it restarts. `on_url` is called with the page's URL, on `port` or
    the next free one.

    Raises:
        WireError: the address or keys are invalid.
        SweepdepthError: other machines could reach `host`, or viser is missing.
    """
    with ExitStack() as resources:
        feed = resources.enter_context(Feed(address, ("depth", "status"), keys, server_key))
        stacks: Feed | None = None
        server = PageServer(host, port, "sweepdepth")
        resources.callback(server.stop)
        page, history = Page(server), History()
        on_url(server.url)

        depth: DepthFrame | None = None
        stack: StackFrame | None = None
        depth_shown = stack_shown = None
        noted = stepped = -1e9
        settings = page.controls.read()
        try:
            while not stop.wait(1 / settings.pictures_per_s):
                now, state, settings = time.monotonic(), feed.state(), page.controls.read()
                watched = bool(server.get_clients())
                if now - noted >= 1:
                    noted = now
                    history.add(now, state)
                    page.show_history(history)
                # Stacks are large and computed only for subscribers, so subscribe only while the page is open.
                if (settings.receive_stack and watched) != (stacks is not None):
                    if stacks is None:
                        stacks = Feed(address, ("stack",), keys, server_key)
                    else:
                        stacks.close()
                        stacks = None
                if not settings.paused:
                    depth = state.depth
                    stack = stacks.state().stack if stacks is not None else stack
                if not watched:
                    continue
                page.show_state(state, settings, address)
                if depth is not None and (depth, settings) != depth_shown:
                    page.show_depth(depth, settings)
                    depth_shown = depth, settings
                bin_ = settings.bin
                playing = settings.play_bins and not settings.paused
                if playing and stack is not None and now - stepped >= _PLAY_S:
                    stepped = now
                    bin_ = (bin_ + 1) % stack.stack.shape[-3]
                if stack is not None and (stack, bin_) != stack_shown:
                    page.show_stack(stack, bin_, playing=playing)
                    stack_shown = stack, bin_
        finally:
            if stacks is not None:
                stacks.close()
