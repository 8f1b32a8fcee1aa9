"""Whose keys somebody may see, make and change; what is refused leaves everything as it was."""

from __future__ import annotations

from typing import Any

from tests.admin.support import NOW, OnPostgres
from tests.admin.tenants import TenantCase
from tests.store.support import team
from voidllm.core.principal import Limits
from voidllm.store.records import ServiceAccount

_DAY = 86_400_000
_SCOPES = ["admin:read", "admin:write", "inference"]


class KeysCase(TenantCase):
    """Keys of the case's organisation."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.path = f"/api/v1/orgs/{self.org.id}/keys"

    def one(self, name: str, more: str = "") -> str:
        """Give the path of a key."""
        return f"{self.path}/{self.ids[name]}{more}"

    async def names(self, who: str, query: str = "", path: str | None = None) -> list[str]:
        """Give the names of the keys that somebody is shown."""
        page = await self.done(who, "GET", f"{path or self.path}{query}")
        # The one from the first start has no name in the tests.
        return sorted(key["name"] for key in page["data"] if key["name"] != "Key")


class Making(KeysCase):
    async def test_people_make_keys_for_themselves(self) -> None:
        """A new key speaks for whoever makes it, for inference, with a team of theirs or with none."""
        for who, more in (("worker", {}), ("mate", {"team_id": self.team.slug}), ("lead", {}), ("boss", {})):
            made = await self.done(who, "POST", self.path, {"name": "mine", **more}, 201)
            self.assertEqual((made["user_id"], made["created_by"]), (self.users[who],) * 2)
            self.assertEqual(made["team_id"], self.team.id if more else None)
            self.assertEqual(made["scopes"], ["inference"])
            stored = await self.store.get_key(made["id"])
            self.assertEqual(stored.hash, self.digester.digest(made["key"].encode()).hex())

    async def test_an_administrator_may_be_of_any_team(self) -> None:
        """Who administers the organisation leads every team without belonging to it."""
        made = await self.done("boss", "POST", self.path, {"name": "x", "team_id": self.team.id}, 201)
        self.assertEqual((made["team_id"], made["role"]), (self.team.id, "org_admin"))

    async def test_keys_of_teams_and_programs(self) -> None:
        """Who leads a team makes its keys and those of its service accounts, whose team is the account's."""
        body = {"name": "ci", "key_type": "team_key", "team_id": self.team.id}
        made = await self.done("lead", "POST", self.path, body, 201)
        self.assertEqual((made["team_id"], made["user_id"], made["key"][:6]), (self.team.id, None, "vl_tk_"))
        body = {"name": "bot", "key_type": "sa_key", "team_id": self.team.id}
        first = await self.done("lead", "POST", self.path, body, 201)
        # Without the team: it is known from the account.
        body = {"name": "again", "key_type": "sa_key", "service_account_id": "bot"}
        second = await self.done("lead", "POST", self.path, body, 201)
        self.assertEqual(first["service_account_id"], second["service_account_id"])
        self.assertEqual((second["team_id"], second["role"]), (self.team.id, "team_admin"))
        await self.publish()
        principal = self.holder.current.keys[self.digester.digest(second["key"].encode())]
        self.assertEqual((principal.team_id, principal.role), (self.team.id, "team_admin"))

    async def test_an_administrator_makes_keys_for_members(self) -> None:
        """A key for somebody else is for a member who administers nothing, and for inference only."""
        body = {"name": "x", "user_id": self.users["worker"]}
        made = await self.done("boss", "POST", self.path, body, 201)
        self.assertEqual((made["user_id"], made["created_by"]), (self.users["worker"], self.users["boss"]))
        await self.refused("boss", "POST", self.path, {**body, "scopes": ["admin:read"]}, 403, "scopes")
        other = await self._user(self.org, "org_admin")
        for whom in (self.admin.id, other.id):
            await self.refused("boss", "POST", self.path, {"name": "x", "user_id": whom}, 403)

    async def test_what_nobody_may_have_made(self) -> None:
        """Keys for others, of foreign teams and organisations, or for administration where none is."""
        far = await self.store.create_team(team(self.org, slug="far"))
        await self.store.create_service_account(ServiceAccount("sa-far", self.org.id, "far-bot", NOW, far.id))
        await self.store.create_service_account(ServiceAccount("sa-org", self.org.id, "org-bot", NOW))
        theirs = {"name": "x", "user_id": self.users["mate"]}
        team_key = {"name": "x", "key_type": "team_key", "team_id": self.team.id}
        sa_key = {"name": "x", "key_type": "sa_key"}
        for who, body, status, param in (
            ("worker", theirs, 403, None),
            ("lead", theirs, 403, None),
            ("worker", {"name": "x", "team_id": self.team.id}, 404, "team_id"),
            ("worker", team_key, 404, "team_id"),
            ("mate", team_key, 403, None),
            ("worker", sa_key, 403, None),
            ("mate", {**sa_key, "team_id": self.team.id}, 403, None),
            ("lead", sa_key, 403, None),
            ("lead", {**sa_key, "service_account_id": "org-bot"}, 403, None),
            ("lead", {**sa_key, "service_account_id": "far-bot"}, 404, None),
            ("lead", {**team_key, "team_id": far.id}, 404, "team_id"),
            ("lead", {**team_key, "scopes": ["admin:read"]}, 403, "scopes"),
            ("system", {**team_key, "scopes": _SCOPES}, 403, "scopes"),
            ("boss", {"name": "x", "user_id": self.users["other_boss"]}, 404, "user_id"),
            ("boss", {**theirs, "key_type": "team_key"}, 400, "user_id"),
            ("boss", {"name": "x", "user_id": self.users["worker"], "team_id": far.id}, 400, "team_id"),
            ("boss", {**sa_key, "service_account_id": "far-bot", "team_id": self.team.id}, 400, "team_id"),
            ("boss", {"name": "x", "org_id": self.other.id}, 400, "org_id"),
            ("other_boss", {"name": "x"}, 404, None),
            ("other_boss", team_key, 404, None),
        ):
            await self.refused(who, "POST", self.path, body, status, param)

    async def test_a_program_has_no_key_of_a_person(self) -> None:
        """A service account that administers makes no user_key by leaving out whose."""
        await self.store.create_service_account(ServiceAccount("sa", self.org.id, "bot", NOW))
        await self.mint("bot", self.org, key_type="sa_key", service_account_id="sa")
        await self.publish()
        await self.refused("bot", "POST", self.path, {"name": "x"}, 400, "user_id")

    async def test_a_repeated_request_does_not_show_the_key_again(self) -> None:
        """The plaintext is in the first answer only."""
        first = await self.done("worker", "POST", self.path, {"name": "x"}, 201, **{"idempotency-key": "k"})
        again = await self.done("worker", "POST", self.path, {"name": "x"}, 201, **{"idempotency-key": "k"})
        self.assertEqual(again["id"], first["id"])
        self.assertNotIn("key", again)

    async def test_made_keys_are_on_record(self) -> None:
        """The key and a service account that was made for it have entries, without anything secret."""
        since = await self.last_audited()
        body = {"name": "bot", "key_type": "sa_key", "allowed_addresses": ["10.0.0.0/8"], "tags": {"a": "b"}}
        made = await self.done("boss", "POST", self.path, body, 201)
        (key, account) = await self.audited(since)
        self.assertEqual(key[:4], ("create", "key", made["id"], self.org.id))
        self.assertEqual(key[4]["allowed_addresses"], [None, ["10.0.0.0/8"]])
        self.assertEqual(account[:3], ("create", "service_account", made["service_account_id"]))
        self.assertNotIn(made["key"], repr(key))
        stored: Any = await self.store.get_key(made["id"])
        self.assertNotIn(stored.hash, repr(key))


