"""Reading the audit log: filtered, newest first or oldest first, a page at a time."""

from __future__ import annotations

import json
from typing import Any, Mapping

from attrs import frozen

from voidllm.store.audit import COLUMNS
from voidllm.store.pages import Condition, contains
from voidllm.store.statements import PAGE, Op, Row, q

_SELECT = f"SELECT {', '.join(COLUMNS)}, hash FROM audit_log"  # noqa: S608

#: What a search looks through.
_SEARCHED = (
    "actor_name",
    "action",
    "resource_type",
    "coalesce(resource_id, '')",
    "error_code",
    "address",
    "request_id",
)


@frozen
class Logged:
    """One entry as it was written; see :class:`~voidllm.store.audit.Entry`.

    :ivar diff: names of fields to what they were and what they are.
    :ivar hash: of this entry and the one before.
    """

    seq: int
    id: str
    at_ms: int
    org_id: str | None
    team_id: str | None
    actor_type: str
    actor_id: str | None
    actor_name: str
    actor_key_id: str | None
    on_behalf_of: str | None
    action: str
    resource_type: str
    resource_id: str | None
    status: int
    error_code: str
    address: str
    request_id: str
    diff: Mapping[str, list[Any]]
    hash: str


@frozen
class AuditFilter:
    """Which entries are meant; what is ``None`` is no condition.

    :ivar orgs: the organisations that an entry may be about; with any, entries about none are left out.
    :ivar refused: whether it was refused.
    :ivar since_ms: the first millisecond.
    :ivar until_ms: the first one after.
    :ivar search: is in one of the texts.
    """

    orgs: tuple[str, ...] | None = None
    actor_id: str | None = None
    actor_type: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    action: str | None = None
    refused: bool | None = None
    status: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    search: str | None = None

    def conditions(self) -> list[Condition]:
        """Give what must hold for an entry."""
        found: list[Condition] = []
        if self.orgs is not None:
            found.append((f"org_id IN ({', '.join('?' * len(self.orgs))})", self.orgs))
        for column in ("actor_id", "actor_type", "resource_type", "resource_id", "action", "status"):
            if (value := getattr(self, column)) is not None:
                found.append((f"{column} = ?", (value,)))
        if self.refused is not None:
            found.append((f"error_code {'<>' if self.refused else '='} ''", ()))
        if self.since_ms is not None:
            found.append(("at_ms >= ?", (self.since_ms,)))
        if self.until_ms is not None:
            found.append(("at_ms < ?", (self.until_ms,)))
        if self.search is not None:
            found.append(contains(self.search, *_SEARCHED))
        return found


def entries(wanted: AuditFilter, limit: int, after: int | None, descending: bool = True) -> Op[list[Logged]]:
    """Read one page of entries.

    :param after: number of the last entry that was seen.
    """
    if wanted.orgs == ():
        return []
    where = wanted.conditions()
    if after is not None:
        where.append((f"seq {'<' if descending else '>'} ?", (after,)))
    text = " AND ".join(f"({condition})" for condition, _ in where)
    rows = yield q(
        f"{_SELECT}{' WHERE ' if text else ''}{text} ORDER BY seq{' DESC' if descending else ''} LIMIT ?",
        *(value for _, values in where for value in values),
        max(1, min(limit, PAGE)),
    )
    return [_logged(row) for row in rows]


def entry(entry_id: str) -> Op[Logged | None]:
    """Read one entry."""
    rows = yield q(f"{_SELECT} WHERE id = ?", entry_id)
    return _logged(rows[0]) if rows else None


def _logged(row: Row) -> Logged:
    *plain, diff, digest = row
    return Logged(*(*plain, json.loads(diff), digest))
