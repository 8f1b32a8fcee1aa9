"""The treq engine: the pool's contract, kept by going through treq on the pool's agent."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from voidllm.core.interfaces import IUpstreamCall, IUpstreamPool
from voidllm.http.agent import BytesBody, CallPolicy, PoolAgent, UpstreamError
from voidllm.http.client import Client, PreparedURL
from voidllm.http.lazy_headers import LazyHeaders
from voidllm.http.request_head import authority
from voidllm.http.upstream import Origin, UpstreamFailure, UpstreamRequest

_REMEMBERED = 512
_CUT = UpstreamFailure("cut", sent=True)


@implementer(IUpstreamPool)
class TreqEngine:
    """Carries calls through treq.

    :param pool: an :class:`~voidllm.http.pool.UpstreamPool`; closed with this engine.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._clients: dict[tuple[Any, ...], Client] = {}
        self._urls: dict[tuple[Origin, bytes], PreparedURL] = {}

    def call(self, request: UpstreamRequest, sink: Any) -> IUpstreamCall:
        """Send a request; see :class:`~voidllm.core.interfaces.IUpstreamPool`.

        :raises ValueError: if the request cannot be written without changing its meaning.
        """
        policy = (
            request.origin,
            request.connect_timeout_s,
            request.head_timeout_s,
            request.idle_timeout_s,
            request.total_timeout_s,
            request.may_resend,
        )
        client = self._clients.get(policy) or self._new_client(policy)
        place = (request.origin, request.target)
        url = self._urls.get(place) or self._new_url(place)
        body = request.body
        fixed = () if request.fixed is None else request.fixed.pairs
        call = _TreqCall(sink)
        call.begin(
            client.request(
                request.method.decode("ascii"),
                url,
                headers=LazyHeaders((*fixed, *request.headers)),
                data=BytesBody(body, request.probe) if isinstance(body, bytes) else body,
                unbuffered=True,
            )
        )
        return call  # type: ignore[no-any-return]

    def close(self) -> Any:
        """Close the pool."""
        return self._pool.close()

    def _new_client(self, policy: tuple[Any, ...]) -> Client:
        origin, connect, head, idle, total, may_resend = policy
        if len(self._clients) >= _REMEMBERED:
            self._clients.clear()
        agent = PoolAgent(
            self._pool,
            CallPolicy(
                origin=origin,
                connect_timeout_s=connect,
                head_timeout_s=head,
                idle_timeout_s=idle,
                total_timeout_s=total,
                may_resend=may_resend,
            ),
        )
        client = self._clients[policy] = Client(agent, self._pool.world.reactor)
        return client

    def _new_url(self, place: tuple[Origin, bytes]) -> PreparedURL:
        origin, target = place
        if len(self._urls) >= _REMEMBERED:
            self._urls.clear()
        host = authority(origin.host, origin.port, origin.scheme).decode("ascii")
        url = self._urls[place] = PreparedURL.of(f"{origin.scheme}://{host}{target.decode('ascii')}")
        return url


@implementer(IUpstreamCall)
class _TreqCall(Protocol):
    """One call; also the protocol that its body is delivered to."""

    transport: Any = None

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._over = False
        self._paused = False
        self._deferred: Any = None
        self._refused: Exception | None = None
        self._head: tuple[int, list[tuple[bytes, bytes]]] = (0, [])

    def begin(self, deferred: Any) -> None:
        """Follow a request of treq's."""
        self._deferred = deferred
        deferred.addCallbacks(self._got_response, self._failed)
        if self._refused is not None:
            raise self._refused

    # -- the caller's side

    def cancel(self) -> None:
        """Stop at any phase."""
        if self._over:
            return
        self._over = True
        if self.transport is not None:
            self.transport.stopProducing()
        else:
            self._deferred.cancel()

    def pause(self) -> None:
        """Stop reading from the upstream."""
        self._paused = True
        if self.transport is not None and not self._over:
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read from the upstream again."""
        self._paused = False
        if self.transport is not None and not self._over:
            self.transport.resumeProducing()

    # -- treq's side

    def _got_response(self, response: Any) -> None:
        self._deferred = None
        headers = response.headers
        if isinstance(headers, LazyHeaders):
            self._head = response.code, headers.pairs()
        else:
            self._head = (
                response.code,
                [(name.lower(), v) for name, values in headers.getAllRawHeaders() for v in values],
            )
        response.deliverBody(self)

    def connectionMade(self) -> None:
        """Pass the head on, now that the call can be cancelled through the transport."""
        if self._over:
            self.transport.stopProducing()
            return
        if self._paused:
            self.transport.pauseProducing()
        self._sink.got_head(*self._head)

    def dataReceived(self, data: bytes) -> None:
        """Pass a piece of the body on."""
        if not self._over:
            self._sink.got_chunk(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass the end on."""
        if self._over:
            return
        self._over = True
        if reason.check(ResponseDone, PotentialDataLoss):  # type: ignore[no-untyped-call]
            self._sink.finished()
            return
        failure = _CUT
        if reason.check(ResponseFailed):  # type: ignore[no-untyped-call]
            for inner in reason.value.reasons:  # type: ignore[union-attr]
                if inner.check(UpstreamError):
                    failure = inner.value.failure
        self._sink.failed(failure)

    def _failed(self, reason: Failure) -> None:
        self._deferred = None
        if self._over:
            reason.trap(CancelledError, UpstreamError)  # type: ignore[no-untyped-call]
            return
        self._over = True
        if reason.check(UpstreamError):  # type: ignore[no-untyped-call]
            self._sink.failed(reason.value.failure)  # type: ignore[union-attr]
        elif reason.check(ValueError):  # type: ignore[no-untyped-call]
            self._refused = reason.value  # type: ignore[assignment]
        else:
            self._sink.failed(_CUT)
            # It is a fault of ours, and must be seen.
            reason.raiseException()
