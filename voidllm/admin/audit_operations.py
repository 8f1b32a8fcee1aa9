"""What an auditor can ask: who did what, and who was refused what."""

from __future__ import annotations

from typing import Any, AsyncGenerator

import msgspec

from voidllm.admin.access import missing, require_org
from voidllm.admin.audit_shapes import (
    AuditAsk,
    AuditEntry,
    AuditExport,
    AuditList,
    Verified,
    VerifyAsk,
    entry_view,
    verified_view,
)
from voidllm.admin.declare import Call
from voidllm.admin.expanding import expanded
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.moments import parse_moment_ms
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.streaming import Stream
from voidllm.auth.roles import ORG_ADMIN
from voidllm.store import audit_read, audit_verify, directory
from voidllm.store.audit_read import AuditFilter
from voidllm.store.statements import PAGE

_MOST_DIGITS = 16
_PAGES_PER_CALL = 20


async def list_entries(call: Call[AuditList, Nothing]) -> Page[AuditEntry]:
    """Give one page of the log.

    :raises Refusal: 400, or 404 for an organisation that is not there or not the actor's.
    """
    query = call.query
    page = page_of(query, query.sort)
    after = None if page.after is None else _seq(str(page.after[0]))
    wanted = await _filter(call)
    found = await call.read(audit_read.entries, wanted, page.limit, after, page.descending)
    shown = envelope(query, query.sort, found, entry_view, lambda entry: (str(entry.seq), entry.id))
    return await expanded(call.context.store, shown, query.expand or ())


async def get_entry(call: Call[Nothing, Nothing]) -> AuditEntry:
    """Show one entry.

    :raises Refusal: 404.
    """
    found = await call.read(audit_read.entry, call.path["entry_id"])
    if found is None:
        raise missing()
    if found.org_id is not None:
        require_org(call.actor, found.org_id, ORG_ADMIN)
    elif not call.actor.everywhere:
        raise missing()
    return entry_view(found)


async def export(call: Call[AuditExport, Nothing]) -> Stream:
    """Give all entries that are meant, oldest first, one JSON object a line.

    :raises Refusal: 400 or 404.
    """
    wanted = await _filter(call)
    return Stream("application/x-ndjson", "audit-log.ndjson", _lines(call, wanted))


async def verify(call: Call[VerifyAsk, Nothing]) -> Verified:
    """Follow the chain, some pages at a time.

    :raises Refusal: 400.
    """
    seq, digest, looked = call.query.after, call.query.after_hash, 0
    for _ in range(_PAGES_PER_CALL):
        checked = await call.read(audit_verify.follow, seq, digest)
        seq, digest, looked = checked.seq, checked.hash, looked + checked.entries
        if checked.done:
            break
    return verified_view(checked, looked)


async def _lines(call: Call[Any, Any], wanted: AuditFilter) -> AsyncGenerator[bytes, None]:
    encode = msgspec.json.Encoder().encode
    after = None
    while True:
        found = await call.read(audit_read.entries, wanted, PAGE, after, False)
        if found:
            yield b"".join(encode(entry_view(entry)) + b"\n" for entry in found)
            after = found[-1].seq
        if len(found) < PAGE:
            return


async def _filter(call: Call[Any, Nothing]) -> AuditFilter:
    """Make of a query what to look for, no further than the actor may see.

    :raises Refusal: 400 or 404.
    """
    ask: AuditAsk = call.query
    begins = ("from", ask.from_) if ask.from_ is not None else ("since", ask.since)
    ends = ("to", ask.to) if ask.to is not None else ("until", ask.until)
    return AuditFilter(
        await _orgs(call, ask.org_id),
        ask.actor_id,
        ask.actor_type,
        ask.resource_type,
        ask.resource_id,
        ask.action,
        None if ask.outcome is None else ask.outcome == "refused",
        ask.status,
        _moment_ms(*begins, call.now_ms),
        _moment_ms(*ends, call.now_ms),
        ask.q,
    )


async def _orgs(call: Call[Any, Any], ref: str | None) -> tuple[str, ...] | None:
    actor = call.actor
    if ref is not None:
        org = await call.read(directory.find_org, ref)
        if org is None:
            raise missing(param="org_id")
        require_org(actor, org.id, ORG_ADMIN)
        return (org.id,)
    if actor.everywhere:
        return None
    return tuple(org_id for org_id, role in actor.orgs.items() if role == ORG_ADMIN)


def _moment_ms(name: str, given: str | None, now_ms: int) -> int | None:
    if given is None:
        return None
    try:
        return parse_moment_ms(given, now_ms)
    except (ValueError, OverflowError):
        raise bad(f"{name} must be for example 24h, 2026-01-31 or 2026-01-31T12:00:00Z", param=name) from None


def _seq(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise bad("cursor is not one that a page gave", param="cursor")
    return int(text)
