"""Requests whose body is one JSON object: all but the uploads."""

from __future__ import annotations

from typing import Any

from voidllm.core.errors import Refusal
from voidllm.http.upstream import UpstreamRequest
from voidllm.proxy.body import parse
from voidllm.proxy.exchange import Exchange
from voidllm.usage.metering import estimate_tokens


class JSONExchange(Exchange):
    """Reads a JSON body, admits it and sends it on."""

    __slots__ = ()

    def begin(self) -> None:
        """Register with the client and ask for the body."""
        core = self.core
        core.live.add(self)
        self.responder.register(self)
        self.request.body.read(core.settings.max_request_body, self._got_body, self._no_body)
        if self.admission is None:
            # It has not come yet; the client's sending is nobody's delay.
            for one in self._phases:
                one.asked()

    def _no_body(self, error: Any) -> None:
        self._stop_waiting()
        self.refuse(error)

    def _stop_waiting(self) -> None:
        for one in self._phases:
            one.got()

    def _got_body(self, raw: bytes) -> None:
        if self.over:
            return
        self._stop_waiting()
        try:
            body = parse(raw)
            self.stream = body.stream
            estimate = body.estimated_tokens()
        except Refusal as refusal:
            self.refuse(refusal)
            return
        try:
            # The gate writes the row of what it refuses itself.
            self.admission = self.core.gate.admit(self.principal, self.ask(body.model, estimate))
        except Refusal as refusal:
            if self._finish():
                self.reply_refused(refusal)
            return
        self.prompt_estimate = estimate_tokens(body.size)
        core, streams = self.core, body.stream
        settings = core.settings
        deployment = core.planner.plan(self.admission.model)[0]
        self.deployment = deployment
        route = core.route(deployment, self.endpoint.name)
        ask_usage = streams and self.endpoint.usage_option
        self.hide_usage = ask_usage and not body.wants_usage
        upstream_request = UpstreamRequest(
            route.origin,
            b"POST",
            route.path,
            ((b"x-request-id", self.request.request_id.encode("ascii")),),
            body.encode(deployment.upstream_model, ask_usage),
            settings.connect_timeout_s,
            settings.head_timeout_s,
            settings.idle_timeout_s,
            None if streams or deployment.timeout_ms is None else deployment.timeout_ms / 1000,
            True,
            route.stream_headers if streams else route.headers,
            self.request.probe,
        )
        self.dispatch(upstream_request, route.stream_engine if streams else route.engine)
