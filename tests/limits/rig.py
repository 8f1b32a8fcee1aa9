"""Several limiters on one shared table."""

from __future__ import annotations

from typing import Any, Iterable

from zope.interface import implementer

from voidllm.core.interfaces import ILimiter
from voidllm.core.principal import Limits, Scope
from voidllm.limits.reservation import UNLIMITED
from voidllm.limits.shared import SharedLimiter
from voidllm.limits.shared_table import SharedTable, blank_table


def make_table(columns: int, cells: int = 8) -> SharedTable:
    """Give a table in memory of this process only."""
    return SharedTable(blank_table(columns, cells), columns)


@implementer(ILimiter)
class Rotating:
    """Lets the columns of a table take turns; what one has admitted, it settles too."""

    def __init__(self, columns: int) -> None:
        table = make_table(columns)
        self.limiters = [SharedLimiter(table, column) for column in range(columns)]
        self._owners: dict[int, tuple[Any, SharedLimiter]] = {}
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self.limiters))

    def reserve(self, scopes: tuple[Scope, ...], tokens: int, now_ms: int) -> Any:
        """Reserve with the next in turn."""
        self._turn = (self._turn + 1) % len(self.limiters)
        limiter = self.limiters[self._turn]
        reservation = limiter.reserve(scopes, tokens, now_ms)
        if reservation is not UNLIMITED:
            self._owners[id(reservation)] = reservation, limiter
        return reservation

    def settle(self, reservation: Any, tokens: int, now_ms: int) -> None:
        """Settle with the one that reserved."""
        self._owner(reservation).settle(reservation, tokens, now_ms)

    def headers(self, reservation: Any, now_ms: int) -> Any:
        """Ask the one that reserved."""
        return self._owner(reservation).headers(reservation, now_ms)

    def used(self, scope: Scope, now_ms: int) -> tuple[int, ...]:
        """Ask the last one, whoever counted."""
        return self.limiters[-1].used(scope, now_ms)

    def rebuild(
        self, usages: Iterable[Any], now_ms: int, events: Iterable[Any] = (), wanted: Any = None
    ) -> None:
        """Seed from the first column."""
        self.limiters[0].rebuild(usages, now_ms, events, wanted)

    def _owner(self, reservation: Any) -> SharedLimiter:
        return self._owners.get(id(reservation), (None, self.limiters[0]))[1]


def hammered(cap: int) -> tuple[Scope, ...]:
    """Give the scopes that :mod:`tests.limits.hammer` asks for; ``cap`` requests a minute pass."""
    return (
        Scope("key", "1", Limits(requests_per_minute=cap), 0),
        Scope("org", "1", Limits(tokens_per_minute=3 * cap + 2), 1),
    )
