"""Sessions: how long they live, where they are shown and ended, and what a cookie needs."""

from __future__ import annotations

import http.client
import json

from attrs import evolve
from twisted.internet.threads import deferToThread

from tests.admin.identity import PASSWORD, IdentityCase
from tests.admin.support import OnPostgres
from voidllm.http.clientaddr import TrustedProxies

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ME = "/api/v1/me"
ALL = "/api/v1/me/sessions"


def _forged(token: str) -> str:
    return f"{token[:10]}{'0' if token[10] != '0' else '1'}{token[11:]}"


def _cookies_of(port: int, body: bytes, headers: dict[str, str]) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/api/v1/auth/login", body, headers)
        return connection.getresponse().headers.get_all("set-cookie", [])
    finally:
        connection.close()


class Living(IdentityCase):
    """A session is alive for as long as it is used, and no longer than a week."""

    async def status(self, who: str = "ada") -> int:
        return int((await self.call("GET", ME, who=who))[0])

    async def test_unused(self) -> None:
        """After twelve hours without a request it has ended; a request in between prolongs it."""
        await self.session()
        self.later(hours=11, minutes=59)
        self.assertEqual(await self.status(), 200)
        self.later(hours=11, minutes=59)
        self.assertEqual(await self.status(), 200)
        self.later(hours=12)
        self.assertEqual(await self.status(), 401)

    async def test_at_the_latest(self) -> None:
        """After seven days it ends however much it is used, and its row goes with the next login."""
        await self.session()
        for _ in range(15):
            self.later(hours=11)
            self.assertEqual(await self.status(), 200)
        self.later(hours=3)
        self.assertEqual(await self.status(), 401)
        await self.session("again")
        self.assertEqual(len(await self.rows("SELECT id FROM sessions")), 1)

    async def test_seen_once_a_minute(self) -> None:
        """The time of the last request is written at most once a minute."""
        began = self.now_ms
        await self.session()
        self.later(seconds=59)
        await self.status()
        self.assertEqual(await self.rows("SELECT seen_at_ms FROM sessions"), [(began,)])
        self.later(seconds=1)
        await self.status()
        self.assertEqual(await self.rows("SELECT seen_at_ms FROM sessions"), [(self.now_ms,)])

    async def test_made_up(self) -> None:
        """A token that was made up is refused without asking the database."""
        got = await self.session()
        asked = []
        read = self.store.read
        self.store.read = lambda op, *args: asked.append(op) or read(op, *args)
        for token in (_forged(got["token"]), "vl_sk_" + 48 * "0"):
            self.keys["nobody"] = token
            self.assertEqual(await self.status("nobody"), 401)
        self.assertEqual(asked, [])

    async def test_it_ends_with_its_user(self) -> None:
        """Of somebody who is removed no session speaks any more."""
        await self.session()
        await self.execute("UPDATE users SET deleted_at_ms = 1 WHERE id = ?", self.ada.id)
        self.assertEqual(await self.status(), 401)

    async def test_roles_are_those_of_now(self) -> None:
        """A role that was taken away counts no more with the next request."""
        await self.execute("UPDATE org_memberships SET role = 'org_admin' WHERE user_id = ?", self.ada.id)
        await self.session()
        self.assertEqual((await self.call("GET", ME, who="ada"))[2]["role"], "org_admin")
        await self.execute("UPDATE org_memberships SET role = 'member' WHERE user_id = ?", self.ada.id)
        self.assertEqual((await self.call("GET", ME, who="ada"))[2]["role"], "member")

    async def test_logout(self) -> None:
        """Logging out ends this session and no other; with an API key there is none to end."""
        await self.session()
        await self.session("phone")
        status, _, _ = await self.call("POST", "/api/v1/auth/logout", who="ada")
        self.assertEqual(status, 204)
        self.assertEqual((await self.status(), await self.status("phone")), (401, 200))
        self.assertEqual(len(await self.rows("SELECT id FROM sessions")), 1)
        self.assertEqual(
            (await self.audited("action", "resource_type", "actor_id"))[-1],
            ("logout", "session", self.ada.id),
        )
        self.assertEqual((await self.call("POST", "/api/v1/auth/logout", who="worker"))[0], 409)


