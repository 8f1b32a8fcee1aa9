"""The handler that a port has from the first moment, before there is anything behind it."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import IMessageHandler
from voidllm.http.message import Request
from voidllm.http.replies import refusal_reply

_STARTING = Refusal(503, "not_ready", "the gateway is starting", retry_after_ms=1000)


@implementer(IMessageHandler)
class Door:
    """Passes requests to ``target``; until there is one, says when to come back."""

    def __init__(self) -> None:
        self.target: Any = None

    def handle(self, request: Request, responder: Any) -> None:
        """Answer one request."""
        if self.target is not None:
            self.target.handle(request, responder)
        else:
            headers, body = refusal_reply(_STARTING, request.request_id)
            responder.reply(_STARTING.status, headers, body)
