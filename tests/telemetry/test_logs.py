"""What is written into the log, and above all what is not."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.errors import StateError
from voidllm.telemetry.logs import Log, timestamp

CANARY = "CANARY-7d1f"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class LogCase(SynchronousTestCase):
    """A log that writes into memory."""

    def setUp(self) -> None:
        self.stream = io.StringIO()
        self.log = Log(self.stream, "debug")

    def logger(self, namespace: str = "voidllm.test") -> Logger:
        """Give a logger whose events only the log under test gets."""
        return Logger(namespace=namespace, observer=self.log)

    def lines(self) -> list[dict[str, Any]]:
        """Give what was written, decoded."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


class JsonTests(LogCase):
    """One line of JSON per event."""

    def test_line(self) -> None:
        """A line has time, level, logger, message, and known fields."""
        self.logger().info("hello {name}", name="you", request_id="r-1", status=200, secret=CANARY)
        (line,) = self.lines()
        self.assertRegex(line.pop("ts"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            line,
            {
                "level": "info",
                "logger": "voidllm.test",
                "message": "hello you",
                "request_id": "r-1",
                "status": 200,
            },
        )

    def test_timestamp(self) -> None:
        """Times are UTC with milliseconds, never rounded into the next second's shape."""
        self.assertEqual(timestamp(0), "1970-01-01T00:00:00.000Z")
        self.assertEqual(timestamp(1_700_000_000.25), "2023-11-14T22:13:20.250Z")

    def test_one_line(self) -> None:
        """No line break of any kind gets into a line."""
        self.logger().warn("{x}", x="a\nb\r\u2028\x1b[31m\ud800")
        self.assertEqual(self.stream.getvalue().count("\n"), 1)
        self.assertTrue(self.stream.getvalue().isascii())
        self.assertEqual(len(self.lines()), 1)

    def test_levels(self) -> None:
        """Less than the level is left out; the level can be changed while it runs."""
        self.log.level = "warn"
        logger = self.logger()
        logger.info("no")
        logger.warn("yes")
        self.log.level = "debug"
        logger.debug("yes")
        self.assertEqual([line["level"] for line in self.lines()], ["warn", "debug"])

    def test_noise_of_others(self) -> None:
        """At info, others are asked for warnings and worse."""
        self.log.level = "info"
        self.logger("twisted.internet.protocol").info("Starting factory")
        self.logger("twisted.internet.protocol").warn("beware")
        self.assertEqual([line["message"] for line in self.lines()], ["beware"])

    def test_closed_stream(self) -> None:
        """A log that nobody reads any more is no reason to fail."""
        self.stream.close()
        self.logger().info("x")


class ExceptionTests(LogCase):
    """What is said of an exception."""

    def _fail(self, error: BaseException, namespace: str = "voidllm.test") -> dict[str, Any]:
        secret = CANARY
        try:
            try:
                raise error
            except BaseException as inner:
                raise RuntimeError(secret) from inner
        except RuntimeError:
            self.logger(namespace).failure("it broke")
        (line,) = self.lines()
        return line

    def test_foreign(self) -> None:
        """Of a foreign exception there are type, places and causes, and no word that it says."""
        line = self._fail(ValueError(CANARY))
        self.assertEqual(line["message"], "it broke")
        self.assertEqual(line["level"], "critical")
        self.assertEqual(line["exception"]["type"], "builtins.RuntimeError")
        self.assertEqual(line["exception"]["causes"][0]["type"], "builtins.ValueError")
        self.assertRegex(line["exception"]["frames"][-1], r"test_logs\.py:\d+ _fail$")
        self.assertNotIn(CANARY, self.stream.getvalue())

    def test_ours(self) -> None:
        """Our own exceptions name no values, so they may say what they have to."""
        line = self._fail(StateError("the folder is locked"))
        self.assertEqual(line["exception"]["causes"][0]["message"], "the folder is locked")

    def test_in_fields(self) -> None:
        """An exception or failure that is put into the text is its type only."""
        self.logger().warn(
            "{a} {b} {c}", a=ValueError(CANARY), b=Failure(KeyError(CANARY)), c=StateError("locked")
        )
        (line,) = self.lines()
        self.assertEqual(line["message"], "ValueError KeyError locked")

    def test_endless_causes(self) -> None:
        """A circle of causes is followed once around."""
        first, second = ValueError(), KeyError()
        first.__cause__, second.__cause__ = second, first
        self.logger().failure("x", Failure(first))
        self.assertEqual(len(self.lines()[0]["exception"]["causes"]), 1)


class ForeignTests(LogCase):
    """Events of code that is not ours."""

    def test_values_are_left_out(self) -> None:
        """Of others' events numbers are kept, texts and objects become the names of their types."""
        self.logger("twisted.web.http").warn(
            "{n} of {text!r} {thing.name} {missing}", n=3, text=CANARY, thing=io.StringIO(CANARY)
        )
        (line,) = self.lines()
        self.assertEqual(line["message"], "3 of <str> <StringIO> <NoneType>")

    def test_old_interface(self) -> None:
        """Finished texts of the old interface are left out; that there was one is said."""
        self.log(
            {"log_namespace": "log_legacy", "log_level": LogLevel.warn, "log_text": CANARY, "log_time": 1.0}
        )
        self.log({"message": (CANARY,), "isError": 0, "log_level": LogLevel.warn, "log_time": 1.0})
        self.assertEqual(len(self.lines()), 2)
        self.assertNotIn(CANARY, self.stream.getvalue())

    def test_fields_are_ours_only(self) -> None:
        """A field of ours in an event of theirs is not written."""
        self.logger("klein").warn("x", model=CANARY)
        self.assertNotIn(CANARY, self.stream.getvalue())

    def test_broken_event(self) -> None:
        """An event whose own text cannot be made does not end the log."""
        self.logger().warn("{x.y}", x=1)
        self.assertEqual(len(self.lines()), 1)


class TextTests(SynchronousTestCase):
    """The format for people."""

    def _write(self, stream: io.StringIO, text: str, **fields: Any) -> str:
        Logger(namespace="voidllm.test", observer=Log(stream, "debug", "text")).warn(text, **fields)
        return stream.getvalue()

    def test_plain(self) -> None:
        """Without a terminal there are no colours, and control characters are shown as what they are."""
        text = self._write(io.StringIO(), "a {x}", x="b\x1b[31m\rc")
        self.assertRegex(text, r"Z warn +voidllm\.test: a b\\x1b\[31m\\rc\n$")

    def test_terminal(self) -> None:
        """On a terminal warnings have a colour that ends."""
        text = self._write(Terminal(), "a")
        self.assertTrue(text.startswith("\033[33m") and text.endswith("\033[0m\n"), text)

    def test_several_lines(self) -> None:
        """Further lines are indented, so that none looks like an event."""
        self.assertIn("a\n    b\n", self._write(io.StringIO(), "a\nb"))

    def test_exception(self) -> None:
        """An exception has its type and places below the message."""
        stream = io.StringIO()
        try:
            raise ValueError(CANARY)
        except ValueError:
            Logger(namespace="voidllm.test", observer=Log(stream, "debug", "text")).failure("it broke")
        self.assertIn("it broke\n    builtins.ValueError\n      ", stream.getvalue())
        self.assertNotIn(CANARY, stream.getvalue())


_PROCESS = """
import logging, sys, warnings
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.python import log
Logger(namespace="voidllm.early").info("before")
from voidllm.telemetry.logs import start_logging
start_logging("info", "json", sys.stdout)
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
logging.getLogger("lib").warning("count %s", "CANARY")
logging.getLogger("lib").warning("CANARY finished")
logging.getLogger("lib").info("CANARY")
try:
    raise ValueError("CANARY")
except ValueError:
    logging.getLogger("lib").exception("broke with %s", "CANARY")
    log.err(None, "CANARY")
log.msg("CANARY")
warnings.warn("CANARY")
Logger(namespace="voidllm.late").info("after")
sys.stderr.write("to the terminal\\n")
"""


class StartTests(SynchronousTestCase):
    """The whole, in a process of its own."""

    def test_everything_goes_one_way(self) -> None:
        """Events of before, the logging module, warnings and the old interface: all JSON, no values."""
        done = subprocess.run([sys.executable, "-c", _PROCESS], capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertNotIn("CANARY", done.stdout + done.stderr)
        self.assertEqual(done.stderr, "to the terminal\n")
        self.assertEqual(
            [(line["logger"], line["message"]) for line in lines],
            [
                ("voidllm.early", "before"),
                ("voidllm.foreign.lib", "count %s"),
                ("voidllm.foreign.lib", "a finished text, left out"),
                ("voidllm.foreign.lib", "broke with %s"),
                ("log_legacy", "a message of an old kind was left out"),
                ("voidllm.warnings", "UserWarning at <string>:18"),
                ("voidllm.late", "after"),
            ],
        )
        for line in lines[3:5]:
            self.assertEqual(line["exception"]["type"], "builtins.ValueError")
            self.assertEqual(line["exception"]["frames"], ["<string>:13 <module>"])
