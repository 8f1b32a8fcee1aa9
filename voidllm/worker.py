"""A worker: one data plane in a process of its own, told everything by its control plane.

Imports nothing that only a control plane needs. It ends when it is told to, or when the line to
the control plane breaks.
"""

from __future__ import annotations

import socket
import sys
from typing import Any, Callable

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from voidllm.core import snapshot_delta
from voidllm.core.crypto import KeyDigester
from voidllm.core.snapshot import EMPTY_SNAPSHOT, Snapshot
from voidllm.core.snapshot_keys import EMPTY_TABLE, KeyDraft, Shared
from voidllm.core.world import World
from voidllm.dataplane import DataPlane
from voidllm.ending import Patience, end_replies
from voidllm.garbage import Keeper
from voidllm.heart import Heart
from voidllm.http.front import FrontFactory
from voidllm.http.population import Population
from voidllm.http.replies import error_body
from voidllm.instruments import register_plane
from voidllm.limits.shared import SharedLimiter, SharedTable
from voidllm.link import messages
from voidllm.link.link import Link, connect
from voidllm.link.listener import adopt
from voidllm.link.relay import RelayFactory
from voidllm.plan import Plan, decode_plan
from voidllm.telemetry.logs import Log, start_logging
from voidllm.telemetry.looplag import LoopLag
from voidllm.telemetry.metrics import Metrics
from voidllm.upstreams import Upstreams, make_upstreams
from voidllm.usage.journal import Journal

#: The descriptors that a worker inherits besides the standard three.
LISTENER_FD, LINK_FD, RELAY_FD, TABLE_FD, LOCK_FD = range(3, 8)
# Without a control plane nobody waits for long: a successor wants the state folder. So it is this
# long for what runs, and so long for everything.
_ORPHAN_S = 2.0
_ORPHAN_MOST_S = 4.0
_MOST = 1 << 30

_log = Logger()


