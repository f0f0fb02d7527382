"""The host names to which a local server answers (protection against DNS rebinding).

Another site can point its own host name at this machine, and then read what a server here answers
under that name.  So requests under any name but the server's own are refused.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any

OWN_NAMES = ("localhost", "127.0.0.1", "::1")
ANYWHERE = frozenset(("0.0.0.0", "::"))


def names_of(host: str) -> frozenset[str]:
    """The host names of a server that listens on ``host``, besides the addresses of this machine.

    >>> sorted(names_of("10.0.0.5"))
    ['10.0.0.5', '127.0.0.1', '::1', 'localhost']
    """
    names = {*OWN_NAMES, host.strip("[]").lower()}
    if _address(host) is None or host.strip("[]") in ANYWHERE:
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local", socket.getfqdn().lower()}
    return frozenset(names)


def is_known(called: str, names: frozenset[str]) -> bool:
    """Whether the ``Host`` of a request is one of these names, or any IP address on a wildcard.

    >>> is_known("localhost:7860", names_of("127.0.0.1")), is_known("evil.org", names_of("0.0.0.0"))
    (True, False)
    """
    match = re.fullmatch(r"(?:\[([0-9a-f:.%]+)\]|([^:\[\]]+))(?::\d*)?", called.strip().lower())
    if match is None:
        return False
    name = (match[1] or match[2]).rstrip(".")
    anywhere = bool(names & ANYWHERE)
    return name in names or (anywhere and _address(name) is not None)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


class OnlyKnownHosts:
    """Middleware that refuses requests whose ``Host`` is not a name of the server."""

    def __init__(self, app: Any, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            called = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
            if len(called) != 1 or not is_known(called[0], self._names):
                from starlette.responses import PlainTextResponse

                words = "this server has no such name; see --host of mixit-mss demo"
                await PlainTextResponse(words, status_code=421)(scope, receive, send)
                return
        await self._app(scope, receive, send)
