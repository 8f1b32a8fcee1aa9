"""Where the gateway listens: Twisted's words for it, and people's."""

from __future__ import annotations

import errno
import re
import socket
from typing import Any

from twisted.internet import endpoints
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory

from voidllm.config import Config
from voidllm.core.errors import VoidLLMError
from voidllm.link.listener import bind_reuseport

_BACKLOG = 4096
# For a client on this machine, to every address of which the gateway then listens.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound here
_TCP = re.compile(
    r"tcp(?P<six>6?):(?:port=)?(?P<port>[0-9]{1,5})"
    r"(?::(?:interface=(?P<interface>(?:[^:\\]|\\.)*)|backlog=(?P<backlog>[0-9]{1,6})))*"
)
_CHOOSE = "choose another with server.proxy.port or --listen"


class CannotListen(VoidLLMError):
    """The address is not to be had; the message says what to do about it."""


def endpoint(config: Config) -> str:
    """Describe ``server.proxy`` as a Twisted server endpoint."""
    proxy = config.server.proxy
    if ":" in proxy.host:
        return f"tcp6:{proxy.port}:interface={proxy.host.replace(':', chr(92) + ':')}:backlog={_BACKLOG}"
    return f"tcp:{proxy.port}:interface={proxy.host}:backlog={_BACKLOG}"


async def listen(reactor: Any, description: str, factory: IProtocolFactory) -> Any:
    """Listen on a server endpoint.

    :returns: the port.
    :raises CannotListen: if that is not possible.
    """
    try:
        return await endpoints.serverFromString(reactor, description).listen(factory)  # type: ignore[no-untyped-call]
    except CannotListenError as error:
        raise CannotListen(_why(error)) from None
    except (ValueError, TypeError, LookupError, OverflowError):
        raise CannotListen(
            f"{description!r} is no Twisted server endpoint; one is tcp:8080:interface=127.0.0.1"
        ) from None


def listen_often(description: str, count: int) -> list[socket.socket]:
    """Listen ``count`` times on the address of a Twisted server endpoint, once for each worker.

    :raises CannotListen: if that is not possible, or the endpoint is not plain TCP.
    """
    found = _TCP.fullmatch(description)
    if found is None:
        raise CannotListen(
            f"{description!r}: workers listen on TCP only, such as tcp:8080:interface=127.0.0.1"
        )
    host = re.sub(r"\\(.)", r"\1", found["interface"] or ("::" if found["six"] else ""))
    try:
        return bind_reuseport(host, int(found["port"]), int(found["backlog"] or _BACKLOG), count)
    except CannotListenError as error:
        raise CannotListen(_why(error)) from None
    except OverflowError:
        raise CannotListen(f"{description!r}: a port is at most 65535") from None


def url(address: Any, secure: bool, reachable: bool = False) -> str | None:
    """Give the URL of a listening address, or ``None`` if it has none.

    :param reachable: name an address that a client on this machine can connect to.
    """
    host, number = getattr(address, "host", None), getattr(address, "port", None)
    if host is None or number is None:
        return None
    if reachable:
        host = _EVERYWHERE.get(host, host)
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{number}"


def _why(error: CannotListenError) -> str:
    number = getattr(error.socketError, "errno", None)
    where = f"port {error.port}" + (f" of {error.interface}" if error.interface else "")
    if number == errno.EADDRINUSE:
        return f"{where} is in use, perhaps by another gateway; stop that, or {_CHOOSE}"
    if number == errno.EACCES:
        return f"this user may not listen on {where}; ports below 1024 are root's, {_CHOOSE}"
    if number == errno.EADDRNOTAVAIL:
        return f"{error.interface} is no address of this machine; see server.proxy.host or --listen"
    return (
        f"{where} cannot be listened on ({getattr(error.socketError, 'strerror', None) or 'no reason given'})"
    )
