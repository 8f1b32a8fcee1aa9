"""The twisted.web face of a message handler."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import IMessageHandler, IResponder
from voidllm.core.world import World
from voidllm.http.body import NO_BODY, WholeBody, too_large
from voidllm.http.clientaddr import TrustedProxies, plain_address
from voidllm.http.dispatch import log_crash
from voidllm.http.message import Request
from voidllm.http.replies import JSON, error_body, refusal_reply
from voidllm.http.reply_head import BODYLESS, choose_request_id, field_lines
from voidllm.http.settings import FrontSettings


@implementer(IResponder, IPushProducer)
class ResourceResponder:
    """See :class:`~voidllm.core.interfaces.IResponder`; writes through a twisted.web request.

    :ivar started: a reply head was sent.
    :ivar closed: the reply is complete, aborted, or its client gone.
    """

    def __init__(self, request: Any, request_id: str) -> None:
        self._request = request
        self._producer: Any = None
        self._registered = False
        self.request_id = request_id
        self.started = False
        self.closed = False
        # Errback: the client left; callback: finish() was called, by us.
        request.notifyFinish().addErrback(self._gone)

    def reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole reply."""
        if self.closed:
            return
        self._begin(status, headers)
        if status not in BODYLESS:
            self._request.setHeader(b"content-length", b"%d" % len(body))
        elif body:
            raise ValueError("this status has no body")
        self._request.write(body)
        self._finish()

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Start a reply of unknown length."""
        if self.closed:
            return
        self._begin(status, headers)
        self._request.write(b"")

    def chunk(self, data: bytes) -> None:
        """Send some body bytes."""
        if not self.closed and data:
            if not self.started:
                raise RuntimeError("no reply was begun")
            self._request.write(data)

    def end(self) -> None:
        """Complete the reply."""
        if self.closed:
            return
        if not self.started:
            raise RuntimeError("no reply was begun")
        self._finish()

    def abort(self) -> None:
        """End the connection in a way that no client takes for a complete reply."""
        if self.closed:
            return
        self.closed = True
        self._detach()
        request = self._request
        if self.started and not request.chunked:
            request.channel.forceAbortClient()
        else:
            request.loseConnection()

    def register(self, producer: Any) -> None:
        """Attach an ``IPushProducer``."""
        if self.closed:
            producer.stopProducing()
            return
        self._producer = producer
        if not self._registered:
            self._registered = True
            self._request.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The client is gone."""
        if self.closed:
            return
        self.closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.stopProducing()
            except Exception as error:
                log_crash(error)

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self.started:
            raise RuntimeError("a reply was begun already")
        field_lines(headers)  # raises for what would break out of its line
        self.started = True
        request = self._request
        request.defaultContentType = None
        request.setResponseCode(status)
        request.responseHeaders.removeHeader(b"server")
        request.setHeader(b"x-request-id", self.request_id.encode("ascii"))
        for name, value in headers:
            request.responseHeaders.addRawHeader(name, value)

    def _finish(self) -> None:
        self.closed = True
        self._detach()
        self._request.finish()

    def _detach(self) -> None:
        self._producer = None
        if self._registered:
            self._registered = False
            self._request.unregisterProducer()

    def _gone(self, reason: Failure) -> None:
        self.stopProducing()


@implementer(IResource)
class ProxyResource:
    """Gives a handler the requests of a twisted.web Site, in the front's own terms.

    twisted.web calls ``render`` when the body is complete, so here a handler cannot refuse
    before the body has been read, ``stream`` gives the body in one piece, and ``100
    Continue`` is sent for every body of acceptable size. Use it under a
    :class:`~voidllm.http.site.StrictSite`: a stock Site puts larger bodies into temporary
    files in the clear, which the gateway promises not to do. The order of header fields is
    kept among those of one name only.

    :param handler: an :class:`~voidllm.core.interfaces.IMessageHandler`.
    :param settings: body limit and trusted proxies.
    """

    isLeaf = True

    def __init__(self, world: World, handler: Any, settings: FrontSettings | None = None) -> None:
        self._world = world
        self._handler = IMessageHandler(handler, handler)
        self._settings = settings or FrontSettings()
        self._trusted = TrustedProxies(self._settings.trusted_proxies)

    def getChildWithDefault(self, name: bytes, request: Any) -> ProxyResource:
        """Serve every path below too."""
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        """Refuse: a leaf has no children."""
        raise NotImplementedError("a leaf has no children")

    def render(self, request: Any) -> int:
        """Hand one request over; the reply comes when the handler gives it."""
        request_id = getattr(request, "request_id", "")
        if not request_id:
            sent = request.requestHeaders.getRawHeaders(b"x-request-id")
            request_id = choose_request_id(sent[0] if sent else None, self._world)
        responder = ResourceResponder(request, request_id)
        try:
            message = self._message(request, request_id)
        except Refusal as refusal:
            headers, body = refusal_reply(refusal, request_id)
            responder.reply(refusal.status, headers, body)
            return NOT_DONE_YET
        try:
            self._handler.handle(message, responder)
        except Exception as error:
            log_crash(error)
            if responder.started:
                responder.abort()
            else:
                body = error_body(500, "internal_error", "the gateway failed", None, request_id)
                responder.reply(500, [JSON], body)
        return NOT_DONE_YET

    def _message(self, request: Any, request_id: str) -> Request:
        headers = [
            (name.lower(), value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        for name, value in headers:
            if name == b"content-encoding" and value.lower() not in (b"", b"identity"):
                raise Refusal(
                    415,
                    "unsupported_content_encoding",
                    "the request body may not be compressed (content-encoding)",
                )
        data = request.content.read() if request.content is not None else b""
        if len(data) > self._settings.max_body_bytes:
            raise too_large()
        length: int | None = len(data)
        if request.requestHeaders.hasHeader(b"transfer-encoding"):
            length = None
        client = plain_address(getattr(request.getClientAddress(), "host", "") or "")
        if self._trusted.trusts(client):
            client = self._trusted.client(client, [v for n, v in headers if n == b"x-forwarded-for"])
        path, _, query = request.uri.partition(b"?")
        return Request(
            request.method,
            path,
            query,
            headers,
            client,
            WholeBody(data) if data else NO_BODY,
            length,
            getattr(request, "started_s", None) or self._world.reactor.seconds(),
            request_id,
        )
