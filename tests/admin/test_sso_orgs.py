"""Organisations with identity providers of their own, and how far those reach."""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread

from tests.admin.sso_support import CALLBACK, SSOCase
from tests.admin.support import OnPostgres, user
from voidllm.store.statements import q

LOGIN = "/api/v1/auth/oidc/login"


def refused(reason: str) -> str:
    return f"/login?error={reason}"


class OrgCase(SSOCase):
    """``self.other`` has a provider for ``example.org``; the installation has none."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.configure(None)
        self.path = f"/api/v1/orgs/{self.other.id}/sso"
        self.body: dict[str, Any] = {
            "issuer": self.idp.issuer,
            "client_id": self.idp.client_id,
            "client_secret": self.idp.client_secret,
            "redirect_url": self.gateway + CALLBACK,
            "scopes": ["openid", "email", "profile", "groups"],
            "allowed_domains": ["example.org"],
            "auto_provision": True,
        }
        await self.put()

    async def put(self, who: str = "other_boss", **changes: Any) -> Any:
        status, _, got = await self.call("PUT", self.path, {**self.body, **changes}, who=who)
        self.assertEqual(status, 200, got)
        return got

    async def arrive(self) -> str:
        return await self.sign_on(path=f"{LOGIN}?org=other")


class OrgSignOnTests(OrgCase):
    """Who comes in by an organisation's provider."""

    async def test_whole(self) -> None:
        """Somebody new becomes a member of that organisation, and of no other one."""
        await self.person()
        self.assertEqual(await self.arrive(), "/auth/callback")
        me = await self.me()
        self.assertEqual([(one["slug"], one["role"]) for one in me["orgs"]], [("other", "member")])
        self.assertEqual(await self.arrive(), "/auth/callback")
        self.assertEqual((await self.me())["id"], me["id"])

    async def test_own_people(self) -> None:
        """A member of that organisation alone is linked."""
        made = await self.store.create_user(user(email="ann@example.org"), self.other.id, "org_admin")
        await self.person()
        self.assertEqual(await self.arrive(), "/auth/callback")
        self.assertEqual((await self.me())["id"], made.id)

    async def test_other_peoples(self) -> None:
        """It speaks for nobody of another organisation, several or none, and for no system administrator."""
        for orgs, changes in (
            ((self.org,), {}),
            ((self.other, self.org), {}),
            ((), {}),
            ((self.other,), {"is_system_admin": True}),
        ):
            made = await self.store.create_user(user(email="ann@example.org", **changes))
            for one in orgs:
                await self.store.write(_join, one.id, made.id)
            await self.person()
            before = await self.stored()
            self.assertEqual(await self.arrive(), refused("provision_failed"))
            self.assertEqual(await self.stored(), before)
            self.assertIsNone(await self.me())
            await self.store.write(_remove, made.id)

    async def test_outgrown(self) -> None:
        """Whoever has since joined another organisation, or became system administrator, comes in no more."""
        await self.person()
        await self.arrive()
        me = await self.me()
        await self.store.write(_join, self.org.id, me["id"])
        before = await self.stored()
        self.assertEqual(await self.arrive(), refused("auth_failed"))
        self.assertEqual({**await self.stored(), "sso_identities": 0}, {**before, "sso_identities": 0})

    async def test_sessions_do_not_grow(self) -> None:
        """What it began ends when the person is added elsewhere, or becomes system administrator."""
        for name in ("ann", "bob"):
            await self.person(name)
            self.assertEqual(await self.sign_on(name, f"{LOGIN}?org=other"), "/auth/callback")
            me = await self.me()
            if name == "ann":
                body = {"user_id": me["id"], "role": "member"}
                status, _, _ = await self.call("POST", f"/api/v1/orgs/{self.org.id}/members", body)
                self.assertEqual(status, 201)
            else:
                body = {"is_system_admin": True}
                status, _, _ = await self.call("PATCH", f"/api/v1/users/{me['id']}", body)
                self.assertEqual(status, 200)
            self.assertIsNone(await self.me())
            self.assertEqual(await self.rows("SELECT 1 FROM sessions WHERE user_id = ?", me["id"]), [])

    async def test_two_providers(self) -> None:
        """The same subject of the same issuer is somebody else at another organisation's provider."""
        await self.person()
        await self.arrive()
        self.path = f"/api/v1/orgs/{self.org.id}/sso"
        await self.put("boss", allowed_domains=["example.com"])
        await self.person(email="ann@example.com")
        self.assertEqual(await self.sign_on(path=f"{LOGIN}?org={self.org.slug}"), "/auth/callback")
        me = await self.me()
        self.assertEqual(
            (me["email"], [one["slug"] for one in me["orgs"]]), ("ann@example.com", [self.org.slug])
        )

    async def test_secret_at_rest(self) -> None:
        """The client secret is sealed, bound to its row, and in no reply and no entry of the audit log."""
        ((sealed,),) = await self.rows("SELECT client_secret FROM org_sso")
        self.assertNotIn(self.idp.client_secret, sealed)
        self.assertEqual(
            self.context.secrets.open(sealed, "org_sso", "client_secret", self.other.id),
            self.idp.client_secret,
        )
        _, _, got = await self.call("GET", self.path, who="other_boss")
        self.assertTrue(got["has_secret"])
        self.assertNotIn("client_secret", got)
        log = await self.rows("SELECT diff FROM audit_log")
        self.assertNotIn(self.idp.client_secret, str(log))
        self.assertNotIn(sealed, str(log))

    async def test_private_addresses(self) -> None:
        """Providers of organisations are not connected to on private addresses, unless that is allowed."""
        self.configure(None, networks=())
        reply = await deferToThread(self.browser.get, f"{LOGIN}?org=other")
        self.assertEqual(reply.headers["location"], refused("exchange_failed"))
        for issuer in (self.idp.issuer, self.idp.issuer.replace("127.0.0.1", "localhost")):
            status, _, got = await self.call(
                "POST", f"{self.path}/test", {"issuer": issuer}, who="other_boss"
            )
            self.assertEqual((status, got["status"]), (200, "error"))
            self.assertIn("not public", got["message"])
        fetched = await deferToThread(self.idp.control)
        self.assertEqual(fetched["requests"], 0)

    async def test_off(self) -> None:
        """A provider that is switched off, or whose organisation is gone, lets nobody in."""
        await self.put(enabled=False)
        status, _, _ = await self.call("GET", f"{LOGIN}?org=other", who=None)
        self.assertEqual(status, 404)
        await self.put()
        await self.call("DELETE", f"/api/v1/orgs/{self.other.id}")
        status, _, _ = await self.call("GET", f"{LOGIN}?org=other", who=None)
        self.assertEqual(status, 404)

    async def test_switched_off_meanwhile(self) -> None:
        """Nobody comes back to a provider that was taken away meanwhile."""
        await self.person()
        url = await deferToThread(self.browser.to_provider, f"{LOGIN}?org=other")
        back = await deferToThread(self.browser.log_in, url, "ann")
        await self.call("DELETE", self.path, who="other_boss")
        before = await self.stored()
        reply = await deferToThread(self.browser.get, back)
        self.assertEqual(reply.headers["location"], refused("lookup_failed"))
        self.assertEqual(await self.stored(), before)


