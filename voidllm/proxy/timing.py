"""The reply header that says where the time went (W3C Server Timing)."""

from __future__ import annotations


def server_timing(gateway_s: float, upstream_s: float | None = None) -> tuple[bytes, bytes]:
    """Write ``Server-Timing`` with ``gw`` and ``up``, in milliseconds.

    :param gateway_s: seconds that the gateway took.
    :param upstream_s: seconds that it waited for upstreams; ``None`` if none was asked.
    """
    if upstream_s is None:
        return b"server-timing", b"gw;dur=%.3f" % (gateway_s * 1000)
    return b"server-timing", b"gw;dur=%.3f, up;dur=%.3f" % (gateway_s * 1000, upstream_s * 1000)
