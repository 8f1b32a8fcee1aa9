"""Documentation that names files names files that exist."""

from __future__ import annotations

import re
import sys
import textwrap

from twisted.trial import unittest

from voidllm.config import parse_config

from .support import REPOSITORY, run

PAGES = [REPOSITORY / "README.rst", *sorted((REPOSITORY / "docs").glob("*.rst"))]
FILE = re.compile(r"``((?:voidllm|etc|tests|requirements|docs|changes|debian|bench)/[\w./-]*)``")


class DocsTests(unittest.SynchronousTestCase):
    """Pages follow the code when it moves."""

    def test_files_exist(self) -> None:
        """Every path of ours in double backquotes is there."""
        named = {(page.name, name) for page in PAGES for name in FILE.findall(page.read_text())}
        self.assertGreater(len(named), 20)
        self.assertEqual(sorted(pair for pair in named if not (REPOSITORY / pair[1]).exists()), [])

    def test_configuration_page(self) -> None:
        """The reference page is what the sections' own descriptions say."""
        code = "import sys; sys.path.insert(0, 'docs'); from configuration import page; print(page(), end='')"
        written = (REPOSITORY / "docs" / "configuration.rst").read_text()
        same = run(sys.executable, "-c", code, cwd=REPOSITORY) == written
        self.assertTrue(same, "run: python docs/configuration.py")

    def test_api_page(self) -> None:
        """The page of the API is what its routes declare."""
        code = "import sys; sys.path.insert(0, 'docs'); from api import page; print(page(), end='')"
        written = (REPOSITORY / "docs" / "api.rst").read_text()
        same = run(sys.executable, "-c", code, cwd=REPOSITORY) == written
        self.assertTrue(same, "run: python docs/api.py")

    def test_roles_page(self) -> None:
        """The page of roles is what the routes declare."""
        code = "import sys; sys.path.insert(0, 'docs'); from api import roles; print(roles(), end='')"
        written = (REPOSITORY / "docs" / "roles.rst").read_text()
        same = run(sys.executable, "-c", code, cwd=REPOSITORY) == written
        self.assertTrue(same, "run: python docs/api.py")

    def test_shipped_configurations(self) -> None:
        """The configurations of the clone and of the .deb are right, and both hold ``demo``."""
        for file in ("etc/voidllm.yaml", "debian/voidllm.yaml"):
            config = parse_config((REPOSITORY / file).read_text(), {}, file)
            self.assertEqual([model.name for model in config.models], ["demo"])
            self.assertEqual(config.warnings, ())

    def test_real_provider(self) -> None:
        """The provider that the README adds is accepted, and is what the shipped files show."""
        (shown,) = re.findall(
            r"code-block:: yaml\n\n((?:     .*\n)+)", (REPOSITORY / "README.rst").read_text()
        )
        entry = textwrap.dedent(shown)
        self.assertEqual(len(entry.splitlines()), 5)
        config = parse_config(f"models:\n{entry}", {"OPENAI_API_KEY": "secret"}, "README.rst")
        self.assertEqual(config.models[0].aliases, ("default",))
        for file in ("etc/voidllm.yaml", "debian/voidllm.yaml"):
            self.assertIn(textwrap.indent(entry, "  # "), (REPOSITORY / file).read_text())
