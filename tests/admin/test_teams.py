"""``/api/v1/orgs/{org_id}/teams`` and their members over a real socket, on both stores."""

from __future__ import annotations

from tests.admin.support import NOW, OnPostgres, new_id
from tests.admin.tenants import TenantCase
from voidllm.admin.moments import show
from voidllm.core.principal import Limits
from voidllm.store.records import ServiceAccount


class Teams(TenantCase):
    def path(self, team: str = "", org: str = "") -> str:
        base = f"/api/v1/orgs/{org or self.org.id}/teams"
        return f"{base}/{team}" if team else base

    async def test_one_is_made_shown_changed_and_removed(self) -> None:
        """Through all layers, each step on record; the slug may be used again."""
        seq = await self.last_audited()
        body = {"name": "Blue", "slug": "blue", "requests_per_minute": 5}
        made = await self.done("boss", "POST", self.path(), body, 201)
        expected = {
            **body,
            "id": made["id"],
            "org_id": self.org.id,
            "requests_per_day": 0,
            "tokens_per_minute": 0,
            "daily_token_limit": 0,
            "monthly_token_limit": 0,
            "member_count": 0,
            "key_count": 0,
            "created_at": show(NOW),
            "updated_at": show(NOW),
        }
        self.assertEqual(made, expected)
        self.assertEqual(await self.done("boss", "GET", self.path("blue")), expected)
        changed = await self.done(
            "boss", "PATCH", self.path("blue"), {"slug": "navy", "tokens_per_minute": 9}
        )
        self.assertEqual(changed, {**expected, "slug": "navy", "tokens_per_minute": 9})
        await self.refused("boss", "POST", self.path(), {"name": "x", "slug": "navy"}, 409, "slug")
        await self.done("boss", "DELETE", self.path("navy"), status=204)
        await self.refused("boss", "GET", self.path(made["id"]), None, 404)
        await self.done("boss", "POST", self.path(), {"name": "x", "slug": "navy"}, 201)
        entries = await self.audited(seq)
        self.assertEqual(
            [entry[:2] for entry in entries],
            [("create", "team"), ("update", "team"), ("delete", "team"), ("create", "team")],
        )
        self.assertEqual(entries[1][4], {"slug": ["blue", "navy"], "tokens_per_minute": [0, 9]})

    async def test_who_may_what(self) -> None:
        """Members see their own teams, who leads one renames it, and others' are not there."""
        red = await self.done("boss", "POST", self.path(), {"name": "Red", "slug": "red"}, 201)
        for who, expected in (("boss", 2), ("system", 2), ("lead", 1), ("mate", 1), ("worker", 0)):
            page = await self.done(who, "GET", self.path())
            self.assertEqual(len(page["data"]), expected, who)
        own = self.path(self.team.id)
        self.assertEqual((await self.done("mate", "GET", own))["member_count"], 2)
        for who, method, path, body, status, param in (
            ("mate", "PATCH", own, {"name": "x"}, 403, None),
            ("mate", "GET", self.path(red["id"]), None, 404, None),
            ("lead", "PATCH", self.path(red["id"]), {"name": "x"}, 404, None),
            ("lead", "PATCH", own, {"slug": "mine"}, 403, "slug"),
            ("lead", "DELETE", own, None, 403, None),
            ("lead", "POST", self.path(), {"name": "x", "slug": "xx"}, 403, None),
            ("worker", "GET", own, None, 404, None),
            ("other_boss", "GET", own, None, 404, None),
            ("other_boss", "PATCH", own, {"name": "x"}, 404, None),
            ("other_boss", "DELETE", own, None, 404, None),
            ("other_boss", "PATCH", self.path(self.team.id, self.other.id), {"name": "x"}, 404, None),
            ("boss", "POST", self.path(), {"name": "x", "slug": "X"}, 400, "slug"),
            ("boss", "POST", self.path(), {"name": "x", "slug": "t\u0435am"}, 400, "slug"),
            ("boss", "PATCH", own, {"slug": "red"}, 409, "slug"),
        ):
            await self.refused(who, method, path, body, status, param)
        self.assertEqual((await self.done("lead", "PATCH", own, {"name": "Ours"}))["name"], "Ours")

    async def test_limits_are_lowered_by_who_leads_and_bounded_by_the_organisation(self) -> None:
        """Raising is for who stands above, and ends at what the organisation has."""
        own = self.path(self.team.id)
        await self.store.set_limits("org", self.org.id, Limits(requests_per_day=100))
        await self.refused("boss", "PATCH", own, {"requests_per_day": 101}, 400, "requests_per_day")
        body = {"name": "x", "slug": "xx", "requests_per_day": 101}
        await self.refused("boss", "POST", self.path(), body, 400, "requests_per_day")
        await self.done("boss", "PATCH", own, {"requests_per_day": 80})
        await self.done("lead", "PATCH", own, {"requests_per_day": 60})
        for value in (61, 0, None):
            await self.refused("lead", "PATCH", own, {"requests_per_day": value}, 403, "requests_per_day")
        await self.done("boss", "PATCH", own, {"requests_per_day": 100})
        await self.store.set_limits("org", self.org.id, Limits(requests_per_day=10))
        # The organisation's own limit binds the team from now on; its name can be changed all the same.
        await self.done("lead", "PATCH", own, {"name": "n"})
        await self.done("lead", "PATCH", own, {"requests_per_day": 10})

    async def test_a_removed_team_takes_everything_along(self) -> None:
        """Its keys, those of people that are bound to it, its programs and theirs, at once and on record."""
        program = await self.store.create_service_account(
            ServiceAccount(new_id(), self.org.id, "robot", NOW, self.team.id)
        )
        await self.mint("bound", self.org, user_id=self.users["mate"], team_id=self.team.id)
        await self.mint("team's", self.org, key_type="team_key", team_id=self.team.id)
        await self.mint(
            "robot", self.org, key_type="sa_key", service_account_id=program.id, team_id=self.team.id
        )
        seq = await self.last_audited()
        await self.done("boss", "DELETE", self.path(self.team.id), status=204)
        self.assertEqual(await self.live_keys("bound", "team's", "robot", "mate", "lead"), ["mate", "lead"])
        self.assertEqual(await self.rows("SELECT 1 FROM team_memberships"), [])
        self.assertEqual(await self.rows("SELECT 1 FROM service_accounts WHERE deleted_at_ms IS NULL"), [])
        kinds = [entry[:2] for entry in await self.audited(seq)]
        self.assertEqual(
            sorted(kinds[1:]),
            [
                ("delete", "service_account"),
                ("delete", "team_membership"),
                ("delete", "team_membership"),
                ("revoke", "key"),
                ("revoke", "key"),
                ("revoke", "key"),
            ],
        )
        await self.publish()
        live = {principal.key_id for principal in self.holder.current.keys.values()}
        self.assertFalse(live & {self.ids[name] for name in ("bound", "team's", "robot")})

    async def test_a_change_is_made_only_to_what_was_seen(self) -> None:
        """If-Match holds for changing and for removing."""
        path = self.path(self.team.id)
        _, headers, _ = await self.call("GET", path)
        tag = {"if-match": headers["etag"]}
        await self.done("lead", "PATCH", path, {"name": "first"}, **tag)
        await self.refused("lead", "PATCH", path, {"name": "second"}, 412, **tag)
        await self.refused("boss", "DELETE", path, None, 412, **tag)


