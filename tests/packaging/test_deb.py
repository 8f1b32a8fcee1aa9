"""The .deb, built and used: part of the second stage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from twisted.trial import unittest

from .support import REPOSITORY, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOOLS = {
    "dh": "debhelper",
    "dpkg-buildpackage": "build-essential",
    "cc": "build-essential",
    "mmdebstrap": "mmdebstrap",
    "curl": "curl",
    "unshare": "util-linux",
}


class DebTests(unittest.SynchronousTestCase):
    """A machine with nothing but Debian on it serves ``demo`` after one installation."""

    def test_installed_service(self) -> None:
        """The package builds, installs, answers through the unit's command, upgrades and purges."""
        missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
        if missing:
            self.fail(f"this test needs tools: sudo apt install {' '.join(missing)} python3-venv")
        package = REPOSITORY / run(REPOSITORY / "debian" / "build", timeout=600).splitlines()[-1]
        self.assertTrue(package.exists())
        run(REPOSITORY / "debian" / "build", "root", timeout=600)

        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        if os.geteuid():
            namespaces += ["--map-auto", "--map-root-user"]
        drill = REPOSITORY / "tests" / "packaging" / "drill.sh"
        output = run(*namespaces, drill, REPOSITORY / "build/deb/root.tar", package, folder, timeout=300)
        self.assertIn("--- done", output)

        answer = json.loads((folder / "answer.json").read_text())
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        self.assertTrue(answer["choices"][0]["message"]["content"])
        measured = json.loads((folder / "bench.json").read_text())
        self.assertEqual(measured["results"]["llm"]["proxied"]["success"], 1)
        self.assertEqual(measured["results"]["llm"]["direct"]["success"], 1)
        self.assertEqual((measured["environment"]["alone"]["generator"], measured["peers"]), ("c", {}))
        rows = json.loads((folder / "usage.json").read_text())["data"]
        served = [(row["model"], row["status"], row["total_requests"]) for row in rows]
        self.assertEqual(served, [("demo", "200", 2)])
