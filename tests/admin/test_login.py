"""Logging in with a password, and what failed attempts cost."""

from __future__ import annotations

import json

from attrs import evolve
from twisted.internet.defer import gatherResults

from tests.admin.identity import CHEAP, PASSWORD, IdentityCase
from tests.admin.support import NOW, OnPostgres, user
from voidllm.core.errors import StoreUnavailable

WRONG = "incorrect horse battery staple"


class LoggingIn(IdentityCase):
    """``POST /auth/login``."""

    async def test_a_session_begins(self) -> None:
        """The right password gives a token that speaks for the person; only its digest is kept."""
        status, headers, got = await self.log_in()
        self.assertEqual(status, 200)
        self.assertRegex(got["token"], r"\Avl_sk_[0-9a-f]{48}\Z")
        self.assertNotIn("set-cookie", headers)
        self.assertEqual(headers["cache-control"], "no-store")
        expected = {
            "id": self.ada.id,
            "email": self.email,
            "display_name": "Ada",
            "role": "member",
            "org_id": self.org.id,
            "is_system_admin": False,
            "must_change_password": False,
        }
        self.assertEqual(got["user"], expected)
        self.assertEqual(got["expires_at"], "2026-12-01T10:30:00Z")
        self.keys["ada"] = got["token"]
        status, _, me = await self.call("GET", "/api/v1/me", who="ada")
        self.assertEqual((status, me["kind"], me["id"]), (200, "user", self.ada.id))
        (row,) = await self.rows("SELECT hash, user_id, way, address FROM sessions")
        self.assertEqual(row[1:], (self.ada.id, "password", "127.0.0.1"))
        self.assertNotIn(got["token"][6:], str(row))
        entries = await self.audited("action", "actor_type", "actor_id", "address", "status")
        self.assertEqual(entries, [("login", "user", self.ada.id, "127.0.0.1", 200)])

    async def test_the_address_in_any_case(self) -> None:
        """An e-mail address is the same in capitals."""
        self.assertEqual((await self.log_in("ADA@EXAMPLE.ORG"))[0], 200)

    async def test_whatever_is_wrong(self) -> None:
        """A wrong password, nobody's address, somebody without a password, somebody removed: one answer."""
        gone = await self.store.create_user(
            user(email="gone@example.org", password_hash=CHEAP.hash(PASSWORD))
        )
        await self.execute("UPDATE users SET deleted_at_ms = ? WHERE id = ?", NOW, gone.id)
        await self.store.create_user(user(email="sso@example.org", auth_provider="oidc"), self.org.id)
        answers = [
            await self.log_in(password=WRONG),
            await self.log_in("nobody@example.org"),
            await self.log_in("sso@example.org"),
            await self.log_in("gone@example.org"),
            await self.log_in("\x00@example.org"),
        ]
        for status, headers, got in answers:
            got["error"].pop("request_id")
            self.assertEqual(status, 401)
            self.assertEqual(got, answers[0][2])
            self.assertEqual(headers["www-authenticate"], "Bearer")
        self.assertEqual(answers[0][2]["error"]["message"], "invalid email or password")
        self.assertEqual(await self.rows("SELECT id FROM sessions"), [])
        entries = await self.audited("action", "resource_id", "actor_type", "status", "org_id")
        sso = (await self.rows("SELECT id FROM users WHERE email = 'sso@example.org'"))[0][0]
        failed = ("anonymous", 401)
        self.assertEqual(
            entries,
            [
                ("login_failed", self.ada.id, *failed, self.org.id),
                ("login_failed", None, *failed, None),
                ("login_failed", sso, *failed, self.org.id),
                ("login_failed", None, *failed, None),
                ("login_failed", None, *failed, None),
            ],
        )
        self.assertNotIn("example.org", json.dumps(await self.audited("diff", "actor_name")))

    async def test_bodies(self) -> None:
        """A missing, overlong or wrong field is named, and its value is not told."""
        for body, param in (
            ({"email": self.email}, "password"),
            ({"password": PASSWORD}, "email"),
            ({"email": self.email, "password": ["x"]}, "password"),
            ({"email": self.email, "password": "x" * 257}, "password"),
            ({"email": "x" * 300, "password": "x"}, "email"),
            (
                {"email": self.email, "password": PASSWORD, "totp": "123456", "recovery_code": "a"},
                "recovery_code",
            ),
        ):
            status, _, got = await self.call("POST", "/api/v1/auth/login", body, who=None)
            self.assertEqual((status, got["error"]["param"]), (400, param))
            self.assertNotIn(PASSWORD, json.dumps(got))

    async def test_a_weaker_hash_is_made_anew(self) -> None:
        """At login a hash of older settings is replaced by one of today's."""
        weak = type(CHEAP)(time_cost=1, memory_cost=16, parallelism=1)
        old = weak.hash(PASSWORD)
        await self.execute("UPDATE users SET password_hash = ? WHERE id = ?", old, self.ada.id)
        await self.session()
        ((new,),) = await self.rows("SELECT password_hash FROM users WHERE id = ?", self.ada.id)
        self.assertNotEqual(new, old)
        self.assertTrue(CHEAP.verify(new, PASSWORD))
        await self.session()

    async def test_no_answer_is_kept_for_strangers(self) -> None:
        """An Idempotency-Key means nothing here: a guess is looked at and counted, and no row is written."""
        again = {"idempotency-key": "k"}
        tokens = [(await self.log_in(headers=again))[2]["token"] for _ in range(2)]
        self.assertNotEqual(*tokens)
        status, _, got = await self.log_in(password=WRONG, headers=again)
        self.assertEqual((status, got["error"]["code"]), (401, "unauthorized"))
        self.assertEqual(await self.rows("SELECT name FROM idempotency_keys"), [])

    async def test_a_database_that_is_away(self) -> None:
        """Without the database nobody logs in, and it is said when to try again."""
        await self.store.stop()
        status, headers, got = await self.log_in()
        self.assertEqual((status, got["error"]["code"]), (503, "service_unavailable"))
        self.assertIn("retry-after", headers)
        with self.assertRaises(StoreUnavailable):
            await self.store.ping()

    async def test_many_sessions(self) -> None:
        """Of more sessions than one may have the longest unused ends, and of others none."""
        first = await self.session()
        await self.session("second")
        self.later(minutes=2)
        await self.call("GET", "/api/v1/me", who="ada")
        for _ in range(99):
            self.later(seconds=1)
            await self.session("last")
        self.assertEqual((await self.call("GET", "/api/v1/me", who="second"))[0], 401)
        self.assertEqual((await self.call("GET", "/api/v1/me", who="ada"))[0], 200)
        self.assertEqual((await self.rows("SELECT count(*) FROM sessions"))[0][0], 100)
        self.assertTrue(first["token"])