class Listing(IdentityCase):
    """``/me/sessions``."""

    async def test_the_list(self) -> None:
        """Each is there with address, program and times, the present one marked; nobody else's."""
        await self.session(headers={"user-agent": FIREFOX})
        self.later(minutes=5)
        await self.session("phone", headers={"user-agent": "curl/8.5.0 secret"})
        self.later(minutes=5)
        status, _, got = await self.call("GET", ALL, who="ada")
        self.assertEqual(status, 200)
        first, second = got["data"]
        self.assertEqual(
            (first["agent"], first["current"], first["address"]), ("Firefox on Linux", True, "127.0.0.1")
        )
        self.assertEqual((second["agent"], second["current"]), ("curl", False))
        self.assertEqual(first["created_at"], "2026-11-24T10:30:00Z")
        self.assertEqual(first["last_seen_at"], "2026-11-24T10:40:00Z")
        self.assertEqual(first["expires_at"], "2026-11-24T22:40:00Z")
        self.assertEqual((await self.call("GET", ALL, who="worker"))[2]["data"], [])

    async def test_pages(self) -> None:
        """Every order goes through all of them, page after page, without a gap."""
        for name in ("ada", "b", "c", "d", "e"):
            await self.session(name)
            self.later(seconds=30)
        for sort in ("created_at", "-created_at", "last_seen_at", "-last_seen_at"):
            found: list[str] = []
            more = ""
            while True:
                _, _, got = await self.call("GET", f"{ALL}?limit=2&sort={sort}{more}", who="ada")
                found += [one["id"] for one in got["data"]]
                if not got["has_more"]:
                    break
                more = f"&cursor={got['next_cursor']}"
            self.assertEqual(len(set(found)), 5, sort)
            self.assertEqual(len(found), 5)
        status, _, got = await self.call(
            "GET", f"{ALL}?sort=last_seen_at&cursor=WyJsYXN0X3NlZW5fYXQiLCJ4IiwieCJd", who="ada"
        )
        self.assertEqual((status, got["error"]["param"]), (400, "cursor"))

    async def test_filters(self) -> None:
        """Search is in address and program; the way of the login is a filter."""
        await self.session(headers={"user-agent": FIREFOX})
        await self.session("phone", headers={"user-agent": "curl/8.5.0"})
        for query, count in (
            ("q=firefox", 1),
            ("q=127.0", 2),
            ("q=%25", 0),
            ("way=sso", 0),
            ("way=password", 2),
        ):
            _, _, got = await self.call("GET", f"{ALL}?{query}", who="ada")
            self.assertEqual(len(got["data"]), count, query)

    async def test_ending_one(self) -> None:
        """One's own can be ended, anybody else's is not there."""
        await self.session()
        await self.session("phone")
        _, _, got = await self.call("GET", ALL, who="ada")
        other = next(one["id"] for one in got["data"] if not one["current"])
        self.assertEqual((await self.call("DELETE", f"{ALL}/{other}", who="worker"))[0], 404)
        self.assertEqual((await self.call("GET", ME, who="phone"))[0], 200)
        self.assertEqual((await self.call("DELETE", f"{ALL}/{other}", who="ada"))[0], 204)
        self.assertEqual((await self.call("GET", ME, who="phone"))[0], 401)
        self.assertEqual((await self.call("DELETE", f"{ALL}/{other}", who="ada"))[0], 404)
        self.assertEqual(len(await self.rows("SELECT id FROM sessions")), 1)

    async def test_ending_the_others(self) -> None:
        """All but the present one end together."""
        for name in ("ada", "b", "c"):
            await self.session(name)
        status, _, got = await self.call("DELETE", ALL, who="ada")
        self.assertEqual((status, got), (200, {"ended": 2}))
        self.assertEqual(
            [(await self.call("GET", ME, who=one))[0] for one in ("ada", "b", "c")], [200, 401, 401]
        )
        self.assertEqual((await self.call("DELETE", ALL, who="ada"))[2], {"ended": 0})
        self.assertEqual((await self.audited("action", "resource_id"))[-1], ("revoke_sessions", self.ada.id))


