"""Listening sockets on one address, one for each worker.

The kernel spreads connections over the sockets of a ``SO_REUSEPORT`` group evenly, whereas
workers that accept from one inherited socket starve each other. The parent keeps every socket
open, so that no connection is lost that waits for a worker which has died.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.error import CannotListenError

# As much as the system allows, which is 4096 unless it is told otherwise.
_BACKLOG = 4096


def bind_reuseport(host: str, port: int, backlog: int, count: int) -> list[socket.socket]:
    """Listen ``count`` times on one address.

    The group would be shared silently with any other process of the same user, so the first socket
    listens alone before it lets the others in: that fails if anybody else is there, and nobody
    can come in between.

    :param host: an address; empty for every IPv4 address.
    :param port: 0 for any that is free, the same for all.
    :param backlog: of each socket.
    :returns: non-blocking sockets that are inherited only if they are passed on by number.
    :raises CannotListenError: if the address is not to be had.
    """
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_listen(host, port, backlog, alone=not sockets))
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise CannotListenError(host, port, error) from None  # type: ignore[no-untyped-call]
    return sockets


class Places:
    """The parent's copies of the workers' sockets, by place from 0.

    A place whose worker comes back soon keeps its socket, so that connections wait for it. Where
    nobody comes for long they would wait in vain, whatever the others could do: that socket is
    closed, which resets the few that wait and leaves the address to the others.

    :param sockets: from :func:`bind_reuseport`.
    :ivar name: the address, as ``getsockname`` gives it.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.name: Any = sockets[0].getsockname()
        self._family = sockets[0].family
        self._sockets: list[socket.socket | None] = [*sockets]

    def leave(self, place: int) -> bool:
        """Close the socket of a place, unless it is the last one that listens.

        :returns: whether connections went there until now.
        """
        one = self._sockets[place]
        others = (other for other in self._sockets if other is not None and other is not one)
        if one is None or not any(map(_listens, others)):
            return False
        listened = _listens(one)
        one.close()
        self._sockets[place] = None
        return listened

    def fileno(self, place: int) -> int:
        """Give the socket of a place; one that was left gets a new one, which does not listen yet.

        :raises OSError: if there is none to be had.
        """
        one = self._sockets[place]
        if one is None:
            one = socket.socket(self._family, socket.SOCK_STREAM)
            try:
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind(self.name)
            except OSError:
                one.close()
                raise
            self._sockets[place] = one
        return one.fileno()

    def close(self) -> None:
        """Close all of them."""
        for one in self._sockets:
            if one is not None:
                one.close()


def adopt(reactor: Any, fd: int, factory: Any) -> Any:
    """Accept connections from an inherited socket.

    :param reactor: an ``IReactorSocket``.
    :param fd: owned from now on; its backlog is as it was if it listens already.
    :returns: the port; when it stops, the other processes' copies listen on.
    """
    with socket.socket(fileno=fd) as inherited:
        inherited.setblocking(False)
        if not _listens(inherited):
            inherited.listen(_BACKLOG)
        # The port makes a copy of its own, which no child inherits.
        return reactor.adoptStreamPort(fd, inherited.family, factory)


def _listens(one: socket.socket) -> bool:
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _listen(host: str, port: int, backlog: int, alone: bool) -> socket.socket:
    """Make one socket of the group.

    :param alone: refuse to share at first.
    :raises OSError: if that is not possible.
    """
    six = isIPv6Address(host)
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not alone:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        where: Any = (host, port)
        if six:
            # The scope of a link-local address is part of it.
            numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            where = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM, 0, numeric)[0][4]
        made.bind(where)
        made.listen(backlog)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        made.close()
        raise
    return made
