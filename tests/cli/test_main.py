"""The command line itself: help, version, configuration, and what is imported for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import ROOT
from voidllm import __version__
from voidllm.cli import keys
from voidllm.cli.main import main
from voidllm.cli.tables import printable, table
from voidllm.cli.usage import _show
from voidllm.config import load


def invoke(*arguments: str, **env: str) -> Any:
    return CliRunner().invoke(main, arguments, env={"VOIDLLM_CONFIG": "", **env})


class Parsing(SynchronousTestCase):
    def test_version(self) -> None:
        """Command and option say the same."""
        for argument in ("version", "--version"):
            self.assertEqual(invoke(argument).output, f"voidllm {__version__}\n")

    def test_help_has_examples_everywhere(self) -> None:
        """Every command shows how it is used."""

        def commands(group: click.Group, path: tuple[str, ...] = ()) -> Any:
            for name, command in group.commands.items():
                yield (*path, name)
                if isinstance(command, click.Group):
                    yield from commands(command, (*path, name))

        for path in [(), *commands(main)]:
            shown = invoke(*path, "--help")
            self.assertEqual(shown.exit_code, 0, path)
            self.assertIn("Example", shown.output, path)
            self.assertIn(" ".join(("voidllm", *path)), shown.output, path)
        self.assertIn("Exit status", invoke("--help").output)

    def test_help_and_version_need_no_twisted(self) -> None:
        """What has to be quick imports little."""
        code = (
            "import sys\nfrom voidllm.cli.main import main\n"
            "for arguments in (['--help'], ['version'], ['keys', 'create', '--help']):\n"
            "    main(arguments, standalone_mode=False)\n"
            "heavy = {'twisted', 'klein', 'attrs', 'yaml'} & set(sys.modules)\n"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_serve_is_twistd(self) -> None:
        """``serve`` runs the plug-in in the foreground without a pid file."""
        seen: list[list[str]] = []
        self.patch(twistd, "run", lambda: seen.append(sys.argv))
        self.patch(sys, "argv", ["voidllm"])
        self.assertEqual(invoke("-c", "x.yaml", "serve", "--listen", "tcp:9").exit_code, 0)
        expected = [
            "twistd",
            "--nodaemon",
            "--pidfile=",
            "voidllm",
            "--config",
            "x.yaml",
            "--listen",
            "tcp:9",
        ]
        self.assertEqual(seen, [expected])

    def test_options_become_the_body_of_a_request(self) -> None:
        """What is not given is not sent."""
        bodies: list[Any] = []

        class Recorder:
            async def create_key(self, body: Any) -> dict[str, Any]:
                bodies.append(body)
                return {"key": "k", "id": "i", "key_type": "t", "expires_at": None}

        def perform(config: Any, work: Any) -> Any:
            try:
                work(Recorder()).send(None)
            except StopIteration as stop:
                return stop.value

        self.patch(keys, "perform", perform)
        config = Path(self.mktemp())
        config.write_text("{}")
        options = "--type team --team blue --model a --model b --scope inference --tokens-per-day 0"
        done = invoke("-c", str(config), "keys", "create", "-q", *options.split())
        self.assertEqual(done.stdout, "k\n")
        for name in ("a", "b"):
            self.assertIn(f"warning: the configuration has no model or alias {name}\n", done.stderr)
        expected = {
            "name": "API key",
            "key_type": "team_key",
            "team_id": "blue",
            "models": ["a", "b"],
            "scopes": ["inference"],
            "daily_token_limit": 0,
        }
        self.assertEqual(bodies, [expected])


class CheckingTheConfiguration(SynchronousTestCase):
    def _check(self, text: str) -> Any:
        path = Path(self.mktemp())
        path.write_text(text)
        return invoke("--config", str(path), "check-config")

    def test_a_valid_one(self) -> None:
        """It says so, and warns of what has no effect on standard error."""
        done = self._check("cache: {key_ttl: 10s}\n")
        self.assertEqual((done.exit_code, done.stdout), (0, "configuration is valid\n"))
        self.assertIn("warning:", done.stderr)

    def test_every_mistake_is_told_at_once(self) -> None:
        """Key path and line of each, on standard error, exit status 1."""
        done = self._check("workers: many\nserver: {proxy: {prot: 1}}\n")
        self.assertEqual((done.exit_code, done.stdout), (1, ""))
        for said in ("cannot be used:\n", ":1: workers", ":2: server.proxy"):
            self.assertIn(said, done.stderr)

    def test_a_misspelt_provider(self) -> None:
        """What may have been meant is said."""
        done = self._check("models: [{name: m, provider: opneai}]\n")
        self.assertIn("did you mean openai?", done.stderr)

    def test_no_file(self) -> None:
        """That the defaults were looked at, and no file, is said."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(os, "getcwd", lambda: str(folder))
        self.patch(load, "SYSTEM_FILE", str(folder / "none.yaml"))
        done = invoke("check-config")
        self.assertEqual((done.exit_code, done.stdout), (0, "configuration is valid\n"))
        self.assertIn("no configuration file", done.stderr)

    def test_a_named_file_that_is_missing(self) -> None:
        """It is an error, not a default."""
        done = invoke("-c", "/nowhere/x.yaml", "check-config")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("x.yaml", done.stderr)


class Tables(SynchronousTestCase):
    def test_columns_are_aligned(self) -> None:
        """Texts to the left, numbers to the right, nothing after the last cell."""
        shown = table(["A", "N"], [["long", "1"], ["b", "100"]], frozenset({1}))
        self.assertEqual(shown, "A       N\nlong    1\nb     100")
        self.assertEqual(table(["A", "B"], []), "A  B")

    def test_a_name_cannot_steer_the_terminal(self) -> None:
        """Control characters are shown as question marks."""
        self.assertEqual(printable("a\x1b[31mb"), "a?[31mb")

    def test_totals_are_exact(self) -> None:
        """The last line adds up without floats."""
        row = {
            "status": "200",
            "total_requests": 1234,
            "prompt_tokens": 5,
            "completion_tokens": 6,
            "cost": "0.1",
            "cost_nano": 100_000_000,
            "unpriced_requests": 1,
        }
        shown = _show(["status"], [row, {**row, "status": "502"}])
        self.assertIn("1,234", shown)
        self.assertIn("  0.100000\n", shown)
        last = shown.splitlines()[-1]
        self.assertEqual(
            last, "total: 2,468 requests, 10 + 12 tokens, 0.200000 USD (2 requests without a price)"
        )
