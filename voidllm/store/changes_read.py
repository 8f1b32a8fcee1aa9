"""What was changed since a version, read again: what a snapshot needs to follow the store."""

from __future__ import annotations

from typing import Mapping, Sequence

from attrs import field, frozen

from voidllm.core.principal import Limits
from voidllm.store import access_rows, live_keys, state, tenants
from voidllm.store.live_keys import LiveKey, chunks, marks
from voidllm.store.records import NO_LIMITS
from voidllm.store.statements import Op, q

#: More than so many things are not read one by one: everything is read instead.
MOST = 5_000

#: What snapshots hold of a store. Models have a follower of their own, and ``nothing`` is nothing.
_OWNERS = ("key", "user", "service_account")
_SCOPES = ("org", "team")
_ELSEWHERE = ("models", "nothing")
_KNOWN = frozenset((*_OWNERS, *_SCOPES, *_ELSEWHERE))


@frozen
class TeamFacts:
    """What a snapshot needs of a team."""

    org_id: str
    limits: Limits


@frozen
class ScopeFacts:
    """Organisations and teams; of all of them, or of those that were touched.

    :ivar system: limits of the whole installation; only with all of them.
    :ivar orgs: live ones.
    :ivar teams: live ones of live organisations.
    :ivar access: ``(kind, id) -> models``, of those that have a list.
    :ivar org_aliases: ``(id, alias) -> model``.
    """

    orgs: Mapping[str, Limits] = field(factory=dict)
    teams: Mapping[str, TeamFacts] = field(factory=dict)
    access: Mapping[tuple[str, str], frozenset[str]] = field(factory=dict)
    org_aliases: Mapping[tuple[str, str], str] = field(factory=dict)
    team_aliases: Mapping[tuple[str, str], str] = field(factory=dict)
    system: Limits = NO_LIMITS


@frozen
class Changes:
    """What was touched, as it is at ``version``; what is asked for and not there is gone.

    :ivar asked: ids by kind: ``key``, ``user``, ``service_account``, ``org``, ``team``.
    :ivar keys: live ones of the touched keys, users and service accounts; some may be there twice.
    :ivar lists: access lists of those keys that have one.
    """

    version: int
    asked: Mapping[str, Sequence[str]] = field(factory=dict)
    scopes: ScopeFacts = field(factory=ScopeFacts)
    keys: Sequence[LiveKey] = ()
    lists: Mapping[str, frozenset[str]] = field(factory=dict)


def changes_since(version: int, now_ms: int) -> Op[Changes | None]:
    """Read all that was touched after ``version``.

    :returns: ``None`` where everything has to be read: too much was touched, somebody did not say
        what, the record of it is gone already, or the store is older than ``version``.
    """
    newest = yield from state.change_version()
    if newest == version:
        return Changes(newest)
    asked = (yield from _touched(version, newest)) if newest > version else None
    if asked is None:
        return None
    keys: list[LiveKey] = []
    lists: dict[str, frozenset[str]] = {}
    for kind in _OWNERS:
        if asked[kind]:
            found, theirs = yield from live_keys.keys_of(kind, asked[kind], now_ms)
            keys += found
            lists |= theirs
    return Changes(newest, asked, (yield from _scopes(asked["org"], asked["team"])), keys, lists)


def all_scopes() -> Op[tuple[int, ScopeFacts]]:
    """Read every organisation and team, and the version that they are of."""
    version = yield from state.change_version()
    orgs = yield from tenants.all_orgs()
    teams = yield from tenants.all_teams()
    return version, ScopeFacts(
        {org.id: org.limits for org in orgs},
        {team.id: TeamFacts(team.org_id, team.limits) for team in teams},
        {**(yield from access_rows.access_of("org")), **(yield from access_rows.access_of("team"))},
        (yield from access_rows.all_aliases("org")),
        (yield from access_rows.all_aliases("team")),
        (yield from tenants.system_limits()),
    )


def _touched(version: int, newest: int) -> Op[dict[str, list[str]] | None]:
    rows = yield q(
        "SELECT version, kind, id FROM changes WHERE version > ? AND version <= ?"
        " ORDER BY version, kind, id LIMIT ?",
        version,
        newest,
        MOST + 1,
    )
    # Whoever counts without a word, or was forgotten, has changed nobody knows what.
    if len(rows) > MOST or len({row[0] for row in rows}) != newest - version:
        return None
    found: dict[str, dict[str, None]] = {kind: {} for kind in _KNOWN}
    for _, kind, id_ in rows:
        if kind not in _KNOWN:
            return None
        found[kind][id_] = None
    return {kind: list(ids) for kind, ids in found.items()}


def _scopes(org_ids: Sequence[str], team_ids: Sequence[str]) -> Op[ScopeFacts]:
    orgs: dict[str, Limits] = {}
    teams: dict[str, TeamFacts] = {}
    access: dict[tuple[str, str], frozenset[str]] = {}
    aliases: dict[str, dict[tuple[str, str], str]] = {"org": {}, "team": {}}
    for some in chunks(org_ids):
        rows = yield q(f"{tenants.SELECT_ORGS} AND o.id IN ({marks(some)})", *some)
        orgs |= {org.id: org.limits for org in map(tenants.org_of, rows)}
    for some in chunks(team_ids):
        rows = yield q(f"{tenants.SELECT_TEAMS} AND t.id IN ({marks(some)})", *some)
        teams |= {team.id: TeamFacts(team.org_id, team.limits) for team in map(tenants.team_of, rows)}
    for kind, ids in (("org", org_ids), ("team", team_ids)):
        for some in chunks(ids):
            access |= yield from access_rows.access_of(kind, some)
            aliases[kind] |= yield from access_rows.all_aliases(kind, some)
    return ScopeFacts(orgs, teams, access, aliases["org"], aliases["team"])
