"""What a mock answers: one value, before any fault touches it."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field


def dump(value: Any) -> bytes:
    """Encode compact JSON, as OpenAI's servers do."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@define
class Event:
    """One server-sent event.

    :ivar data: JSON text, or ``[DONE]``.
    :ivar name: the ``event:`` field, empty for none.
    """

    data: bytes
    name: str = ""


@define
class Reply:
    """A reply: ``body``, or ``events`` for a stream.

    :ivar events: the stream; the terminator (``[DONE]`` …) is ``last``, not among them.
    """

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b""
    events: list[Event] | None = None
    last: list[Event] = field(factory=list)
    headers: list[tuple[str, str]] = field(factory=list)


def json_reply(value: Any, status: int = 200) -> Reply:
    """Give a buffered JSON reply."""
    return Reply(status, body=dump(value))


def stream_reply(events: list[Event], last: list[Event]) -> Reply:
    """Give an event stream."""
    return Reply(content_type="text/event-stream; charset=utf-8", events=events, last=last)


_TYPES = {401: "invalid_request_error", 403: "permission_error", 404: "not_found_error", 429: "requests"}


def error_value(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Give OpenAI's error object."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_reply(status: int, message: str, code: str | None = None, param: str | None = None) -> Reply:
    """Give a buffered error."""
    return json_reply(error_value(status, message, code, param), status)
