"""Limits as one would write them without any thought of speed: a list of everything that happened."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from voidllm.core.principal import Scope
from voidllm.limits.windows import DAY_MS, month_of


@define
class Entry:
    """Something counted at a moment, for some scopes."""

    scopes: frozenset[tuple[str, str]]
    at_ms: int
    day: int
    month: int
    requests: int
    tokens: int


@define
class Model:
    """Never forgets, and adds up everything for each decision."""

    entries: list[Entry] = field(factory=list)

    def fits(self, scopes: tuple[Scope, ...], tokens: int, now_ms: int) -> bool:
        """Say whether every limit of every scope has room."""
        for scope in scopes:
            minute, minute_tokens, day, day_tokens, month_tokens = self.sums(scope, now_ms)
            limits = scope.limits
            for limit, used in (
                (limits.requests_per_minute, minute + 1),
                (limits.requests_per_day, day + 1),
                (limits.tokens_per_minute, minute_tokens + tokens),
                (limits.tokens_per_day, day_tokens + tokens),
                (limits.tokens_per_month, month_tokens + tokens),
            ):
                if limit and used > limit:
                    return False
        return True

    def sums(self, scope: Scope, now_ms: int) -> tuple[int, int, int, int, int]:
        """Give requests and tokens of the minute and of the day, and tokens of the month."""
        day, tick = now_ms // DAY_MS, now_ms // 1000
        mine = [e for e in self.entries if (scope.kind, scope.id) in e.scopes]
        minute = [e for e in mine if e.at_ms // 1000 > tick - 61]
        in_day = [e for e in mine if e.day == day]
        return (
            sum(e.requests for e in minute),
            sum(e.tokens for e in minute),
            sum(e.requests for e in in_day),
            sum(e.tokens for e in in_day),
            sum(e.tokens for e in mine if e.month == month_of(day)),
        )

    def count(self, scopes: tuple[Scope, ...], tokens: int, now_ms: int) -> Entry:
        """Count an admitted request."""
        day = now_ms // DAY_MS
        keys = frozenset((scope.kind, scope.id) for scope in scopes)
        entry = Entry(keys, now_ms, day, month_of(day), 1, tokens)
        self.entries.append(entry)
        return entry

    def settle(self, entry: Entry, tokens: int, now_ms: int) -> None:
        """Replace an estimate; what is more than it counts as used now."""
        more = tokens - entry.tokens
        if more > 0:
            self.entries.append(Entry(entry.scopes, now_ms, entry.day, entry.month, 0, more))
        else:
            entry.tokens = tokens


def values(**changes: Any) -> dict[str, int]:
    """Give limits that are all off, except for ``changes``."""
    names = (
        "requests_per_minute",
        "requests_per_day",
        "tokens_per_minute",
        "tokens_per_day",
        "tokens_per_month",
    )
    return {**dict.fromkeys(names, 0), **changes}
