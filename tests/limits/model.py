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
        day, tick = now_ms // DAY_MS, now_ms // 1000
        for scope in scopes:
            mine = [e for e in self.entries if (scope.kind, scope.id) in e.scopes]
            minute = [e for e in mine if e.at_ms // 1000 > tick - 61]
            in_day = [e for e in mine if e.day == day]
            in_month = [e for e in mine if e.month == month_of(day)]
            limits = scope.limits
            for limit, used in (
                (limits.requests_per_minute, sum(e.requests for e in minute) + 1),
                (limits.requests_per_day, sum(e.requests for e in in_day) + 1),
                (limits.tokens_per_minute, sum(e.tokens for e in minute) + tokens),
                (limits.tokens_per_day, sum(e.tokens for e in in_day) + tokens),
                (limits.tokens_per_month, sum(e.tokens for e in in_month) + tokens),
            ):
                if limit and used > limit:
                    return False
        return True

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
