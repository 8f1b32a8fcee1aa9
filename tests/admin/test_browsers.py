"""What every answer of the administration tells browsers."""

from __future__ import annotations

from tests.admin.support import AdminCase

STRICT = "default-src 'none'; frame-ancestors 'none'"


class Browsers(AdminCase):
    """Headers of answers and refusals alike."""

    trusted_proxies = ("127.0.0.1",)

    async def test_every_answer(self) -> None:
        """Answers, refusals, unknown paths, a gateway that starts: nothing runs, is framed or is kept."""
        await self.call("GET", "/api/v1/me")
        self.state = "starting"
        for state in ("starting", "ready"):
            self.state = state
            self.listen()
            for method, path, who in (
                ("GET", "/api/v1/me", "system"),
                ("GET", "/api/v1/me", None),
                ("GET", "/api/v1/me?x=1", "system"),
                ("GET", "/api/v1/nothing", None),
                ("PUT", "/api/v1/me", None),
                ("POST", "/api/v1/auth/login", None),
                ("GET", "/api/v1/openapi.json", None),
                ("GET", "/api/%ff", None),
            ):
                _, headers, _ = await self.call(method, path, who=who)
                self.assertEqual(headers["content-security-policy"], STRICT, path)
                self.assertEqual(headers["x-content-type-options"], "nosniff", path)
                self.assertEqual(headers["referrer-policy"], "no-referrer", path)
                self.assertEqual(headers["cache-control"], "no-store", path)
                self.assertNotIn("strict-transport-security", headers)

    async def test_the_viewer_has_its_own(self) -> None:
        """The page of the document may run its own scripts, and is kept for an hour."""
        status, headers, _ = await self.call("GET", "/api/v1/docs", who=None)
        self.assertEqual(status, 200)
        self.assertIn("script-src 'self'", headers["content-security-policy"])
        self.assertEqual(headers["cache-control"], "private, max-age=3600")

    async def test_over_tls(self) -> None:
        """Whoever came over TLS, by the word of a trusted proxy, comes only so again."""
        _, headers, _ = await self.call("GET", "/api/v1/me", **{"x-forwarded-proto": "https"})
        self.assertEqual(headers["strict-transport-security"], "max-age=31536000")
