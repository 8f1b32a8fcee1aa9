"""The seams between layers, as zope interfaces.

Callback-style on the hot path on purpose: a Deferred chain costs more there than the
work it would carry. Everything off the hot path returns Deferreds.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface

# zope interfaces declare methods without ``self``; linters are told so in pyproject.toml.


class ISnapshotSource(Interface):
    """Holds the newest :class:`~voidllm.core.snapshot.Snapshot`."""

    current = Attribute("The newest Snapshot; reading it never blocks.")

    def subscribe(listener):
        """Call ``listener(snapshot)`` after every swap; returns a function that unsubscribes."""


class IJournal(Interface):
    """Durable list of finished units of work on local disk."""

    def accepting():
        """Say whether new work may be admitted, that is, whether its row would surely fit."""

    def append(event):
        """Write one :class:`~voidllm.core.usage.UsageEvent`; returns once the kernel has it.

        :raises JournalFull: if not even the reserve has room.
        """


class ILimiter(Interface):
    """Decides and counts in one step."""

    def reserve(scopes, tokens, now_ms):
        """Count one request and ``tokens`` in every scope, or in none.

        :param scopes: tuple of :class:`~voidllm.core.principal.Scope`.
        :returns: an opaque reservation.
        :raises Refusal: 429 ``rate_limit_exceeded`` or ``token_limit_exceeded`` with
            ``retry_after_ms``; then nothing was counted.
        """

    def settle(reservation, tokens, now_ms):
        """Replace the reserved tokens by the true number; each reservation once."""

    def headers(reservation, now_ms):
        """Give ``x-ratelimit-*`` headers for the tightest scope, as (name, value) bytes."""


class IPlanner(Interface):
    """Chooses which deployments to try, in order."""

    def plan(model):
        """Give the deployments of ``model`` in the order to try them, at least one."""

    def report(deployment, success, latency_s):
        """Tell how an attempt went; ``success`` None is neutral."""


class IUpstreamSink(Interface):
    """Receives one reply of an upstream. After ``finished`` or ``failed`` nothing more comes."""

    def got_head(status, headers):
        """The reply head: an int and a list of (lower-case name, value) bytes pairs."""

    def got_chunk(data):
        """Some bytes of the body."""

    def finished():
        """The body is complete by its own framing."""

    def failed(failure):
        """No complete reply: an :class:`~voidllm.http.upstream.UpstreamFailure`."""


class IUpstreamCall(Interface):
    """One running call."""

    def cancel():
        """Stop at any phase; the connection is closed and the sink hears nothing more."""

    def pause():
        """Stop reading from the upstream."""

    def resume():
        """Read from the upstream again."""


class IUpstreamPool(Interface):
    """Persistent connections to upstreams."""

    def call(request, sink):
        """Send an :class:`~voidllm.http.upstream.UpstreamRequest`; returns an `IUpstreamCall`.

        The sink may be called before this returns only with ``failed``.
        """

    def close():
        """Drop idle connections and refuse new calls; returns a Deferred fired when none is left."""


class IMessageHandler(Interface):
    """What a front hands its messages to."""

    def handle(request, responder):
        """Answer one request; called once the head is complete, before the body is read.

        :param request: a :class:`~voidllm.http.message.Request`.
        :param responder: an `IResponder`.
        """


class IResponder(Interface):
    """Sends one reply, on either front."""

    def reply(status, headers, body):
        """Send a whole reply in one write; Content-Length is added."""

    def head(status, headers):
        """Start a reply whose length is unknown (chunked, or closed at the end for HTTP/1.0)."""

    def chunk(data):
        """Send some body bytes at once."""

    def end():
        """Complete the reply begun with ``head``."""

    def abort():
        """Drop the connection so that the client cannot take the reply for complete."""

    def register(producer):
        """Attach an ``IPushProducer``.

        It is paused and resumed as the client reads; ``stopProducing`` means that the
        client is gone, after which nothing else is called and nothing sent arrives.
        """


class IStore(Interface):
    """Durable state; both implementations pass one suite. See :mod:`voidllm.store`."""
