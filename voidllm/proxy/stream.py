"""Passing a stream of server-sent events on, and knowing how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from voidllm.core.errors import Refusal
from voidllm.http.sse import EventSplitter, EventTooLong, event_data
from voidllm.proxy.faults import FIRST_TOKEN, INCOMPLETE, MALFORMED, STOPPED, TIMED_OUT, error_event
from voidllm.proxy.relay import forwarded
from voidllm.usage.metering import MalformedEvent, Metered, StreamMeter

if TYPE_CHECKING:
    from voidllm.proxy.exchange import Exchange

_HEAD = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_COMMENT = b": keep-alive\n\n"
# After the terminal event the upstream gets this long, and this much, to end its reply
# properly, so that its connection can be used again.
_TRAILING_S = 2.0
_TRAILING_BYTES = 64 * 1024


class StreamRelay:
    """Relays events whole, so that an error can always be put between two of them.

    The reply head waits for the first event with data or ``commit_after_s``: until then
    a fault can still be a real status.
    """

    __slots__ = (
        "_began_s",
        "_exchange",
        "_extra",
        "_meter",
        "_seconds",
        "_sent_s",
        "_splitter",
        "_trailing",
        "_ttft_ms",
        "committed",
    )

    def __init__(self, exchange: Exchange) -> None:
        core = exchange.core
        self._exchange = exchange
        self._meter = StreamMeter()
        self._splitter = EventSplitter(core.settings.max_event)
        self._extra: list[tuple[bytes, bytes]] = []
        self._seconds: Callable[[], float] = core.world.reactor.seconds
        self._began_s = self._sent_s = self._seconds()
        self._ttft_ms: int | None = None
        self._trailing = -1
        self.committed = False
        core.sweeper.add(self)
        core.metrics.stream_started()

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the upstream's head; the client's waits for the first event."""
        self._extra = [pair for pair in forwarded(headers) if pair[0] != b"content-type"]

    def not_a_stream(self) -> None:
        """The client has a stream's head already, and the upstream sent something else."""
        self._exchange.cancel_call()
        self._break(INCOMPLETE, None)

    def chunk(self, data: bytes) -> None:
        """Pass on the events that ``data`` completes."""
        if self._trailing >= 0:
            self._trailing += len(data)
            if self._trailing > _TRAILING_BYTES:
                self._exchange.cancel_call()
                self.detach()
            return
        if self._exchange.over:
            return
        # The usual event: nothing of the reply's head or of its end depends on it.
        if self._ttft_ms is not None and self._splitter.is_one(data) and self._meter.watch_text(data[6:-2]):
            self._sent_s = self._seconds()
            self._exchange.responder.chunk(data)
            return
        if not self.committed:
            # The reply's head waits for an event.
            self._exchange.heard()
        try:
            events = self._splitter.feed(data)
        except EventTooLong:
            self._malformed()
            return
        if events:
            self._relay(events)

    def _relay(self, events: list[bytes]) -> None:
        meter = self._meter
        out = []
        has_data = self.committed
        for event in events:
            data = event_data(event)
            if data is None:
                out.append(event)
                continue
            try:
                only_usage = meter.watch(data)
            except MalformedEvent:
                self._send(out, has_data)
                self._malformed()
                return
            if only_usage and self._exchange.hide_usage:
                continue
            has_data = True
            out.append(event)
            if meter.done:
                break
        if meter.started and self._ttft_ms is None:
            since = self._seconds() - self._exchange.request.started_s
            self._ttft_ms = int(since * 1000)
        if meter.done:
            self._complete(out)
        else:
            self._send(out, has_data)

    def _send(self, events: list[bytes], has_data: bool) -> None:
        # Comments alone do not commit the head.
        if not events or not has_data:
            return
        responder = self._exchange.responder
        if not self.committed:
            self._commit()
        self._sent_s = self._seconds()
        responder.chunk(events[0] if len(events) == 1 else b"".join(events))

    def _commit(self) -> None:
        self.committed = True
        exchange = self._exchange
        exchange.responder.head(200, [*_HEAD, *self._extra, *exchange.reply_headers()])

    def _complete(self, events: list[bytes]) -> None:
        exchange = self._exchange
        meter = self._meter
        metered = meter.result(True, exchange.prompt_estimate)
        status, code = (502, "upstream_stream_error") if meter.failed else (200, "")
        if exchange.settle(status, code, metered, self._ttft_ms):
            self._send(events, True)
            self._trailing = 0
            self._sent_s = self._seconds()
            exchange.core.metrics.stream_ended()
            exchange.responder.end()

    def finished(self) -> None:
        """The upstream's reply ended; that is only right after a terminal event."""
        if self._trailing >= 0:
            self._leave_sweeper()
            return
        if self._exchange.over:
            return
        rest = self._splitter.rest()
        if rest and event_data(rest + b"\n\n") == b"[DONE]":
            # Complete in all but its last blank line.
            self._relay([rest + b"\n\n"])
            self._leave_sweeper()
            return
        self._break(INCOMPLETE, None)

    def broken(self, refusal: Refusal) -> None:
        """End a committed stream by the in-band error event."""
        if refusal.code == "service_unavailable":
            self._break(STOPPED, refusal.message)
        elif refusal is _TOO_LONG:
            self._break(TIMED_OUT, None)
        else:
            self._break(INCOMPLETE, refusal.message)

    def _malformed(self) -> None:
        self._exchange.cancel_call()
        self._break(MALFORMED, None)

    def _break(self, code: str, message: str | None) -> None:
        exchange = self._exchange
        if not self.committed and not self._meter.failed:
            exchange.fail(Refusal(502, code, "the upstream provider's stream could not be read"))
            return
        if exchange.settle(502, code, self.metered_so_far(), self._ttft_ms):
            self.detach()
            # An error that the upstream reported itself is not reported twice.
            if not self._meter.failed:
                exchange.responder.chunk(error_event(code, exchange.request.request_id, message))
            exchange.responder.end()

    def client_gone(self) -> None:
        """Account for what was read and delivered."""
        metered = self._meter.result(False, self._exchange.prompt_estimate, client_left=True)
        status = 200 if self.committed else 499
        self.detach()
        self._exchange.settle(status, "client_closed", metered, self._ttft_ms)

    def metered_so_far(self) -> Metered:
        """Say what was consumed until now."""
        return self._meter.result(False, self._exchange.prompt_estimate)

    def tick(self, now_s: float) -> None:
        """Look at the clock: trailing bytes, first token, duration, commit, keep-alive."""
        exchange = self._exchange
        settings = exchange.core.settings
        if self._trailing >= 0:
            if now_s - self._sent_s >= _TRAILING_S:
                exchange.cancel_call()
                self._leave_sweeper()
            return
        age_s = now_s - self._began_s
        first_token_s = settings.first_token_timeout_s
        if first_token_s is not None and not self._meter.started and age_s >= first_token_s:
            exchange.fail(FIRST_TOKEN, self.metered_so_far())
        elif settings.max_stream_duration_s is not None and age_s >= settings.max_stream_duration_s:
            exchange.fail(_TOO_LONG, self.metered_so_far())
        elif exchange.paused:
            self._sent_s = now_s
        elif not self.committed:
            if age_s >= settings.commit_after_s:
                exchange.missed()
                self._commit()
                self._keep_alive(now_s)
        elif now_s - self._sent_s >= settings.keepalive_s:
            self._keep_alive(now_s)

    def _keep_alive(self, now_s: float) -> None:
        self._sent_s = now_s
        self._exchange.responder.chunk(_COMMENT)

    def detach(self) -> None:
        """Leave the sweeper and the gauge of live streams."""
        if self._trailing < 0:
            self._trailing = 0
            self._exchange.core.metrics.stream_ended()
        self._leave_sweeper()

    def _leave_sweeper(self) -> None:
        self._exchange.core.sweeper.remove(self)


_TOO_LONG = Refusal(504, TIMED_OUT, "the stream took longer than is allowed")
