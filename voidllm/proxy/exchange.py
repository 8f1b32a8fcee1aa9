"""One proxied request, from its identified head to its usage event.

An exchange stands between three parties that may each end it at any moment: the client
(``stopProducing``), the upstream (``failed``) and the gateway (``shut_down``). Whatever
happens first wins; the usage event is written exactly once and before the last byte.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import IUpstreamSink
from voidllm.core.model import Deployment
from voidllm.core.principal import Principal
from voidllm.core.usage import TokenCounts
from voidllm.core.usage_tags import with_headers
from voidllm.core.work import Ask, Outcome
from voidllm.http.message import Request
from voidllm.http.replies import refusal_reply
from voidllm.http.upstream import ReplyHead, UpstreamFailure, UpstreamRequest
from voidllm.proxy.core import ProxyCore
from voidllm.proxy.endpoints import Endpoint
from voidllm.proxy.faults import SHUTDOWN, refusal_for
from voidllm.proxy.relay import NOTHING, BufferedRelay, OpaqueRelay, Passage, Relay, passage, relay_whole
from voidllm.proxy.stream import StreamRelay
from voidllm.proxy.timing import Phases
from voidllm.usage.metering import Metered

CLIENT_CLOSED = "client_closed"


@implementer(IUpstreamSink, IPushProducer)
class Exchange:
    """Base of the exchanges; a subclass reads the body and calls :meth:`dispatch`.

    :ivar prompt_estimate: tokens that the request is thought to hold.
    """

    __slots__ = (
        "_call",
        "_paused",
        "_phases",
        "_relay",
        "admission",
        "core",
        "deployment",
        "endpoint",
        "hide_usage",
        "over",
        "principal",
        "prompt_estimate",
        "request",
        "responder",
        "started_ms",
        "stream",
    )

    def __init__(
        self, core: ProxyCore, endpoint: Endpoint, request: Request, responder: Any, principal: Principal
    ) -> None:
        self.core = core
        self.endpoint = endpoint
        self.request = request
        self.responder = responder
        self.principal = principal
        self.started_ms = core.world.wall_ms()
        self.admission: Any = None
        self.deployment: Deployment | None = None
        self.prompt_estimate = 0
        self.stream = False
        self.hide_usage = False
        self.over = False
        self._paused = False
        self._call: Any = None
        self._relay: Relay | None = None
        self._phases: tuple[Phases, ...] = ()
        if request.probe is not None or core.settings.server_timing:
            self._phases = core.phases(request.started_s, request.probe)

    def ask(self, model: str, estimated_tokens: int) -> Ask:
        """Describe this exchange to the gate."""
        names = self.core.settings.tag_headers
        return Ask(
            "llm",
            self.endpoint.name,
            model,
            estimated_tokens,
            self.request.request_id,
            self.started_ms,
            self.request.started_s,
            self.stream,
            None,
            with_headers(self.principal.tags, self.request.headers, names) if names else "",
        )

    def refuse(self, refusal: Refusal) -> None:
        """Refuse before admission: a row, and an error reply."""
        if self._finish():
            self.core.gate.refuse(self.principal, self.ask("", 0), refusal)
            self.reply_refused(refusal)

    # -- the upstream call

    def dispatch(self, upstream_request: UpstreamRequest, engine: Any) -> None:
        """Send the admitted call; a stream's relay exists from here, so that it can commit early."""
        if self.stream:
            self._relay = StreamRelay(self)
        phases = self._phases
        for one in phases:
            one.calling()
        # A failure may be reported before ``call`` returns.
        call = engine.call(upstream_request, self)
        for one in phases:
            one.called()
        if not self.over:
            self._call = call
            if self._paused:
                call.pause()

    def got_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Choose how to relay the reply by its status and content type."""
        assert self.deployment is not None
        if self.over:
            return
        self.core.metrics.upstream_response(self.admission.model.name, self.deployment.provider, status)
        way = passage(status, headers)
        early = self._relay if isinstance(self._relay, StreamRelay) else None
        relay: Relay
        if way.streamed:
            relay = early or StreamRelay(self)
        elif early is not None and early.committed:
            early.not_a_stream()
            return
        else:
            if early is not None:
                early.detach()
            relay = BufferedRelay(self) if way.whole else OpaqueRelay(self)
        self._relay = relay
        relay.head(status, headers)

    def got_reply(self, head: ReplyHead, body: bytes) -> None:
        """Take a reply that came in one piece; what its head means is kept with the head."""
        way: Passage | None = head.memo
        if way is None:
            way = head.memo = passage(head.status, head.headers)
        status = head.status
        if (
            self._relay is not None
            or not way.whole
            or 300 <= status < 400
            or len(body) > self.core.settings.max_response_body
        ):
            self.got_head(status, head.headers)
            self.got_chunk(body)
            self.finished()
        elif not self.over:
            self._call = None
            self.heard()
            assert self.deployment is not None
            self.core.metrics.upstream_response(self.admission.model.name, self.deployment.provider, status)
            relay_whole(self, status, way.headers, body)

    def got_chunk(self, data: bytes) -> None:
        """Pass a piece of the reply's body to the relay."""
        if self._relay is not None:
            self._relay.chunk(data)

    def finished(self) -> None:
        """The reply is complete by its framing."""
        self._call = None
        self.heard()
        if self._relay is not None:
            self._relay.finished()
            # Each knows the other: together they would wait for the garbage collector.
            self._relay = None

    def failed(self, failure: UpstreamFailure) -> None:
        """There is no complete reply."""
        self._call = None
        if self.over:
            if self._relay is not None:
                self._relay.detach()
            return
        assert self.deployment is not None
        self.core.metrics.upstream_error(self.admission.model.name, self.deployment.provider)
        self.fail(refusal_for(failure))

    def fail(self, refusal: Refusal, metered: Metered = NOTHING) -> None:
        """End an admitted exchange by an error: a reply if none was begun, else in its own way."""
        self.missed()
        self.cancel_call()
        if self._relay is not None and self._relay.committed:
            self._relay.broken(refusal)
            return
        if self._relay is not None:
            self._relay.detach()
        if self.settle(refusal.status, refusal.code, metered):
            self._reply_refusal(refusal, self.reply_headers())

    # -- where the time goes

    def heard(self) -> None:
        """Note that what the reply waits for has just been read from the upstream."""
        for one in self._phases:
            one.heard()

    def missed(self) -> None:
        """Note that it will not come, or is waited for no longer."""
        for one in self._phases:
            one.missed()

    def reply_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Give the headers of ours for the reply of an admitted exchange, which is sent now."""
        headers: tuple[tuple[bytes, bytes], ...] = self.admission.rate_headers()
        for one in self._phases:
            headers = (*headers, *one.replies(self.admission.ask.stream))
        return headers

    # -- the client

    def pauseProducing(self) -> None:
        """The client reads too slowly: hold the upstream back."""
        self._paused = True
        if self._call is not None:
            self._call.pause()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._paused = False
        if self._call is not None:
            self._call.resume()

    def stopProducing(self) -> None:
        """The client is gone: stop the upstream and account for what it has done."""
        if self.over:
            return
        self.cancel_call()
        if self.admission is None:
            if self._finish():
                gone = Refusal(499, CLIENT_CLOSED, "the client closed the connection")
                self.core.gate.refuse(self.principal, self.ask("", 0), gone)
        elif self._relay is not None:
            self._relay.client_gone()
        else:
            read = TokenCounts(input=self.prompt_estimate)
            self.settle(499, CLIENT_CLOSED, Metered(read, "estimated"))

    # -- the gateway

    def shut_down(self) -> None:
        """The drain timeout is over: end now, in a way the client can tell."""
        if self.over:
            return
        if self.admission is None:
            self.refuse(SHUTDOWN)
        else:
            metered = NOTHING if self._relay is None else self._relay.metered_so_far()
            self.fail(SHUTDOWN, metered)

    @property
    def paused(self) -> bool:
        """Whether the client is being waited for."""
        return self._paused

    def settle(self, status: int, code: str, metered: Metered, ttft_ms: int | None = None) -> bool:
        """Write the usage event; the last byte may go out after this.

        :returns: False if the exchange was over already; then nothing may be sent.
        """
        if not self._finish():
            return False
        deployment = self.deployment
        assert deployment is not None
        outcome = Outcome(
            status, code, deployment.key, deployment.provider, metered.tokens, metered.source, ttft_ms
        )
        self.admission.settle(outcome)
        return True

    def cancel_call(self) -> None:
        """Stop the upstream call, if one is running."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _finish(self) -> bool:
        if self.over:
            return False
        self.over = True
        self.core.live.discard(self)
        return True

    def reply_refused(self, refusal: Refusal) -> None:
        """Answer what was not admitted."""
        waited_s = self._phases[0].waited_s if self._phases else 0.0
        self._reply_refusal(refusal, self.core.timing(self.request.started_s + waited_s))

    def _reply_refusal(self, refusal: Refusal, more: tuple[tuple[bytes, bytes], ...]) -> None:
        headers, body = refusal_reply(refusal, self.request.request_id)
        self.responder.reply(refusal.status, [*headers, *more], body)
