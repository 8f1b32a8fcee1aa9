"""The upstream pool as Twisted's ``IAgent``, so that treq and everything else can sit on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from attrs import evolve, frozen
from twisted.internet import defer
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from voidllm.core.errors import VoidLLMError
from voidllm.core.interfaces import IUpstreamSink
from voidllm.core.model import SYSTEM_TLS, UpstreamTLS
from voidllm.http.agent_response import PoolResponse
from voidllm.http.lazy_headers import LazyHeaders
from voidllm.http.upstream import Origin, UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    from voidllm.http.sampling import Probe

_REMEMBERED = 512


class UpstreamError(VoidLLMError):
    """A call through the agent has no reply, or no complete one.

    :ivar failure: what happened; its detail is a fixed text.
    """

    def __init__(self, failure: UpstreamFailure) -> None:
        super().__init__(f"upstream call failed: {failure.kind}")
        self.failure = failure


def _no_proxy(scheme: str, host: str, port: int) -> str | None:
    return None


@frozen
class CallPolicy:
    """What an ``IAgent`` caller cannot say per request.

    :ivar proxy_for: gives the proxy for (scheme, host, port), or ``None``.
    :ivar origin: where to connect, whatever the URI says; ``None`` to go by the URI.

    The rest as in :class:`~voidllm.http.upstream.UpstreamRequest`.
    """

    tls: UpstreamTLS = SYSTEM_TLS
    proxy_for: Callable[[str, str, int], str | None] = _no_proxy
    origin: Origin | None = None
    connect_timeout_s: float = 10.0
    head_timeout_s: float | None = 60.0
    idle_timeout_s: float | None = 60.0
    total_timeout_s: float | None = None
    may_resend: bool = True


@implementer(IBodyProducer)
class BytesBody:
    """A body that is there already; the agent hands it to the pool as it is.

    :ivar probe: see :class:`~voidllm.http.upstream.UpstreamRequest`; treq has no place for it.
    """

    def __init__(self, data: bytes, probe: Probe | None = None) -> None:
        self.data = data
        self.probe = probe
        self.length = len(data)

    def startProducing(self, consumer: Any) -> defer.Deferred[None]:
        """Write it all, for other agents."""
        consumer.write(self.data)
        return defer.succeed(None)

    def pauseProducing(self) -> None:
        """It is written in one piece."""

    def resumeProducing(self) -> None:
        """It is written in one piece."""

    def stopProducing(self) -> None:
        """It is written in one piece."""


@implementer(IAgent)
class PoolAgent:
    """Sends requests through a pool.

    A failure before the reply head is an :class:`UpstreamError`; one after it reaches the
    body's protocol as ``ResponseFailed`` with an :class:`UpstreamError` as its reason.

    :param pool: an :class:`~voidllm.http.pool.UpstreamPool`.
    """

    def __init__(self, pool: Any, policy: CallPolicy | None = None) -> None:
        self._pool = pool
        self._policy = policy or CallPolicy()
        self._places: dict[bytes, tuple[Origin, bytes]] = {}

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> defer.Deferred[Any]:
        """Send a request; fires with an ``IResponse`` once its head is there.

        ``Accept-Encoding`` is always ``identity``, redirects are not followed and nothing is
        inflated.
        """
        try:
            place = self._places.get(uri) or self._place(uri)
            exchange = _Exchange(self._pool.world.reactor, method, uri, headers)
            deferred: defer.Deferred[Any] = exchange.deferred
            policy = self._policy
            body, probe = b"" if bodyProducer is None else bodyProducer, None
            if isinstance(body, BytesBody):
                probe, body = body.probe, body.data
            pairs: Any = ()
            if isinstance(headers, LazyHeaders):
                pairs = headers.pairs()
            elif headers is not None:
                pairs = [(name, v) for name, values in headers.getAllRawHeaders() for v in values]
            request = UpstreamRequest(
                place[0],
                method,
                place[1],
                tuple(pairs),
                body,
                policy.connect_timeout_s,
                policy.head_timeout_s,
                policy.idle_timeout_s,
                policy.total_timeout_s,
                policy.may_resend,
                None,
                probe,
            )
            exchange.call = self._pool.call(request, exchange)
        except ValueError:
            return defer.fail()
        return deferred

    def _place(self, uri: bytes) -> tuple[Origin, bytes]:
        parsed = URI.fromBytes(uri)  # type: ignore[no-untyped-call]
        origin = self._policy.origin
        if origin is None:
            scheme = parsed.scheme.decode("ascii")
            host = parsed.host.decode("ascii")
            if scheme not in ("http", "https") or not host or b"@" in parsed.netloc:
                raise ValueError("this URI cannot be requested")
            proxy_url = self._policy.proxy_for(scheme, host, parsed.port)
            origin = Origin(scheme, host, parsed.port, self._policy.tls, proxy_url)
        if len(self._places) >= _REMEMBERED:
            self._places.clear()
        place = self._places[uri] = (origin, parsed.originForm)
        return place

    def with_policy(self, **changes: Any) -> PoolAgent:
        """Give an agent on the same pool with some of the policy changed."""
        return PoolAgent(self._pool, evolve(self._policy, **changes))


@implementer(IUpstreamSink, IPushProducer)
class _Exchange:
    """One request of the agent: the pool's sink, and the body's transport."""

    disconnecting = False

    def __init__(self, reactor: Any, method: bytes, uri: bytes, headers: Headers | None) -> None:
        self._reactor = reactor
        self._request = (method, uri, headers)
        self.call: Any = None
        self._response: PoolResponse | None = None
        self._held = False
        self.deferred: Any = defer.Deferred(self._cancelled)

    def _cancelled(self, _: object) -> None:
        call, self.call = self.call, None
        if call is not None:
            call.cancel()

    # the pool's side

    def got_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        response = self._response = PoolResponse(self, status, headers, *self._request)
        self._fired().callback(response)
        if not response.wanted and self.call is not None:
            self._held = True
            self.call.pause()

    def got_chunk(self, data: bytes) -> None:
        if self._response is not None:
            self._response.data(data)

    def finished(self) -> None:
        response = self._over()
        if response is not None:
            response.complete()

    def failed(self, failure: UpstreamFailure) -> None:
        reason = Failure(UpstreamError(failure))  # type: ignore[no-untyped-call]
        response = self._over()
        if response is not None:
            response.broken(reason)
        else:
            self._fired().errback(reason)

    def _fired(self) -> Any:
        deferred, self.deferred = self.deferred, None
        return deferred

    def _over(self) -> PoolResponse | None:
        # Neither a reply that is kept nor a cycle with it may keep the request.
        response, self._response, self.call = self._response, None, None
        return response

    # the body protocol's side

    def body_wanted(self) -> None:
        # Reading was held only because nobody wanted the body; the protocol's own pause stays.
        if self._held:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        self._held = False
        if self.call is not None:
            self.call.pause()

    def resumeProducing(self) -> None:
        self._held = False
        if self.call is not None:
            self.call.resume()

    def stopProducing(self) -> None:
        if self.call is not None and self._response is not None:
            self.disconnecting = True
            self.call.cancel()
            response = self._over()
            assert response is not None
            # Not from within the protocol's own dataReceived.
            reason = Failure(ConnectionAborted())  # type: ignore[no-untyped-call]
            self._reactor.callLater(0, response.broken, reason)

    def loseConnection(self) -> None:
        self.stopProducing()

    def abortConnection(self) -> None:
        self.stopProducing()
