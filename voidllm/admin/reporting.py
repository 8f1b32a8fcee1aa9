"""Usage reports: complete up to the moment of asking, and confined to what one may see."""

from __future__ import annotations

from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.moments import parse_moment_ms
from voidllm.admin.usage_shapes import UsageAsk, UsageLine
from voidllm.admin.views import usage_view
from voidllm.core.errors import Refusal
from voidllm.store.records import UsageQuery

_BY_DEFAULT = ("model", "status")
_MOST_ROWS = 10_000
_PATIENCE_S = 25.0


async def usage(call: Call[UsageAsk, Nothing]) -> Page[UsageLine]:
    """Report usage, everything that finished before the call included.

    :raises Refusal: 400, or 503 if rows are still on their way to the database.
    """
    context, query = call.context, call.query
    now_ms = context.world.wall_ms()
    group_by = _BY_DEFAULT if query.group_by is None else tuple(query.group_by)
    if len(set(group_by)) != len(group_by):
        raise bad("group_by names something twice", param="group_by")
    since_ms = _moment("since", query.since, now_ms)
    # The hour that begins this very moment counts.
    until_ms = now_ms + 1 if query.until is None else _moment("until", query.until, now_ms)
    if until_ms <= since_ms:
        raise bad("until must be after since", param="until")
    await _flush(context)
    org_id = None if call.actor.everywhere else call.actor.org_id
    where = () if org_id is None else (("org", org_id),)
    wanted = UsageQuery(since_ms, until_ms, group_by, where, _MOST_ROWS + 1)
    rows = await context.store.usage_report(wanted)
    data = [usage_view(group_by, row) for row in rows[:_MOST_ROWS]]
    return Page(data=data, has_more=len(rows) > _MOST_ROWS)


async def _flush(context: AdminContext) -> None:
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


def _moment(name: str, given: str, now_ms: int) -> int:
    try:
        return parse_moment_ms(given, now_ms)
    except (ValueError, OverflowError):
        raise bad(f"{name} must be for example 24h, 2026-01-31 or 2026-01-31T12:00:00Z", param=name) from None
