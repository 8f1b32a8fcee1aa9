"""Which connections stay on the fast front, and how the others leave it."""

from __future__ import annotations

import traceback
from typing import Any, Callable

from twisted.logger import Logger
from zope.interface import implementer

from voidllm.core.interfaces import IMessageHandler
from voidllm.http.framing import RequestLine, parse_request_line
from voidllm.http.message import Request
from voidllm.http.replies import JSON, NOTHING_HERE, error_body

_log = Logger()
#: Longest request line that a connection remembers.
_REMEMBERED = 200


def is_fast(method: bytes, path: bytes) -> bool:
    """Say whether the fast front serves ``path`` itself: ``/v1`` and the MCP gateway."""
    if path.startswith(b"/v1/"):
        return True
    # Not everything that begins like it: /api/v1/mcp-servers is the admin API's.
    return path == b"/v1" or path == b"/api/v1/mcp" or path.startswith(b"/api/v1/mcp/")


class Classifier:
    """Checks request lines and says which side serves them; remembers the last one.

    Connections that are kept tend to ask for one thing over and over.

    :ivar fast: the answer for the line that was given last.
    """

    __slots__ = ("_is_fast", "_line", "_text", "fast")

    def __init__(self, is_fast: Callable[[bytes, bytes], bool]) -> None:
        self._is_fast = is_fast
        self._text = b""
        self._line: RequestLine | None = None
        self.fast = False

    def __call__(self, text: bytes) -> RequestLine:
        """Take one request line.

        :raises BadMessage: see :func:`~voidllm.http.framing.parse_request_line`.
        """
        if text == self._text and self._line is not None:
            return self._line
        line = parse_request_line(text)
        self.fast = self._is_fast(line.method, line.path)
        short = len(text) <= _REMEMBERED
        self._text, self._line = (text, line) if short else (b"", None)
        return line


def hand_over(transport: Any, site: Any) -> Any:
    """Give a connection to ``site`` at a message boundary.

    :returns: the protocol that wants its bytes now, from the boundary on, or ``None`` if
        the site refused.
    """
    channel = site.buildProtocol(transport.getPeer())
    if channel is not None:
        channel.makeConnection(transport)
    return channel


@implementer(IMessageHandler)
class NotFound:
    """Answers what nobody serves, when there is no Site behind the front."""

    def handle(self, request: Request, responder: Any) -> None:
        """Reply 404."""
        body = error_body(404, "not_found", NOTHING_HERE, None, request.request_id)
        responder.reply(404, [JSON], body)


def log_crash(error: BaseException) -> None:
    """Log where a handler failed: type and code lines, never the text, which may hold content."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-12:]))
    _log.error("request handler failed: {kind} at {where}", kind=type(error).__qualname__, where=where)
