"""Token limits that are nearly used up, and what else a dashboard counts."""

from __future__ import annotations

from attrs import frozen

from voidllm.store.statements import Op, Row, q
from voidllm.store.usage_columns import day_of

#: Lines of a list of warnings.
MOST = 50


@frozen
class Spent:
    """A token limit and how much of it is used.

    :ivar scope: ``org``, ``team`` or ``key``.
    :ivar window: ``daily`` or ``monthly``, both in UTC.
    """

    scope: str
    id: str
    name: str
    window: str
    limit: int
    usage: int


@frozen
class Counted:
    """How many there are of what works."""

    active_keys: int
    total_teams: int
    total_members: int


_USED = (
    "(SELECT {column} AS id, CAST(sum(CASE WHEN day >= ? THEN tokens ELSE 0 END) AS bigint) AS daily,"
    " CAST(sum(tokens) AS bigint) AS monthly FROM usage_counted WHERE day >= ?{within} GROUP BY {column})"
)

_NAMED = {
    "org": ("org_id", "organizations n", "n.name", "n.deleted_at_ms IS NULL"),
    "team": ("team_id", "teams n", "n.name", "n.deleted_at_ms IS NULL"),
    "key": ("key_id", "api_keys n", "n.name", "n.revoked_at_ms IS NULL"),
}


def spent(
    now_ms: int,
    month_start_ms: int,
    share: float,
    *,
    org_id: str | None = None,
    team_id: str | None = None,
    user_id: str | None = None,
    key_id: str | None = None,
) -> Op[list[Spent]]:
    """Read the token limits of which at least ``share`` is used, the most used first.

    :param org_id: of this organisation, its teams and its keys; of all without any of the ids.
    :param team_id: of this team and its keys.
    :param user_id: of this person's keys.
    """
    kinds: tuple[str, ...] = ("org", "team", "key")
    if team_id is not None:
        kinds = ("team", "key")
    if user_id is not None or key_id is not None:
        kinds = ("key",)
    found: list[Spent] = []
    for kind in kinds:
        column, table, name, alive = _NAMED[kind]
        conditions, values = [alive], list[str]()
        within, inside = "", list[str]()
        if org_id is not None:
            conditions.append("n.id = ?" if kind == "org" else "n.org_id = ?")
            values.append(org_id)
            within, inside = " AND org_id = ?", [org_id]
        if team_id is not None:
            conditions.append("n.id = ?" if kind == "team" else "n.team_id = ?")
            values.append(team_id)
        if user_id is not None:
            conditions.append("n.user_id = ?")
            values.append(user_id)
        if key_id is not None:
            conditions.append("n.id = ?")
            values.append(key_id)
        used = _USED.format(column=column, within=within)
        rows = yield q(
            f"SELECT n.id, {name}, l.tokens_per_day, l.tokens_per_month, u.daily, u.monthly"  # noqa: S608
            f" FROM scope_limits l JOIN {table} ON n.id = l.scope_id JOIN {used} u ON u.id = n.id"
            f" WHERE l.scope_kind = ? AND {' AND '.join(conditions)}"
            " AND ((l.tokens_per_day > 0 AND u.daily >= l.tokens_per_day * ?)"
            " OR (l.tokens_per_month > 0 AND u.monthly >= l.tokens_per_month * ?))",
            day_of(now_ms),
            day_of(month_start_ms),
            *inside,
            kind,
            *values,
            share,
            share,
        )
        found += [one for row in rows for one in _windows(kind, row, share)]
    found.sort(key=lambda one: (-one.usage / one.limit, one.scope, one.id))
    return found[:MOST]


def _windows(kind: str, row: Row, share: float) -> list[Spent]:
    id_, name, day_limit, month_limit, daily, monthly = row
    both = (("daily", day_limit, daily), ("monthly", month_limit, monthly))
    return [
        Spent(kind, id_, name, window, limit, used)
        for window, limit, used in both
        if limit and used >= limit * share
    ]


def counted(now_ms: int, org_id: str | None, team_id: str | None, user_id: str | None) -> Op[Counted]:
    """Count keys, teams and people: of a team, of a person, of an organisation, or of all."""
    alive = (
        "revoked_at_ms IS NULL AND key_type <> 'session_key' AND (expires_at_ms IS NULL OR expires_at_ms > ?)"
    )
    keys = [("org_id = ?", org_id), ("team_id = ?", team_id), ("user_id = ?", user_id)]
    given = [(text, value) for text, value in keys if value is not None]
    condition = "".join(f" AND {text}" for text, _ in given)
    ((active,),) = yield q(
        f"SELECT count(*) FROM api_keys WHERE {alive}{condition}",  # noqa: S608
        now_ms,
        *(value for _, value in given),
    )
    within, values = ("", ()) if org_id is None else (" AND org_id = ?", (org_id,))
    ((teams,),) = yield q(f"SELECT count(*) FROM teams WHERE deleted_at_ms IS NULL{within}", *values)  # noqa: S608
    if team_id is not None:
        ((members,),) = yield q("SELECT count(*) FROM team_memberships WHERE team_id = ?", team_id)
    else:
        ((members,),) = yield q(
            "SELECT count(DISTINCT m.user_id) FROM org_memberships m JOIN users u ON u.id = m.user_id"  # noqa: S608
            f" WHERE u.deleted_at_ms IS NULL{within}",
            *values,
        )
    return Counted(active, teams, members)
