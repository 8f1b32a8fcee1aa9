"""The log: JSON lines for machines, text for people, the same care for both."""

from __future__ import annotations

import json
import logging
import re
import warnings
from datetime import UTC, datetime
from typing import Any, Callable, Mapping, TextIO

from twisted.logger import ILogObserver, Logger, LogLevel, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.telemetry.events import exception_of, fields_of, level_of, message_of

_RANK = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}
_COLOURS = {"debug": "\033[2m", "warn": "\033[33m", "error": "\033[31m", "critical": "\033[1;31m"}
_PLAIN = "\033[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def timestamp(seconds: float) -> str:
    """Write a Unix time as RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def as_json(event: Mapping[str, Any], worker: int | None = None) -> str:
    """Write an event as one line of JSON (ASCII, so that no separator of lines is in it).

    :param worker: number of the worker that this process is, if it is one.
    """
    line: dict[str, Any] = {
        "ts": timestamp(event.get("log_time", 0.0)),
        "level": level_of(event),
        "logger": str(event.get("log_namespace", "")),
        "message": message_of(event),
    }
    if worker is not None:
        line["worker"] = worker
    line.update(fields_of(event))
    exception = exception_of(event)
    if exception is not None:
        line["exception"] = exception
    return json.dumps(line, separators=(",", ":"))


def as_text(event: Mapping[str, Any], colours: bool = False, worker: int | None = None) -> str:
    """Write an event for people; further lines of a message are indented.

    :param worker: number of the worker that this process is, if it is one.
    """
    level = level_of(event)
    message = _CONTROL.sub(lambda m: repr(m[0])[1:-1], message_of(event)).replace("\n", "\n    ")
    source = f"{'' if worker is None else f'[{worker}] '}{event.get('log_namespace', '')}"
    text = f"{timestamp(event.get('log_time', 0.0))} {level:<8} {source}: {message}"
    exception = exception_of(event)
    if exception is not None:
        for part in (exception, *exception.get("causes", ())):
            said = _CONTROL.sub("?", part.get("message", "")).replace("\n", "\n    ")
            text += f"\n    {part['type']}: {said}" if said else f"\n    {part['type']}"
            text += "".join(f"\n      {frame}" for frame in part["frames"])
    colour = _COLOURS.get(level, "") if colours else ""
    return f"{colour}{text}{_PLAIN}" if colour else text


@implementer(ILogObserver)
class Log:
    """Writes events to a stream.

    :ivar level: least level that is written; may be changed at any time. Other people's
        loggers are asked for warnings and worse, except at ``debug``.
    :param worker: number of the worker that this process is, if it is one; every line says it.
    """

    def __init__(
        self, stream: TextIO, level: str = "info", format: str = "json", worker: int | None = None
    ) -> None:
        self.level = level
        self._stream = stream
        colours = format == "text" and stream.isatty()
        self._write: Callable[[Mapping[str, Any]], str] = (
            (lambda event: as_json(event, worker))
            if format == "json"
            else (lambda event: as_text(event, colours, worker))
        )

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Write one event, if its level is high enough."""
        least = self.level
        if least == "info" and not str(event.get("log_namespace", "")).startswith("voidllm."):
            least = "warn"
        if _RANK[level_of(event)] < _RANK[least]:
            return
        try:
            self._stream.write(self._write(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The stream is closed or its reader is gone; there is nowhere to say so.
            pass


class _Bridge(logging.Handler):
    """Passes on what libraries say through :mod:`logging`: their template, not their values."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; a text that was finished before it came here is left out."""
        level = LogLevel.error if record.levelno >= logging.ERROR else LogLevel.warn
        template = record.msg if record.args and isinstance(record.msg, str) else "a finished text, left out"
        error = record.exc_info[1] if record.exc_info else None
        failure = {} if error is None else {"log_failure": Failure(error)}  # type: ignore[no-untyped-call]
        Logger(namespace=f"voidllm.foreign.{record.name}").emit(
            level, "{template}", template=template, **failure
        )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    Logger(namespace="voidllm.warnings").warn(
        "{category} at {file}:{line}", category=category.__qualname__, file=filename, line=lineno
    )


def start_logging(level: str, format: str, stream: TextIO, worker: int | None = None) -> Log:
    """Send everything that is logged, in whichever way, to ``stream``; once per process.

    Later calls, twistd's among them, get no observer of their own: it would write the texts of
    other people's exceptions. Standard output and error stay what they are.

    :param level: ``debug``, ``info``, ``warn`` or ``error``.
    :param format: ``json`` or ``text``.
    :param worker: see :class:`Log`.
    :returns: the log, whose level may be changed.
    """
    log = Log(stream, level, format, worker)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    globalLogBeginner.beginLoggingTo = _begun  # type: ignore[method-assign]
    warnings.showwarning = _show_warning
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(logging.WARNING)
    return log


def _begun(*_: Any, **__: Any) -> None:
    """Take the place of ``beginLoggingTo`` once logging has begun."""
