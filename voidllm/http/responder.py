"""The fast front's reply to one request."""

from __future__ import annotations

from typing import Any, Protocol

from zope.interface import implementer

from voidllm.core.interfaces import IResponder
from voidllm.http.reply_head import BODYLESS, field_lines, status_line


class Wire(Protocol):
    """What a responder needs of its connection."""

    def send(self, data: bytes) -> None:
        """Write some bytes."""

    def date(self) -> bytes:
        """Give the ``Date`` line."""

    def may_keep(self) -> bool:
        """Say whether the connection can serve another request after this reply."""

    def reply_over(self, keep: bool) -> None:
        """The reply is complete; close after it unless ``keep``."""

    def reply_cut(self, reset: bool) -> None:
        """The reply will never be complete; ``reset`` if closing alone would look complete."""

    @property
    def writable(self) -> bool:
        """Whether the client keeps up with what is written."""


@implementer(IResponder)
class FrontResponder:
    """See :class:`~voidllm.core.interfaces.IResponder`.

    What is called after the end, or after the client has left, has no effect.

    :ivar started: a reply head was sent.
    :ivar closed: the reply is complete, aborted, or its client gone.
    """

    __slots__ = (
        "_chunked",
        "_head_only",
        "_keep",
        "_old",
        "_producer",
        "_wire",
        "closed",
        "request_id",
        "started",
    )

    def __init__(self, wire: Wire, request_id: str, method: bytes, old: bool, keep: bool) -> None:
        self._wire = wire
        self.request_id = request_id
        self._head_only = method == b"HEAD"
        self._old = old
        self._keep = keep
        self._chunked = False
        self._producer: Any = None
        self.started = False
        self.closed = False

    def reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole reply in one write."""
        if self.closed:
            return
        if self.started:
            raise RuntimeError("a reply was begun already")
        framing = b""
        if status not in BODYLESS:
            framing = b"Content-Length: %d\r\n" % len(body)
        elif body:
            raise ValueError("this status has no body")
        wire = self._wire
        keep = self._keep and wire.may_keep()
        data = self._head(status, field_lines(headers), framing, keep, b"" if self._head_only else body)
        self.started = self.closed = True
        self._producer = None
        wire.send(data)
        wire.reply_over(keep)

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Start a reply of unknown length."""
        if self.closed:
            return
        if self.started:
            raise RuntimeError("a reply was begun already")
        framing = b""
        keep = self._keep
        if self._old:
            # Without chunks only the end of the connection ends the body.
            keep = False
        elif status not in BODYLESS:
            self._chunked = not self._head_only
            framing = b"Transfer-Encoding: chunked\r\n"
        self._keep = keep = keep and self._wire.may_keep()
        data = self._head(status, field_lines(headers), framing, keep)
        self.started = True
        if status in BODYLESS:
            self._head_only = True
        self._wire.send(data)

    def chunk(self, data: bytes) -> None:
        """Send some body bytes."""
        if self.closed or not data:
            return
        if self._chunked:
            self._wire.send(b"%x\r\n%b\r\n" % (len(data), data))
        elif not self._head_only:
            if not self.started:
                raise RuntimeError("no reply was begun")
            self._wire.send(data)

    def end(self) -> None:
        """Complete the reply."""
        if self.closed:
            return
        if not self.started:
            raise RuntimeError("no reply was begun")
        self.closed = True
        self._producer = None
        if self._chunked:
            self._wire.send(b"0\r\n\r\n")
        self._wire.reply_over(self._keep)

    def abort(self) -> None:
        """End the connection in a way that no client takes for a complete reply.

        What was sent is still delivered where the framing shows that more was to come;
        only a reply that ends with its connection (HTTP/1.0) needs a reset.
        """
        if self.closed:
            return
        self.closed = True
        self._producer = None
        self._wire.reply_cut(self.started and not self._chunked)

    def register(self, producer: Any) -> None:
        """Attach an ``IPushProducer``."""
        if self.closed:
            producer.stopProducing()
            return
        self._producer = producer
        if not self._wire.writable:
            producer.pauseProducing()

    # -- the connection's side

    def pause(self) -> None:
        """The client does not keep up."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume(self) -> None:
        """The client has caught up."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def lost(self) -> None:
        """The client is gone."""
        if self.closed:
            return
        self.closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def _head(self, status: int, fields: bytes, framing: bytes, keep: bool, body: bytes = b"") -> bytes:
        if not keep:
            connection = b"Connection: close\r\n"
        elif self._old:
            connection = b"Connection: keep-alive\r\n"
        else:
            connection = b""
        return b"%b%b%b%b%bX-Request-Id: %b\r\n\r\n%b" % (
            status_line(status, self._old),
            self._wire.date(),
            fields,
            framing,
            connection,
            self.request_id.encode("ascii"),
            body,
        )
