"""Carries calls to providers that are answered inside the gateway.

The same contract as the upstream pool, so that the demo model goes through every step
that a real one goes through.
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet import defer
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.core.interfaces import IUpstreamCall, IUpstreamPool
from voidllm.http.upstream import UpstreamFailure, UpstreamRequest
from voidllm.providers.demo import DemoReply, answer

_MALFORMED = UpstreamFailure("malformed", sent=True, detail="the demo model cannot read this request")
_BAD_REQUEST = DemoReply(
    400,
    ((b"content-type", b"application/json"),),
    (
        b'{"error":{"message":"the demo model cannot read this request",'
        b'"type":"invalid_request_error","param":null,"code":"bad_request"}}',
    ),
)


@implementer(IConsumer)
class _Collector:
    """Takes the body that a producer writes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The producer may go at its own pace."""

    def unregisterProducer(self) -> None:
        """Nothing is held."""

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self.parts.append(data)


@implementer(IUpstreamCall)
class _InProcessCall:
    def __init__(self, reactor: Any, interval_s: float, request: UpstreamRequest, sink: Any) -> None:
        self._reactor = reactor
        self._interval_s = interval_s
        self._request = request
        self._sink = sink
        self._chunks: list[bytes] = []
        self._paused = False
        self._over = False
        self._producer: Any = None
        self._timer: Any = None

    def begin(self) -> None:
        body = self._request.body
        if isinstance(body, bytes):
            self._later(0, lambda: self._answer(body))
            return
        collector = _Collector()
        self._producer = body
        started: defer.Deferred[Any] = body.startProducing(collector)
        started.addCallbacks(lambda _: self._collected(collector), self._no_body)

    def _collected(self, collector: _Collector) -> None:
        if not self._over:
            self._answer(b"".join(collector.parts))

    def _no_body(self, _: Failure) -> None:
        if not self._over:
            self._over = True
            self._sink.failed(_MALFORMED)

    def _later(self, delay_s: float, f: Callable[[], None]) -> None:
        self._timer = self._reactor.callLater(delay_s, f)

    def _answer(self, body: bytes) -> None:
        self._timer = self._producer = None
        try:
            reply = answer(self._request.target.removeprefix(b"/v1/").decode("ascii"), body)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            # Any shape that the demo's small readers do not expect.
            reply = _BAD_REQUEST
        self._chunks = list(reply.chunks)
        self._sink.got_head(reply.status, list(reply.headers))
        self._next()

    def _next(self) -> None:
        self._timer = None
        if self._over or self._paused:
            return
        if not self._chunks:
            self._over = True
            self._sink.finished()
            return
        self._sink.got_chunk(self._chunks.pop(0))
        if self._over or self._paused:
            return
        if self._chunks:
            self._later(self._interval_s, self._next)
        else:
            self._next()

    def cancel(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._timer is None and self._chunks and not self._over:
            self._later(0, self._next)


@implementer(IUpstreamPool)
class InProcessPool:
    """Answers calls with the demo model.

    :param reactor: provides ``IReactorTime``.
    :param interval_s: between two events of a stream.
    """

    def __init__(self, reactor: Any, interval_s: float = 0.02) -> None:
        self._reactor = reactor
        self._interval_s = interval_s

    def call(self, request: UpstreamRequest, sink: Any) -> IUpstreamCall:
        """Answer ``request`` to ``sink``."""
        call = _InProcessCall(self._reactor, self._interval_s, request, sink)
        call.begin()
        return call  # type: ignore[no-any-return]

    def close(self) -> defer.Deferred[None]:
        """Nothing is kept open."""
        return defer.succeed(None)
