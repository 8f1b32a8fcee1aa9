"""Passwords: changed, reset by a token, and the first one, which must go."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults, succeed

from tests.admin.identity import CHEAP, PASSWORD, IdentityCase
from tests.admin.support import NOW, OnPostgres, user
from voidllm.store import passwords

NEW = "another horse another staple"
ME = "/api/v1/me"


class Changing(IdentityCase):
    """``POST /me/password``."""

    async def change(self, who: str = "ada", current: str = PASSWORD, new: str = NEW) -> tuple[int, Any]:
        body = {"current_password": current, "new_password": new}
        status, _, got = await self.call("POST", f"{ME}/password", body, who=who)
        return status, got

    async def stored(self) -> str:
        ((found,),) = await self.rows("SELECT password_hash FROM users WHERE id = ?", self.ada.id)
        return str(found)

    async def test_it_is_changed(self) -> None:
        """The new one is good and the old one is not; the other sessions end and this one goes on."""
        await self.session()
        await self.session("phone")
        self.assertEqual(await self.change(), (200, {"sessions_ended": 1}))
        self.assertTrue(CHEAP.verify(await self.stored(), NEW))
        self.assertEqual((await self.call("GET", ME, who="ada"))[0], 200)
        self.assertEqual((await self.call("GET", ME, who="phone"))[0], 401)
        self.assertEqual((await self.log_in())[0], 401)
        self.assertEqual((await self.log_in(password=NEW))[0], 200)
        entries = await self.audited("action", "resource_id", "actor_id")
        self.assertIn(("password_change", self.ada.id, self.ada.id), entries)
        self.assertNotIn("argon2", str(await self.audited("diff")))

    async def test_the_present_one_must_be_right(self) -> None:
        """With a wrong one nothing is changed, and guessing waits as at the login."""
        await self.session()
        before = await self.stored()
        for _ in range(5):
            status, got = await self.change(current="not it at all")
            self.assertEqual((status, got["error"]["param"]), (403, "current_password"))
        self.assertEqual((await self.change())[0], 429)
        self.assertEqual(await self.stored(), before)
        self.later(seconds=1)
        self.assertEqual((await self.change())[0], 200)

    async def test_what_is_no_password(self) -> None:
        """Too short, too long, the address, the present one: 400, and nothing is changed."""
        await self.session()
        before = await self.stored()
        await self.execute("UPDATE users SET email = 'ada.lovelace@example.org' WHERE id = ?", self.ada.id)
        for new in ("x" * 11, "x" * 257, "Ada.Lovelace@example.org", PASSWORD):
            status, got = await self.change(new=new)
            self.assertEqual((status, got["error"]["param"]), (400, "new_password"), new)
        self.assertEqual(await self.stored(), before)

    async def test_those_without(self) -> None:
        """A program has no password, and somebody whom another provider vouches for has none here."""
        await self.mint("program", self.org, key_type="team_key", team_id=self.team.id)
        await self.publish()
        self.assertEqual((await self.change("program"))[0], 409)
        await self.session()
        await self.execute("UPDATE users SET password_hash = NULL WHERE id = ?", self.ada.id)
        self.assertEqual((await self.change())[0], 409)


class Resetting(IdentityCase):
    """Reset tokens."""

    async def issue(self, who: str = "boss", user_id: str | None = None) -> tuple[int, Any]:
        path = f"/api/v1/users/{user_id or self.ada.id}/password-reset"
        status, _, got = await self.call("POST", path, who=who)
        return status, got

    async def redeem(self, token: str, new: str = NEW) -> tuple[int, Any]:
        body = {"token": token, "new_password": new}
        status, _, got = await self.call("POST", "/api/v1/auth/password-reset/redeem", body, who=None)
        return status, got

    async def test_a_token_works_once(self) -> None:
        """Whoever has it chooses a password without the old one; all sessions end; then it is gone."""
        await self.session()
        status, got = await self.issue()
        self.assertEqual((status, got["expires_at"]), (201, "2026-11-24T11:30:00Z"))
        self.assertRegex(got["token"], r"\Avl_rt_[0-9a-f]{48}\Z")
        ((digest, by),) = await self.rows("SELECT hash, created_by FROM password_resets")
        self.assertEqual((len(digest), by), (64, self.users["boss"]))
        self.assertEqual(await self.redeem(got["token"]), (200, {"sessions_ended": 1}))
        self.assertEqual((await self.call("GET", ME, who="ada"))[0], 401)
        self.assertEqual((await self.log_in(password=NEW))[0], 200)
        status, answer = await self.redeem(got["token"], PASSWORD)
        self.assertEqual((status, answer["error"]["code"]), (410, "gone"))
        self.assertEqual((await self.log_in(password=NEW))[0], 200)
        entries = await self.audited("action", "actor_id", "resource_id")
        self.assertIn(("password_reset_issue", self.users["boss"], self.ada.id), entries)
        self.assertIn(("password_change", self.ada.id, self.ada.id), entries)

    async def test_a_token_goes_no_further(self) -> None:
        """It is void once the person belongs elsewhere too, or administers the installation."""
        for method, path, body in (
            ("POST", f"/api/v1/orgs/{self.other.id}/members", {"user_id": self.ada.id}),
            ("PATCH", f"/api/v1/users/{self.ada.id}", {"is_system_admin": True}),
        ):
            _, got = await self.issue(who="boss" if method == "POST" else "system")
            self.assertIn((await self.call(method, path, body))[0], (200, 201))
            self.assertEqual(await self.rows("SELECT hash FROM password_resets"), [])
            self.assertEqual((await self.redeem(got["token"]))[0], 410)
            self.assertEqual((await self.log_in(password=NEW))[0], 401)

    async def test_one_token_at_the_same_moment(self) -> None:
        """Of several who redeem one token at once only one chooses the password."""
        _, got = await self.issue()
        chosen = [f"password number {number}" for number in range(4)]
        answers = await gatherResults([self.deferred(self.redeem(got["token"], new)) for new in chosen])
        statuses = [status for status, _ in answers]
        self.assertEqual(sorted(statuses), [200, 410, 410, 410])
        self.assertEqual((await self.log_in(password=chosen[statuses.index(200)]))[0], 200)

    async def test_a_login_beside_a_change(self) -> None:
        """No session begins with a password that was changed while it was looked at."""
        verify = self.context.passwords.verify

        def slow(stored: str | None, given: str, *, known: bool) -> Deferred[bool]:
            right = verify(stored, given, known=known)
            return right.addCallback(self._meanwhile)

        self.context.passwords.verify = slow  # type: ignore[method-assign]
        self.assertEqual((await self.log_in())[0], 401)
        self.assertEqual(await self.rows("SELECT id FROM sessions"), [])

    def _meanwhile(self, found: bool) -> Deferred[bool]:
        done = self.deferred(
            self.execute("UPDATE users SET password_hash = 'other' WHERE id = ?", self.ada.id)
        )
        return done.addCallback(lambda _: found)

    async def test_an_hour(self) -> None:
        """After an hour it is gone."""
        _, got = await self.issue()
        self.later(hours=1)
        self.assertEqual((await self.redeem(got["token"]))[0], 410)
        self.assertEqual((await self.log_in())[0], 200)

    async def test_the_newest_counts(self) -> None:
        """A second token takes the place of the first, and a changed password voids both."""
        _, first = await self.issue()
        _, second = await self.issue()
        self.assertEqual((await self.redeem(first["token"]))[0], 410)
        await self.session()
        await self.call(
            "POST", f"{ME}/password", {"current_password": PASSWORD, "new_password": NEW}, who="ada"
        )
        self.assertEqual((await self.redeem(second["token"]))[0], 410)
        self.assertEqual(await self.rows("SELECT hash FROM password_resets"), [])

    async def test_a_bad_password_keeps_it(self) -> None:
        """A password that is refused does not use the token up."""
        _, got = await self.issue()
        self.assertEqual((await self.redeem(got["token"], "short"))[0], 400)
        await self.execute("UPDATE users SET email = 'ada.lovelace@example.org' WHERE id = ?", self.ada.id)
        self.assertEqual((await self.redeem(got["token"], "ada.lovelace@example.org"))[0], 400)
        self.assertEqual((await self.redeem(got["token"]))[0], 200)

    async def test_guessing_waits(self) -> None:
        """From one address wrong tokens must wait after a few."""
        for token in ("vl_rt_" + 48 * "0", "x", "\u00e9", "vl_iv_" + 48 * "1", "vl_rt_" + 48 * "2"):
            self.assertEqual((await self.redeem(token))[0], 410)
        self.assertEqual((await self.redeem("vl_rt_" + 48 * "3"))[0], 429)

    async def test_who_may(self) -> None:
        """Only who administers all organisations of a person; for a system_admin only another one."""
        both = await self.store.create_user(user(email="both@example.org", password_hash="x"), self.org.id)
        await self.execute(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, 'member', ?)",
            self.other.id,
            both.id,
            NOW,
        )
        await self.execute(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, 'member', ?)"
            " ON CONFLICT DO NOTHING",
            self.org.id,
            self.admin.id,
            NOW,
        )
        for who, target, expected in (
            ("boss", self.ada.id, 201),
            ("system", self.ada.id, 201),
            ("worker", self.ada.id, 403),
            ("lead", self.ada.id, 403),
            ("other_boss", self.ada.id, 404),
            ("boss", both.id, 403),
            ("other_boss", both.id, 403),
            ("system", both.id, 201),
            ("boss", self.admin.id, 403),
            ("other_boss", self.admin.id, 404),
            ("system", self.admin.id, 201),
            ("boss", "nobody", 404),
        ):
            await self.execute("DELETE FROM password_resets")
            status, _ = await self.issue(who, target)
            self.assertEqual(status, expected, (who, target))
            left = len(await self.rows("SELECT hash FROM password_resets"))
            self.assertEqual(left, 1 if expected == 201 else 0, (who, target))

    async def test_single_sign_on(self) -> None:
        """For somebody whom another provider vouches for there is nothing to reset."""
        await self.execute("UPDATE users SET auth_provider = 'oidc' WHERE id = ?", self.ada.id)
        self.assertEqual((await self.issue())[0], 409)
        self.assertEqual(await self.rows("SELECT hash FROM password_resets"), [])


class TheFirst(IdentityCase):
    """A password that must be changed before anything else."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.forgotten = 0
        self.context = evolve(self.context, forget_first_password=self._forget)
        await self.execute("UPDATE users SET must_change_password = 1 WHERE id = ?", self.ada.id)
        await self.store.meta_set(passwords.FIRST_ADMIN, self.ada.id)

    def _forget(self) -> Deferred[None]:
        self.forgotten += 1
        return succeed(None)

    async def test_nothing_else_goes(self) -> None:
        """Until it is changed the session may look at itself, change the password and log out, no more."""
        got = await self.session()
        self.assertTrue(got["user"]["must_change_password"])
        status, _, me = await self.call("GET", ME, who="ada")
        self.assertEqual((status, me["must_change_password"]), (200, True))
        for method, path in (
            ("GET", f"{ME}/available-models"),
            ("GET", f"{ME}/sessions"),
            ("POST", f"{ME}/totp"),
        ):
            status, _, refused = await self.call(method, path, who="ada")
            self.assertEqual((status, refused["error"]["code"]), (403, "password_change_required"))
        self.assertEqual(await self.store.read(passwords.first_password), self.ada.id)
        body = {"current_password": PASSWORD, "new_password": NEW}
        self.assertEqual((await self.call("POST", f"{ME}/password", body, who="ada"))[0], 200)
        self.assertEqual(self.forgotten, 1)
        self.assertEqual((await self.call("GET", f"{ME}/available-models", who="ada"))[0], 200)
        self.assertIsNone(await self.store.read(passwords.first_password))
        self.assertFalse((await self.log_in(password=NEW))[2]["user"]["must_change_password"])

    async def test_logging_out_goes(self) -> None:
        """A session with the first password can end itself."""
        await self.session()
        self.assertEqual((await self.call("POST", "/api/v1/auth/logout", who="ada"))[0], 204)
        self.assertEqual(self.forgotten, 0)

    async def test_a_reset_counts_too(self) -> None:
        """By a reset token the first password goes as well; a second change forgets nothing again."""
        _, _, got = await self.call("POST", f"/api/v1/users/{self.ada.id}/password-reset", who="boss")
        body = {"token": got["token"], "new_password": NEW}
        self.assertEqual(
            (await self.call("POST", "/api/v1/auth/password-reset/redeem", body, who=None))[0], 200
        )
        self.assertEqual(self.forgotten, 1)
        await self.session(password=NEW)
        body = {"current_password": NEW, "new_password": PASSWORD}
        self.assertEqual((await self.call("POST", f"{ME}/password", body, who="ada"))[0], 200)
        self.assertEqual(self.forgotten, 1)


class ChangingOnPostgres(OnPostgres, Changing):
    """The same on PostgreSQL."""


class ResettingOnPostgres(OnPostgres, Resetting):
    """The same on PostgreSQL."""


class TheFirstOnPostgres(OnPostgres, TheFirst):
    """The same on PostgreSQL."""
