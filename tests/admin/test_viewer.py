"""The viewer of the API's document."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.admin.support import AdminCase
from voidllm.admin import viewer


class Viewer(AdminCase):
    async def test_the_page_and_its_files(self) -> None:
        """All that the page loads is on this server, and nothing else may be loaded or run."""
        status, headers, page = await self.call("GET", viewer.PATH, who=None)
        self.assertEqual((status, headers["content-type"]), (200, "text/html; charset=utf-8"))
        policy = headers["content-security-policy"]
        self.assertNotIn("unsafe", policy)
        self.assertNotIn("http", policy)
        self.assertIn("default-src 'none'", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        wanted = re.findall(rb'(?:src|href)="([^"]+)"', page)
        self.assertEqual(len(wanted), 3)
        # From wherever it was opened: the page is there with a slash at its end, too.
        self.assertEqual((await self.call("GET", f"{viewer.PATH}/", who=None))[2], page)
        for name in wanted:
            status, got, content = await self.call("GET", name.decode(), who=None)
            self.assertEqual((status, got["content-security-policy"]), (200, policy))
            self.assertEqual(got["x-content-type-options"], "nosniff")
            self.assertGreater(len(content), 100)
        self.assertIn(b"validatorUrl: null", content)

    async def test_nothing_else_is_served(self) -> None:
        """Other files of the package, and names that lead out of its folder, are not there."""
        for name in ("LICENSE", "index.css", "..%2F__init__.py", "..", "swagger-ui.js", "swagger-ui.css/x"):
            self.assertEqual((await self.call("GET", f"{viewer.PATH}/{name}", who=None))[0], 404, name)

    async def test_without_the_package_there_is_no_viewer(self) -> None:
        """The rest of the API does not need it."""
        self.patch(viewer, "folder", lambda: None)
        self.listen()
        for path, expected in (("", 404), ("/swagger-ui.css", 404)):
            self.assertEqual((await self.call("GET", viewer.PATH + path, who=None))[0], expected)
        self.assertEqual((await self.call("GET", "/api/v1/keys"))[0], 200)

    def test_the_package_is_not_imported(self) -> None:
        """Its files are served, and no code of it or of what it depends on runs."""
        code = (
            "import sys\nfrom voidllm.admin.viewer import folder\nassert folder()\n"
            "sys.exit(any(name in sys.modules for name in ('flask', 'jinja2', 'flask_swagger_ui')))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)
