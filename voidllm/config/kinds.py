"""The types that keys have, with their ranges."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from voidllm.config.durations import Duration, parse_duration
from voidllm.config.fields import Range, Text


def ms(text: str) -> Duration:
    """Write a default as people do."""
    return parse_duration(text)


#: Addresses that belong together; a single one is a network of its own.
Network = IPv4Network | IPv6Network

Port = Annotated[int, Range(1, 65535)]
Name = Annotated[str, Text(most=256)]
Line = Annotated[str, Text(most=4096)]
Secret = Annotated[str, Text(most=16384)]
Count = Annotated[int, Range(0, 2**53)]
