"""Where an API key may be used from: networks in CIDR notation, of IPv4 and IPv6."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Iterable

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Networks that one key may be confined to.
MOST_NETWORKS = 64


def parse_network(text: str) -> str:
    """Give a network, or a single address, as it is kept: ``10.0.0.0/8``, ``2001:db8::7/128``.

    An IPv4 network that is written as IPv6 (``::ffff:10.0.0.0/104``) is kept as IPv4, as clients are.

    :raises ValueError: if it is none, or has bits beyond its prefix.
    """
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id is not None:
            raise ValueError("a network has no zone")
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return str(ipaddress.IPv4Network((mapped, network.prefixlen - 96)))
    return str(network)


@lru_cache(maxsize=4096)
def inside(networks: tuple[str, ...], client: str) -> bool:
    """Say whether a client's address is in one of ``networks``; what is no address is in none.

    :param networks: as :func:`parse_network` gives them.
    """
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return any(address in network for network in _parsed(networks))


def narrower(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Say whether each network of ``inner`` lies within one of ``outer``."""
    wide = _parsed(tuple(outer))
    return all(any(_lies_in(one, other) for other in wide) for one in _parsed(tuple(inner)))


@lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(network) for network in networks)


def _lies_in(one: _Network, other: _Network) -> bool:
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and one.subnet_of(other)
