"""Documentation that names files names files that exist."""

from __future__ import annotations

import re

from twisted.trial import unittest

from .support import REPOSITORY

PAGES = [REPOSITORY / "README.rst", *sorted((REPOSITORY / "docs").glob("*.rst"))]
FILE = re.compile(r"``((?:voidllm|etc|tests|requirements|docs|changes|debian|bench)/[\w./-]*)``")


class DocsTests(unittest.SynchronousTestCase):
    """Pages follow the code when it moves."""

    def test_files_exist(self) -> None:
        """Every path of ours in double backquotes is there."""
        named = {(page.name, name) for page in PAGES for name in FILE.findall(page.read_text())}
        self.assertGreater(len(named), 20)
        self.assertEqual(sorted(pair for pair in named if not (REPOSITORY / pair[1]).exists()), [])