class BackingOff(IdentityCase):
    """Failed attempts make the next one wait."""

    trusted_proxies = ("127.0.0.1",)

    async def _set_up(self) -> None:
        await super()._set_up()
        from voidllm.http.clientaddr import TrustedProxies

        self.context = evolve(self.context, trusted=TrustedProxies(self.trusted_proxies))

    async def attempt(self, address: str, password: str = WRONG, email: str | None = None) -> tuple[int, int]:
        """Try to log in from an address; gives the status and the seconds to wait."""
        status, headers, _ = await self.log_in(email, password, {"x-forwarded-for": address})
        return status, int(headers.get("retry-after", 0))

    async def test_the_wait_doubles(self) -> None:
        """After five failures the waits are 1, 2, 4 s and so on; too early is not looked at."""
        for _ in range(5):
            self.assertEqual(await self.attempt("192.0.2.1"), (401, 0))
        for wait in (1, 2, 4, 8):
            self.assertEqual(await self.attempt("192.0.2.1", PASSWORD), (429, wait))
            self.assertEqual(await self.attempt("192.0.2.1"), (429, wait))
            self.later(seconds=wait)
            self.assertEqual(await self.attempt("192.0.2.1"), (401, 0))
        failures = len([1 for (action,) in await self.audited("action") if action == "login_failed"])
        self.assertEqual(failures, 9)

    async def test_it_is_not_told_who_exists(self) -> None:
        """Attempts at nobody's address wait as those at somebody's."""
        for _ in range(5):
            self.assertEqual((await self.attempt("192.0.2.1", email="nobody@example.org"))[0], 401)
        self.assertEqual(await self.attempt("192.0.2.1", email="NOBODY@example.org"), (429, 1))

    async def test_a_success_forgives(self) -> None:
        """After the wait the right password gets in, and the count begins anew."""
        for _ in range(5):
            await self.attempt("192.0.2.1")
        self.later(seconds=1)
        self.assertEqual(await self.attempt("192.0.2.1", PASSWORD), (200, 0))
        for _ in range(5):
            self.assertEqual((await self.attempt("192.0.2.1"))[0], 401)

    async def test_nobody_is_locked_out_by_others(self) -> None:
        """However many fail elsewhere, one gets in: at once from a known address, else in 30 s."""
        self.assertEqual((await self.attempt("198.51.100.1", PASSWORD))[0], 200)
        for number in range(40):
            self.assertEqual((await self.attempt(f"192.0.2.{number}"))[0] in (401, 429), True)
        self.assertEqual((await self.attempt("198.51.100.1", PASSWORD))[0], 200)

        await self.execute("UPDATE login_attempts SET good_ms = NULL")
        for number in range(40):
            await self.attempt(f"203.0.113.{number}")
        self.assertEqual((await self.attempt("198.51.100.2", PASSWORD))[0], 429)
        for number in range(30):
            self.later(seconds=1)
            # The attackers go on all the while, which makes the wait longer, up to its bound.
            await self.attempt(f"203.0.113.{number}")
        self.assertEqual((await self.attempt("198.51.100.2", PASSWORD))[0], 200)

    async def test_an_address_that_tries_everybody(self) -> None:
        """From one address thirty failures at whatever accounts are free, its own success forgives none."""
        for number in range(30):
            self.assertEqual((await self.attempt("192.0.2.1", email=f"u{number}@x.org"))[0], 401)
        self.assertEqual(await self.attempt("192.0.2.1", email="other@x.org"), (429, 1))
        self.later(seconds=1)
        self.assertEqual(await self.attempt("192.0.2.1", PASSWORD), (200, 0))
        self.assertEqual(await self.attempt("192.0.2.1", email="other@x.org"), (429, 1))
        self.assertEqual(await self.attempt("192.0.2.2", email="other@x.org"), (401, 0))

    async def test_a_network_of_ipv6_is_one_client(self) -> None:
        """Whoever has a /64 has no more attempts than somebody with one address."""
        for number in range(5):
            await self.attempt(f"2001:db8:1:2::{number}")
        self.assertEqual((await self.attempt("2001:db8:1:2:ffff::1"))[0], 429)
        self.assertEqual((await self.attempt("2001:db8:1:3::1"))[0], 401)

    async def test_many_at_once(self) -> None:
        """Of attempts at the same moment no more are looked at than one after the other."""
        answers = await gatherResults(
            [self.deferred(self.attempt("192.0.2.1")) for _ in range(12)], consumeErrors=True
        )
        self.assertEqual(sorted(status for status, _ in answers), [401] * 5 + [429] * 7)

    async def test_it_outlives_a_restart(self) -> None:
        """What was counted is in the store, as digests."""
        for _ in range(5):
            await self.attempt("192.0.2.1")
        rows = await self.rows("SELECT subject, failures FROM login_attempts ORDER BY failures")
        self.assertEqual([failures for _, failures in rows], [5, 5, 5])
        self.assertTrue(all(len(subject) == 64 for subject, _ in rows))
        self.listen()
        self.assertEqual((await self.attempt("192.0.2.1"))[0], 429)

    async def test_what_is_old_goes(self) -> None:
        """A month later nothing of a failed attempt is left."""
        await self.attempt("192.0.2.1")
        self.later(days=31)
        await self.attempt("192.0.2.2", email="x@example.org")
        self.assertEqual((await self.rows("SELECT count(*) FROM login_attempts"))[0][0], 3)

    async def test_a_header_that_nobody_vouches_for(self) -> None:
        """Without a trusted proxy ``X-Forwarded-For`` makes no new client of anybody."""
        from voidllm.http.clientaddr import TrustedProxies

        self.context = evolve(self.context, trusted=TrustedProxies())
        self.listen()
        for number in range(5):
            await self.attempt(f"192.0.2.{number}")
        self.assertEqual((await self.attempt("192.0.2.99"))[0], 429)


class LoggingInOnPostgres(OnPostgres, LoggingIn):
    """The same on PostgreSQL."""


class BackingOffOnPostgres(OnPostgres, BackingOff):
    """The same on PostgreSQL."""
