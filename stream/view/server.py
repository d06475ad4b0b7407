"""The page's web server: this machine alone reaches it, and no other web page listens in."""

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
    """viser's server, on a loopback address; the next free port is taken if `port` is not.

    viser has no login, so whoever reaches it sees the page. A browser would also let any web site that it shows
    connect to this machine: those are recognised by the `Origin` header that browsers send, and disconnected.

    Raises:
        SweepdepthError: other machines could reach `host`.
    """

    def __init__(self, host: str, port: int, label: str) -> None:
        if not is_local(f"tcp://{host}:{port}"):
            raise SweepdepthError(
                f"{host}: other machines can reach this address, and the page has no login; use 127.0.0.1 here, and "
                f"from afar an SSH tunnel: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"
            )
        # viser prints what it does; standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(host=host, port=port, label=label, verbose=False)
        self._websock_server.on_client_connect(self._admit)

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = self.get_host()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.get_port()}"

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refused: it would show the page to the whole internet, and any client could ask for it."""
        return None

    def stop(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().stop()

    async def _admit(self, client: Any) -> None:
        """Hang up on what another web page opened, before it is sent anything."""
        connection = self._websock_server._live_connections[client.client_id]
        request = connection.request
        if request is None or not is_same_origin(request.headers.get("Origin"), request.headers.get("Host", "")):
            await connection.close(1008, "this page is for its own origin only")


def is_same_origin(origin: str | None, host: str) -> bool:
    """Whether a connection to `host` (name and port) was opened by a page from there; programs send no origin.

    The name must be one of this machine's own, or a name server could make a stranger's page look like ours.
    """
    if origin is None:
        return True
    return urlsplit(origin).netloc == host and is_local(f"tcp://{host}")
