"""Invitations: made, looked at, taken back, followed once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults

from tests.admin.identity import PASSWORD, IdentityCase
from tests.admin.support import OnPostgres, user
from voidllm.admin.invites import LIFETIME_MS
from voidllm.auth.keys import generate
from voidllm.store.invites import KEPT_MS
from voidllm.store.statements import q

_TABLES = ("users", "org_memberships", "invites", "sessions", "api_keys")


class InviteCase(IdentityCase):
    """An :class:`IdentityCase` with short ways to invitations."""

    async def stored(self) -> dict[str, Any]:
        """Read all that following an invitation can change."""
        return {table: await self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in _TABLES}

    async def invite(self, email: str = "Bob@Example.org", who: str = "boss", **more: Any) -> Any:
        org_id = self.other.id if who == "other_boss" else self.org.id
        status, _, got = await self.call(
            "POST", f"/api/v1/orgs/{org_id}/invites", {"email": email, **more}, who=who
        )
        self.assertEqual(status, 201, got)
        return got

    async def redeem(self, token: str, **more: Any) -> tuple[int, Any]:
        body = {"token": token, "password": PASSWORD, "display_name": "Bob", **more}
        status, _, got = await self.call("POST", "/api/v1/invites/redeem", body, who=None)
        return status, got

    async def peek(self, token: str) -> tuple[int, Any]:
        status, _, got = await self.call("GET", f"/api/v1/invites/peek?token={token}", who=None)
        return status, got

    async def unchanged(self, work: Any) -> Any:
        """Do something that must change nothing."""
        before = await self.stored()
        found = await work
        self.assertEqual(await self.stored(), before)
        return found


class InviteTests(InviteCase):
    """From the invitation to the member."""

    async def test_whole(self) -> None:
        """Somebody is invited, looks, follows, and logs in; the address is folded, the token nowhere."""
        made = await self.invite(role="org_admin")
        self.assertEqual(
            (made["email"], made["role"], made["status"]), ("bob@example.org", "org_admin", "pending")
        )
        self.assertNotIn(made["token"], str(await self.stored()))
        status, seen = await self.peek(made["token"])
        self.assertEqual((status, seen["email"], seen["known"]), (200, "bob@example.org", False))
        self.assertEqual((seen["org_name"], seen["role"]), (self.org.name, "org_admin"))
        status, joined = await self.redeem(made["token"])
        self.assertEqual((status, joined["email"], joined["role"]), (201, "bob@example.org", "org_admin"))
        self.assertEqual((joined["org_id"], joined["display_name"]), (self.org.id, "Bob"))
        got = await self.session("bob", email="bob@example.org")
        self.assertEqual(got["user"]["id"], joined["id"])
        status, _, page = await self.call(
            "GET", f"/api/v1/orgs/{self.org.id}/invites?expand=created_by", who="bob"
        )
        ((row),) = page["data"]
        self.assertEqual((row["status"], row["creator"]["id"]), ("redeemed", self.users["boss"]))
        self.assertNotIn("token", row)
        log = await self.rows("SELECT action, resource_type, actor_id FROM audit_log ORDER BY seq LIMIT 3")
        self.assertEqual(
            list(map(list, log)),
            [
                ["create", "invite", self.users["boss"]],
                ["redeem", "invite", joined["id"]],
                ["create", "user", joined["id"]],
            ],
        )
        self.assertNotIn(made["token"], str(await self.rows("SELECT * FROM audit_log")))

    async def test_once(self) -> None:
        """A token works once."""
        made = await self.invite()
        await self.redeem(made["token"])
        for work in (self.redeem(made["token"]), self.peek(made["token"])):
            status, got = await self.unchanged(work)
            self.assertEqual((status, got["error"]["code"]), (410, "gone"))

    async def test_at_the_same_time(self) -> None:
        """Of several who follow the same invitation at once one becomes a member."""
        made = await self.invite()
        tries = [ensureDeferred(self.redeem(made["token"])) for _ in range(4)]
        found = await gatherResults(tries)
        self.assertEqual(sorted(status for status, _ in found)[0], 201)
        self.assertTrue(all(status in (401, 409, 410) for status, _ in found if status != 201), found)
        self.assertEqual(len([1 for status, _ in found if status == 201]), 1)
        users = await self.rows("SELECT id FROM users WHERE email = 'bob@example.org'")
        self.assertEqual(len(users), 1)

    async def test_gone(self) -> None:
        """What was never there, ended, was taken back or replaced cannot be followed; all look the same."""
        replaced = (await self.invite())["token"]
        taken_back = await self.invite()
        path = f"/api/v1/orgs/{self.org.id}/invites/{taken_back['id']}"
        self.assertEqual((await self.call("DELETE", path, who="boss"))[0], 204)
        self.assertEqual((await self.call("DELETE", path, who="boss"))[0], 404)
        unknown = generate("invite_token", bytes)
        ended = (await self.invite("late@example.org"))["token"]
        self.now_ms += LIFETIME_MS
        for token in (replaced, taken_back["token"], unknown, ended, "x", "vl_iv_é"[:6]):
            status, got = await self.unchanged(self.redeem(token))
            self.assertEqual((status, got["error"]["code"]), (410, "gone"))
            # Nobody may try many, so that there are waits between them.
            self.later(minutes=20)
        status, _ = await self.unchanged(self.peek(ended))
        self.assertEqual(status, 410)
        _, _, page = await self.call("GET", f"/api/v1/orgs/{self.org.id}/invites?sort=email", who="boss")
        self.assertEqual([row["status"] for row in page["data"]], ["revoked", "revoked", "expired"])

    async def test_forgotten(self) -> None:
        """Of invitations that ended long ago nothing is kept but the audit log."""
        await self.invite("old@example.org")
        self.now_ms += LIFETIME_MS + KEPT_MS
        await self.invite("new@example.org")
        self.assertEqual(
            [list(row) for row in await self.rows("SELECT email FROM invites")], [["new@example.org"]]
        )

    async def test_inviter_demoted(self) -> None:
        """Whoever may not invite any more has invited nobody."""
        await self.invite("carl@example.org", who="system")
        made = await self.invite(role="org_admin")
        path = f"/api/v1/orgs/{self.org.id}/members/{self.users['boss']}"
        await self.call(
            "PATCH", f"/api/v1/orgs/{self.org.id}/members/{self.users['worker']}", {"role": "org_admin"}
        )
        self.assertEqual((await self.call("PATCH", path, {"role": "member"}))[0], 200)
        status, _ = await self.unchanged(self.redeem(made["token"]))
        self.assertEqual(status, 410)
        for wanted, number in (("pending", 1), ("revoked", 1), ("expired", 0), ("redeemed", 0)):
            _, _, page = await self.call("GET", f"/api/v1/orgs/{self.org.id}/invites?status={wanted}")
            self.assertEqual(len(page["data"]), number, wanted)

    async def test_organisation_gone(self) -> None:
        """Nobody joins an organisation that is gone."""
        made = await self.invite("bob@example.org", who="other_boss")
        await self.call("DELETE", f"/api/v1/orgs/{self.other.id}")
        status, _ = await self.unchanged(self.redeem(made["token"]))
        self.assertEqual(status, 410)

    async def test_new_account_needs(self) -> None:
        """A new account needs a name and a good password; the invitation waits until both are there."""
        token = (await self.invite())["token"]
        for change, param in (
            ({"password": "too short"}, "password"),
            ({"password": "bob@example.org"}, "password"),
            ({"display_name": None}, "display_name"),
            ({"display_name": "a\u202eb"}, "display_name"),
        ):
            status, got = await self.unchanged(self.redeem(token, **change))
            self.assertEqual((status, got["error"]["param"]), (400, param))
        self.assertEqual((await self.redeem(token))[0], 201)


class KnownTests(InviteCase):
    """Into one more organisation."""

    async def test_password(self) -> None:
        """Whoever has an account joins with its password, and keeps name and password."""
        made = await self.invite("ADA@example.org", who="other_boss")
        self.assertTrue((await self.peek(made["token"]))[1]["known"])
        before = await self.rows("SELECT name, password_hash FROM users WHERE id = ?", self.ada.id)
        status, joined = await self.redeem(made["token"])
        self.assertEqual((status, joined["id"], joined["display_name"]), (201, self.ada.id, "Ada"))
        self.assertEqual(
            await self.rows("SELECT name, password_hash FROM users WHERE id = ?", self.ada.id), before
        )
        orgs = await self.rows("SELECT org_id FROM org_memberships WHERE user_id = ?", self.ada.id)
        self.assertEqual({org_id for (org_id,) in orgs}, {self.org.id, self.other.id})

    async def test_wrong_password(self) -> None:
        """The token alone opens no account that is there, and guessing is slowed down as at the login."""
        token = (await self.invite(self.email, who="other_boss"))["token"]
        before = await self.stored()
        codes = []
        for _ in range(8):
            status, _ = await self.redeem(token, password="a password of somebody")
            codes.append(status)
        self.assertEqual((codes[0], codes[-1]), (401, 429))
        self.assertEqual(await self.stored(), before)
        self.later(minutes=20)
        self.assertEqual((await self.redeem(token))[0], 201)

    async def test_no_password(self) -> None:
        """An account without a password cannot be given one by an invitation."""
        await self.store.create_user(user(email="sso@example.org", auth_provider="oidc"), self.org.id)
        token = (await self.invite("sso@example.org", who="other_boss"))["token"]
        status, got = await self.unchanged(self.redeem(token))
        self.assertEqual((status, got["error"]["code"]), (401, "unauthorized"))

    async def test_logged_in(self) -> None:
        """Whoever is logged in joins without the password; nobody follows somebody else's invitation."""
        token = (await self.invite(self.email, who="other_boss"))["token"]
        await self.session()
        body = {"token": token}
        status, _, got = await self.unchanged(self.call("POST", "/api/v1/invites/accept", body, who="worker"))
        self.assertEqual((status, got["error"]["code"]), (403, "forbidden"))
        status, _, got = await self.call("POST", "/api/v1/invites/accept", body, who="ada")
        self.assertEqual((status, got["org_id"]), (200, self.other.id))
        status, _, got = await self.unchanged(self.call("POST", "/api/v1/invites/accept", body, who="ada"))
        self.assertEqual(status, 410)

    async def test_member_already(self) -> None:
        """A member is not invited; whoever became one meanwhile leaves the invitation as it is."""
        path = f"/api/v1/orgs/{self.org.id}/invites"
        status, _, got = await self.unchanged(self.call("POST", path, {"email": self.email}, who="boss"))
        self.assertEqual((status, got["error"]["param"]), (409, "email"))
        token = (await self.invite(self.email, who="other_boss"))["token"]
        members = f"/api/v1/orgs/{self.other.id}/members"
        await self.call("POST", members, {"user_id": self.ada.id, "role": "member"})
        status, got = await self.unchanged(self.redeem(token))
        self.assertEqual((status, got["error"]["code"]), (409, "conflict"))

    async def test_sessions_of_a_provider(self) -> None:
        """Sessions that another organisation's provider can have begun do not reach into the new one."""
        await self.session("first")
        await self.session()
        await self.store.write(_identity, self.org.id, self.ada.id)
        await self.store.write(_by_provider)
        token = (await self.invite(self.email, who="other_boss"))["token"]
        status, _, _ = await self.call("POST", "/api/v1/invites/accept", {"token": token}, who="ada")
        self.assertEqual(status, 200)
        self.assertEqual((await self.call("GET", "/api/v1/me", who="ada"))[0], 200)
        self.assertEqual((await self.call("GET", "/api/v1/me", who="first"))[0], 401)


