"""``voidllm bench``: the suite's command line, which costs the other commands nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from voidllm.cli import bench
from voidllm.cli.failures import Failed


def voidllm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    code = "import sys; from voidllm.cli.main import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class BenchTests(SynchronousTestCase):
    """The command passes its arguments on."""

    def test_not_imported(self) -> None:
        """The command's own modules do not import the suite: help and version come without it."""
        code = "import sys, voidllm.cli.main; print([m for m in sys.modules if m.split('.')[0] == 'bench'])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "[]")
        self.assertIn("bench", voidllm("--help").stdout)

    def test_help(self) -> None:
        """Help is the suite's."""
        done = voidllm("bench", "--help")
        self.assertEqual(done.returncode, 0)
        for word in ("voidllm bench", "sustained", "--peer-binary"):
            self.assertIn(word, done.stdout)

    def test_refused(self) -> None:
        """What the suite refuses ends with a message and its status."""
        for arguments, words in (
            (("nonsense",), "no scenario 'nonsense'"),
            (("--rps", "-1"), "impossible"),
            (("quick", "--against", "nonsense"), "no such peer: nonsense"),
            (("quick", "--peer-binary", "/nonexistent"), "/nonexistent"),
        ):
            done = voidllm("bench", *arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(words, done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_not_there(self) -> None:
        """An installation without the suite says so."""
        with (
            mock.patch.object(bench, "find_spec", lambda name: None),
            mock.patch.object(bench, "__file__", str(Path("/nonexistent/voidllm/cli/bench.py"))),
        ):
            error = self.assertRaises(Failed, bench._suite)
        self.assertIn("does not have the benchmark suite", str(error))
