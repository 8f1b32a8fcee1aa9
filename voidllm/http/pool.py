"""Persistent connections to upstreams, shared by all calls to one origin.

A call takes the connection that was idle for the shortest time, else opens one, else waits
in a bounded queue. One timer watches all of it; there is none while nothing goes on.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from voidllm.core.interfaces import IUpstreamCall, IUpstreamPool
from voidllm.core.world import World
from voidllm.http.client_tls import TLSContexts
from voidllm.http.opening import OpenedTransport, Opener, Opening
from voidllm.http.pool_call import NEVER, PoolCall
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.request_head import HeadWriter
from voidllm.http.resolve import Resolver
from voidllm.http.upstream import Origin, UpstreamRequest
from voidllm.http.upstream_connection import UpstreamConnection


class OriginGroup:
    """All connections to one origin, and the calls that wait for one.

    :ivar idle: the one used last is at the end.
    :ivar total: connections that exist or are being opened.
    :ivar serving: the queue is about to be given the idle connections.
    """

    __slots__ = ("head", "idle", "opener", "serving", "total", "waiting")

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.head = HeadWriter(opener.origin)
        self.idle: list[UpstreamConnection] = []
        self.waiting: OrderedDict[PoolCall, None] = OrderedDict()
        self.total = 0
        self.serving = False


@implementer(IUpstreamPool)
class UpstreamPool:
    """The direct engine: drives its own connections, one reply parser each.

    :param resolver: names to addresses.
    :param contexts: TLS contexts; :meth:`TLSContexts.forget` makes it read the files again.
    :ivar open: TCP connections that exist now.
    :ivar idle: of these, those that wait for a call.
    :ivar busy: calls that have a connection now.
    :ivar waiting: calls in the queues.
    :ivar connects: connections opened so far.
    :ivar reuses: calls that were given a connection used before, so far.
    :ivar resends: calls sent a second time, so far.
    """

    def __init__(
        self,
        world: World,
        settings: PoolSettings | None = None,
        contexts: TLSContexts | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.world = world
        self.settings = settings or PoolSettings()
        self.contexts = contexts or TLSContexts()
        self.seconds = world.reactor.seconds
        self._resolver = resolver or Resolver(world)
        self._groups: dict[Origin, OriginGroup] = {}
        self._live: set[PoolCall] = set()
        self._timer: Any = None
        self._closed = False
        self._close_waiters: list[Deferred[None]] = []
        self.open = 0
        self.idle = 0
        self.busy = 0
        self.waiting = 0
        self.connects = 0
        self.reuses = 0
        self.resends = 0

    # -- callers

    def call(self, request: UpstreamRequest, sink: Any) -> IUpstreamCall:
        """Send a request; see :class:`~voidllm.core.interfaces.IUpstreamPool`.

        :raises ValueError: if the request cannot be written without changing its meaning.
        """
        group = self._groups.get(request.origin) or self._new_group(request.origin)
        call = PoolCall(self, group, request, sink, group.head.write(request))
        now: float = self.seconds()
        total = request.total_timeout_s
        if total is not None:
            call.total_at = now + total
        self._live.add(call)
        if self._timer is None:
            self._timer = self.world.reactor.callLater(self.settings.tick_s, self._sweep)
        if self._closed:
            self._fail_soon(call, "closed")
        elif not group.waiting and group.idle and self._reuse(group, call, now):
            pass
        elif group.total < self.settings.max_per_origin:
            self._open(group, call, now)
        elif len(group.waiting) < self.settings.max_waiting:
            call.enter("busy", self.settings.queue_timeout_s, now)
            group.waiting[call] = None
            self.waiting += 1
        else:
            self._fail_soon(call, "busy")
        return call  # type: ignore[no-any-return]

    def close(self) -> Deferred[None]:
        """Refuse new and queued calls, drop idle connections; fires once none is left.

        Calls that are running go on to their end: cancel those that must not.
        """
        self._closed = True
        for group in self._groups.values():
            for connection in list(group.idle):
                self.drop_idle(connection)
            for call in list(group.waiting):
                call.fail("closed")
        if self._is_quiet():
            self._quieten()
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._close_waiters.append(waiter)
        return waiter

    # -- a call's and a connection's side

    def abandon(self, call: PoolCall) -> None:
        """Free what a call holds that did not complete."""
        self._live.discard(call)
        group = call.group
        if call in group.waiting:
            del group.waiting[call]
            self.waiting -= 1
        opening, call.opening = call.opening, None
        if opening is not None:
            opening.cancel()
            self._freed(group)
        connection, call.connection = call.connection, None
        if connection is not None:
            self.busy -= 1
            connection.abort()
            self._freed(group)
        self._check_quiet()

    def completed(self, call: PoolCall) -> None:
        """Note the end of a call whose reply is complete."""
        call.over = True
        self._live.discard(call)
        if self._closed:
            self._check_quiet()

    def recycle(self, connection: UpstreamConnection, keep_alive_s: float | None) -> None:
        """Keep a connection for the next call."""
        group = connection.group
        idle_s = self.settings.idle_timeout_s
        if keep_alive_s is not None and keep_alive_s < idle_s:
            idle_s = keep_alive_s
        if idle_s <= 0 or self._closed:
            self.retire(connection)
            return
        connection.expires = self.seconds() + idle_s
        group.idle.append(connection)
        self.idle += 1
        if group.waiting and not group.serving:
            # Not at once: what the upstream has sent beyond its reply must come to light first.
            group.serving = True
            self.world.reactor.callLater(0, self._serve, group)

    def retire(self, connection: UpstreamConnection, at_once: bool = False) -> None:
        """Close a connection that is neither idle nor of any use.

        :param at_once: a request is still on its way out, and would hold a close up.
        """
        if at_once:
            connection.abort()
        else:
            connection.close()
        self._freed(connection.group)

    def drop_idle(self, connection: UpstreamConnection) -> None:
        """Close an idle connection."""
        if connection in connection.group.idle:
            connection.group.idle.remove(connection)
            self.idle -= 1
            self.retire(connection)

    def connection_lost(self, connection: UpstreamConnection, was_closed: bool) -> None:
        """Note that a connection is gone."""
        self.open -= 1
        if not was_closed:
            group = connection.group
            if connection in group.idle:
                group.idle.remove(connection)
                self.idle -= 1
            self._freed(group)
        self._check_quiet()

    def resend(self, call: PoolCall) -> bool:
        """Send a call again whose reused connection was closed before it said anything.

        The server closed it while idle; a fresh one is used, so there is no second time.
        """
        request = call.request
        if call.resent or not request.may_resend or not isinstance(request.body, bytes) or self._closed:
            return False
        call.resent = True
        call.sent = False
        self.resends += 1
        group, now = call.group, self.seconds()
        if group.total < self.settings.max_per_origin:
            self._open(group, call, now)
        else:
            call.enter("busy", self.settings.queue_timeout_s, now)
            group.waiting[call] = None
            group.waiting.move_to_end(call, last=False)
            self.waiting += 1
        return True

    # -- inside

    def _new_group(self, origin: Origin) -> OriginGroup:
        if len(self._groups) >= self.settings.max_origins:
            unused = [key for key, group in self._groups.items() if not group.total and not group.waiting]
            for key in unused:
                del self._groups[key]
        group = OriginGroup(Opener(self.world, origin, self._resolver, self.contexts))
        self._groups[origin] = group
        return group

    def _reuse(self, group: OriginGroup, call: PoolCall, now: float) -> bool:
        while group.idle:
            connection = group.idle.pop()
            self.idle -= 1
            if connection.expires > now and connection.is_quiet():
                self.busy += 1
                self.reuses += 1
                connection.start(call, now)
                return True
            self.retire(connection)
        return False

    def _serve(self, group: OriginGroup) -> None:
        group.serving = False
        now = self.seconds()
        while group.idle and group.waiting:
            connection = group.idle.pop()
            self.idle -= 1
            if connection.expires > now and connection.is_quiet():
                self.busy += 1
                self.reuses += 1
                connection.start(self._next_waiting(group), now)
            else:
                # This makes room for a new connection, which goes to the queue too.
                self.retire(connection)

    def _open(self, group: OriginGroup, call: PoolCall, now: float) -> None:
        group.total += 1
        timeout_s = call.request.connect_timeout_s
        call.enter("connect_timeout", timeout_s, now)
        opening = Opening(
            group.opener,
            timeout_s,
            partial(self._opened, group, call),
            partial(self._not_opened, group, call),
            self._made,
            self._gone,
        )
        call.opening = opening
        opening.start()

    def _opened(self, group: OriginGroup, call: PoolCall, opened: OpenedTransport) -> None:
        call.opening = None
        connection = UpstreamConnection(self, group, opened.raw)
        opened.attach(connection)
        self.busy += 1
        connection.start(call, self.seconds())

    def _not_opened(self, group: OriginGroup, call: PoolCall, kind: str, detail: str) -> None:
        call.opening = None
        self._freed(group)
        call.fail(kind, detail)

    def _made(self) -> None:
        self.open += 1
        self.connects += 1

    def _gone(self) -> None:
        self.open -= 1
        self._check_quiet()

    def _next_waiting(self, group: OriginGroup) -> PoolCall:
        call, _ = group.waiting.popitem(last=False)
        self.waiting -= 1
        return call

    def _freed(self, group: OriginGroup) -> None:
        group.total -= 1
        if group.waiting and group.total < self.settings.max_per_origin:
            self._open(group, self._next_waiting(group), self.seconds())

    def _fail_soon(self, call: PoolCall, kind: str) -> None:
        # Not from within ``call``: the caller has nothing yet that it could clean up.
        call.enter(kind, None, 0.0)
        self.world.reactor.callLater(0, call.fail, kind)

    def _sweep(self) -> None:
        now = self.seconds()
        late = []
        for call in self._live:
            if call.progress or (call.paused and call.connection is not None):
                # Whoever pauses a call is slow himself: that is not the upstream's silence.
                call.progress = False
                if call.limit != NEVER:
                    call.deadline = now + call.limit
            if now >= call.deadline or now >= call.total_at:
                late.append(call)
        for call in late:
            call.fail(call.late)
        for group in list(self._groups.values()):
            for connection in [c for c in group.idle if c.expires <= now]:
                self.drop_idle(connection)
        self._timer = None
        if self._live or self.idle:
            self._timer = self.world.reactor.callLater(self.settings.tick_s, self._sweep)

    def _is_quiet(self) -> bool:
        return not self._live and not self.open

    def _check_quiet(self) -> None:
        if self._closed and self._is_quiet():
            self._quieten()
            waiters, self._close_waiters = self._close_waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def _quieten(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
