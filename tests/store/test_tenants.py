"""Operations on organisations, people, teams and service accounts, on both stores."""

from __future__ import annotations

from typing import Any

from tests.store.support import NOW, OnPostgres, OnSQLite, key, new_id, org, seed, team, user
from voidllm.core.errors import Refusal, StoreConflict
from voidllm.store import memberships, orgs, service_accounts, team_memberships, teams, users
from voidllm.store.audit import Author
from voidllm.store.orgs import OrgRow
from voidllm.store.records import ServiceAccount
from voidllm.store.statements import Op, Rows, q

_AUTHOR = Author("system")


def _rows(sql: str, *params: Any) -> Op[Rows]:
    return (yield q(sql, *params))


def _fine(*_: Any) -> None:
    """Nothing speaks against it."""


def _refuse(*_: Any) -> Any:
    raise Refusal(403, "forbidden", "no")


class TenantSuite:
    """Behaviour that both stores share."""

    store: Any
    assertEqual: Any
    assertIsNone: Any
    assertRaises: Any

    async def rows(self, sql: str, *params: Any) -> list[Any]:
        return [tuple(row) for row in await self.store.read(_rows, sql, *params)]

    async def _begin(self) -> None:
        first = seed()
        await self.store.bootstrap(first, NOW)
        self.org, self.admin = first.org, first.admin
        self.person = await self.store.create_user(user(), self.org.id, "member")
        self.team = await self.store.create_team(team(self.org))
        self.account = await self.store.create_service_account(
            ServiceAccount(new_id(), self.org.id, "robot", NOW, self.team.id)
        )
        add = (self.org.id, self.team.id, self.person.id, "member", _fine, NOW)
        await self.store.change(_AUTHOR, team_memberships.add_team_member, *add)

    async def test_a_check_that_raises_undoes_all_of_it(self) -> None:
        """What is decided in the transaction is decided before anything is done."""
        await self._begin()
        org_id, team_id, person, account = self.org.id, self.team.id, self.person.id, self.account.id
        version, seq = await self.store.change_version(), await self.rows("SELECT seq FROM audit_head")
        for op, *args in (
            (orgs.change_org, org_id, _refuse, NOW),
            (orgs.delete_org, org_id, _refuse, NOW),
            (users.change_user, person, _refuse, NOW),
            (users.delete_user, person, _refuse, NOW),
            (memberships.change_member, org_id, person, _refuse),
            (memberships.remove_member, org_id, person, _refuse, NOW),
            (teams.change_team, org_id, team_id, _refuse, NOW),
            (teams.delete_team, org_id, team_id, _refuse, NOW),
            (team_memberships.change_team_member, org_id, team_id, person, _refuse),
            (team_memberships.remove_team_member, org_id, team_id, person, _refuse, NOW),
            (service_accounts.rename_account, org_id, account, _refuse, NOW),
            (service_accounts.delete_account, org_id, account, _refuse, NOW),
        ):
            with self.assertRaises(Refusal):
                await self.store.change(_AUTHOR, op, *args)
        self.assertEqual(await self.store.change_version(), version)
        self.assertEqual(await self.rows("SELECT seq FROM audit_head"), seq)

    async def test_what_is_not_there_is_not_changed(self) -> None:
        """No operation asks about, or does, anything with what was removed or never was."""
        await self._begin()
        org_id, no = self.org.id, new_id()
        version = await self.store.change_version()
        for op, *args in (
            (orgs.change_org, no, _refuse, NOW),
            (orgs.delete_org, no, _refuse, NOW),
            (users.change_user, no, _refuse, NOW),
            (users.delete_user, no, _refuse, NOW),
            (users.create_user, users.UserRow(no, "x@example.org", "x", NOW), no, "member"),
            (memberships.add_member, org_id, no, "member", _refuse, NOW),
            (memberships.add_member, no, self.person.id, "member", _refuse, NOW),
            (memberships.change_member, org_id, no, _refuse),
            (memberships.remove_member, org_id, no, _refuse, NOW),
            (teams.create_team, teams.TeamRow(no, no, "x", "xx", NOW), _refuse),
            (teams.change_team, org_id, no, _refuse, NOW),
            (teams.delete_team, org_id, no, _refuse, NOW),
            (team_memberships.add_team_member, org_id, no, self.person.id, "member", _refuse, NOW),
            (team_memberships.add_team_member, org_id, self.team.id, no, "member", _refuse, NOW),
            (team_memberships.change_team_member, org_id, self.team.id, no, _refuse),
            (team_memberships.remove_team_member, org_id, self.team.id, no, _refuse, NOW),
            (service_accounts.create_account, service_accounts.AccountRow(no, no, "x", NOW)),
            (service_accounts.rename_account, org_id, no, _refuse, NOW),
            (service_accounts.delete_account, org_id, no, _refuse, NOW),
        ):
            self.assertIsNone(await self.store.change(_AUTHOR, op, *args), op.__name__)
        self.assertEqual(await self.store.change_version(), version)

    async def test_a_removed_organisation_frees_what_was_its_own(self) -> None:
        """Invitations to it are void, and its mail domains and identity provider may be another's."""
        await self._begin()
        other = await self.store.create_org(org())
        statements: tuple[tuple[Any, ...], ...] = (
            (
                "INSERT INTO org_sso (org_id, enabled, issuer, client_id, redirect_url, scopes,"
                " auto_provision, default_role, group_sync, group_claim, group_rules, created_at_ms,"
                " updated_at_ms)"
                " VALUES (?, 1, '', '', '', '[]', 0, 'member', 0, '', '[]', ?, ?)",
                self.org.id,
                NOW,
                NOW,
            ),
            ("INSERT INTO sso_domains (domain, org_id) VALUES ('example.org', ?)", self.org.id),
            (
                "INSERT INTO sso_identities (provider, issuer, subject, user_id, created_at_ms, seen_at_ms)"
                " VALUES (?, '', 's', ?, ?, ?)",
                self.org.id,
                self.person.id,
                NOW,
                NOW,
            ),
            (
                "INSERT INTO invites (id, org_id, email, role, hash, hint, created_at_ms, expires_at_ms)"
                " VALUES (?, ?, 'x@example.org', 'member', ?, '', ?, ?)",
                new_id(),
                self.org.id,
                "0" * 64,
                NOW,
                NOW + 1,
            ),
        )
        for statement in statements:
            await self.store.write(_rows, *statement)
        removed = await self.store.change(_AUTHOR, orgs.delete_org, self.org.id, _fine, NOW)
        self.assertEqual(removed.member_count, 2)
        for table in ("org_sso", "sso_domains", "sso_identities", "org_memberships", "team_memberships"):
            self.assertEqual(await self.rows(f"SELECT 1 FROM {table}"), [], table)
        self.assertEqual(await self.rows("SELECT 1 FROM invites WHERE revoked_at_ms IS NULL"), [])
        left = await self.store.load(NOW)
        self.assertEqual(([one.id for one in left.orgs], left.teams, left.keys), ([other.id], (), ()))

    async def test_names_of_what_is_there_are_taken(self) -> None:
        """A slug among organisations, an address in any case among people; each is free after a removal."""
        await self._begin()
        twin = OrgRow(new_id(), "x", self.org.slug, NOW)
        with self.assertRaises(StoreConflict):
            await self.store.change(_AUTHOR, orgs.create_org, twin, _fine)
        same = users.UserRow(new_id(), self.person.email.upper(), "x", NOW)
        with self.assertRaises(StoreConflict):
            await self.store.change(_AUTHOR, users.create_user, same, None, "member")
        await self.store.change(_AUTHOR, users.delete_user, self.person.id, _fine, NOW)
        await self.store.change(_AUTHOR, users.create_user, same, None, "member")
        await self.store.change(_AUTHOR, orgs.delete_org, self.org.id, _fine, NOW)
        await self.store.change(_AUTHOR, orgs.create_org, twin, _fine)

    async def test_more_keys_than_a_page_are_revoked(self) -> None:
        """All of them in the one transaction, with one entry and little to tell to snapshots."""
        await self._begin()
        for _ in range(501):
            await self.store.create_key(key(self.org, self.person), NOW)
        await self.store.change(_AUTHOR, users.delete_user, self.person.id, _fine, NOW)
        self.assertEqual(
            await self.rows("SELECT count(*) FROM api_keys WHERE user_id = ? AND revoked_at_ms = ?",
                            self.person.id, NOW), [(501,)]
        )  # fmt: skip
        touched = await self.rows(
            "SELECT kind, id FROM changes WHERE version = (SELECT version FROM change_version)"
        )
        self.assertEqual(touched, [("user", self.person.id)])


class SQLiteTenantTests(TenantSuite, OnSQLite):
    """On SQLite."""


class PostgresTenantTests(TenantSuite, OnPostgres):
    """On PostgreSQL."""
