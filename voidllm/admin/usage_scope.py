"""Whose usage a report is about, and of which time."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from voidllm.admin.access import missing
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.moments import parse_moment_ms
from voidllm.admin.usage_shapes import SpanAsk, UsageFilter
from voidllm.auth.roles import ORG_ADMIN, RANKS, rank
from voidllm.store import directory

_FILTERS = (
    *("org", "team", "user", "service_account", "key", "model", "provider", "deployment"),
    *("tag", "status"),
)

Where = tuple[tuple[str, str | int | tuple[str | int, ...]], ...]


@frozen
class Whose:
    """A part of all usage.

    :ivar where: conditions as in :class:`~voidllm.store.records.UsageQuery`.
    :ivar zone: name of the time zone of its days.
    """

    where: Where
    zone: str = "UTC"
    org_id: str | None = None
    team_id: str | None = None


async def everybody(call: Call[Any, Any]) -> Whose:
    """Give all that the caller administers; of the named organisations only, if some are.

    :raises Refusal: 404 for one that the caller does not administer.
    """
    actor = call.actor
    asked = getattr(call.query, "org", None)
    if actor.everywhere and not asked:
        return Whose(())
    own = [org_id for org_id, role in actor.orgs.items() if rank(role) >= RANKS[ORG_ADMIN]]
    if asked and not actor.everywhere and not set(asked) <= set(own):
        raise missing("org")
    orgs = tuple(sorted(set(asked or own)))
    if len(orgs) != 1:
        return Whose((("org", orgs),))
    org = await call.read(directory.find_org, orgs[0])
    return Whose((("org", orgs[0]),), "UTC" if org is None else org.timezone, orgs[0])


async def of_org(call: Call[Any, Any]) -> Whose:
    """Give the organisation in the path."""
    return Whose((("org", call.org.id),), call.org.timezone, call.org.id)


async def of_team(call: Call[Any, Any]) -> Whose:
    """Give the team in the path."""
    where = (("org", call.org.id), ("team", call.team.id))
    return Whose(where, call.org.timezone, call.org.id, call.team.id)


async def own(call: Call[Any, Any]) -> Whose:
    """Give what the caller has used: a person with all keys, anything else with its one key."""
    actor = call.actor
    org = None if actor.org_id is None else await call.read(directory.find_org, actor.org_id)
    zone = "UTC" if org is None else org.timezone
    if actor.user_id is not None:
        return Whose((("user", actor.user_id),), zone)
    if actor.service_account_id is not None:
        return Whose((("service_account", actor.service_account_id),), zone)
    # Whoever runs the gateway has no key and uses nothing; no request has a status of 0.
    nothing: Where = (("status", 0),)
    return Whose((("key", actor.key_id),) if actor.key_id is not None else nothing, zone)


def filters(query: UsageFilter) -> Where:
    """Give the conditions that a query names."""
    found: list[tuple[str, tuple[str | int, ...]]] = []
    for name in _FILTERS:
        values = getattr(query, name, None)
        if values:
            found.append((name, tuple(map(int, values)) if name == "status" else tuple(values)))
    return tuple(found)


def span(query: SpanAsk, now_ms: int) -> tuple[int, int]:
    """Give the first moment that is asked for and the first behind it.

    :raises Refusal: 400.
    """
    begins = ("from", query.from_) if query.from_ is not None else ("since", query.since)
    ends = ("to", query.to) if query.to is not None else ("until", query.until)
    since_ms = _moment(*begins, now_ms)
    # The hour that begins this very moment counts.
    until_ms = now_ms + 1 if ends[1] is None else _moment(ends[0], ends[1], now_ms)
    if until_ms <= since_ms:
        raise bad(f"{ends[0]} must be after {begins[0]}", param=ends[0])
    return since_ms, until_ms


def _moment(name: str, given: str, now_ms: int) -> int:
    try:
        return parse_moment_ms(given, now_ms)
    except (ValueError, OverflowError):
        raise bad(f"{name} must be for example 24h, 2026-01-31 or 2026-01-31T12:00:00Z", param=name) from None
