"""Which addresses an identity provider that an organisation named may have.

Whoever administers an organisation decides where the gateway connects to, and must not reach with
it what only the gateway can reach. The addresses that were checked are the ones that are connected
to, so that a name that changes its mind in between gains nothing.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Callable, Iterable

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, DeferredSemaphore, fail

from voidllm.core.world import World
from voidllm.http.clientaddr import Network
from voidllm.http.resolve import Done, Failed, Resolver, is_address, system_lookup

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052: an IPv4 address is in the last 32 bits.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 4291 section 2.4: whatever is public is in here. Elsewhere there are more ways to write an IPv4
# address (RFC 8215, RFC 7915), and addresses of one site, which the registry does not list as private.
_UNICAST = ipaddress.IPv6Network("2000::/3")
# RFC 6890: for protocols; clouds answer on some of it what only their own machines may ask.
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")


def may_connect(address: str, networks: Iterable[Network]) -> bool:
    """Say whether ``address`` is public, or in one of the ``networks`` that are allowed besides."""
    try:
        parsed = _meant(ipaddress.ip_address(address))
    except ValueError:
        return False
    if any(parsed in network for network in networks):
        return True
    if parsed in _PROTOCOLS or (parsed.version == 6 and parsed not in _UNICAST):
        return False
    return parsed.is_global and not parsed.is_multicast


def _meant(address: _Address) -> _Address:
    """Give the IPv4 address that an IPv6 address stands for, if it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.scope_id is not None:
        raise ValueError("an address of one link")
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


# A process has ten threads for everything that blocks, and a name server that does not answer keeps one
# for half a minute.
_LOOKUPS = 4
_LOOKUPS_EACH = 2
_WAITING_EACH = 32


@define(eq=False)
class Lookups:
    """Lets a few names be looked up at a time that organisations have chosen, and fewer of each.

    :param in_thread: runs something in a thread.
    """

    in_thread: Callable[..., Deferred[Any]]
    _all: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(_LOOKUPS), init=False)
    _each: dict[str, DeferredSemaphore] = field(factory=dict, init=False)

    def of(self, org_id: str) -> Callable[..., Deferred[Any]]:
        """Give what runs something in a thread for an organisation.

        Its Deferred fails with ``OSError`` if too much waits.
        """

        def run(f: Callable[..., Any], *args: Any) -> Deferred[Any]:
            own = self._each.setdefault(org_id, DeferredSemaphore(_LOOKUPS_EACH))
            if len(own.waiting) >= _WAITING_EACH:
                return fail(OSError("too many names are looked up"))
            done: Deferred[Any] = own.run(self._all.run, self.in_thread, f, *args)
            return done.addBoth(over, own)

        def over(result: Any, own: DeferredSemaphore) -> Any:
            if own.tokens == own.limit and self._each.get(org_id) is own:
                del self._each[org_id]
            return result

        return run


class GuardedResolver(Resolver):
    """Resolves a name only if all of its addresses may be connected to.

    :param networks: allowed besides public addresses.
    :param in_thread: looks names up, where that is not for everybody's threads.
    :ivar refused: whether an address was refused.
    """

    def __init__(
        self,
        world: World,
        networks: Iterable[Network],
        lookup: Callable[[str], list[str]] = system_lookup,
        in_thread: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        super().__init__(world if in_thread is None else evolve(world, in_thread=in_thread), self._checked)
        self._networks = tuple(networks)
        self._system = lookup
        self.refused = False

    def resolve(self, host: str, done: Done, failed: Failed) -> Callable[[], None]:
        """Find the addresses of ``host``; see :meth:`Resolver.resolve`."""
        if is_address(host) and not may_connect(host, self._networks):
            self.refused = True
            failed()
            return lambda: None
        return super().resolve(host, done, failed)

    def _checked(self, host: str) -> list[str]:
        addresses = self._system(host)
        if not all(may_connect(address, self._networks) for address in addresses):
            self.refused = True
            raise OSError("an address that may not be connected to")
        return addresses
