"""Usage reports: complete up to the moment of asking, and confined to what one may see."""

from __future__ import annotations

from typing import Any, Mapping

from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from voidllm.admin.access import READ, Actor, require_scope
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import bad, known_only, text
from voidllm.admin.moments import parse_moment_ms
from voidllm.admin.views import usage_view
from voidllm.core.errors import Refusal
from voidllm.store.records import UsageQuery
from voidllm.store.usage_report import DIMENSIONS

DEFAULT_GROUP_BY = "model,status"
DEFAULT_SINCE = "30d"
_MOST_ROWS = 10_000
_PATIENCE_S = 25.0


async def usage(context: AdminContext, actor: Actor, query: Mapping[str, str]) -> dict[str, Any]:
    """Report usage, everything that finished before the call included.

    :param query: ``group_by`` (names of :data:`~voidllm.store.usage_report.DIMENSIONS` with
        commas between), ``since`` and ``until`` (a duration before now, a date, or RFC 3339).
        Hours count whole.
    :raises Refusal: 400, or 503 if rows are still on their way to the database.
    """
    require_scope(actor, READ)
    known_only(query, ("group_by", "since", "until"))
    now_ms = context.world.wall_ms()
    group_by = _group_by(text(query, "group_by", DEFAULT_GROUP_BY) or "")
    since_ms = _moment(query, "since", now_ms, DEFAULT_SINCE)
    until_ms = _moment(query, "until", now_ms, None)
    if until_ms <= since_ms:
        raise bad("until must be after since", param="until")
    await _flush(context)
    where = () if actor.org_id is None else (("org", actor.org_id),)
    rows = await context.store.usage_report(UsageQuery(since_ms, until_ms, group_by, where, _MOST_ROWS))
    return {"data": [usage_view(group_by, row) for row in rows]}


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


def _group_by(given: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if any(name not in DIMENSIONS for name in names):
        raise bad(f"group_by takes some of {', '.join(DIMENSIONS)}", param="group_by")
    if len(set(names)) != len(names):
        raise bad("group_by names something twice", param="group_by")
    return names


def _moment(query: Mapping[str, str], name: str, now_ms: int, default: str | None) -> int:
    given = text(query, name, default)
    if given is None:
        # The hour that begins this very moment counts.
        return now_ms + 1
    try:
        return parse_moment_ms(given, now_ms)
    except (ValueError, OverflowError):
        raise bad(f"{name} must be for example 24h, 2026-01-31 or 2026-01-31T12:00:00Z", param=name) from None
