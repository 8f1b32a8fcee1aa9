"""``/api/v1/orgs/{org_id}/service-accounts`` over a real socket, on both stores."""

from __future__ import annotations

from tests.admin.support import NOW, OnPostgres
from tests.admin.tenants import TenantCase
from voidllm.admin.moments import show


class ServiceAccounts(TenantCase):
    def path(self, account: str = "") -> str:
        base = f"/api/v1/orgs/{self.org.id}/service-accounts"
        return f"{base}/{account}" if account else base

    async def test_one_is_made_shown_renamed_and_removed(self) -> None:
        """Through all layers, each step on record, and its keys go along."""
        seq = await self.last_audited()
        made = await self.done("mate", "POST", self.path(), {"name": "ci", "team_id": "team"}, 201)
        expected = {
            "id": made["id"],
            "org_id": self.org.id,
            "team_id": self.team.id,
            "name": "ci",
            "created_by": self.users["mate"],
            "key_count": 0,
            "created_at": show(NOW),
            "updated_at": show(NOW),
        }
        self.assertEqual(made, expected)
        await self.mint(
            "ci", self.org, key_type="sa_key", service_account_id=made["id"], team_id=self.team.id
        )
        path = self.path(made["id"])
        renamed = await self.done("mate", "PATCH", path, {"name": "cd"})
        self.assertEqual(renamed, {**expected, "name": "cd", "key_count": 1})
        await self.done("mate", "DELETE", path, status=204)
        self.assertEqual(await self.live_keys("ci", "mate"), ["mate"])
        await self.refused("boss", "GET", path, None, 404)
        entries = await self.audited(seq)
        self.assertEqual(
            [entry[:3] for entry in entries],
            [
                ("create", "service_account", made["id"]),
                ("update", "service_account", made["id"]),
                ("delete", "service_account", made["id"]),
                ("revoke", "key", self.ids["ci"]),
            ],
        )
        self.assertEqual(entries[1][4], {"name": ["ci", "cd"]})

    async def test_everybody_has_what_they_made_or_lead(self) -> None:
        """Others' are not there, in lists and one by one, and a team is only its members'."""
        own = await self.done("worker", "POST", self.path(), {"name": "own"}, 201)
        teams = await self.done("mate", "POST", self.path(), {"name": "teams", "team_id": self.team.id}, 201)
        for who, expected in (
            ("worker", ["own"]),
            ("mate", ["teams"]),
            ("lead", ["teams"]),
            ("boss", ["own", "teams"]),
            ("system", ["own", "teams"]),
        ):
            page = await self.done(who, "GET", f"{self.path()}?sort=name")
            self.assertEqual([account["name"] for account in page["data"]], expected, who)
        for who, method, account in (
            ("mate", "GET", own),
            ("lead", "PATCH", own),
            ("lead", "DELETE", own),
            ("worker", "GET", teams),
            ("worker", "PATCH", teams),
            ("worker", "DELETE", teams),
            ("other_boss", "GET", own),
            ("other_boss", "DELETE", own),
        ):
            body = {"name": "mine"} if method == "PATCH" else None
            await self.refused(who, method, self.path(account["id"]), body, 404)
        for who, body, status, param in (
            ("worker", {"name": "x", "team_id": self.team.id}, 404, "team_id"),
            ("boss", {"name": "x", "team_id": "nothing"}, 404, "team_id"),
            ("boss", {"name": ""}, 400, "name"),
            ("boss", {"name": "x", "created_by": "me"}, 400, "created_by"),
            ("other_boss", {"name": "x"}, 404, None),
        ):
            await self.refused(who, "POST", self.path(), body, status, param)

    async def test_a_teams_key_makes_programs_of_that_team_only(self) -> None:
        """It is nobody's own, so it may not make one that nobody but administrators would have."""
        await self.mint("team's", self.org, key_type="team_key", team_id=self.team.id)
        await self.publish()
        await self.refused("team's", "POST", self.path(), {"name": "x"}, 403)
        made = await self.done("team's", "POST", self.path(), {"name": "x", "team_id": self.team.id}, 201)
        self.assertEqual((made["created_by"], made["team_id"]), (None, self.team.id))

    async def test_lists_and_tags(self) -> None:
        """Filters, names on request, and If-Match."""
        await self.done("boss", "POST", self.path(), {"name": "wide"}, 201)
        made = await self.done("boss", "POST", self.path(), {"name": "narrow", "team_id": "team"}, 201)
        (found,) = (await self.done("boss", "GET", f"{self.path()}?team={self.team.id}&expand=team"))["data"]
        self.assertEqual((found["name"], found["team"]["slug"]), ("narrow", "team"))
        (found,) = (await self.done("boss", "GET", f"{self.path()}?q=WID"))["data"]
        self.assertEqual(found["name"], "wide")
        mine = await self.done("boss", "GET", f"{self.path()}?created_by={self.users['boss']}")
        self.assertEqual(len(mine["data"]), 2)
        path = self.path(made["id"])
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        await self.done("boss", "PATCH", path, {"name": "first"}, **tag)
        await self.refused("boss", "PATCH", path, {"name": "second"}, 412, **tag)
        await self.refused("boss", "DELETE", path, None, 412, **tag)


class ServiceAccountsOnPostgres(OnPostgres, ServiceAccounts):
    """The same on PostgreSQL."""
