"""Networks as requests give them."""

from __future__ import annotations

from typing import Iterable

from voidllm.admin.fields import bad
from voidllm.core.networks import parse_network


def networks_of(given: Iterable[str] | None, field: str = "allowed_addresses") -> tuple[str, ...]:
    """Give networks as they are kept, each once.

    :raises Refusal: 400, naming the first that is none.
    """
    found: dict[str, None] = {}
    for number, text in enumerate(given or ()):
        try:
            found[parse_network(text)] = None
        except ValueError:
            raise bad(
                "must be an address or a network such as 10.0.0.0/8, without bits beyond its prefix",
                param=f"{field}[{number}]",
            ) from None
    return tuple(found)
