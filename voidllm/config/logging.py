"""``logging``, ``usage`` and ``metrics``: what the gateway says of itself."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.fields import OneOf, Range, Text, key


@frozen(kw_only=True)
class Logging:
    """The log, on standard output."""

    level: Annotated[str, OneOf(("debug", "info", "warn", "error"))] = key("info", "Least level.", live=True)
    format: Annotated[str, OneOf(("json", "text"))] = key(
        "json", "One JSON object a line, or text for people."
    )


@frozen(kw_only=True)
class Usage:
    """The usage journal on local disk."""

    fsync: Annotated[str, OneOf(("off", "interval"))] = key(
        "off", "`interval` makes rows survive a power cut, but for the last second."
    )
    reserve_mb: Annotated[int, Range(0, 65536)] = key(64, "Disk space held back for a full disk, MiB.")


@frozen(kw_only=True)
class Metrics:
    """Who may read `/metrics`."""

    token: Annotated[str, Text(least=16)] = key(
        "", "Bearer token; without one only loopback may read.", show="secret"
    )
