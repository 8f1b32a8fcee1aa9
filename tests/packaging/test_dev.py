"""The script for people, on machines that lack something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from twisted.trial import unittest

from .support import REPOSITORY

# Only what ./dev itself calls before it has a Python, so that no real one is found.
TOOLS = ("sh", "dirname", "printf", "cat", "sha256sum", "cut", "id", "env")


class DevTests(unittest.SynchronousTestCase):
    """``./dev`` explains itself and what is missing."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.bin = self.folder / "bin"
        self.bin.mkdir(parents=True)
        shutil.copy(REPOSITORY / "dev", self.folder / "dev")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, tool
            (self.bin / tool).symlink_to(found)

    def fake(self, name: str, *answers: str) -> None:
        """Put a fake interpreter on the path; ``answers`` are patterns of code that it runs well."""
        cases = "".join(f"    *'{answer}'*) exit 0 ;;\n" for answer in answers)
        script = f'#!/bin/sh\ncase "$2" in\n    *print*) echo 3.12 ;;\n{cases}    *) exit 1 ;;\nesac\n'
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)

    def dev(self, *arguments: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(self.folder / "dev"), *arguments],
            env={"PATH": str(self.bin), "LC_ALL": os.environ.get("LC_ALL", "C"), **env},
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )
        return done.returncode, done.stdout + done.stderr

    def test_help(self) -> None:
        """Help names every command, with or without dashes, and after a command."""
        for arguments in ((), ("help",), ("--help",), ("-h",), ("setup", "--help")):
            code, text = self.dev(*arguments)
            self.assertEqual(code, 0)
            for command in ("setup", "run", "test", "docs", "lint", "bench", "deb", "lock"):
                self.assertIn(f"\n  {command} ", text)
            self.assertNotIn("\x1b", text)

    def test_unknown(self) -> None:
        """An unknown command is an error that names it."""
        code, text = self.dev("nonsense")
        self.assertEqual(code, 1)
        self.assertIn("no such command: nonsense", text)

    def test_no_python(self) -> None:
        """Without a recent Python the line that installs one is printed."""
        self.fake("python3")
        code, text = self.dev("setup")
        self.assertEqual(code, 1)
        self.assertIn("sudo apt install python3 python3-venv", text)

    def test_no_venv(self) -> None:
        """Without the venv part the line for the version found is printed."""
        self.fake("python3", "version_info < (3, 11)")
        code, text = self.dev("setup")
        self.assertEqual(code, 1)
        self.assertIn("sudo apt install python3.12-venv", text)

    def test_chosen_python(self) -> None:
        """A chosen interpreter that is too old is refused by name."""
        self.fake("python3.9")
        code, text = self.dev("setup", PYTHON="python3.9")
        self.assertEqual(code, 1)
        self.assertIn("PYTHON=python3.9 is not", text)