class Cookies(IdentityCase):
    """A session in a browser."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.context = evolve(self.context, trusted=TrustedProxies(("127.0.0.1",)))

    async def browser(self, **headers: str) -> dict[str, str]:
        """Log in with a cookie; gives the headers that a page of ours sends."""
        status, _, body = await self.log_in(cookie=True, headers=headers)
        self.assertEqual(status, 200, body)
        self.csrf = body["csrf_token"]
        return {"cookie": f"theme=dark; voidllm_session={body['token']}; voidllm_csrf={self.csrf}"}

    async def rename(self, **headers: str) -> int:
        status, _, _ = await self.call("PATCH", ME, {"display_name": "Countess"}, who=None, **headers)
        ((name,),) = await self.rows("SELECT name FROM users WHERE id = ?", self.ada.id)
        self.assertEqual(name, "Countess" if status == 200 else "Ada")
        return int(status)

    async def test_how_it_is_set(self) -> None:
        """The cookie is kept from scripts and other sites, and from plain HTTP if it came by TLS."""
        body = json.dumps({"email": self.email, "password": PASSWORD, "cookie": True}).encode()
        for proto, secure in (("http", ""), ("https", "; Secure")):
            headers = {"content-type": "application/json", "x-forwarded-proto": proto}
            session, csrf = await deferToThread(_cookies_of, self.port, body, headers)
            self.assertRegex(
                session,
                r"\Avoidllm_session=vl_sk_[0-9a-f]{48}; Path=/api; HttpOnly; SameSite=Strict; Max-Age=604800"
                + secure
                + r"\Z",
            )
            self.assertRegex(
                csrf, r"\Avoidllm_csrf=[0-9a-f]{64}; Path=/; SameSite=Strict; Max-Age=604800" + secure + r"\Z"
            )

    async def test_reading_needs_the_cookie_alone(self) -> None:
        """A page reads with the cookie; a key in a header counts before it."""
        cookie = await self.browser()
        status, _, me = await self.call("GET", ME, who=None, **cookie)
        self.assertEqual((status, me["id"]), (200, self.ada.id))
        _, _, me = await self.call("GET", ME, who="worker", **cookie)
        self.assertEqual(me["id"], self.users["worker"])

    async def test_changing_needs_the_token(self) -> None:
        """Without the session's own token, or from another origin, nothing is changed."""
        cookie = await self.browser()
        here = f"http://127.0.0.1:{self.port}"
        self.assertEqual(await self.rename(**cookie), 403)
        mine = self.csrf
        await self.browser()
        for token in (self.csrf, "", "0" * 64, "\xff"):
            self.assertEqual(await self.rename(**cookie, **{"x-csrf-token": token}), 403, token)
        token = {**cookie, "x-csrf-token": mine}
        for origin in (
            "http://evil.example",
            "null",
            f"https://127.0.0.1:{self.port}",
            "http://127.0.0.1:1",
            "",
        ):
            self.assertEqual(await self.rename(**token, origin=origin), 403, origin)
        self.assertEqual(await self.rename(**token, **{"sec-fetch-site": "cross-site"}), 403)
        self.assertEqual(await self.rename(**token, **{"sec-fetch-site": "same-site"}), 403)
        self.assertEqual(await self.rename(**token, origin=here), 200)

    async def test_a_program_needs_none(self) -> None:
        """The same session as a bearer token needs no further token, whatever the origin."""
        await self.session()
        status, _, _ = await self.call(
            "PATCH", ME, {"display_name": "Countess"}, who="ada", origin="http://evil.example"
        )
        self.assertEqual(status, 200)

    async def test_another_site_cannot_log_anybody_in(self) -> None:
        """A login that sets a cookie is refused for a page of another site; no session begins."""
        status, _, _ = await self.log_in(cookie=True, headers={"origin": "http://evil.example"})
        self.assertEqual(status, 403)
        self.assertEqual(await self.rows("SELECT id FROM sessions"), [])

    async def test_odd_cookies(self) -> None:
        """Two different sessions, a forged one and nonsense are nobody."""
        cookie = await self.browser()
        token = cookie["cookie"].split("voidllm_session=")[1].split(";")[0]
        for text in (
            f"voidllm_session={token}; voidllm_session={_forged(token)}",
            f"voidllm_session={_forged(token)}",
            "voidllm_session=",
            "voidllm_session",
            "=;;; voidllm_session=\xff",
            "x=" + "y" * 9000,
        ):
            status, _, _ = await self.call("GET", ME, who=None, cookie=text)
            self.assertEqual(status, 401, text)
        again = f"voidllm_session={token}; voidllm_session={token}"
        self.assertEqual((await self.call("GET", ME, who=None, cookie=again))[0], 200)

    async def test_logout_clears_it(self) -> None:
        """Logging out with the cookie ends the session and takes the cookie back."""
        cookie = await self.browser()
        status, got, _ = await self.call(
            "POST", "/api/v1/auth/logout", who=None, **cookie, **{"x-csrf-token": self.csrf}
        )
        self.assertEqual(status, 204)
        self.assertIn("Max-Age=0", got["set-cookie"])
        self.assertEqual(await self.rows("SELECT id FROM sessions"), [])
        self.assertEqual((await self.call("GET", ME, who=None, **cookie))[0], 401)


class LivingOnPostgres(OnPostgres, Living):
    """The same on PostgreSQL."""


class ListingOnPostgres(OnPostgres, Listing):
    """The same on PostgreSQL."""


class CookiesOnPostgres(OnPostgres, Cookies):
    """The same on PostgreSQL."""
