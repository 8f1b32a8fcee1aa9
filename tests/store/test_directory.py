"""Finding organisations, teams, people and service accounts by name, on both stores."""

from __future__ import annotations

from typing import Any

from tests.store.support import NOW, OnPostgres, OnSQLite, new_id, org, seed, team, user
from voidllm.store.records import ServiceAccount


class DirectorySuite:
    """Behaviour that both stores share."""

    store: Any
    assertEqual: Any
    assertIsNone: Any

    async def test_orgs(self) -> None:
        """An organisation is found by id or slug, and the oldest one without either."""
        self.assertIsNone(await self.store.find_org())
        first = seed()
        await self.store.bootstrap(first, NOW)
        later = await self.store.create_org(org(created_at_ms=NOW + 1))
        self.assertEqual(await self.store.find_org(), first.org)
        self.assertEqual(await self.store.find_org(later.id), later)
        self.assertEqual(await self.store.find_org(later.slug), later)
        self.assertIsNone(await self.store.find_org("nobody"))

    async def test_teams(self) -> None:
        """A team is found in its own organisation only."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        group = await self.store.create_team(team(first.org))
        self.assertEqual(await self.store.find_team(first.org.id, group.id), group)
        self.assertEqual(await self.store.find_team(first.org.id, group.slug), group)
        self.assertIsNone(await self.store.find_team(other.id, group.id))

    async def test_members(self) -> None:
        """A user is found where they belong, a system administrator everywhere."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        member = user()
        await self.store.create_user(member, first.org.id)
        found = await self.store.find_member(first.org.id, member.email.upper())
        self.assertEqual((found.id, found.role), (member.id, "member"))
        self.assertIsNone(await self.store.find_member(other.id, member.id))
        for home in (first.org.id, other.id):
            found = await self.store.find_member(home)
            self.assertEqual((found.id, found.role), (first.admin.id, "system_admin"))

    async def test_service_accounts(self) -> None:
        """A service account is found in its own organisation by id or name."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        account = await self.store.create_service_account(
            ServiceAccount(new_id(), first.org.id, "robot", NOW)
        )
        self.assertEqual(await self.store.find_service_account(first.org.id, "robot"), account)
        self.assertEqual(await self.store.find_service_account(first.org.id, account.id), account)
        self.assertIsNone(await self.store.find_service_account(other.id, "robot"))


class SQLiteDirectoryTests(DirectorySuite, OnSQLite):
    """On SQLite."""


class PostgresDirectoryTests(DirectorySuite, OnPostgres):
    """On PostgreSQL."""
