"""The page's web server, reachable only from this machine and not by other web pages."""

import contextlib
import io
from typing import Any
from urllib.parse import urlsplit

from ...capture.errors import SweepdepthError
from ..wire.addresses import is_local

try:
    import viser
except ImportError as error:
    raise SweepdepthError("the live page needs viser; pip install 'sweepdepth[view]'") from error


class PageServer(viser.ViserServer):
    """viser's server on a loopback address; uses the next free port if `port` is in use.

    viser has no login, so the page is only served on this machine. Web sites open in a browser could still connect to
        it: they are recognised by the `Origin` header that browsers send, and disconnected.

    Raises:
        SweepdepthError: other machines could reach `host`.
    """

    def __init__(self, host: str, port: int, label: str) -> None:
        if not is_local(f"tcp://{host}:{port}"):
            raise SweepdepthError(
                f"{host}: other machines can reach this address, and the page has no login; use 127.0.0.1 here, and "
                f"from afar an SSH tunnel: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"
            )
        # Silence viser: standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(host=host, port=port, label=label, verbose=False)
        self._websock_server.on_client_connect(self._admit)

    @property
    def url(self) -> str:
        """The page's URL."""
        host = self.get_host()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.get_port()}"

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Disabled, since it would publish the page on the internet at the request of any client."""
        return None

    def stop(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().stop()

    async def _admit(self, client: Any) -> None:
        """Close connections opened by other web pages before sending anything."""
        connection = self._websock_server._live_connections[client.client_id]
        request = connection.request
        if request is None or not is_same_origin(request.headers.get("Origin"), request.headers.get("Host", "")):
            await connection.close(1008, "this page is for its own origin only")


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether a connection to `host` (name and port) was opened by a page from that host; programs send no origin.

    The name must be one of this machine's own; otherwise DNS rebinding could make another page look like this one.
    """
    if origin is None:
        return True
    return urlsplit(origin).netloc == host and is_local(f"tcp://{host}")