class Seeing(KeysCase):
    async def _set_up(self) -> None:
        await super()._set_up()
        far = await self.store.create_team(team(self.org, slug="far"))
        await self.mint("teams", self.org, key_type="team_key", team_id=self.team.id)
        await self.mint("far", self.org, key_type="team_key", team_id=far.id)
        await self.mint("mates", self.org, user_id=self.users["mate"], team_id=self.team.id)
        await self.publish()

    async def test_everybody_sees_what_is_theirs(self) -> None:
        """People see their own, who leads a team also the team's, administrators all of theirs."""
        every = ["boss", "far", "lead", "mate", "mates", "system", "teams", "worker"]
        for who, expected in (
            ("worker", ["worker"]),
            ("mate", ["mate", "mates"]),
            ("lead", ["lead", "mates", "teams"]),
            ("boss", every),
            ("system", every),
        ):
            self.assertEqual(await self.names(who), expected, who)
            for name in every:
                status = 200 if name in expected else 404
                self.assertEqual((await self.call("GET", self.one(name), who=who))[0], status, (who, name))
        self.assertEqual(await self.names("lead", path="/api/v1/me/keys"), ["lead"])
        self.assertEqual(await self.names("boss", f"?team_id={self.team.id}"), ["mates", "teams"])
        # A filter shows nobody more.
        self.assertEqual(await self.names("worker", f"?team_id={self.team.id}"), [])
        self.assertEqual((await self.call("GET", self.path, who="other_boss"))[0], 404)

    async def test_a_key_is_found_in_its_own_organisation_only(self) -> None:
        """The path of another organisation leads to no key, whoever asks."""
        path = f"/api/v1/orgs/{self.other.id}/keys/{self.ids['worker']}"
        for method in ("GET", "DELETE"):
            self.assertEqual((await self.call(method, path))[0], 404)
        self.assertIsNone((await self.store.get_key(self.ids["worker"])).revoked_at_ms)

    async def test_who_may_change_what(self) -> None:
        """Nobody changes, rotates or revokes what they may not even see, or who stands above them."""
        for who, name, status in (
            ("worker", "mate", 404),
            ("worker", "teams", 404),
            ("mate", "teams", 404),
            ("lead", "mate", 404),
            ("lead", "far", 404),
            ("boss", "system", 403),
            ("other_boss", "worker", 404),
        ):
            for method, more, body in (("PATCH", "", {"name": "x"}), ("DELETE", "", None)):
                await self.refused(who, method, self.one(name, more), body, status)
            await self.refused(who, "POST", self.one(name, "/rotate"), {}, status)
            await self.refused(who, "PUT", self.one(name, "/model-access"), {"models": []}, status)

    async def test_who_leads_a_team_does_not_get_its_members_keys(self) -> None:
        """A member's key may be made to allow less, and revoked, but not rotated and so known."""
        await self.refused("lead", "POST", self.one("mates", "/rotate"), {}, 403)
        await self.done("lead", "PATCH", self.one("mates"), {"requests_per_minute": 5})
        await self.refused(
            "lead", "PATCH", self.one("mates"), {"requests_per_minute": 6}, 403, "requests_per_minute"
        )
        gone = await self.done("lead", "DELETE", self.one("mates"))
        self.assertIsNotNone(gone["revoked_at"])
        # What is the team's is governed.
        await self.done("lead", "PATCH", self.one("teams"), {"requests_per_minute": 5})
        await self.done("lead", "PATCH", self.one("teams"), {"requests_per_minute": None})

    async def test_keys_of_an_administrator_in_a_team(self) -> None:
        """Who leads a team sees them and changes nothing."""
        await self.mint("bosses", self.org, user_id=self.users["boss"], team_id=self.team.id)
        await self.done("lead", "GET", self.one("bosses"))
        await self.refused("lead", "PATCH", self.one("bosses"), {"name": "x"}, 403)
        await self.refused("lead", "DELETE", self.one("bosses"), None, 403)

    async def test_a_program_does_not_govern_its_own_keys(self) -> None:
        """A service account of the organisation raises nothing of its own."""
        await self.store.create_service_account(ServiceAccount("sa", self.org.id, "bot", NOW))
        limits = Limits(requests_per_minute=3)
        await self.mint("bot", self.org, key_type="sa_key", service_account_id="sa", limits=limits)
        await self.publish()
        field = "requests_per_minute"
        await self.refused("bot", "PATCH", self.one("bot"), {field: 4}, 403, field)
        self.assertEqual((await self.done("bot", "PATCH", self.one("bot"), {field: 2}))[field], 2)
        self.assertEqual(await self.names("bot", path="/api/v1/me/keys"), ["bot"])

    async def test_a_key_makes_none_for_itself_that_allows_more(self) -> None:
        """What bounds a key bounds those that it makes for its own bearer; for others it may make any."""
        await self.store.create_service_account(ServiceAccount("sa", self.org.id, "bot", NOW))
        bounds = {
            "limits": Limits(requests_per_minute=3),
            "expires_at_ms": NOW + _DAY,
            "addresses": ("127.0.0.0/8",),
            "models": frozenset({"m"}),
        }
        await self.mint("bot", self.org, key_type="sa_key", service_account_id="sa", **bounds)
        await self.mint("person", self.org, user_id=self.users["worker"], **bounds)
        await self.publish()
        within = {
            "expires_in": "1h",
            "allowed_addresses": ["127.0.0.1"],
            "models": ["m"],
            "requests_per_minute": 3,
        }
        for who, owner in (("bot", {"key_type": "sa_key", "service_account_id": "sa"}), ("person", {})):
            for name, param in (
                ("expires_in", "expires_at"),
                ("allowed_addresses", "allowed_addresses"),
                ("models", "models"),
                ("requests_per_minute", "requests_per_minute"),
            ):
                body = {"name": "twin", **owner, **within}
                del body[name]
                await self.refused(who, "POST", self.path, body, 403, param)
            await self.done(who, "POST", self.path, {"name": "twin", **owner, **within}, 201)
        body = {"name": "other", "key_type": "sa_key", "service_account_id": "another"}
        await self.done("bot", "POST", self.path, body, 201)

    async def test_a_key_of_an_account_is_of_the_accounts_team(self) -> None:
        """What the key's own row says of its team counts for nothing."""
        account = ServiceAccount("sa", self.org.id, "bot", NOW, self.team.id)
        await self.store.create_service_account(account)
        await self.mint("bot", self.org, key_type="sa_key", service_account_id="sa")
        await self.publish()
        shown = await self.done("lead", "GET", self.one("bot"))
        self.assertEqual((shown["team_id"], shown["role"]), (self.team.id, "team_admin"))
        self.assertEqual(await self.names("boss", f"?team_id={self.team.id}"), ["bot", "mates", "teams"])
        await self.refused("bot", "DELETE", self.one("worker"), None, 404)


class MakingOnPostgres(OnPostgres, Making):
    """The same on PostgreSQL."""


class SeeingOnPostgres(OnPostgres, Seeing):
    """The same on PostgreSQL."""