class RightTests(InviteCase):
    """Who may invite whom."""

    async def test_roles(self) -> None:
        """Only those who administer the organisation invite into it, up to their own role."""
        path = f"/api/v1/orgs/{self.org.id}/invites"
        body = {"email": "bob@example.org", "role": "org_admin"}
        for who, wanted in (
            ("worker", 403),
            ("lead", 403),
            ("other_boss", 404),
            ("boss", 201),
            ("system", 201),
        ):
            before = await self.rows("SELECT count(*) FROM invites")
            status, _, _ = await self.call("POST", path, body, who=who)
            self.assertEqual(status, wanted, who)
            after = await self.rows("SELECT count(*) FROM invites")
            self.assertEqual(after[0][0] - before[0][0], int(wanted == 201))

    async def test_odd_addresses(self) -> None:
        """Look-alikes and what is no address are refused by field."""
        path = f"/api/v1/orgs/{self.org.id}/invites"
        for email in (
            "b\u043eb@example.org",
            "bob@ex\u0430mple.org",
            "\uff42ob@example.org",
            "bob",
            "",
            "a@b\n",
            7,
            None,
        ):
            status, _, got = await self.unchanged(self.call("POST", path, {"email": email}, who="boss"))
            self.assertEqual((status, got["error"]["param"]), (400, "email"), email)
        for role in ("team_admin", "system_admin", ""):
            body = {"email": "bob@example.org", "role": role}
            status, _, got = await self.unchanged(self.call("POST", path, body, who="boss"))
            self.assertEqual((status, got["error"]["param"]), (400, "role"))

    async def test_many_tokens(self) -> None:
        """Whoever tries many tokens must wait."""
        found = []
        for _ in range(12):
            status, _ = await self.peek(generate("invite_token", bytes))
            found.append(status)
        self.assertEqual((found[0], found[-1]), (410, 429))


class InvitesOnPostgresTests(OnPostgres, InviteTests):
    """The same on PostgreSQL."""


class KnownOnPostgresTests(OnPostgres, KnownTests):
    """The same on PostgreSQL."""


def _by_provider() -> Any:
    yield q("UPDATE sessions SET way = 'sso'")


def _identity(org_id: str, user_id: str) -> Any:
    yield q(
        "INSERT INTO sso_identities (provider, issuer, subject, user_id, created_at_ms, seen_at_ms)"
        " VALUES (?, 'https://idp.example.org', 'ada', ?, 1, 1)",
        org_id,
        user_id,
    )
