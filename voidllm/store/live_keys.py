"""Keys that may be used, as snapshots want them: in pages, or of some owners only."""

from __future__ import annotations

import json
from typing import Iterable, Iterator, NamedTuple, Sequence

from voidllm.core.principal import Limits
from voidllm.core.usage_tags import joined
from voidllm.store import limits_rows
from voidllm.store.keys import FROM, LIVE, TEAM, role_of
from voidllm.store.statements import PAGE, Op, q

_SELECT = (
    f"SELECT k.id, k.hash, k.key_type, k.name, k.org_id, {TEAM}, k.user_id, k.service_account_id, k.scopes,"
    " k.expires_at_ms, k.addresses, k.tags, u.is_system_admin, m.role, a.scope_id IS NOT NULL,"
    f" {limits_rows.COLUMNS}{FROM} WHERE"
)
_AT_ONCE = 200

#: How keys are found by what they belong to; ``{}`` becomes marks.
_OF = {
    "key": "k.id IN ({0})",
    "user": "k.user_id IN ({0})",
    "service_account": "k.service_account_id IN ({0})",
    "org": "k.org_id IN ({0})",
    # Each branch has an index of its own.
    "team": "(k.team_id IN ({0}) OR k.service_account_id IN"
    " (SELECT id FROM service_accounts WHERE team_id IN ({0})))",
}


class LiveKey(NamedTuple):
    """A row; a tuple, because there may be 100,000 of them.

    :ivar scopes: separated by blanks.
    :ivar addresses: JSON.
    :ivar tags: JSON.
    :ivar listed: whether it has an access list of its own.
    """

    id: str
    hash: str
    key_type: str
    name: str
    org_id: str
    team_id: str | None
    user_id: str | None
    service_account_id: str | None
    scopes: str
    expires_at_ms: int | None
    addresses: str | None
    tags: str | None
    is_system_admin: int | None
    membership: str | None
    listed: bool
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    tokens_per_month: int | None

    @property
    def role(self) -> str:
        """What its owner is there."""
        return role_of(self.key_type, self.team_id, bool(self.is_system_admin), self.membership)

    @property
    def limits(self) -> Limits | None:
        """Its own numbers, ``None`` if it has none."""
        return None if self.requests_per_minute is None else limits_rows.from_row(self[15:20])

    @property
    def networks(self) -> tuple[str, ...]:
        """Where it may be used from."""
        return () if self.addresses is None else tuple(json.loads(self.addresses))

    @property
    def usage_tags(self) -> str:
        """What its usage is reported by."""
        return "" if self.tags is None else joined(json.loads(self.tags))


Lists = dict[str, frozenset[str]]
#: Keys, and the access lists of those that have one.
Keys = tuple[list[LiveKey], Lists]


def page(after: str, now_ms: int, size: int = PAGE) -> Op[tuple[list[LiveKey], Lists, str | None]]:
    """Read the live ones of the next ``size`` keys in the order of their ids, beginning after one.

    The page is cut by id first: a database that does not know how few rows it will be about joins all
    of them, page after page.

    :returns: also the id that the page ends with, ``None`` if it is the last one.
    """
    ends = yield q("SELECT id FROM api_keys WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?", after, size - 1)
    last = ends[0][0] if ends else None
    where, bounds = ("k.id > ?", (after,)) if last is None else ("k.id > ? AND k.id <= ?", (after, last))
    rows = yield q(f"{_SELECT} {where} AND {LIVE} ORDER BY k.id", *bounds, now_ms)
    found = [LiveKey._make(row) for row in rows]
    return found, (yield from _lists(found)), last


def keys_of(kind: str, ids: Sequence[str], now_ms: int) -> Op[Keys]:
    """Read the keys of some owners, or with some ids.

    :param kind: ``key``, ``user``, ``service_account``, ``team`` or ``org``.
    """
    found: list[LiveKey] = []
    lists: Lists = {}
    for some in chunks(ids):
        which = _OF[kind].format(marks(some))
        params = (*some, *some) if kind == "team" else tuple(some)
        after = ""
        while True:
            rows = yield q(
                f"{_SELECT} {which} AND k.id > ? AND {LIVE} ORDER BY k.id LIMIT ?",
                *params,
                after,
                now_ms,
                PAGE,
            )
            more = [LiveKey._make(row) for row in rows]
            found += more
            lists |= yield from _lists(more)
            if len(rows) < PAGE:
                break
            after = more[-1].id
    return found, lists


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of ids into pieces for one statement each."""
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]


def marks(ids: Sequence[str]) -> str:
    """Give as many question marks."""
    return ", ".join("?" * len(ids))


def _lists(found: Iterable[LiveKey]) -> Op[Lists]:
    restricted = [key.id for key in found if key.listed]
    lists: dict[str, set[str]] = {key_id: set() for key_id in restricted}
    for some in chunks(restricted):
        after = ("", "")
        while True:
            rows = yield q(
                "SELECT scope_id, model FROM access_models WHERE scope_kind = 'key'"  # noqa: S608
                f" AND scope_id IN ({marks(some)}) AND (scope_id, model) > (?, ?)"
                " ORDER BY scope_id, model LIMIT ?",
                *some,
                *after,
                PAGE,
            )
            for key_id, model in rows:
                lists[key_id].add(model)
            if len(rows) < PAGE:
                break
            after = rows[-1]
    return {key_id: frozenset(models) for key_id, models in lists.items()}
