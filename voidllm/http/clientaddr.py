"""Which address a request really comes from, behind proxies that are trusted."""

from __future__ import annotations

import ipaddress
from typing import Iterable, TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Hops of one X-Forwarded-For that are looked at, from the right.
_MAX_HOPS = 32


def _parse(text: str) -> _Address | None:
    """Read an address as proxies write it: bare, ``[v6]``, ``[v6]:port`` or ``v4:port``."""
    text = text.strip(" \t")
    if text.startswith("["):
        inside, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port.startswith(":") and port[1:].isdigit())):
            return None
        text = inside
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port.isdigit():
            return None
        text = host
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


class TrustedProxies:
    """Decides how far ``X-Forwarded-For`` is believed.

    :param networks: where proxies of ours live; empty trusts nobody.
    """

    def __init__(self, networks: Iterable[Network | str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def trusts(self, peer: str) -> bool:
        """Say whether a connection from ``peer`` may speak for somebody else."""
        if not self._networks:
            return False
        address = _parse(peer)
        return address is not None and self._ours(address)

    def client(self, peer: str, forwarded: Iterable[bytes]) -> str:
        """Give the rightmost address that is not a trusted proxy.

        :param peer: a trusted peer, see :meth:`trusts`.
        :param forwarded: every value of ``X-Forwarded-For``, in the order received.
        """
        hops = b",".join(forwarded).decode("latin-1").rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]
        best = peer
        for hop in reversed(hops):
            address = _parse(hop)
            if address is None:
                # Nothing left of what cannot be read was vouched for by anybody.
                break
            best = str(address)
            if not self._ours(address):
                break
        return best

    def _ours(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def plain_address(peer: str) -> str:
    """Write an IPv4-mapped IPv6 address as IPv4, everything else as it is."""
    return peer[7:] if peer.startswith("::ffff:") and "." in peer else peer
