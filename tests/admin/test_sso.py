"""Signing on at a real identity provider, with a browser's eyes."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

from twisted.internet.threads import deferToThread

from tests.admin.sso_support import CALLBACK, SSOCase
from tests.admin.support import OnPostgres, user
from tests.idp import Browser
from tests.store.support import team
from voidllm.auth.oidc import GroupRule
from voidllm.auth.oidc_flow import LIFETIME_MS
from voidllm.auth.oidc_tokens import LEEWAY_S

LOGIN = "/api/v1/auth/oidc/login"


def refused(reason: str) -> str:
    return f"/login?error={reason}"


def with_query(url: str, **changes: str | None) -> str:
    """Change what a URL asks for; ``None`` takes away."""
    parts = urlsplit(url)
    query = {**{name: values[0] for name, values in parse_qs(parts.query).items()}, **changes}
    kept = {name: value for name, value in query.items() if value is not None}
    return parts._replace(query=urlencode(kept)).geturl()


class SignOnTests(SSOCase):
    """The installation's provider."""

    async def test_whole(self) -> None:
        """Somebody new logs in, agrees, comes back, and has a session as a member of the organisation."""
        await self.person()
        self.assertEqual(await self.sign_on(), "/auth/callback")
        me = await self.me()
        self.assertEqual((me["email"], me["display_name"], me["role"]), ("ann@example.org", "Ann", "member"))
        self.assertEqual([org["slug"] for org in me["orgs"]], [self.org.slug])
        ((way,),) = await self.rows("SELECT way FROM sessions")
        self.assertEqual(way, "sso")
        entries = await self.rows("SELECT action, resource_type, actor_id FROM audit_log ORDER BY seq")
        self.assertEqual(entries, [["login", "session", me["id"]], ["create", "user", me["id"]]])

    async def test_again(self) -> None:
        """Whoever comes again is the same user, also with another address at the provider."""
        await self.person()
        await self.sign_on()
        first = await self.me()
        await self.person(email="ann.new@example.org")
        self.assertEqual(await self.sign_on(), "/auth/callback")
        self.assertEqual((await self.me())["id"], first["id"])
        self.assertEqual(len(await self.rows("SELECT 1 FROM sso_identities")), 1)

    async def test_cookies(self) -> None:
        """What is kept meanwhile is out of reach for pages and gone afterwards; the session is too."""
        await self.person()
        begun = await deferToThread(self.browser.get, LOGIN)
        self.assertIn("voidllm_oidc=", begun.headers["set-cookie"])
        self.assertIn("HttpOnly; SameSite=Lax; Max-Age=600", begun.headers["set-cookie"])
        back = await deferToThread(self.browser.log_in, begun.headers["location"], "ann")
        done = await deferToThread(self.browser.get, back)
        self.assertNotIn("voidllm_oidc", self.browser.session.cookies)
        self.assertIn("voidllm_session=", done.headers["set-cookie"])
        self.assertEqual(done.headers["location"], "/auth/callback")
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        self.assertEqual(asked["code_challenge_method"], ["S256"])
        self.assertEqual(asked["response_type"], ["code"])

    async def test_link(self) -> None:
        """A local user with the same verified address is who signs on, and keeps their password."""
        made = await self.store.create_user(
            user(email="Ann@Example.org", password_hash="hash"), self.org.id, "member"
        )
        await self.person()
        self.assertEqual(await self.sign_on(), "/auth/callback")
        self.assertEqual((await self.me())["id"], made.id)
        self.assertEqual(await self.rows("SELECT password_hash FROM users WHERE id = ?", made.id), [["hash"]])

    async def test_link_disarms(self) -> None:
        """A password that somebody else chose for the user goes when its owner comes."""
        made = await self.store.create_user(
            user(email="ann@example.org", password_hash="hash", must_change_password=True), self.org.id
        )
        await self.person()
        self.assertEqual(await self.sign_on(), "/auth/callback")
        found = await self.rows("SELECT password_hash, must_change_password FROM users WHERE id = ?", made.id)
        self.assertEqual(found, [[None, 0]])

    async def test_link_disarms_strangers(self) -> None:
        """Of an account that another organisation made with somebody's address, its makers keep nothing."""
        made = await self.store.create_user(
            user(email="ann@example.org", password_hash="hash"), self.other.id, "member"
        )
        for sql in (
            "INSERT INTO sessions (hash, user_id, id, way, address, agent, created_at_ms, seen_at_ms,"
            " expires_at_ms) VALUES (?, ?, 's', 'password', '', '', 1, 1, 9)",
            "INSERT INTO password_resets (hash, user_id, created_at_ms, expires_at_ms) VALUES (?, ?, 1, 9)",
            "INSERT INTO totp (secret, user_id, created_at_ms, confirmed_at_ms, last_step)"
            " VALUES (?, ?, 1, 1, 1)",
        ):
            await self.execute(sql, "0" * 64, made.id)
        await self.person()
        self.assertEqual(await self.sign_on(), "/auth/callback")
        self.assertEqual((await self.me())["id"], made.id)
        found = await self.rows("SELECT password_hash, auth_provider FROM users WHERE id = ?", made.id)
        self.assertEqual(found, [[None, "oidc"]])
        for table in ("password_resets", "totp"):
            self.assertEqual(await self.rows(f"SELECT * FROM {table}"), [])
        self.assertEqual(await self.rows("SELECT way FROM sessions"), [["sso"]])
        # Nor do they get it back.
        status, _, _ = await self.call("POST", f"/api/v1/users/{made.id}/password-reset", who="other_boss")
        self.assertEqual(status, 409)
        body = {"password": "one of their choice"}
        status, _, _ = await self.call("PATCH", f"/api/v1/users/{made.id}", body, who="other_boss")
        self.assertEqual(status, 409)

    async def test_removed_stays_away(self) -> None:
        """Whoever was removed does not come back by signing on, until somebody makes them anew."""
        await self.person()
        await self.sign_on()
        status, _, _ = await self.call("DELETE", f"/api/v1/users/{(await self.me())['id']}")
        self.assertEqual(status, 204)
        before = await self.stored()
        self.assertEqual(await self.sign_on(), refused("not_provisioned"))
        self.assertEqual(await self.stored(), before)
        again = await self.store.create_user(user(email="ann@example.org"), self.org.id)
        self.assertEqual(await self.sign_on(), "/auth/callback")
        self.assertEqual((await self.me())["id"], again.id)


