"""What a request costs in bytecodes and system calls stays what it is, until somebody means it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench import calls, gates
from bench.harness import Failed

TRACE = """\
7 recvfrom(5, ""..., 65536, 0, NULL, NULL) = 99
7 epoll_wait(3,  <unfinished ...>
8 fsync(9) = 0
7 <... epoll_wait resumed>[], 64, 5) = 0
7 recvfrom(5,  <unfinished ...>
7 <... recvfrom resumed>""..., 65536, 0, NULL, NULL) = 100
7 sendto(6, ""..., 100, 0, NULL, 0) = 100
8 recvfrom(9, ""..., 10, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
7 recvfrom(5, ""..., 65536, 0, NULL, NULL) = 100
7 write(8, ""..., 100) = 100
7 +++ exited with 0 +++
""".splitlines()


class CostTests(SynchronousTestCase):
    """The gate: an unexpected number is a failure that says what to do."""

    def hold(self, which: tuple[gates.Gate, ...], counted: gates.Names) -> None:
        try:
            wanted = gates.expected()
        except Failed as error:
            self.fail(str(error))
        missed = gates.misses(which, counted, wanted)
        if missed:
            self.fail("\n".join(missed))

    def test_bytecodes(self) -> None:
        """A buffered request and an event of a stream cost the bytecodes that are expected."""
        self.hold(gates.BYTECODES, gates.count_bytecodes())

    def test_system_calls(self) -> None:
        """A request costs a real gateway the system calls that are expected."""
        totals, by_name, way = gates.count_calls()
        if way != "strace":
            # Said, not hidden: the numbers are the same, calls from outside the C library are not seen.
            sys.stderr.write(f"system calls are counted by {way}\n")
        try:
            self.hold(gates.CALLS, totals)
        except self.failureException as error:
            self.fail(f"{error}\ncounted by {way}: {json.dumps(by_name)}")

    def test_the_other_way_of_counting(self) -> None:
        """Where nobody may trace, the same request shows the same number of calls."""
        counted = calls.count("preload")
        self.assertTrue(counted.way.startswith("a preloaded library"))
        self.assertEqual(sum(counted.serial.values()), gates.expected()["calls_serial"])


class TraceTests(SynchronousTestCase):
    """How a trace is read."""

    def test_windows(self) -> None:
        """Calls are counted from one request's bytes to the next, those of the reading thread, once each."""
        found = calls.windows(TRACE, 100)
        self.assertEqual(found, [{"sendto": 1}, {"recvfrom": 1, "write": 1}])
        self.assertEqual(calls.windows(TRACE, 101), [])

    def test_nothing_to_count_with(self) -> None:
        """Without tracer and compiler it cannot be counted, and the text says what to install."""
        self.patch(calls.shutil, "which", lambda name: None)
        traced = calls.Traced(Path(self.mktemp()), 1)
        error = self.assertRaises(Failed, traced.observe, None)
        self.assertIn("apt install strace", str(error))
        self.assertIn("apt install gcc", str(error))


class TableTests(SynchronousTestCase):
    """Expected numbers, and how they change."""

    def setUp(self) -> None:
        self.file = Path(self.mktemp())

    def test_keep(self) -> None:
        """New numbers replace those of the same minor version only; versions are in order."""
        gates.keep({"a": 1.234, "b": 2}, "3.12", self.file)
        gates.keep({"a": 5}, "3.9", self.file)
        gates.keep({"a": 3}, "3.12", self.file)
        self.assertEqual(gates.expected("3.12", self.file), {"a": 3, "b": 2})
        self.assertEqual(list(tomllib.loads(self.file.read_text())), ["3.9", "3.12"])

    def test_unknown_version(self) -> None:
        """A version nobody has counted on is a failure that names the command."""
        gates.keep({"a": 1}, "3.12", self.file)
        error = self.assertRaises(Failed, gates.expected, "3.99", self.file)
        self.assertIn("python -m bench.gates --update", str(error))

    def test_misses(self) -> None:
        """Off by more than the tolerance is a miss, above and below; a number nobody kept is one too."""
        held = (gates.Gate("a", "things", 0.02),)
        for now, number in ((100, 0), (102, 0), (98, 0), (103, 1), (97, 1)):
            self.assertEqual(len(gates.misses(held, {"a": now}, {"a": 100})), number, now)
        self.assertIn("no number", gates.misses(held, {"a": 1}, {})[0])
        self.assertIn("+3.0%", gates.misses(held, {"a": 103}, {"a": 100})[0])

    def test_table(self) -> None:
        """Before and after stand side by side, with the change."""
        lines = gates.table({"bytecodes_buffered": 99}, {"bytecodes_buffered": 100, "calls_serial": 8})
        self.assertRegex(lines[1], r"100\.00 +99\.00 -1\.0%$")
        self.assertRegex(lines[3], r"8\.00 +-$")
