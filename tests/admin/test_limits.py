"""Limits with those above them and what is used up; those of the installation."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.admin.support import NOW, OnPostgres
from tests.admin.tenants import TenantCase
from voidllm.admin.limit_shapes import NAMES
from voidllm.core.principal import Limits, Scope
from voidllm.limits.ledger import MemoryLimiter


class Installation(TenantCase):
    async def test_they_bound_every_organisation(self) -> None:
        """Set as a whole or in part, on record, and no organisation gets more."""
        since = await self.last_audited()
        nothing = dict.fromkeys(NAMES, 0)
        self.assertEqual(await self.done("system", "GET", "/api/v1/limits"), nothing)
        body = {"requests_per_minute": 10, "monthly_token_limit": 5}
        self.assertEqual(await self.done("system", "PUT", "/api/v1/limits", body), {**nothing, **body})
        shown = await self.done("system", "PATCH", "/api/v1/limits", {"monthly_token_limit": None})
        self.assertEqual(shown, {**nothing, "requests_per_minute": 10})
        org = f"/api/v1/orgs/{self.org.id}"
        await self.refused("system", "PATCH", org, {"requests_per_minute": 11}, 400, "requests_per_minute")
        self.assertEqual(
            [(one[0], one[1], one[3], one[4]) for one in await self.audited(since)],
            [
                ("update", "limits", None, {"requests_per_minute": [0, 10], "tokens_per_month": [0, 5]}),
                ("update", "limits", None, {"tokens_per_month": [5, 0]}),
            ],
        )

    async def test_what_was_seen_is_what_is_changed(self) -> None:
        """A stale entity tag is a 412."""
        _, headers, _ = await self.call("GET", "/api/v1/limits")
        tag = {"if-match": headers["etag"]}
        await self.done("system", "PUT", "/api/v1/limits", {"requests_per_day": 1}, **tag)
        for method in ("PUT", "PATCH"):
            await self.refused("system", method, "/api/v1/limits", {"requests_per_day": 2}, 412, **tag)

    async def test_they_are_the_system_admins(self) -> None:
        """Nobody else sets them."""
        for who in ("boss", "lead", "worker"):
            for method in ("PUT", "PATCH"):
                await self.refused(who, method, "/api/v1/limits", {"requests_per_day": 2}, 403)


class Effective(TenantCase):
    async def _set_up(self) -> None:
        await super()._set_up()
        self.limits = {
            ("system", ""): Limits(requests_per_day=9),
            ("org", self.org.id): Limits(requests_per_minute=8, tokens_per_day=70),
            ("team", self.team.id): Limits(requests_per_minute=6),
        }
        for (kind, id_), limits in self.limits.items():
            await self.store.set_limits(kind, id_, limits)
        await self.mint(
            "mates",
            self.org,
            user_id=self.users["mate"],
            team_id=self.team.id,
            limits=Limits(requests_per_minute=7, tokens_per_month=3),
        )
        self.counted = MemoryLimiter()
        scopes = (
            Scope("key", self.ids["mates"], Limits(requests_per_minute=7, tokens_per_month=3)),
            *(Scope(kind, id_, limits) for (kind, id_), limits in self.limits.items() if id_),
        )
        self.counted.reserve(scopes, 2, NOW)
        self.context = evolve(
            self.context, used=lambda kind, id_, limits: self.counted.used(Scope(kind, id_, limits), NOW)
        )
        self.org_path = f"/api/v1/orgs/{self.org.id}"

    async def shown(self, who: str, path: str) -> Any:
        return await self.done(who, "GET", f"{self.org_path}{path}/limits")

    async def test_of_a_key(self) -> None:
        """Its own, those above it, the least of them, and what is used up as far as the caller may see."""
        shown = await self.shown("mate", f"/keys/{self.ids['mates']}")
        self.assertEqual((shown["scope"], shown["id"]), ("key", self.ids["mates"]))
        self.assertEqual(shown["limits"]["requests_per_minute"], 7)
        self.assertEqual(
            shown["effective"],
            {
                "requests_per_minute": 6,
                "requests_per_day": 9,
                "tokens_per_minute": 0,
                "daily_token_limit": 70,
                "monthly_token_limit": 3,
            },
        )
        self.assertEqual(
            shown["used"],
            {
                "requests_this_minute": 1,
                "tokens_this_minute": None,
                "requests_today": None,
                "tokens_today": None,
                "tokens_this_month": 2,
            },
        )
        above = [(one["scope"], one["id"], "used" in one) for one in shown["above"]]
        self.assertEqual(
            above, [("team", self.team.id, False), ("org", self.org.id, False), ("system", None, False)]
        )

    async def test_of_a_team_and_an_organisation(self) -> None:
        """Who leads them sees what is used up together."""
        team = await self.shown("lead", f"/teams/{self.team.id}")
        self.assertEqual(team["used"]["requests_this_minute"], 1)
        self.assertNotIn("used", await self.shown("mate", f"/teams/{self.team.id}"))
        org = await self.shown("boss", "")
        self.assertEqual((org["used"]["tokens_today"], org["used"]["requests_this_minute"]), (2, 1))
        self.assertEqual(org["effective"]["requests_per_day"], 9)
        self.context = evolve(self.context, used=None)
        self.listen()
        self.assertIsNone((await self.shown("boss", ""))["used"])

    async def test_who_may_see_them(self) -> None:
        """Strangers to a team, an organisation or a key are told nothing."""
        for who, path, status in (
            ("worker", "", 403),
            ("other_boss", "", 404),
            ("worker", f"/teams/{self.team.id}", 404),
            ("worker", f"/keys/{self.ids['mates']}", 404),
        ):
            self.assertEqual((await self.call("GET", f"{self.org_path}{path}/limits", who=who))[0], status)


class InstallationOnPostgres(OnPostgres, Installation):
    """The same on PostgreSQL."""


class EffectiveOnPostgres(OnPostgres, Effective):
    """The same on PostgreSQL."""