class SignOnOnPostgresTests(OnPostgres, SignOnTests):
    """The same on PostgreSQL."""


class RefusalTests(SSOCase):
    """Whatever is wrong, nobody is signed on and nothing has changed."""

    async def nothing_changed(self, reason: str, path: str = LOGIN) -> None:
        before = await self.stored()
        self.assertEqual(await self.sign_on(path=path), refused(reason))
        self.assertEqual(await self.stored(), before)
        self.assertIsNone(await self.me())

    async def come_back(self, url: str) -> str:
        reply = await deferToThread(self.browser.get, url)
        self.assertEqual(reply.status_code, 302)
        return str(reply.headers["location"])

    async def back(self) -> str:
        """Log in at the provider; gives the URL that the browser is about to open."""
        url = await deferToThread(self.browser.to_provider)
        found: str = await deferToThread(self.browser.log_in, url, "ann")
        return found

    async def test_state(self) -> None:
        """Another state, none, or another browser is no way in, and the code is not even looked at."""
        await self.person()
        before = await self.stored()
        for change in ("x" * 43, None, ""):
            url = with_query(await self.back(), state=change)
            self.assertEqual(await self.come_back(url), refused("invalid_state"))
        url, self.browser = await self.back(), Browser(self.gateway)
        self.assertEqual(await self.come_back(url), refused("invalid_state"))
        self.assertEqual(await self.stored(), before)

    async def test_replay(self) -> None:
        """A sign-on that came back does not do so twice, even with the cookie as it was."""
        await self.person()
        url = await self.back()
        cookie = self.browser.session.cookies.get("voidllm_oidc")
        self.assertEqual(await self.come_back(url), "/auth/callback")
        before = await self.stored()
        self.browser = Browser(self.gateway)
        self.browser.session.headers["cookie"] = f"voidllm_oidc={cookie}"
        self.assertEqual(await self.come_back(url), refused("invalid_state"))
        self.assertEqual(await self.stored(), before)

    async def test_replayed_code(self) -> None:
        """A code of an earlier sign-on is refused by the provider."""
        await self.person()
        used = await self.back()
        await self.come_back(used)
        before = await self.stored()
        url = with_query(await self.back(), code=parse_qs(urlsplit(used).query)["code"][0])
        self.assertEqual(await self.come_back(url), refused("exchange_failed"))
        # The provider takes back what the code gave; sessions of ours are our own.
        self.assertEqual(await self.stored(), before)

    async def test_nonce(self) -> None:
        """A code that was made for another nonce, or for another verifier, is not taken."""
        await self.person()
        before = await self.stored()
        for change in ({"nonce": "another"}, {"code_challenge": "A" * 43}):
            url = with_query(await deferToThread(self.browser.to_provider), **change)
            back = await deferToThread(self.browser.log_in, url, "ann")
            self.assertEqual(await self.come_back(back), refused("exchange_failed"))
        self.assertEqual(await self.stored(), before)

    async def test_provider_says_no(self) -> None:
        """An error of the provider, or a missing code, ends it."""
        await self.person()
        before = await self.stored()
        url = with_query(await self.back(), code=None, error="access_denied")
        self.assertEqual(await self.come_back(url), refused("auth_failed"))
        self.assertEqual(
            await self.come_back(with_query(await self.back(), code=None)), refused("missing_code")
        )
        self.assertEqual(await self.stored(), before)

    async def test_another_provider(self) -> None:
        """A code that says to come from another provider, or not from where, is not sent anywhere."""
        await self.person()
        for issuer in ("https://other.example.org", None):
            url = with_query(await self.back(), iss=issuer)
            self.assertEqual(await self.come_back(url), refused("exchange_failed"))

    async def test_too_slow(self) -> None:
        """After ten minutes at the provider it is over."""
        await self.person()
        url = await self.back()
        self.ahead_ms = LIFETIME_MS
        self.assertEqual(await self.come_back(url), refused("invalid_state"))

    async def test_tokens(self) -> None:
        """A signed token that is expired, of another issuer, or for somebody else is refused."""
        await self.person()
        now_s = self.world.wall_ms() // 1000
        for mangle in (
            {"exp": now_s - LEEWAY_S},
            {"iss": "https://other.example.org"},
            {"aud": "other"},
            {"aud": ["voidllm", "other"]},
            {"azp": "other"},
            {"nonce": "other"},
            {"iat": now_s + 3600},
        ):
            await deferToThread(self.idp.control, mangle=mangle)
            await self.nothing_changed("exchange_failed")
        await deferToThread(self.idp.control, mangle={})
        self.assertEqual(await self.sign_on(), "/auth/callback")

    async def test_key_rotation(self) -> None:
        """A new key of the provider is fetched when it is first seen, but not again and again."""
        await self.person()
        await self.sign_on()
        await deferToThread(self.idp.control, rotate=True)
        self.assertEqual(await self.sign_on(), "/auth/callback")
        fetched = (await deferToThread(self.idp.control))["fetches"]
        await deferToThread(self.idp.control, rotate=True)
        await self.nothing_changed("exchange_failed")
        self.assertEqual((await deferToThread(self.idp.control))["fetches"], fetched)

    async def test_people(self) -> None:
        """Unverified and odd addresses and foreign domains stay outside, and go on record."""
        for reason, claims in (
            ("invalid_email", {"email_verified": False}),
            ("invalid_email", {"email": "\u0430nn@example.org"}),
            ("domain_not_allowed", {"email": "ann@example.org.evil.com"}),
        ):
            await self.person(**claims)
            await self.nothing_changed(reason)
        found = await self.rows("SELECT action, error_code FROM audit_log ORDER BY seq")
        self.assertEqual(
            found,
            [["login_failed", code] for code in ("invalid_email", "invalid_email", "domain_not_allowed")],
        )

    async def test_not_provisioned(self) -> None:
        """Nobody is made where that is not allowed."""
        self.set_up_sso(auto_provision=False)
        await self.person()
        await self.nothing_changed("not_provisioned")

    async def test_wrong_secret(self) -> None:
        """A client whose secret is wrong gets nobody in."""
        self.set_up_sso(client_secret="wrong")
        await self.person()
        await self.nothing_changed("exchange_failed")

    async def test_unreachable(self) -> None:
        """A provider that is not there, or calls itself otherwise, is said to be at fault."""
        for issuer in ("http://127.0.0.1:9", self.idp.issuer + "/"):
            self.set_up_sso(issuer=issuer)
            reply = await deferToThread(self.browser.get, LOGIN)
            self.assertEqual(reply.headers["location"], refused("exchange_failed"))

    async def test_none(self) -> None:
        """Without a provider there is none to sign on at."""
        self.configure(None)
        status, _, got = await self.call("GET", LOGIN, who=None)
        self.assertEqual((status, got["error"]["code"]), (404, "not_found"))
        status, _, got = await self.call("GET", f"{LOGIN}?org={self.org.slug}", who=None)
        self.assertEqual(status, 404)

    async def test_said_on_the_way(self) -> None:
        """Whatever a browser brings, it is sent on, and nothing happens."""
        before = await self.stored()
        for query in ("", "?state=a&code=b", "?error=x", "?session_state=1&state=%C3%A9", "?x=%00"):
            status, headers, _ = await self.call("GET", CALLBACK + query, who=None)
            self.assertEqual((status, headers["location"]), (302, refused("invalid_state")))
        self.assertEqual(await self.stored(), before)


