"""Uploads: the ``model`` part is found and renamed while the file streams through."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.http.message import BodySource
from voidllm.http.multipart_forward import MultipartForwarder, fresh_boundary
from voidllm.http.part_headers import parse_boundary
from voidllm.http.spool import EncryptedSpool, SpoolFull
from voidllm.http.upstream import UpstreamRequest
from voidllm.proxy.exchange import Exchange

_NO_ROOM = Refusal(
    503, "spool_full", "no room to hold the upload until its model is known", retry_after_ms=5000
)
# What an upload costs is known afterwards; its bytes say nothing about tokens.
_ESTIMATE = 1000


@implementer(IBodyProducer)
class UploadProducer:
    """Gives an upload to the upstream: the model part, what was spooled, then what comes.

    :param source: the client's body; paused while the upstream or the spool is behind.
    """

    length = UNKNOWN_LENGTH

    def __init__(self, source: BodySource, opening: bytes, spool: EncryptedSpool) -> None:
        self._source = source
        self._opening = opening
        self._later: list[bytes] = []
        self._spool: EncryptedSpool | None = spool
        self._consumer: Any = None
        self._done: Deferred[None] | None = None
        self._paused = False
        self._complete = False

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """Begin; the Deferred fires when the client's body is complete and written."""
        done: Deferred[None] = Deferred()
        self._consumer, self._done = consumer, done
        # Until the spool is empty, what still comes would only pile up behind it.
        self._source.pause()
        consumer.write(self._opening)
        self._flow()
        return done

    def push(self, data: bytes) -> None:
        """Take what came from the client."""
        self._later.append(data)
        self._flow()

    def finish(self) -> None:
        """The client's body is complete."""
        self._complete = True
        self._flow()

    def _flow(self) -> None:
        while self._consumer is not None and not self._paused:
            if self._spool is not None:
                data = self._spool.read()
                if data:
                    self._consumer.write(data)
                else:
                    self._spool.close()
                    self._spool = None
                    self._source.resume()
            elif self._later:
                self._consumer.write(self._later.pop(0))
            else:
                break
        if self._complete and self._spool is None and not self._later and self._done is not None:
            done, self._done, self._consumer = self._done, None, None
            done.callback(None)

    def pauseProducing(self) -> None:
        """The upstream reads too slowly: hold the client back."""
        self._paused = True
        self._source.pause()

    def resumeProducing(self) -> None:
        """The upstream reads again."""
        self._paused = False
        if self._spool is None:
            self._source.resume()
        self._flow()

    def stopProducing(self) -> None:
        """Nobody wants the rest."""
        self._consumer = self._done = None
        self._later.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None


class MultipartExchange(Exchange):
    """Reads a multipart body as it comes; admits as soon as the model is known."""

    __slots__ = ("_forwarder", "_producer", "_spool")

    def begin(self) -> None:
        """Register with the client and ask for the body."""
        core = self.core
        core.live.add(self)
        # Client and upstream overlap, and neither's part is a matter of a few stamps.
        self._phases = core.phases(self.request.started_s, None)
        for one in self._phases:
            one.asked()
        self._producer: UploadProducer | None = None
        self._spool: EncryptedSpool | None = None
        try:
            boundary = parse_boundary(self.request.header(b"content-type"))
        except Refusal as refusal:
            self.refuse(refusal)
            return
        random_bytes = core.world.random_bytes
        self._forwarder = MultipartForwarder(boundary, fresh_boundary(random_bytes))
        limit = core.settings.max_request_body
        self._spool = EncryptedSpool(
            core.settings.spool_dir, random_bytes, limit + 64 * 1024, fs=core.world.fs
        )
        self.responder.register(self)
        self.request.body.stream(limit, self._chunk, self._complete, self._broken)

    def _chunk(self, data: bytes) -> None:
        if self.over:
            return
        try:
            out = self._forwarder.feed(data)
            if self._producer is not None:
                self._producer.push(out)
                return
            assert self._spool is not None
            self._spool.write(out)
            if self._forwarder.model is not None:
                self._admit(self._forwarder.model)
        except SpoolFull:
            self._broken(_NO_ROOM)
        except Refusal as refusal:
            self._broken(refusal)

    def _admit(self, model: str) -> None:
        # Clients put their fields before the file, so that this is known by now. The relay of
        # a stream must not begin to wait yet all the same: first the upload has to be through.
        # Until here the client was sending.
        for one in self._phases:
            one.got()
        streams = self._forwarder.stream
        ask = evolve(self.ask(model, _ESTIMATE), stream=streams)
        try:
            # The gate writes the row of what it refuses itself.
            self.admission = self.core.gate.admit(self.principal, ask)
        except Refusal as refusal:
            if self._finish():
                self.reply_refused(refusal)
            return
        core = self.core
        deployment = core.planner.plan(self.admission.model)[0]
        self.deployment = deployment
        route = core.route(deployment, self.endpoint.name)
        assert self._spool is not None
        opening = self._forwarder.model_part(deployment.upstream_model)
        self._producer = UploadProducer(self.request.body, opening, self._spool)
        self._spool = None
        timeout_ms = deployment.timeout_ms
        upstream_request = UpstreamRequest(
            route.origin,
            b"POST",
            route.path,
            (
                (b"content-type", self._forwarder.content_type),
                (b"x-request-id", self.request.request_id.encode("ascii")),
            ),
            self._producer,
            core.settings.connect_timeout_s,
            core.settings.head_timeout_s,
            core.settings.idle_timeout_s,
            None if streams or timeout_ms is None else timeout_ms / 1000,
            may_resend=False,
            fixed=route.upload_headers,
        )
        self.dispatch(upstream_request, route.stream_engine if streams else route.engine)

    def _complete(self) -> None:
        if self.over:
            return
        try:
            self._forwarder.close()
        except Refusal as refusal:
            self._broken(refusal)
            return
        assert self._producer is not None
        self._producer.finish()

    def _broken(self, error: Any) -> None:
        """The client's body cannot be used, before or after the upstream has seen some of it."""
        if self.admission is None:
            self.refuse(error)
        elif not self.over:
            self.fail(error)

    def _finish(self) -> bool:
        first = Exchange._finish(self)
        if first:
            if self._spool is not None:
                self._spool.close()
                self._spool = None
            if self._producer is not None:
                self._producer.stopProducing()
        return first
