"""The epoll reactor's turn without a logging context around every event.

Twisted wraps each readable or writable socket in a logging context of its own, about
sixteen calls and two dictionaries a proxied request, or a tenth of what it costs. Nothing
here logs by that context. What the context's wrapper catches besides is caught by the
reactor's own handler too, which logs the error and drops the connection.
"""

from __future__ import annotations

import errno
from typing import Any, Callable

#: What is relied on; a reactor that lacks one of these keeps its own turn.
_EXPECTED = ("_poller", "_selectables", "_doReadOrWrite", "doIteration")


def quick_turn(reactor: Any) -> Callable[[float | None], None]:
    """Make a replacement for ``doIteration`` of an epoll reactor.

    :param reactor: has what :data:`_EXPECTED` names.
    """
    selectables = reactor._selectables
    read_or_write = reactor._doReadOrWrite

    def turn(timeout: float | None) -> None:
        try:
            ready = reactor._poller.poll(-1 if timeout is None else timeout, len(selectables))
        except OSError as error:
            # A signal; its handler has run, and the loop looks at what it asked for.
            if error.errno == errno.EINTR:
                return
            raise
        for fd, event in ready:
            # An event before this one may have closed it.
            selectable = selectables.get(fd)
            if selectable is not None:
                read_or_write(selectable, fd, event)

    return turn


def install(reactor: Any) -> bool:
    """Give an epoll reactor quicker turns; any other one is left alone.

    :returns: whether it was done.
    """
    from twisted.internet.epollreactor import EPollReactor

    if not isinstance(reactor, EPollReactor) or not all(hasattr(reactor, name) for name in _EXPECTED):
        return False
    # On the instance only: other reactors in the process keep their own.
    setattr(reactor, "doIteration", quick_turn(reactor))  # noqa: B010 - the type says it is a method
    return True