class GroupTests(SSOCase):
    """Memberships follow the groups."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.red = await self.store.create_team(team(self.org, name="Red", slug="red"))
        self.blue = await self.store.create_team(team(self.org, name="Blue", slug="blue"))
        self.foreign = await self.store.create_team(team(self.other, name="Red", slug="red2"))

    async def teams(self) -> dict[str, str]:
        me = await self.me()
        return {one["slug"]: one["role"] for one in me["teams"]}

    async def comes_with(self, *groups: str) -> dict[str, str]:
        await self.person(groups=list(groups))
        self.assertEqual(await self.sign_on(), "/auth/callback")
        return await self.teams()

    async def test_by_name(self) -> None:
        """A group is the team with its name, and what it gave goes with it; none is made."""
        self.set_up_sso(group_sync=True)
        self.assertEqual(await self.comes_with("red", "red2", "nowhere"), {"red": "member"})
        self.assertEqual(await self.comes_with("blue"), {"blue": "member"})
        self.assertEqual(await self.comes_with(), {})
        self.assertEqual(await self.rows("SELECT * FROM sso_teams"), [])
        entries = await self.rows(
            "SELECT action, team_id FROM audit_log WHERE resource_type = 'team_membership' ORDER BY seq"
        )
        expected = [
            ["create", self.red.id],
            *sorted([["create", self.blue.id], ["delete", self.red.id]], key=lambda one: one[1]),
            ["delete", self.blue.id],
        ]
        self.assertEqual(entries, expected)

    async def test_by_hand(self) -> None:
        """Where somebody was put by hand they stay, whatever groups say."""
        self.set_up_sso(group_sync=True)
        await self.comes_with("red")
        me = await self.me()
        body = {"user_id": me["id"], "role": "team_admin"}
        status, _, _ = await self.call(
            "POST", f"/api/v1/orgs/{self.org.id}/teams/{self.blue.id}/members", body
        )
        self.assertEqual(status, 201)
        self.assertEqual(await self.comes_with(), {"blue": "team_admin"})

    async def test_rules(self) -> None:
        """Rules give roles in the organisation and in teams, and take them."""
        rules = (
            GroupRule("admins", role="org_admin"),
            GroupRule("reds", team="red"),
            GroupRule("red chiefs", team="red", team_role="team_admin"),
        )
        self.set_up_sso(group_sync=True, groups=rules)
        self.assertEqual(await self.comes_with("admins", "reds", "red chiefs"), {"red": "team_admin"})
        self.assertEqual((await self.me())["role"], "org_admin")
        self.assertEqual(await self.comes_with("reds"), {"red": "member"})
        self.assertEqual((await self.me())["role"], "member")
        self.assertEqual(await self.comes_with(), {})

    async def test_lost_key(self) -> None:
        """With a team go the keys that were bound to it."""
        self.set_up_sso(group_sync=True)
        await self.comes_with("red")
        me = await self.me()
        await self.mint("bound", self.org, user_id=me["id"], team_id=self.red.id)
        await self.comes_with()
        ((revoked,),) = await self.rows("SELECT revoked_at_ms FROM api_keys WHERE id = ?", self.ids["bound"])
        self.assertIsNotNone(revoked)

    async def test_taken_out_of_the_organisation(self) -> None:
        """Groups bring nobody back into an organisation that they were taken out of."""
        self.set_up_sso(group_sync=True)
        await self.comes_with("red")
        me = await self.me()
        status, _, _ = await self.call("DELETE", f"/api/v1/orgs/{self.org.id}/members/{me['id']}")
        self.assertEqual(status, 204)
        await self.person(groups=["red"])
        self.assertEqual(await self.sign_on(), "/auth/callback")
        self.assertEqual(await self.rows("SELECT * FROM org_memberships WHERE user_id = ?", me["id"]), [])
        self.assertEqual(await self.rows("SELECT * FROM team_memberships WHERE user_id = ?", me["id"]), [])


class GroupsOnPostgresTests(OnPostgres, GroupTests):
    """The same on PostgreSQL."""
