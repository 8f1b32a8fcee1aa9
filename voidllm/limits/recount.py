"""What was used before this process began: the store's sums and the journal's rest."""

from __future__ import annotations

from typing import Container, Iterable, Protocol

from attrs import define

from voidllm.core.principal import Principal
from voidllm.core.usage import UsageEvent
from voidllm.limits.windows import DAY_MS, month_of

Key = tuple[str, str]


class ScopeUsed(Protocol):
    """What the store says of one scope, see ``voidllm.store.records.ScopeUsage``."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def day_requests(self) -> int: ...
    @property
    def day_tokens(self) -> int: ...
    @property
    def month_requests(self) -> int: ...
    @property
    def month_tokens(self) -> int: ...


@define
class Used:
    """Sums of one scope in the current day and month."""

    day_requests: int = 0
    day_tokens: int = 0
    month_requests: int = 0
    month_tokens: int = 0


def recount(
    usages: Iterable[ScopeUsed],
    events: Iterable[UsageEvent],
    day: int,
    month: int,
    wanted: Container[Key] | None = None,
) -> dict[Key, Used]:
    """Add up what every scope used in the UTC day and month of those numbers."""
    found: dict[Key, Used] = {}
    for usage in usages:
        if wanted is None or (usage.kind, usage.id) in wanted:
            sums = found.setdefault((usage.kind, usage.id), Used())
            sums.day_requests += usage.day_requests
            sums.day_tokens += usage.day_tokens
            sums.month_requests += usage.month_requests
            sums.month_tokens += usage.month_tokens
    for event in events:
        then = event.started_ms // DAY_MS
        if month_of(then) != month or not was_admitted(event):
            continue
        for key in _keys(event):
            if wanted is None or key in wanted:
                sums = found.setdefault(key, Used())
                sums.month_requests += 1
                sums.month_tokens += event.tokens.total
                if then == day:
                    sums.day_requests += 1
                    sums.day_tokens += event.tokens.total
    return found


def was_admitted(event: UsageEvent) -> bool:
    """Say whether limits counted this unit of work; the same rule as the store's sums.

    What was admitted has a deployment, however it ended; nothing else was counted.
    """
    return bool(event.deployment)


def counted_scopes(principals: Iterable[Principal]) -> dict[Key, int]:
    """Give ``(kind, id)`` and the cell of every scope that has limits, for ``wanted`` of a rebuild."""
    return {(scope.kind, scope.id): scope.cell for who in principals for scope in who.counted}


def _keys(event: UsageEvent) -> Iterable[Key]:
    yield "key", event.key_id
    if event.team_id is not None:
        yield "team", event.team_id
    yield "org", event.org_id
    yield "system", ""
