"""Bodies of requests as the fast front gives them to a handler."""

from __future__ import annotations

from typing import Any, Callable, Protocol

from voidllm.core.errors import Refusal
from voidllm.http.chunked import ChunkedDecoder
from voidllm.http.framing import BadMessage

#: Raw bytes kept of a body that nobody has asked for.
MAX_UNASKED = 64 << 10
#: Largest rest of a body that is read and thrown away to keep the connection.
MAX_DISCARD = 64 << 10

_MAX_PARTS = 1024
_TOO_LARGE = "the request body is too large"
_TOO_SLOW = "the request body did not arrive in time"


def too_large() -> Refusal:
    """Make the refusal of a body over its limit."""
    return Refusal(413, "request_too_large", _TOO_LARGE)


def too_slow() -> Refusal:
    """Make the refusal of a body whose sender makes no progress."""
    return Refusal(408, "request_timeout", _TOO_SLOW)


class Reader(Protocol):
    """What a body needs of its connection."""

    def body_wanted(self, expects: bool) -> None:
        """Somebody waits for the body: send ``100 Continue`` if need be, begin to time."""

    def body_over(self, rest: bytes) -> None:
        """The body is complete; ``rest`` belongs to the next message."""

    def body_broken(self) -> None:
        """The end of the body cannot be found any more: the connection must close."""

    def hold_reading(self, reason: int) -> None:
        """Stop reading from the client for ``reason``."""

    def release_reading(self, reason: int) -> None:
        """End one reason not to read."""


#: Reasons not to read from a client.
HANDLER, BACKLOG = 1, 2


