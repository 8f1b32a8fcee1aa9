"""Second factors, from the secret to the last recovery code."""

from __future__ import annotations

import os
from typing import Any

from attrs import evolve
from pyotp import TOTP, parse_uri
from twisted.internet.defer import gatherResults

from tests.admin.identity import PASSWORD, IdentityCase
from tests.admin.support import OnPostgres
from voidllm.core.keyring import Keyring

MINE = "/api/v1/me/totp"


class SecondFactors(IdentityCase):
    """``/me/totp`` and the login with it."""

    async def _set_up(self) -> None:
        await super()._set_up()
        self.context = evolve(self.context, secrets=Keyring([os.urandom(32)]))

    def code(self, seconds: int = 0) -> str:
        """Give what the app shows now, or a while away."""
        return str(self.app.at(self.now_ms // 1000 + seconds))

    async def begin(self) -> tuple[int, Any]:
        status, _, got = await self.call("POST", MINE, {"current_password": PASSWORD}, who="ada")
        if status == 201:
            self.app = TOTP(got["secret"])
        return status, got

    async def confirm(self, code: str) -> tuple[int, Any]:
        status, _, got = await self.call("POST", f"{MINE}/confirm", {"totp": code}, who="ada")
        return status, got

    async def enable(self) -> list[str]:
        """Log in and set a second factor up; gives the recovery codes."""
        await self.session()
        await self.begin()
        status, got = await self.confirm(self.code())
        self.assertEqual(status, 200, got)
        self.later(minutes=2)
        codes: list[str] = got["recovery_codes"]
        return codes

    async def test_setting_it_up(self) -> None:
        """It is asked for only after a first code; the secret is shown once and kept sealed."""
        await self.session()
        await self.session("phone")
        status, got = await self.begin()
        self.assertEqual(status, 201)
        uri = parse_uri(got["uri"])
        self.assertEqual((uri.secret, uri.name, uri.issuer), (got["secret"], self.email, "VoidLLM"))
        ((sealed, confirmed),) = await self.rows("SELECT secret, confirmed_at_ms FROM totp")
        self.assertNotIn(got["secret"], sealed)
        self.assertIsNone(confirmed)
        self.assertEqual((await self.log_in())[0], 200)
        self.assertEqual((await self.confirm("000000"))[0], 403)
        self.assertEqual(await self.rows("SELECT confirmed_at_ms FROM totp"), [(None,)])
        status, got = await self.confirm(self.code())
        self.assertEqual(status, 200)
        self.assertEqual(len(set(got["recovery_codes"])), 10)
        self.assertEqual(len(await self.rows("SELECT hash FROM recovery_codes")), 10)
        # What was logged in without it has ended, but for the session in which it was set up.
        self.assertEqual((await self.call("GET", "/api/v1/me", who="phone"))[0], 401)
        _, _, me = await self.call("GET", "/api/v1/me", who="ada")
        self.assertEqual((me["totp"], me["recovery_codes_left"]), (True, 10))
        self.assertEqual((await self.begin())[0], 409)
        self.assertEqual((await self.confirm(self.code()))[0], 409)
        actions = [action for (action,) in await self.audited("action")]
        self.assertIn("totp_enable", actions)

    async def test_logging_in(self) -> None:
        """The password alone is not enough; that is said to nobody who does not know it."""
        await self.enable()
        status, _, got = await self.log_in()
        self.assertEqual((status, got["error"]["code"]), (401, "totp_required"))
        for more in ({}, {"totp": self.code()}, {"totp": "123456"}, {"recovery_code": "x"}):
            status, _, got = await self.log_in(password="not the password", **more)
            self.assertEqual((status, got["error"]["code"]), (401, "unauthorized"))
        self.later(minutes=5)
        status, _, got = await self.log_in(totp="000000")
        self.assertEqual((status, got["error"]["code"]), (401, "unauthorized"))
        self.later(seconds=1)
        self.assertEqual((await self.log_in(totp=self.code()))[0], 200)

    async def test_a_code_is_used_once(self) -> None:
        """The same code, and any earlier one, is refused afterwards; clocks may differ by half a minute."""
        await self.enable()
        for seconds in (-90, 90):
            self.assertEqual((await self.log_in(totp=self.code(seconds)))[0], 401)
        self.assertEqual((await self.log_in(totp=self.code(30)))[0], 200)
        self.assertEqual((await self.log_in(totp=self.code(30)))[0], 401)
        self.assertEqual((await self.log_in(totp=self.code()))[0], 401)
        self.later(seconds=60)
        self.assertEqual((await self.log_in(totp=self.code()))[0], 200)

    async def test_one_code_at_the_same_moment(self) -> None:
        """Of several logins at once with one code, or one recovery code, only one gets in."""
        codes = await self.enable()
        for more in ({"totp": self.code()}, {"recovery_code": codes[0]}):
            await self.execute("DELETE FROM sessions")
            answers = await gatherResults([self.deferred(self.log_in(**more)) for _ in range(4)])
            self.assertEqual(sorted(status for status, _, _ in answers), [200, 401, 401, 401])
            self.assertEqual(len(await self.rows("SELECT id FROM sessions")), 1)
            await self.execute("DELETE FROM login_attempts")

    async def test_guessing_waits(self) -> None:
        """With the right password codes are guessed no faster than passwords, whatever is sent between."""
        await self.enable()
        for _ in range(5):
            self.assertEqual((await self.log_in(totp="000000"))[0], 401)
            status, _, got = await self.log_in()
            if status == 401:
                self.assertEqual(got["error"]["code"], "totp_required")
        self.assertEqual((await self.log_in(totp="000000"))[0], 429)

    async def test_recovery_codes(self) -> None:
        """Each works once, however it is typed, and not for others."""
        codes = await self.enable()
        self.assertEqual((await self.log_in(recovery_code=codes[0].upper().replace("-", " ")))[0], 200)
        status, _, got = await self.log_in(recovery_code=codes[0])
        self.assertEqual((status, got["error"]["message"]), (401, "invalid email, password or code"))
        self.assertEqual((await self.log_in(recovery_code=codes[1]))[0], 200)
        self.assertEqual(len(await self.rows("SELECT hash FROM recovery_codes")), 8)

    async def test_new_recovery_codes(self) -> None:
        """New ones void the old ones."""
        codes = await self.enable()
        status, _, got = await self.call("POST", f"{MINE}/recovery-codes", {"totp": self.code()}, who="ada")
        self.assertEqual((status, len(got["recovery_codes"])), (200, 10))
        self.assertEqual((await self.log_in(recovery_code=codes[0]))[0], 401)
        self.assertEqual((await self.log_in(recovery_code=got["recovery_codes"][0]))[0], 200)

    async def test_taking_it_away(self) -> None:
        """It takes the password or a code, not only a session that stands open."""
        await self.enable()
        for body, expected in (
            ({}, 400),
            ({"current_password": "not the password"}, 403),
            ({"totp": "000000"}, 403),
        ):
            self.assertEqual((await self.call("DELETE", MINE, body, who="ada"))[0], expected)
            self.assertEqual(len(await self.rows("SELECT user_id FROM totp")), 1)
        self.assertEqual((await self.call("DELETE", MINE, {"totp": self.code()}, who="ada"))[0], 204)
        self.assertEqual(await self.rows("SELECT user_id FROM totp"), [])
        self.assertEqual(await self.rows("SELECT hash FROM recovery_codes"), [])
        self.assertEqual((await self.log_in())[0], 200)
        self.assertEqual((await self.call("DELETE", MINE, {"current_password": PASSWORD}, who="ada"))[0], 404)

    async def test_an_administrator_takes_it_away(self) -> None:
        """For somebody who has lost it, by who may manage that person, and by nobody else."""
        await self.enable()
        path = f"/api/v1/users/{self.ada.id}/totp"
        for who, expected in (("worker", 403), ("lead", 403), ("other_boss", 404)):
            self.assertEqual((await self.call("DELETE", path, who=who))[0], expected)
            self.assertEqual(len(await self.rows("SELECT user_id FROM totp")), 1)
        self.assertEqual((await self.call("DELETE", path, who="boss"))[0], 204)
        self.assertEqual(await self.rows("SELECT user_id FROM totp"), [])
        self.assertEqual((await self.call("DELETE", path, who="boss"))[0], 404)
        self.assertIn(("totp_reset", self.users["boss"]), await self.audited("action", "actor_id"))

    async def test_a_program_has_none(self) -> None:
        """A team's key is nobody who could have a second factor."""
        await self.mint("program", self.org, key_type="team_key", team_id=self.team.id)
        await self.publish()
        self.assertEqual((await self.call("POST", MINE, {"current_password": "x"}, who="program"))[0], 409)


class SecondFactorsOnPostgres(OnPostgres, SecondFactors):
    """The same on PostgreSQL."""
