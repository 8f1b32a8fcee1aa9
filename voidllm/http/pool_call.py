"""One call of the pool, from ``call`` to its one and only end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from voidllm.core.interfaces import IUpstreamCall
from voidllm.http.upstream import UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    from voidllm.http.opening import Opening
    from voidllm.http.pool import OriginGroup, UpstreamPool
    from voidllm.http.upstream_connection import UpstreamConnection

NEVER = float("inf")


@implementer(IUpstreamCall)
class PoolCall:
    """What the pool knows about a call.

    :ivar limit: seconds without progress that are allowed in the present phase.
    :ivar deadline: when those are over, on the reactor's clock; the pool's sweep moves it.
    :ivar total_at: when the whole call must be over.
    :ivar late: kind of failure if either passes in this phase.
    :ivar progress: something moved since the last sweep.
    """

    __slots__ = (
        "connection",
        "deadline",
        "group",
        "head",
        "late",
        "limit",
        "opening",
        "over",
        "paused",
        "pool",
        "progress",
        "request",
        "resent",
        "sent",
        "sink",
        "total_at",
    )

    def __init__(
        self, pool: UpstreamPool, group: OriginGroup, request: UpstreamRequest, sink: Any, head: bytes
    ) -> None:
        self.pool = pool
        self.group = group
        self.request = request
        self.sink = sink
        self.head = head
        self.connection: UpstreamConnection | None = None
        self.opening: Opening | None = None
        self.over = False
        self.paused = False
        self.progress = False
        self.resent = False
        self.sent = False
        self.late = "busy"
        self.limit = NEVER
        self.deadline = NEVER
        self.total_at = NEVER

    def enter(self, late: str, limit: float | None, now: float) -> None:
        """Begin a phase."""
        self.late = late
        self.progress = False
        if limit is None:
            self.limit = self.deadline = NEVER
        else:
            self.limit = limit
            self.deadline = now + limit

    def cancel(self) -> None:
        """Stop at any phase."""
        if not self.over:
            self.over = True
            self.pool.abandon(self)

    def pause(self) -> None:
        """Stop reading from the upstream."""
        if not self.paused:
            self.paused = True
            if self.connection is not None:
                self.connection.pause()

    def resume(self) -> None:
        """Read from the upstream again."""
        if self.paused:
            self.paused = False
            self.progress = True
            if self.connection is not None:
                self.connection.resume()

    def fail(self, kind: str, detail: str = "") -> None:
        """Free what the call holds, then tell the sink."""
        if not self.over:
            self.over = True
            self.pool.abandon(self)
            self.sink.failed(UpstreamFailure(kind, self.sent, detail))