class Worker:
    """Does what the control plane says.

    :param number: its place among the workers, from 1, and its column in the shared table.
    :param end: called once, with the exit status, when everything is closed.
    """

    def __init__(self, world: World, number: int, end: Callable[[int], None]) -> None:
        self._world = world
        self._number = number
        self._end = end
        self._metrics = Metrics()
        self._lag = LoopLag(world, self._metrics)
        self._link = Link(messages.decode_to_worker, self._got, self._orphaned, _MOST)
        self._heart = Heart(world.reactor, self._link, self._metrics.export)
        self._patience: Patience | None = None
        self._over = False
        self._wants_full = False
        self._garbage = Keeper()
        self._shared = Shared()
        self._coming = EMPTY_SNAPSHOT
        self._keys = KeyDraft(EMPTY_TABLE)
        self._opened: messages.Open | None = None
        self._log: Log | None = None
        self._plan: Plan | None = None
        self._plane: DataPlane | None = None
        self._upstreams: Upstreams | None = None
        self._front: FrontFactory | None = None
        self._factory: Any = None
        self._port: Any = None
        self._does: dict[type, Callable[[Any], None]] = {
            messages.Setup: self._set_up,
            messages.Open: self._open,
            messages.Whole: self._whole,
            messages.Keys: self._more_keys,
            messages.Complete: self._complete,
            messages.Change: self._change,
            messages.Reload: self._reload,
            messages.WantMetrics: self._want_metrics,
            messages.Drain: self._drain,
            messages.Cut: self._cut,
        }

    def start(self) -> None:
        """Listen to the control plane."""
        connect(self._world.reactor, socket.socket(fileno=LINK_FD), self._link)

    # -- what the control plane says

    def _got(self, message: Any) -> None:
        if self._over:
            return
        try:
            self._does[type(message)](message)
        except Exception:
            # Half of what it was told to be is worse than a successor.
            _log.failure("a worker cannot do what it was told", kind=type(message).__name__)
            self._exit(1)

    def _set_up(self, message: messages.Setup) -> None:
        plan = self._plan = decode_plan(message.plan)
        self._log = start_logging(plan.log_level, plan.log_format, sys.stdout, self._number)
        world = self._world
        upstreams = self._upstreams = make_upstreams(world, plan.engine, plan.pool)
        plane = self._plane = DataPlane(world, upstreams, self._metrics)
        relay = RelayFactory(world.reactor, RELAY_FD, self._number, Population(), _unavailable)
        front = self._front = FrontFactory(world, plane.door, relay, plan.front)
        register_plane(self._metrics, plane, front, upstreams)
        self._factory = front
        if plan.tls is not None:
            from voidllm.http.server_tls import context_factory, secured

            self._factory = secured(front, context_factory(*plan.tls))
        if message.listen:
            self._listen()
        self._lag.start()
        self._owned(self._heart.start(), "heartbeat")

    def _listen(self) -> None:
        self._port = adopt(self._world.reactor, LISTENER_FD, self._factory)

    def _open(self, message: messages.Open) -> None:
        self._opened = message

    def _whole(self, message: messages.Whole) -> None:
        self._coming = Snapshot(message.version, EMPTY_TABLE, message.models, message.aliases)
        self._keys = KeyDraft(EMPTY_TABLE)

    def _more_keys(self, message: messages.Keys) -> None:
        assert self._plane is not None
        before = self._plane.holder.current.keys
        self._shared.trim()
        for digest, principal in message.keys.items():
            known = before.get(digest)
            self._keys.put(digest, known if known == principal else self._shared.principal(principal))
        self._garbage.put_by()

    def _complete(self, _: messages.Complete) -> None:
        assert self._plane is not None
        first = self._plane.gate is None
        self._wants_full = False
        whole = evolve(self._coming, keys=self._keys.done())
        self._coming, self._keys = EMPTY_SNAPSHOT, KeyDraft(EMPTY_TABLE)
        self._plane.holder.swap(whole)
        self._garbage.settle()
        if first:
            self._owned(Deferred.fromCoroutine(self._begin()), "a worker cannot begin")

    async def _begin(self) -> None:
        plan, plane, opened = self._plan, self._plane, self._opened
        assert plan is not None and plane is not None and opened is not None
        journal = Journal(self._world, plan.state_dir, opened.box, self._number, plan.boot, plan.usage)
        await journal.start()
        journal.on_sealed.append(lambda segment: self._link.send(messages.Sealed(segment)))
        limiter = SharedLimiter(SharedTable.attach(TABLE_FD), self._number)
        # Another plan may have come meanwhile.
        plane.open(limiter, journal, KeyDigester(opened.digest_key), (self._plan or plan).proxy)
        if self._patience is not None:
            return
        if self._port is None:
            self._listen()
        self._link.send(messages.Ready())

    def _change(self, message: messages.Change) -> None:
        assert self._plane is not None
        holder = self._plane.holder
        self._shared.trim()
        for principal in message.delta.keys.values():
            self._shared.principal(principal)
        try:
            holder.swap(snapshot_delta.apply(holder.current, message.delta))
            self._garbage.made(len(message.delta.keys))
        except snapshot_delta.Gap:
            # Whatever else is on its way does not fit either.
            if not self._wants_full:
                self._wants_full = True
                self._link.send(messages.WantFull())

    def _reload(self, message: messages.Reload) -> None:
        assert self._plane is not None and self._log is not None
        plan = self._plan = decode_plan(message.plan)
        self._log.level = plan.log_level
        self._plane.reload(plan.proxy)

    def _want_metrics(self, message: messages.WantMetrics) -> None:
        self._heart.tell(message.number)

    # -- the end

    def _drain(self, message: messages.Drain) -> None:
        self._finish(message.patience_s)

    def _cut(self, _: messages.Cut) -> None:
        if self._plane is not None:
            self._plane.cut()
        self._finish(0)

    def _orphaned(self) -> None:
        if self._over:
            return
        _log.error("worker {number}: the control plane is gone", number=self._number)
        if self._port is not None:
            # Whoever comes next wants the port, too.
            self._owned(maybeDeferred(self._port.stopListening), "a port could not be closed")
            self._port = None
        self._world.reactor.callLater(_ORPHAN_MOST_S, self._exit, 1)
        self._finish(_ORPHAN_S)

    def _finish(self, patience_s: float) -> None:
        if self._patience is not None:
            self._patience.shorten(patience_s)
            return
        self._patience = Patience(self._world, patience_s)
        self._owned(Deferred.fromCoroutine(self._close(self._patience)), "a worker could not end in order")

    async def _close(self, patience: Patience) -> None:
        if self._plane is not None and self._front is not None:
            await end_replies(self._world, self._plane, self._front, self._port, patience)
            await self._plane.close()
        self._lag.stop()
        self._heart.stop()
        self._exit(0)

    def _exit(self, status: int) -> None:
        if not self._over:
            self._over = True
            self._link.close()
            self._end(status)

    def _owned(self, deferred: Deferred[Any], what: str) -> None:
        def failed(failure: Any) -> None:
            _log.failure(what, failure)
            self._exit(1)

        deferred.addErrback(failed)


def _unavailable() -> bytes:
    """Give the whole reply for a connection that the control plane does not take."""
    body = error_body(503, "service_unavailable", "the gateway cannot answer this now", None, "")
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    return head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
