"""Which addresses an identity provider that an organisation named may have.

Whoever administers an organisation decides where the gateway connects to, and must not reach with
it what only the gateway can reach. The addresses that were checked are the ones that are connected
to, so that a name that changes its mind in between gains nothing.
"""

from __future__ import annotations

import ipaddress
from typing import Callable, Iterable

from voidllm.core.world import World
from voidllm.http.clientaddr import Network
from voidllm.http.resolve import Done, Failed, Resolver, is_address, system_lookup

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052: an IPv4 address is in the last 32 bits.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


def may_connect(address: str, networks: Iterable[Network]) -> bool:
    """Say whether ``address`` is public, or in one of the ``networks`` that are allowed besides."""
    try:
        parsed = _meant(ipaddress.ip_address(address))
    except ValueError:
        return False
    if any(parsed in network for network in networks):
        return True
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


class GuardedResolver(Resolver):
    """Resolves a name only if all of its addresses may be connected to.

    :param networks: allowed besides public addresses.
    :ivar refused: whether an address was refused.
    """

    def __init__(
        self,
        world: World,
        networks: Iterable[Network],
        lookup: Callable[[str], list[str]] = system_lookup,
    ) -> None:
        super().__init__(world, self._checked)
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
