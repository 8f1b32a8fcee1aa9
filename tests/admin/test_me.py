"""What callers see and change of themselves."""

from __future__ import annotations

from tests.admin.identity import IdentityCase
from tests.admin.support import NOW, OnPostgres
from tests.store.support import new_id
from voidllm.store.records import ServiceAccount

ME = "/api/v1/me"
MODELS = f"{ME}/available-models"


class Me(IdentityCase):
    """``/me``."""

    async def test_a_person(self) -> None:
        """A session shows the person, and all organisations and teams with the roles there."""
        await self.execute(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms)"
            " VALUES (?, ?, 'org_admin', ?)",
            self.other.id,
            self.ada.id,
            NOW + 1,
        )
        await self.execute(
            "INSERT INTO team_memberships (team_id, org_id, user_id, role, created_at_ms)"
            " VALUES (?, ?, ?, 'team_admin', ?)",
            self.team.id,
            self.org.id,
            self.ada.id,
            NOW,
        )
        await self.session()
        _, headers, me = await self.call("GET", ME, who="ada")
        self.assertEqual((me["kind"], me["role"], me["email"]), ("user", "org_admin", self.email))
        self.assertEqual(me["org_id"], self.org.id)
        self.assertEqual(
            [(one["id"], one["role"]) for one in me["orgs"]],
            [(self.org.id, "member"), (self.other.id, "org_admin")],
        )
        self.assertEqual(
            me["teams"],
            [
                {
                    "id": self.team.id,
                    "name": "Team",
                    "slug": "team",
                    "role": "team_admin",
                    "org_id": self.org.id,
                }
            ],
        )
        self.assertNotIn("key", me)
        self.assertIn("session_id", me)
        self.assertTrue(headers["etag"])

    async def test_a_persons_key(self) -> None:
        """A key shows itself and its person, within its own organisation."""
        _, _, me = await self.call("GET", ME, who="mate")
        self.assertEqual((me["kind"], me["id"]), ("user", self.users["mate"]))
        self.assertEqual((me["key"]["id"], me["key"]["key_type"]), (self.ids["mate"], "user_key"))
        self.assertEqual(me["key"]["name"], "mate")
        self.assertEqual(me["key"]["owner"]["id"], self.users["mate"])
        self.assertNotIn("session_id", me)

    async def test_programs(self) -> None:
        """A team's key and a service account's are told what they are and whose."""
        account = await self.store.create_service_account(ServiceAccount(new_id(), self.org.id, "robot", NOW))
        await self.mint("team", self.org, key_type="team_key", team_id=self.team.id)
        await self.mint("robot", self.org, key_type="sa_key", service_account_id=account.id)
        await self.publish()
        for who, kind, owner in (("team", "key", self.team.id), ("robot", "service_account", account.id)):
            status, _, me = await self.call("GET", ME, who=who)
            self.assertEqual((status, me["kind"], me["key"]["owner"]["id"]), (200, kind, owner))
            self.assertNotIn("email", me)
            self.assertEqual((await self.call("PATCH", ME, {"display_name": "x"}, who=who))[0], 409)

    async def test_another_name(self) -> None:
        """People change their name and nothing else of themselves, if it is still what they saw."""
        await self.session()
        _, headers, _ = await self.call("GET", ME, who="ada")
        patch = {"display_name": "Ada Lovelace"}
        self.assertEqual((await self.call("PATCH", ME, patch, who="ada", **{"if-match": '"x"'}))[0], 412)
        status, _, me = await self.call("PATCH", ME, patch, who="ada", **{"if-match": headers["etag"]})
        self.assertEqual((status, me["display_name"]), (200, "Ada Lovelace"))
        rows = await self.rows("SELECT name, email, is_system_admin FROM users WHERE id = ?", self.ada.id)
        self.assertEqual(rows, [("Ada Lovelace", self.email, 0)])
        for body in (
            {"is_system_admin": True},
            {"email": "x@y.org"},
            {"role": "org_admin"},
            {"display_name": ""},
        ):
            self.assertEqual((await self.call("PATCH", ME, body, who="ada"))[0], 400)
        self.assertIn(
            ("update", self.ada.id, '{"display_name":["Ada","Ada Lovelace"]}'),
            await self.audited("action", "actor_id", "diff"),
        )


class Models(IdentityCase):
    """``/me/available-models``."""

    async def names(self, who: str, query: str = "") -> list[str]:
        status, _, got = await self.call("GET", MODELS + query, who=who)
        self.assertEqual(status, 200)
        return [model["name"] for model in got["models"]]

    async def test_by_access_lists(self) -> None:
        """What the organisation, the team and the key allow, each within the others."""
        await self.session()
        self.assertEqual(await self.names("ada"), sorted(self.models))
        await self.store.set_access("org", self.org.id, {"demo", "a", "b"})
        await self.store.set_access("team", self.team.id, {"a", "b", "m"})
        await self.mint("team", self.org, key_type="team_key", team_id=self.team.id, models=frozenset({"b"}))
        await self.mint("own", self.org, user_id=self.ada.id, models=frozenset({"a", "m"}))
        await self.publish()
        self.assertEqual(await self.names("ada"), ["a", "b", "demo"])
        self.assertEqual(await self.names("own"), ["a"])
        self.assertEqual(await self.names("team"), ["b"])
        await self.store.set_access("org", self.org.id, set())
        self.assertEqual(await self.names("ada"), [])

    async def test_of_another_organisation(self) -> None:
        """Only where one belongs; a system administrator belongs everywhere."""
        await self.store.set_access("org", self.other.id, {"demo"})
        await self.session()
        for who in ("ada", "boss"):
            self.assertEqual((await self.call("GET", f"{MODELS}?org={self.other.slug}", who=who))[0], 404)
        self.assertEqual(await self.names("system", f"?org={self.other.slug}"), ["demo"])
        self.assertEqual(await self.names("other_boss"), ["demo"])


class MeOnPostgres(OnPostgres, Me):
    """The same on PostgreSQL."""


class ModelsOnPostgres(OnPostgres, Models):
    """The same on PostgreSQL."""
