"""Finding owners by name or id, on both stores."""

from __future__ import annotations

from typing import Any

from tests.store.support import NOW, OnPostgres, OnSQLite, new_id, org, seed, team, user
from voidllm.store.records import Member, ServiceAccount


class _Finding:
    store: Any
    assertEqual: Any
    assertIsNone: Any

    async def test_organisations_and_teams(self) -> None:
        """By id and slug, teams only within their organisation; the oldest organisation by default."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        later = await self.store.create_org(org(slug="later", created_at_ms=NOW + 1))
        blue = await self.store.create_team(team(later, slug="blue"))
        self.assertEqual(await self.store.find_org(), first.org)
        for ref in (later.id, "later"):
            self.assertEqual(await self.store.find_org(ref), later)
        self.assertIsNone(await self.store.find_org("nowhere"))
        for ref in (blue.id, "blue"):
            self.assertEqual(await self.store.find_team(later.id, ref), blue)
            self.assertIsNone(await self.store.find_team(first.org.id, ref))

    async def test_members(self) -> None:
        """By id and address in any case; strangers are not found, system administrators everywhere."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        person = await self.store.create_user(user(email="Ann@example.org"), other.id, "team_admin")
        expected = Member(person.id, person.email, person.name, "team_admin")
        for ref in (person.id, "ann@EXAMPLE.org"):
            self.assertEqual(await self.store.find_member(other.id, ref), expected)
            self.assertIsNone(await self.store.find_member(first.org.id, ref))
        admin = Member(first.admin.id, first.admin.email, first.admin.name, "system_admin")
        for where in (first.org, other):
            self.assertEqual(await self.store.find_member(where.id), admin)
            self.assertEqual(await self.store.find_member(where.id, first.admin.id), admin)

    async def test_service_accounts(self) -> None:
        """By id and name within the organisation; of one name the oldest."""
        first = seed()
        await self.store.bootstrap(first, NOW)
        other = await self.store.create_org(org())
        accounts = [ServiceAccount(new_id(NOW + n), other.id, "ci", NOW + n) for n in range(2)]
        for account in accounts:
            await self.store.create_service_account(account)
        self.assertEqual(await self.store.find_service_account(other.id, "ci"), accounts[0])
        self.assertEqual(await self.store.find_service_account(other.id, accounts[1].id), accounts[1])
        self.assertIsNone(await self.store.find_service_account(first.org.id, "ci"))


class FindingOnSQLite(_Finding, OnSQLite):
    pass


class FindingOnPostgres(_Finding, OnPostgres):
    pass
