"""The command measures, says no, and ends what it started, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Callable

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from bench.cli import main
from bench.harness import children, family
from bench.progress import Progress

ROOT = Path(__file__).resolve().parents[2]


def start(case: SynchronousTestCase, *words: str, out: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the suite for a test; what a killed one leaves goes with the test."""
    temporary = mkdtemp(prefix="voidllm-bench-test-")
    case.addCleanup(rmtree, temporary, ignore_errors=True)
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": temporary},
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(check: Callable[[], Any], what: str, patience_s: float = 30) -> Any:
    """Poll real processes, which give no other signal."""
    until = time.monotonic() + patience_s
    while not (found := check()):
        if time.monotonic() > until:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """Give whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command(pid: int) -> bytes:
    """Give a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def leaves(process: subprocess.Popen[str]) -> None:
    """Take away what a failed test would leave."""
    for pid in family(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def ended(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    """Send a signal, again after some seconds as people do, and give stdout and stderr.

    Python loses an interrupt that comes while it runs a destructor.
    """
    for _ in range(3):
        process.send_signal(number)
        try:
            return process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("three signals did not end it")


class Runs(SynchronousTestCase):
    """Whole runs, as short as can be."""

    def run_suite(self, *words: str) -> tuple[int, str, str]:
        """Run to the end and give status, stdout and stderr."""
        process = start(self, *words)
        self.addCleanup(leaves, process)
        out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    def test_all(self) -> None:
        """All scenarios give one JSON document, with every phase that could run, and leave no process."""
        status, out, err = self.run_suite("all", "--duration", "0.5s", "--rps", "40", "--json", "-")
        self.assertIn(status, (0, 1), err)
        value = json.loads(out)
        self.assertEqual((value["scenario"], value["complete"], value["failures"]), ("all", True, {}))
        names = ["quick", "sustained", "burst", "large-payload", "mixed", "endurance", "realistic"]
        self.assertEqual(list(value["results"]), names)
        for name, results in value["results"].items():
            for key, found in results.items():
                if "skipped" in found:
                    self.assertNotIn("proxied", found)
                    continue
                for way in ("direct", "proxied"):
                    figures = found[way]
                    self.assertEqual(figures["success"], 1, (name, key, way, figures["errors"]))
                    self.assertGreater(figures["p50_us"], 10_000)
                self.assertEqual(len(found["overhead"]["p50_ci_us"]), 2)
                self.assertEqual(len(found["proxied"]["blocks"]), 5)
                self.assertGreater(found["proxied"]["gateway_cpu_us_per_request"], 0)
        self.assertIn("direct", value["results"]["quick"]["mcp"])
        self.assertIn("recovery", value["results"]["burst"]["llm"]["burst"]["proxied"]["legs"])
        self.assertEqual(value["results"]["realistic"]["llm"]["streaming"]["proxied"]["events_lost"], 0)
        environment = value["environment"]
        for key in ("cores", "pinning", "cpu", "kernel", "python", "twisted", "voidllm", "commit", "alone"):
            self.assertIn(key, environment)
        # Progress is on stderr; not on a terminal it is one line a phase, without colours.
        self.assertIn("quick: LLM, 40 rps", err.splitlines())
        self.assertNotIn("\x1b", err + out)

    def test_sigint(self) -> None:
        """After SIGINT the blocks measured so far are written, marked incomplete, and nothing runs on."""
        file = Path(self.mktemp()).absolute()
        process = start(self, "quick", "--duration", "6s", "--rps", "100", "--json", str(file))
        self.addCleanup(leaves, process)
        assert process.stderr is not None
        self.assertIn("quick: LLM", process.stderr.readline())
        seen: set[int] = set()
        loads: set[int] = set()

        def third_load() -> bool:
            running = family(process.pid)[1:]
            seen.update(running)
            for pid in children(process.pid):
                if b"--arrivals" in command(pid):
                    loads.add(pid)
            return len(loads) >= 3

        wait_until(third_load, "the third block")
        process.send_signal(signal.SIGINT)
        # Leftovers would keep the pipe open, so this also waits for them.
        _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 130, err)
        self.assertGreater(len(seen), 2)
        self.assertEqual([pid for pid in seen if alive(pid)], [])
        value = json.loads(file.read_text())
        self.assertEqual((value["complete"], value["valid"]), (False, False))
        llm = value["results"]["llm"]
        self.assertGreaterEqual(len(llm["direct"]["blocks"]) + len(llm["proxied"]["blocks"]), 2)
        self.assertGreater(llm["direct"]["requests"], 0)

    def test_sigterm(self) -> None:
        """SIGTERM, and the end of a terminal, are like SIGINT, also before anything is measured."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            process = start(self, "quick", "--json", "-")
            self.addCleanup(leaves, process)

            def mock_runs(pid: int = process.pid) -> list[int]:
                running = family(pid)[1:]
                return running if any(b"delay-us" in command(pid) for pid in running) else []

            seen = wait_until(mock_runs, "the mock")
            out, err = ended(process, number)
            self.assertEqual((process.returncode, json.loads(out)["complete"]), (130, False), err)
            self.assertEqual([pid for pid in seen if alive(pid)], [])

    def test_killed(self) -> None:
        """What a killed run had started ends too."""
        process = start(self, "quick", "--duration", "20s")
        self.addCleanup(leaves, process)
        assert process.stderr is not None
        process.stderr.readline()
        started = wait_until(lambda: (found := family(process.pid)[1:])[2:] and found, "three processes")
        process.kill()
        process.wait()
        wait_until(lambda: not any(map(alive, started)), "the end of what was started")

    def test_impossible_rate(self) -> None:
        """A rate that this machine cannot drive is refused with the rate that it can."""
        status, out, err = self.run_suite("quick", "--rps", "900000", "--json", "-")
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err, r"more than this machine can drive: --rps of at most [\d,]+ is possible")
        self.assertNotIn("Traceback", err)


class BadInput(SynchronousTestCase):
    """What is refused before anything is started."""

    def refused(self, *words: str) -> str:
        """Give the message of a refused command line."""
        before = set(children(os.getpid()))
        got = CliRunner().invoke(main, list(words), prog_name="bench")
        self.assertEqual(got.exit_code, 2, got.output)
        self.assertNotIn("Traceback", got.output)
        self.assertEqual(set(children(os.getpid())), before)
        return got.output

    def test_scenario(self) -> None:
        """An unknown scenario is refused with those that there are."""
        message = self.refused("nonsense")
        for name in ("nonsense", "quick", "realistic", "all", "targets"):
            self.assertIn(name, message)

    def test_rate(self) -> None:
        """A rate must be above zero."""
        for rate in ("0", "-5", "nan", "inf"):
            self.assertIn("above 0", self.refused("quick", "--rps", rate))
        self.refused("quick", "--rps", "many")

    def test_duration(self) -> None:
        """A duration has a unit that is known, and is not too short or long."""
        for words in ("1x", "-1s", "0.1s", "900h", ""):
            self.assertIn("--duration", self.refused("quick", "--duration", words))

    def test_busy_port(self) -> None:
        """A port that somebody listens on is refused."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            port = sock.getsockname()[1]
            self.assertIn(f"port {port} cannot be used", self.refused("quick", "--port", str(port)))

    def test_files(self) -> None:
        """A report that could not be written is refused before the run, not after it."""
        self.assertIn("cannot be written", self.refused("quick", "--json", "/nowhere/x.json"))
        self.assertIn("cannot be written", self.refused("quick", "--html", str(Path.cwd())))

    def test_peer(self) -> None:
        """An unknown peer is refused."""
        self.assertIn("no such peer: nobody", self.refused("quick", "--against", "nobody"))
        self.refused("quick", "--peer-binary", "/nowhere/voidllm")

    def test_targets(self) -> None:
        """Targets have their own rates; --quick is theirs alone."""
        self.refused("targets", "--rps", "5")
        self.refused("quick", "--quick")

    def test_where_to(self) -> None:
        """A page does not go to stdout, and what cannot be written is refused before anything runs."""
        self.assertIn("goes to a file", self.refused("quick", "--html", "-"))
        self.assertIn("cannot be written", self.refused("quick", "--json", "/nowhere/x.json"))

    def test_workers(self) -> None:
        """Workers that the gateway would refuse are refused here."""
        for words in ("0", "x", "65", "-1"):
            self.assertIn("auto or a number", self.refused("quick", "--workers", words))

    def test_help(self) -> None:
        """The help lists each scenario and has examples."""
        got = CliRunner().invoke(main, ["--help"])
        self.assertEqual(got.exit_code, 0)
        for word in ("quick", "large-payload", "endurance", "targets", "Examples:", "Exit status"):
            self.assertIn(word, got.output)


class ProgressOnTerminals(SynchronousTestCase):
    """What a person sees."""

    def test_bar(self) -> None:
        """On a terminal there is one line, drawn again, with rate and errors, and it is gone at the end."""
        out = StringIO()
        progress = Progress(out, terminal=True)
        progress.phase("quick: LLM")
        progress.block("LLM", "direct", 5, 10)
        time.sleep(0.25)
        progress.count("llm", 100, 3)
        text = out.getvalue()
        self.assertIn("[############............] 5/10 direct", text)
        self.assertIn("3 errors", text)
        self.assertNotIn("\n", text)
        progress.end()
        self.assertTrue(out.getvalue().endswith("\r\x1b[K"))

    def test_lines(self) -> None:
        """Elsewhere there is a line a phase."""
        out = StringIO()
        progress = Progress(out, terminal=False)
        progress.phase("quick: LLM")
        progress.block("LLM", "direct", 5, 10)
        progress.count("llm", 100, 3)
        progress.end()
        self.assertEqual(out.getvalue(), "quick: LLM\n")