class TeamMembers(TenantCase):
    def path(self, name: str = "") -> str:
        base = f"/api/v1/orgs/{self.org.id}/teams/{self.team.id}/members"
        return f"{base}/{self.users[name]}" if name else base

    async def test_somebody_joins_leads_and_leaves(self) -> None:
        """By who leads the team; keys that are bound to it end with the membership."""
        seq, worker = await self.last_audited(), self.users["worker"]
        made = await self.done("lead", "POST", self.path(), {"user_id": worker}, 201)
        expected = {
            "id": worker,
            "team_id": self.team.id,
            "user_id": worker,
            "role": "member",
            "created_at": show(NOW),
        }
        self.assertEqual(made, expected)
        risen = await self.done("lead", "PATCH", self.path("worker"), {"role": "team_admin"})
        self.assertEqual(risen, {**expected, "role": "team_admin"})
        await self.mint("bound", self.org, user_id=worker, team_id=self.team.id)
        await self.done("lead", "DELETE", self.path("worker"), status=204)
        await self.refused("lead", "GET", self.path("worker"), None, 404)
        self.assertEqual(await self.live_keys("bound", "worker"), ["worker"])
        self.assertEqual(
            [entry[:2] for entry in await self.audited(seq)],
            [
                ("create", "team_membership"),
                ("update", "team_membership"),
                ("delete", "team_membership"),
                ("revoke", "key"),
            ],
        )

    async def test_nobody_acts_on_somebody_above_or_elsewhere(self) -> None:
        """Who leads a team has no power over administrators, even over those in the team."""
        await self.done("boss", "POST", self.path(), {"user_id": self.users["boss"]}, 201)
        for who, method, path, body, status, param in (
            ("lead", "DELETE", self.path("boss"), None, 403, None),
            ("lead", "PATCH", self.path("boss"), {"role": "team_admin"}, 403, None),
            ("lead", "POST", self.path(), {"user_id": self.users["system"]}, 403, None),
            ("lead", "POST", self.path(), {"user_id": self.users["other_boss"]}, 404, "user_id"),
            ("lead", "POST", self.path(), {"user_id": self.users["mate"]}, 409, "user_id"),
            (
                "lead",
                "POST",
                self.path(),
                {"user_id": self.users["worker"], "role": "org_admin"},
                400,
                "role",
            ),
            ("mate", "POST", self.path(), {"user_id": self.users["worker"]}, 403, None),
            ("mate", "PATCH", self.path("mate"), {"role": "team_admin"}, 403, None),
            ("mate", "GET", self.path(), None, 403, None),
            ("worker", "GET", self.path(), None, 404, None),
            ("other_boss", "DELETE", self.path("mate"), None, 404, None),
        ):
            await self.refused(who, method, path, body, status, param)
        await self.done("lead", "PATCH", self.path("mate"), {"role": "team_admin"})
        await self.done("lead", "DELETE", self.path("mate"), status=204)
        await self.done("boss", "DELETE", self.path("boss"), status=204)

    async def test_lists_and_tags(self) -> None:
        """Names on request, roles as a filter, and If-Match."""
        page = await self.done("lead", "GET", f"{self.path()}?expand=user")
        emails = [member["user"]["email"] for member in page["data"]]
        self.assertEqual((len(emails), emails), (2, sorted(emails)))
        (lead,) = (await self.done("lead", "GET", f"{self.path()}?role=team_admin"))["data"]
        self.assertEqual(lead["user_id"], self.users["lead"])
        _, headers, _ = await self.call("GET", self.path("mate"))
        tag = {"if-match": headers["etag"]}
        await self.done("lead", "PATCH", self.path("mate"), {"role": "team_admin"}, **tag)
        await self.refused("lead", "PATCH", self.path("mate"), {"role": "member"}, 412, **tag)
        await self.refused("lead", "DELETE", self.path("mate"), None, 412, **tag)


class TeamsOnPostgres(OnPostgres, Teams):
    """The same on PostgreSQL."""


class TeamMembersOnPostgres(OnPostgres, TeamMembers):
    """The same on PostgreSQL."""
