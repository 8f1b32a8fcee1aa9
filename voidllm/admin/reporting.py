"""Usage reports: complete up to the moment of asking, and confined to what one may see."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Awaitable, Callable, Iterable, Mapping, cast

from attrs import evolve
from msgspec import UNSET
from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing
from voidllm.admin.moments import moment
from voidllm.admin.usage_scope import Whose, everybody, filters, of_org, of_team, own, span
from voidllm.admin.usage_shapes import MOST_WITH_PERCENTILES, Report, ReportAsk
from voidllm.admin.usage_views import usage_view
from voidllm.core.errors import Refusal, StoreRejected
from voidllm.core.usage_days import DAY_MS, number
from voidllm.store.records import UsageQuery, UsageRow
from voidllm.store.usage_names import labels
from voidllm.store.usage_report import cover_of

_BY_DEFAULT = ("model", "status")
_PATIENCE_S = 25.0

Group = tuple[str | int, ...]


async def usage(call: Call[ReportAsk, Nothing]) -> Report:
    """Report usage of all that the caller administers.

    :raises Refusal: 400, or 503 if rows are still on their way to the database.
    """
    return await _report(call, everybody)


async def org_usage(call: Call[ReportAsk, Nothing]) -> Report:
    """Report usage of an organisation."""
    return await _report(call, of_org)


async def team_usage(call: Call[ReportAsk, Nothing]) -> Report:
    """Report usage of a team."""
    return await _report(call, of_team)


async def own_usage(call: Call[ReportAsk, Nothing]) -> Report:
    """Report what the caller has used."""
    return await _report(call, own)


async def _report(
    call: Call[ReportAsk, Nothing], find: Callable[[Call[Any, Any]], Awaitable[Whose]]
) -> Report:
    query = call.query
    whose = await find(call)
    group_by = _BY_DEFAULT if query.group_by is None else tuple(query.group_by)
    if query.percentiles and query.limit > MOST_WITH_PERCENTILES:
        raise bad(f"limit must be at most {MOST_WITH_PERCENTILES} with percentiles", param="limit")
    wanted = question(call, whose, group_by)
    wanted = evolve(wanted, limit=query.limit + 1, histograms=query.percentiles)
    await flush(call.context)
    rows = await call.context.store.usage_report(wanted)
    periods = cover_of(wanted)
    more: dict[str, Any] = {}
    earlier: Mapping[Group, UsageRow] | None = None
    if query.compare is not None:
        before = previous(wanted)
        earlier = shifted(wanted, await call.context.store.usage_report(before))
        then = cover_of(before)
        more = {"previous_from": moment(then.since_ms), "previous_to": moment(then.until_ms)}
    shown = rows[: query.limit]
    names = await names_of(call, group_by, shown, query.expand or ())
    return Report(
        data=[usage_view(group_by, row, names, earlier) for row in shown],
        has_more=len(rows) > query.limit,
        group_by=cast(Any, list(group_by)),
        from_=moment(max(0, periods.since_ms)),
        to=moment(periods.until_ms),
        timezone=whose.zone,
        org_id=whose.org_id or UNSET,
        team_id=whose.team_id or UNSET,
        **more,
    )


def question(call: Call[Any, Any], whose: Whose, group_by: tuple[str, ...]) -> UsageQuery:
    """Give what to ask the store for.

    :raises Refusal: 400.
    """
    if len(set(group_by)) != len(group_by):
        raise bad("group_by names something twice", param="group_by")
    now_ms = call.now_ms
    since_ms, until_ms = span(call.query, now_ms)
    wanted = UsageQuery(
        since_ms, until_ms, group_by, (*whose.where, *filters(call.query)), zone=whose.zone, now_ms=now_ms
    )
    try:
        cover_of(wanted)
    except StoreRejected as problem:
        raise bad(str(problem), param="group_by" if "hour" in group_by else "since") from None
    return wanted


def previous(query: UsageQuery) -> UsageQuery:
    """Give the same question of the same length of time before."""
    return evolve(query, since_ms=2 * query.since_ms - query.until_ms, until_ms=query.since_ms)


def shifted(query: UsageQuery, rows: Iterable[UsageRow]) -> dict[Group, UsageRow]:
    """Give earlier rows by the groups that they are compared with."""
    length_ms = query.until_ms - query.since_ms
    days = max(1, round(length_ms / DAY_MS))

    def later(name: str, value: str | int) -> str | int:
        if name == "hour":
            return int(value) + round(length_ms / 3_600_000) * 3_600_000
        if name == "day":
            digits = int(value)
            day = date(digits // 10000, digits // 100 % 100, digits % 100)
            return number(day + timedelta(days))
        if name == "month":
            months = int(value) // 100 * 12 + int(value) % 100 - 1 + max(1, round(days / 30.44))
            return months // 12 * 100 + months % 12 + 1
        return value

    return {
        tuple(later(name, value) for name, value in zip(query.group_by, row.group, strict=True)): row
        for row in rows
    }


async def names_of(
    call: Call[Any, Any], group_by: tuple[str, ...], rows: Iterable[UsageRow], wanted: Iterable[str]
) -> dict[tuple[str, str], str]:
    """Read what the ids in rows are called, by kind and id."""
    found: dict[tuple[str, str], str] = {}
    for kind in sorted({*wanted} & {*group_by}):
        place = group_by.index(kind)
        named = await call.read(labels, kind, [str(row.group[place]) for row in rows])
        found |= {(kind, id_): name for id_, name in named.items()}
    return found


async def flush(context: AdminContext) -> None:
    """Wait until everything that has finished is in the database.

    :raises Refusal: 503 if that takes too long.
    """
    flushed = context.flush()
    # The batcher tries for as long as the database is away; nobody waits that long for a report.
    expired: list[bool] = []

    def give_up() -> None:
        expired.append(True)
        flushed.cancel()

    deadline = context.world.reactor.callLater(_PATIENCE_S, give_up)
    try:
        await flushed
    except Exception:
        if not expired:
            raise
        message = "usage is not yet complete in the database; try again"
        raise Refusal(503, "service_unavailable", message, retry_after_ms=2000) from None
    finally:
        try:
            deadline.cancel()
        except (AlreadyCalled, AlreadyCancelled):
            pass