class WholeBody:
    """A body that had arrived together with its head, or no body at all."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, limit: int, done: Callable[[bytes], None], failed: Callable[[Exception], None]) -> None:
        """See :class:`~voidllm.http.message.BodySource`."""
        data, self._data = self._data, b""
        if len(data) > limit:
            failed(too_large())
        else:
            done(data)

    def stream(
        self,
        limit: int,
        chunk: Callable[[bytes], None],
        done: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """See :class:`~voidllm.http.message.BodySource`."""
        data, self._data = self._data, b""
        if len(data) > limit:
            failed(too_large())
            return
        if data:
            chunk(data)
        done()

    def pause(self) -> None:
        """Nothing more comes in any case."""

    def resume(self) -> None:
        """Nothing more comes in any case."""


NO_BODY = WholeBody(b"")

_UNASKED, _READ, _STREAM, _DISCARD, _OVER = range(5)


class ArrivingBody:
    """A body of which some bytes are still on their way.

    :param reader: the connection.
    :param length: declared length, ``None`` when chunked.
    :param expects: the client waits for ``100 Continue``.
    :param data: raw bytes that came with the head.
    """

    __slots__ = (
        "_chunk",
        "_decoder",
        "_done",
        "_expects",
        "_failed",
        "_left",
        "_limit",
        "_mode",
        "_parts",
        "_raw",
        "_reader",
        "_size",
    )

    def __init__(self, reader: Reader, length: int | None, expects: bool, data: bytes) -> None:
        self._reader = reader
        self._left = length
        self._decoder = ChunkedDecoder() if length is None else None
        self._expects = expects and not data
        self._raw = data
        self._mode = _UNASKED
        self._limit = 0
        self._size = 0
        self._parts: list[bytes] = []
        self._chunk: Callable[[bytes], None] | None = None
        self._done: Any = None
        self._failed: Callable[[Exception], None] | None = None

    # -- the handler's side

    def read(self, limit: int, done: Callable[[bytes], None], failed: Callable[[Exception], None]) -> None:
        """See :class:`~voidllm.http.message.BodySource`."""
        self._start(_READ, limit, None, done, failed)

    def stream(
        self,
        limit: int,
        chunk: Callable[[bytes], None],
        done: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """See :class:`~voidllm.http.message.BodySource`."""
        self._start(_STREAM, limit, chunk, done, failed)

    def pause(self) -> None:
        """Stop reading from the client."""
        if self._mode == _STREAM:
            self._reader.hold_reading(HANDLER)

    def resume(self) -> None:
        """Read from the client again."""
        self._reader.release_reading(HANDLER)

    # -- the connection's side

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for bytes, so that silence is a fault of the client."""
        return self._mode in (_READ, _STREAM, _DISCARD)

    @property
    def discardable(self) -> bool:
        """Whether what is missing is little and surely coming, so that it can be read past."""
        return self._left is not None and self._left - len(self._raw) <= MAX_DISCARD and not self._expects

    def feed(self, data: bytes) -> None:
        """Take raw bytes from the client."""
        if self._mode != _UNASKED:
            self._take(data)
            return
        self._raw += data
        if len(self._raw) >= MAX_UNASKED:
            self._reader.hold_reading(BACKLOG)

    def discard(self) -> None:
        """The reply is complete: nobody wants the rest."""
        raw, self._raw = self._raw, b""
        self._mode = _DISCARD
        self._forget()
        self._reader.release_reading(HANDLER | BACKLOG)
        self._reader.body_wanted(False)
        self._take(raw)

    def timed_out(self) -> None:
        """The client made no progress while somebody waited."""
        self._fail(too_slow())

    def lost(self) -> None:
        """The client is gone; nobody hears anything more."""
        self._mode = _OVER
        self._forget()

    def _start(
        self,
        mode: int,
        limit: int,
        chunk: Callable[[bytes], None] | None,
        done: Any,
        failed: Callable[[Exception], None],
    ) -> None:
        if self._mode != _UNASKED:
            if self._mode == _OVER:
                return
            raise RuntimeError("the body of a request can be asked for once")
        if self._left is not None and self._left > limit:
            failed(too_large())
            return
        self._mode = mode
        self._limit = limit
        self._chunk = chunk
        self._done = done
        self._failed = failed
        raw, self._raw = self._raw, b""
        expects, self._expects = self._expects, False
        self._reader.body_wanted(expects)
        self._reader.release_reading(BACKLOG)
        if raw:
            self._take(raw)

    def _take(self, data: bytes) -> None:
        if self._mode == _OVER:
            return
        rest = b""
        if self._decoder is None:
            assert self._left is not None
            if len(data) > self._left:
                rest = data[self._left :]
                data = data[: self._left]
            self._left -= len(data)
            complete = not self._left
        else:
            try:
                data = self._decoder.feed(data)
            except BadMessage as bad:
                self._fail(Refusal(bad.status, bad.code, bad.message))
                return
            complete = self._decoder.done
            rest = self._decoder.rest
        self._size += len(data)
        if self._size > self._limit and self._mode != _DISCARD:
            self._fail(too_large())
            return
        if self._mode == _READ:
            self._parts.append(data)
            if len(self._parts) > _MAX_PARTS:
                # A sender of single bytes must not cost an object for each.
                self._parts = [b"".join(self._parts)]
            if complete:
                body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                done = self._done
                self._end(rest)
                done(body)
        elif self._mode == _STREAM:
            chunk, done = self._chunk, self._done
            if complete:
                # Before the handler hears of it: it may reply from within ``chunk``.
                self._end(rest)
            if data:
                assert chunk is not None
                chunk(data)
            if complete:
                done()
        elif complete:
            self._end(rest)
        elif self._size > MAX_DISCARD:
            self._mode = _OVER
            self._reader.body_broken()

    def _end(self, rest: bytes) -> None:
        self._mode = _OVER
        self._forget()
        self._reader.body_over(rest)

    def _fail(self, refusal: Refusal) -> None:
        failed = self._failed
        self._mode = _OVER
        self._forget()
        self._reader.body_broken()
        if failed is not None:
            failed(refusal)

    def _forget(self) -> None:
        self._parts = []
        self._chunk = self._done = self._failed = None
