"""What a limiter hands out for admitted work."""

from __future__ import annotations

from typing import Any

from voidllm.core.errors import VoidLLMError
from voidllm.core.principal import Scope


class SettledTwice(VoidLLMError):
    """A reservation was settled a second time; its tokens would have been counted twice."""


class Reservation:
    """Tokens counted beforehand, and where they were counted; opaque to callers.

    :ivar scopes: what it was counted for.
    :ivar counters: one counter per scope.
    :ivar tokens: the estimate that :meth:`~voidllm.core.interfaces.ILimiter.settle` replaces.
    :ivar tick: the limiter's second at which it was made.
    :ivar day: the UTC day, since 1970-01-01.
    :ivar month: the UTC month, see :func:`voidllm.limits.windows.month_of`.
    """

    __slots__ = ("counters", "day", "month", "scopes", "settled", "tick", "tokens")

    def __init__(
        self, scopes: tuple[Scope, ...], counters: list[Any], tokens: int, tick: int, day: int, month: int
    ) -> None:
        self.scopes = scopes
        self.counters = counters
        self.tokens = tokens
        self.tick = tick
        self.day = day
        self.month = month
        self.settled = False


#: For work that no scope limits: shared, counted nowhere, so it may be settled any number of times.
UNLIMITED = Reservation((), [], 0, 0, 0, 0)
