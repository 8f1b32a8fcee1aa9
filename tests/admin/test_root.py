"""The resource tree behind the front."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

from tests.admin.support import AdminCase


class Paths(AdminCase):
    async def test_each_path_has_its_answer(self) -> None:
        """Probes and the page answer; everything else is a JSON 404."""
        for path, expected in (
            ("/", 200),
            ("/healthz", 200),
            ("/health", 200),
            ("/readyz", 200),
            ("/metrics", 200),
            ("//", 404),
            ("/nothing", 404),
            ("/nothing/below", 404),
            ("/healthz/below", 404),
            ("/healthz/", 404),
            ("/api", 404),
            ("/api/v2/keys", 404),
        ):
            status, headers, body = await self.call("GET", path, who=None)
            self.assertEqual(status, expected, path)
            if status == 404:
                self.assertEqual(body["error"]["code"], "not_found")
                self.assertEqual(headers["x-request-id"], body["error"]["request_id"])

    async def test_wrong_methods_are_told_which_there_are(self) -> None:
        """405 in JSON with Allow, on probes and on the page."""
        for path in ("/", "/healthz", "/readyz", "/metrics"):
            for method in ("POST", "DELETE", "OPTIONS"):
                status, headers, body = await self.call(method, path, who=None)
                self.assertEqual((status, headers["allow"]), (405, "GET, HEAD"))
                self.assertEqual(body["error"]["code"], "method_not_allowed")
            status, _, body = await self.call("HEAD", path, who=None)
            self.assertEqual((status, body), (200, b""))

    async def test_the_api_waits_for_the_gateway(self) -> None:
        """While the gateway starts, the admin API says when to come back."""
        self.state = "starting"
        status, headers, body = await self.call("GET", "/api/v1/keys")
        self.assertEqual((status, body["error"]["code"]), (503, "not_ready"))
        self.assertIn("retry-after", headers)

    async def test_metrics_are_for_this_machine(self) -> None:
        """Loopback reads them, but not when it speaks for somebody else."""
        _, _, body = await self.call("GET", "/metrics", who=None)
        self.assertEqual(body, b"voidllm_things 1\n")
        headers = {"x-forwarded-for": "203.0.113.9"}
        status, _, _ = await self.call("GET", "/metrics", who=None, **headers)
        self.assertEqual(status, 403)

    async def test_the_page_points_at_the_documentation(self) -> None:
        """Somebody with a browser learns what this is."""
        _, headers, body = await self.call("GET", "/", who=None)
        self.assertTrue(headers["content-type"].startswith("text/plain"))
        self.assertIn(b"documentation", body)

    def test_klein_is_not_imported_before_it_is_used(self) -> None:
        """A cold start does not pay for the admin API."""
        code = (
            "import sys, voidllm.admin.root, voidllm.admin.control\n"
            "sys.exit(any(name in sys.modules for name in ('klein', 'werkzeug')))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)


class BehindProxies(AdminCase):
    trusted_proxies = tuple(ipaddress.ip_network(one) for one in ("127.0.0.0/8", "10.0.0.0/8"))

    async def test_metrics_believe_no_hop_but_this_machine(self) -> None:
        """Whoever is within a trusted network cannot claim to come from loopback."""
        for hops, expected in (
            ("127.0.0.1", 200),
            ("127.0.0.1, ::1", 200),
            ("127.0.0.1, 10.1.2.3", 403),
            ("::1, 10.0.0.1", 403),
            ("127.0.0.1, nonsense", 403),
            ("127.0.0.1,,", 403),
            ("", 403),
        ):
            headers = {"x-forwarded-for": hops}
            status, _, _ = await self.call("GET", "/metrics", who=None, **headers)
            self.assertEqual(status, expected, hops)
