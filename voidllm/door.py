"""The handler that a port has from the first moment, before there is anything behind it."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import IMessageHandler
from voidllm.http.message import Request
from voidllm.http.replies import refusal_reply


def _starting() -> Refusal:
    return Refusal(503, "not_ready", "the gateway is starting", retry_after_ms=1000)


@implementer(IMessageHandler)
class Door:
    """Passes requests to ``target``; until there is one, says when to come back."""

    def __init__(self) -> None:
        self.target: Any = None

    def welcome(self, headers: list[tuple[bytes, bytes]], request_id: str, started_s: float) -> None:
        """Look at who is about to send a body, before any of it is read.

        :param headers: (lower-case name, value) pairs.
        :param started_s: monotonic seconds of the first request byte.
        :raises Refusal: what :meth:`handle` would answer, body or not.
        """
        if self.target is None:
            raise _starting()
        self.target.welcome(headers, request_id, started_s)

    def handle(self, request: Request, responder: Any) -> None:
        """Answer one request."""
        if self.target is not None:
            self.target.handle(request, responder)
        else:
            starting = _starting()
            headers, body = refusal_reply(starting, request.request_id)
            responder.reply(starting.status, headers, body)
