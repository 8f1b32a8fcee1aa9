"""Every kind of caller, what the declarations promise them, and all that is stored before and after."""

from __future__ import annotations

import json
from typing import Any, Mapping

from attrs import field, frozen

from tests.admin.samples import samples
from tests.admin.support import NOW, AdminCase
from tests.store.support import new_id, team, user
from voidllm.admin.declare import Route
from voidllm.auth.roles import RANKS
from voidllm.store.records import ServiceAccount
from voidllm.store.statements import Op, Rows, q

#: What is written whether or not somebody may do what they ask for.
BESIDE = frozenset(
    {
        "audit_head",
        "audit_log",
        "idempotency_keys",
        "key_last_used",
        "login_attempts",
        "schema_migrations",
    }
)

READ, WRITE = "admin:read", "admin:write"
ALL = frozenset({"inference", READ, WRITE})
Dump = dict[str, Rows]


@frozen
class Caller:
    """Somebody who calls, as the declarations see them.

    :ivar role: the highest anywhere, ``None`` without a key.
    :ivar home: ``org`` or ``other``: the organisation of the case that the caller belongs to.
    """

    name: str
    role: str | None
    home: str = "org"
    orgs: Mapping[str, str] = field(factory=dict)
    teams: Mapping[str, str] = field(factory=dict)
    scopes: frozenset[str] = ALL

    def role_in(self, org_id: str) -> str | None:
        return "system_admin" if self.role == "system_admin" else self.orgs.get(org_id)

    def role_in_team(self, org_id: str, team_id: str) -> str | None:
        there = self.role_in(org_id)
        if there in ("system_admin", "org_admin"):
            return there
        return None if there is None else self.teams.get(team_id)


def expected(route: Route, caller: Caller, parts: Mapping[str, str]) -> int:
    """Give the status of the refusal that the declaration promises, 0 for none."""
    if route.role is None:
        return 0
    if caller.role is None:
        return 401
    if route.scope is not None and route.scope not in caller.scopes:
        return 403
    if route.tenant not in ("org", "team"):
        if RANKS[caller.role] < RANKS[route.role]:
            return 403
        # What samples make is of one organisation.
        return 404 if route.tenant == "own" and "{" in route.path and caller.home == "other" else 0
    there = (
        caller.role_in(parts["org_id"])
        if route.tenant == "org"
        else caller.role_in_team(parts["org_id"], parts["team_id"])
    )
    if there is None:
        return 404
    return 0 if RANKS[there] >= RANKS[route.role] else 403


def all_tables(dialect: str) -> Op[list[str]]:
    """Name every table that is there."""
    if dialect == "sqlite":
        rows = yield q(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
    else:
        # Partitions are read through what they are parts of.
        rows = yield q(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
    return sorted(name for (name,) in rows)


def _dump(tables: list[str]) -> Op[Dump]:
    found = {}
    for table in tables:
        rows = yield q(f"SELECT * FROM {table}")
        found[table] = sorted(map(tuple, rows), key=repr)
    return found


def _restore(dialect: str, base: Dump) -> Op[None]:
    if dialect == "sqlite":
        yield q("PRAGMA defer_foreign_keys = ON")
    else:
        yield q("SET LOCAL session_replication_role = replica")
    for table in base:
        yield q(f"DELETE FROM {table}")
    for table, rows in base.items():
        for row in rows:
            yield q(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", *map(_stored, row))


def _stored(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


class WalkCase(AdminCase):
    """Both organisations with everybody who could call, and the state of the whole store.

    :ivar callers: all of them.
    """

    timeout = 600
    dialect = "sqlite"

    async def _set_up(self) -> None:
        await super()._set_up()
        self.samples = samples()
        self.other_team = await self.store.create_team(team(self.other, name="Their", slug="their"))
        await self.mint("plain", self.org, user_id=self.admin.id, scopes=frozenset({"inference"}))
        await self.mint("reader", self.org, user_id=self.users["boss"], scopes=frozenset({READ}))
        await self.mint("team_key", self.org, key_type="team_key", team_id=self.team.id)
        account = await self.store.create_service_account(ServiceAccount(new_id(), self.org.id, "Robot", NOW))
        await self.mint("sa_key", self.org, key_type="sa_key", service_account_id=account.id)
        leader = await self.store.create_user(user(), self.other.id, "member")
        await self.store.write(_join, self.other_team, leader.id)
        await self.mint("other_lead", self.other, user_id=leader.id)
        await self.publish()
        mine, theirs = {self.org.id: "member"}, {self.other.id: "member"}
        boss = {self.org.id: "org_admin"}
        self.callers = (
            Caller("nobody", None),
            Caller("plain", "system_admin", orgs=boss, scopes=frozenset({"inference"})),
            Caller("reader", "org_admin", orgs=boss, scopes=frozenset({READ})),
            Caller("worker", "member", orgs=mine),
            Caller("mate", "member", orgs=mine, teams={self.team.id: "member"}),
            Caller("lead", "team_admin", orgs=mine, teams={self.team.id: "team_admin"}),
            Caller("team_key", "team_admin", orgs=mine, teams={self.team.id: "team_admin"}),
            Caller("sa_key", "org_admin", orgs=boss),
            Caller("boss", "org_admin", orgs=boss),
            Caller("other_lead", "team_admin", "other", theirs, {self.other_team.id: "team_admin"}),
            Caller("other_boss", "org_admin", "other", {self.other.id: "org_admin"}),
            Caller("system", "system_admin"),
        )
        self.belongings = {
            "org": self._ids(
                self.org.id, self.team.id, ("boss", "worker", "mate", "lead", "team_key", "sa_key")
            ),
            "other": self._ids(self.other.id, self.other_team.id, ("other_boss", "other_lead")),
        }
        found = await self.store.read(all_tables, self.dialect)
        self.tables = [name for name in found if name not in BESIDE]
        self.base = await self.dump()

    def _ids(self, org_id: str, team_id: str, names: tuple[str, ...]) -> frozenset[str]:
        of_people = (self.users[name] for name in names)
        return frozenset((org_id, team_id, *(self.ids[name] for name in names), *filter(None, of_people)))

    async def dump(self, tables: list[str] | None = None) -> Dump:
        """Give every row of some tables, by default of those that a refusal must leave alone."""
        found: Dump = await self.store.read(_dump, self.tables if tables is None else tables)
        return found

    async def restore(self) -> None:
        """Make the store what it was before any call."""
        await self.store.write(_restore, self.dialect, self.base)

    def differing(self, before: Dump, after: Dump) -> dict[str, list[Any]]:
        """Give the rows that are in one dump only, by table."""
        found = {}
        for table in before:
            if before[table] != after[table]:
                rows = set(map(repr, before[table])) ^ set(map(repr, after[table]))
                found[table] = sorted(rows)
        return found

    def foreign(self, caller: Caller) -> frozenset[str]:
        """Give the ids that a caller may neither see nor change."""
        return self.belongings["other" if caller.home == "org" else "org"]

    async def ask(self, route: Route, caller: Caller, parts: Mapping[str, str]) -> tuple[int, Any]:
        """Send the request that the sample of a route is."""
        sample = self.samples[route.name]
        who = None if caller.role is None else caller.name
        path = route.path.format(**parts) + sample.query
        status, _, got = await self.call(route.method, path, sample.bodies(parts)[0], who)
        return status, got if isinstance(got, bytes) else json.dumps(got).encode()


def _join(where: Any, user_id: str) -> Op[None]:
    yield q(
        "INSERT INTO team_memberships (team_id, org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?, ?)",
        where.id,
        where.org_id,
        user_id,
        "team_admin",
        NOW,
    )
