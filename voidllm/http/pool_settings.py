"""What an operator can set about connections to upstreams."""

from __future__ import annotations

from attrs import frozen


@frozen
class PoolSettings:
    """Limits of a pool; every one of them is finite.

    :ivar max_per_origin: connections to one origin, those being opened included.
    :ivar max_waiting: calls that may wait for a connection to one origin.
    :ivar queue_timeout_s: longest such wait.
    :ivar idle_timeout_s: an unused connection is closed after this or after the server's
        ``Keep-Alive: timeout``, whichever is less.
    :ivar tick_s: how late a timeout may be noticed, at most.
    :ivar max_origins: origins remembered while nothing is connected to them.
    """

    max_per_origin: int = 1024
    max_waiting: int = 1024
    queue_timeout_s: float = 10.0
    idle_timeout_s: float = 4.0
    tick_s: float = 0.2
    max_origins: int = 256
