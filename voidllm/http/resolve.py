"""Names to addresses, off the reactor, remembered for a short while."""

from __future__ import annotations

import socket
from itertools import chain, zip_longest
from typing import Any, Callable

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.python.failure import Failure

from voidllm.core.world import World

#: More addresses than this are never tried for one connection.
MAX_ADDRESSES = 4
_MAX_NAMES = 1024

Done = Callable[[list[str]], None]
Failed = Callable[[], None]


def is_address(host: str) -> bool:
    """Say whether ``host`` is an IP address and needs no resolution."""
    return bool(isIPAddress(host) or isIPv6Address(host))


def system_lookup(host: str) -> list[str]:
    """Ask the system; blocks. IPv6 and IPv4 alternate, in the system's order of preference.

    :raises OSError: if there is no such name.
    """
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        if family in (socket.AF_INET, socket.AF_INET6):
            addresses = by_family.setdefault(family, [])
            if address[0] not in addresses:
                addresses.append(str(address[0]))
    return [a for a in chain.from_iterable(zip_longest(*by_family.values())) if a is not None]


class Resolver:
    """Resolves names in a thread, one lookup a name at a time.

    :param lookup: blocking; gives addresses or raises ``OSError`` or ``UnicodeError``.
    :param ttl_s: seconds for which an answer is used again; failures are not remembered.
    """

    def __init__(
        self, world: World, lookup: Callable[[str], list[str]] = system_lookup, ttl_s: float = 30.0
    ) -> None:
        self._world = world
        self._lookup = lookup
        self._ttl_s = ttl_s
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._asked: dict[str, dict[int, tuple[Done, Failed]]] = {}
        self._next_id = 0

    def resolve(self, host: str, done: Done, failed: Failed) -> Callable[[], None]:
        """Find the addresses of ``host``; returns a function that forgets the question.

        ``done`` may be called before this returns, with at least one address.
        """
        if is_address(host):
            done([host])
            return _nothing
        known = self._known.get(host)
        if known is not None and known[0] > self._world.reactor.seconds():
            done(known[1])
            return _nothing
        self._next_id += 1
        question = self._next_id
        waiting = self._asked.get(host)
        if waiting is not None:
            waiting[question] = (done, failed)
        else:
            waiting = self._asked[host] = {question: (done, failed)}
            asked: Any = self._world.in_thread(self._lookup, host)
            asked.addCallbacks(self._answered, self._unanswered, callbackArgs=(host,), errbackArgs=(host,))
        return lambda: _forget(waiting, question)

    def _answered(self, addresses: list[str], host: str) -> None:
        waiting = self._asked.pop(host)
        addresses = addresses[:MAX_ADDRESSES]
        if addresses:
            if len(self._known) >= _MAX_NAMES:
                self._known.clear()
            self._known[host] = (self._world.reactor.seconds() + self._ttl_s, addresses)
        for done, failed in list(waiting.values()):
            if addresses:
                done(addresses)
            else:
                failed()

    def _unanswered(self, reason: Failure, host: str) -> None:
        waiting = self._asked.pop(host)
        for _, failed in list(waiting.values()):
            failed()
        # Whatever else it was is a fault of ours, and must be seen.
        reason.trap(OSError, UnicodeError)  # type: ignore[no-untyped-call]


def _nothing() -> None:
    pass


def _forget(waiting: dict[int, tuple[Done, Failed]], question: int) -> None:
    waiting.pop(question, None)
