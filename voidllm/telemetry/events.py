"""Which words of a log event may be written down.

Events of our own are formatted as they are. Of everybody else's, texts and objects are left
out, because nobody can know what is in them: a request, a key, a row of a database.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping

from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure

from voidllm.core.errors import VoidLLMError

#: Fields of an event that become fields of the line; ids, configured names and numbers.
FIELDS = ("request_id", "model", "deployment", "provider", "status", "code", "kind", "duration_ms")
_HARMLESS = ("twisted.scripts.", "twisted.application.")
_LEVELS = {level: level.name for level in LogLevel.iterconstants()}
_MOST_FRAMES = 30
_MOST_CAUSES = 5
_FIELD = re.compile(r"\{([^{}!:.\[]*)[^{}]*\}")
_MOST_TEXT = 16_384


def is_ours(namespace: str) -> bool:
    """Say whether events of this logger hold only what we put there."""
    return namespace.partition(".")[0] == "voidllm" or namespace.startswith(_HARMLESS)


def level_of(event: Mapping[str, Any]) -> str:
    """Give the level's name; events without one are information."""
    return str(_LEVELS.get(event.get("log_level", LogLevel.info), "info"))


def message_of(event: Mapping[str, Any]) -> str:
    """Give the text of an event without what must not be written down."""
    namespace = str(event.get("log_namespace", ""))
    if is_ours(namespace):
        return formatEvent({name: _safe(value) for name, value in event.items()})[:_MOST_TEXT]
    if namespace == "log_legacy":
        # The old interface has finished texts only.
        return "a message of an old kind was left out"
    template = event.get("log_format")
    if not isinstance(template, str):
        return "a message without a template was left out"

    def fill(match: re.Match[str]) -> str:
        value = event.get(match[1])
        if isinstance(value, (bool, int, float)):
            return str(value)
        return f"<{type(value).__name__}>"

    return _FIELD.sub(fill, template)[:_MOST_TEXT]


def fields_of(event: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Give those fields of one of our events that are written beside its text."""
    if not is_ours(str(event.get("log_namespace", ""))):
        return {}
    return {name: event[name] for name in FIELDS if isinstance(event.get(name), (str, int, float))}


def _safe(value: Any) -> Any:
    if isinstance(value, Failure):
        value = value.value
    if isinstance(value, BaseException):
        return str(value) if isinstance(value, VoidLLMError) else type(value).__qualname__
    return value


def exception_of(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Describe the failure of an event: type, where, causes; the message only if it is ours."""
    # The second name is that of the old interface.
    failure = event.get("log_failure") or event.get("failure")
    if not isinstance(failure, Failure) or failure.value is None:
        return None
    described = _describe(failure.value, _frames(failure))
    causes: list[dict[str, Any]] = []
    seen = {id(failure.value)}
    cause = failure.value.__cause__ or failure.value.__context__
    while cause is not None and id(cause) not in seen and len(causes) < _MOST_CAUSES:
        seen.add(id(cause))
        causes.append(_describe(cause, _traceback(cause)))
        cause = cause.__cause__ or cause.__context__
    if causes:
        described["causes"] = causes
    return described


def _describe(error: BaseException, frames: list[str]) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(error, VoidLLMError):
        described["message"] = str(error)[:_MOST_TEXT]
    described["frames"] = frames
    return described


def _frames(failure: Failure) -> list[str]:
    frames: Iterable[Any] = failure.frames
    places = [f"{file}:{line} {function}" for function, file, line, *_ in frames]
    return places[-_MOST_FRAMES:] or _traceback(failure.value)


def _traceback(error: BaseException | None) -> list[str]:
    places: list[str] = []
    trace = None if error is None else error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return places[-_MOST_FRAMES:]
