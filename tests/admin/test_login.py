"""Logging in with a password, and what a session may then do."""

from __future__ import annotations

from tests.admin.identity import IdentityCase
from tests.admin.support import OnPostgres


class LoggingIn(IdentityCase):
    """``POST /auth/login``."""

    async def test_a_session_begins(self) -> None:
        """The right password gives a token that speaks for the person; only its digest is kept."""
        status, headers, got = await self.log_in()
        self.assertEqual(status, 200)
        self.assertRegex(got["token"], r"\Avl_sk_[0-9a-f]{48}\Z")
        self.assertNotIn("set-cookie", headers)
        self.assertEqual(got["user"]["email"], self.email)
        self.assertEqual(got["user"]["org_id"], self.org.id)
        self.keys["ada"] = got["token"]
        status, _, me = await self.call("GET", "/api/v1/me", who="ada")
        self.assertEqual((status, me["kind"], me["id"]), (200, "user", self.ada.id))
        (row,) = await self.rows("SELECT hash, user_id, way FROM sessions")
        self.assertEqual(row[1:], (self.ada.id, "password"))
        self.assertNotIn(got["token"][6:], str(row))


class LoggingInOnPostgres(OnPostgres, LoggingIn):
    """The same on PostgreSQL."""