class OrgSignOnOnPostgresTests(OnPostgres, OrgSignOnTests):
    """The same on PostgreSQL."""


class SettingsTests(OrgCase):
    """Setting them up."""

    async def refuse(self, param: str, status: int = 400, **changes: Any) -> None:
        before = await self.rows("SELECT * FROM org_sso ORDER BY 1")
        got_status, _, got = await self.call("PUT", self.path, {**self.body, **changes}, who="other_boss")
        self.assertEqual((got_status, got["error"]["param"]), (status, param), got)
        self.assertEqual(await self.rows("SELECT * FROM org_sso ORDER BY 1"), before)

    async def test_fields(self) -> None:
        """Each field that is wrong is named, and nothing is changed."""
        await self.refuse("issuer", issuer="http://idp.example.org")
        await self.refuse("issuer", issuer="https://idp.example.org/?a=b")
        await self.refuse("issuer", issuer="https://user:word@idp.example.org/")
        await self.refuse("issuer", issuer="ftp://idp.example.org")
        await self.refuse("redirect_url", redirect_url="http://us.example.org/callback")
        await self.refuse("redirect_url", redirect_url=None)
        await self.refuse("allowed_domains", allowed_domains=[])
        await self.refuse("allowed_domains[0]", allowed_domains=["ex\u0430mple.org"])
        await self.refuse("default_role", default_role="org_admin")
        await self.refuse("group_rules[0]", group_rules=[{"group": "g"}])
        await self.refuse("group_rules[0].role", group_rules=[{"group": "g", "role": "system_admin"}])

    async def test_kept_secret(self) -> None:
        """An empty secret keeps the one that there is, but not for another issuer or client."""
        before = await self.rows("SELECT client_secret FROM org_sso")
        await self.put(client_secret="", auto_provision=False)
        self.assertEqual(await self.rows("SELECT client_secret FROM org_sso"), before)
        await self.refuse("client_secret", client_secret="", issuer="https://evil.example.org")
        await self.refuse("client_secret", client_secret="", client_id="other")

    async def test_domain_of_others(self) -> None:
        """A mail domain leads to one organisation; when that gives it up, to the next."""
        mine = f"/api/v1/orgs/{self.org.id}/sso"
        status, _, got = await self.call("PUT", mine, self.body, who="boss")
        self.assertEqual((status, got["error"]["param"]), (409, "allowed_domains"))
        self.assertEqual(await self.rows("SELECT org_id FROM org_sso"), [[self.other.id]])
        await self.call("DELETE", self.path, who="other_boss")
        status, _, _ = await self.call("PUT", mine, self.body, who="boss")
        self.assertEqual(status, 200)

    async def test_ways_to_log_in(self) -> None:
        """A domain or a slug leads to the organisation's provider; nothing is told of users."""
        path = "/api/v1/auth/providers"
        _, _, got = await self.call("GET", path, who=None)
        self.assertEqual(got, {"local": True, "oidc": False})
        theirs = {"org": "other", "login_url": f"{LOGIN}?org=other"}
        for query in ("?email=nobody@EXAMPLE.org", "?org=other"):
            _, _, got = await self.call("GET", path + query, who=None)
            self.assertEqual(got, {"local": True, "oidc": False, "organization": theirs})
        self.set_up_sso()
        for query in ("?email=x@sub.example.org", "?email=x", f"?org={self.org.slug}"):
            _, _, got = await self.call("GET", path + query, who=None)
            self.assertEqual(got, {"local": True, "oidc": True, "login_url": LOGIN})

    async def test_try(self) -> None:
        """A provider is tried before it is set up, and what is wrong is said."""
        for issuer, status in (
            (self.idp.issuer, "ok"),
            (self.idp.issuer + "/", "error"),
            ("http://127.0.0.1:9", "error"),
        ):
            _, _, got = await self.call("POST", f"{self.path}/test", {"issuer": issuer}, who="other_boss")
            self.assertEqual(got["status"], status, got)

    async def test_of_the_installation(self) -> None:
        """What the configuration says is shown to system administrators, without the secret."""
        self.set_up_sso()
        status, _, got = await self.call("GET", "/api/v1/settings/sso")
        self.assertEqual((status, got["issuer"], got["has_secret"]), (200, self.idp.issuer, True))
        self.assertNotIn(self.idp.client_secret, str(got))
        status, _, _ = await self.call("GET", "/api/v1/settings/sso", who="boss")
        self.assertEqual(status, 403)

    async def test_others(self) -> None:
        """Nobody sees or sets the provider of another organisation."""
        before = await self.rows("SELECT * FROM org_sso")
        for method, body in (("GET", None), ("PUT", self.body), ("DELETE", None)):
            for who, status in (("boss", 404), ("worker", 404)):
                got, _, _ = await self.call(method, self.path, body, who=who)
                self.assertEqual(got, status)
        self.assertEqual(await self.rows("SELECT * FROM org_sso"), before)


def _join(org_id: str, user_id: str) -> Any:
    yield q(
        "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, 'member', 1)",
        org_id,
        user_id,
    )


def _remove(user_id: str) -> Any:
    yield q("DELETE FROM org_memberships WHERE user_id = ?", user_id)
    yield q("UPDATE users SET deleted_at_ms = 1 WHERE id = ?", user_id)
