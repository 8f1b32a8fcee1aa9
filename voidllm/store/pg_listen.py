"""A connection of its own that hears of other boxes' changes, and says when it may have missed some."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voidllm.core.errors import StateError, StoreError
from voidllm.core.world import World
from voidllm.store.dialect import CHANNEL
from voidllm.store.pg_backoff import Backoff
from voidllm.store.pg_link import Link
from voidllm.store.pg_pool import Resolve
from voidllm.store.statements import Query

_log = Logger(namespace="voidllm.store")

#: A connection that only listens does not notice that the other side is gone; asking shows it.
_HEARTBEAT_S = 5.0


class Listening:
    """LISTEN, again after every loss.

    :param heard: called with the change version of every notification.
    :param missed: called after every LISTEN but the first: what was sent before is gone.
    """

    def __init__(
        self,
        world: World,
        resolve: Resolve,
        heard: Callable[[int], None],
        missed: Callable[[], None],
        *,
        connect_timeout_s: float,
        statement_timeout_s: float,
    ) -> None:
        self._reactor = world.reactor
        self._resolve = resolve
        self._heard = heard
        self._missed = missed
        self._connect_timeout_s = connect_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._backoff = Backoff(world.rng)
        self._link: Link | None = None
        self._timer: Any = None
        self._closed = False

    async def start(self) -> None:
        """Listen; what commits after this has fired is heard of.

        :raises StoreUnavailable: if PostgreSQL does not answer; then this object is of no use.
        """
        try:
            await self._listen()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hear nothing more."""
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._link is not None:
            self._link.close()

    async def _listen(self) -> None:
        link = self._link = Link(self._reactor, self._lost, self._notified)
        dsn = await self._resolve()
        await link.connect(dsn, self._connect_timeout_s)
        await link.execute(Query(f"LISTEN {CHANNEL}"), self._statement_timeout_s)
        self._backoff.reset()
        self._later(_HEARTBEAT_S, self._beat)

    def _lost(self, link: Link) -> None:
        if self._link is link:
            self._later(self._backoff.next(), self._again)

    async def _again(self) -> None:
        try:
            await self._listen()
        except (StoreError, StateError):
            # The pool has warned of the same; a link that was lost has set the next timer itself.
            if not self._closed and not self._timer.active():
                self._later(self._backoff.next(), self._again)
            return
        self._missed()

    async def _beat(self) -> None:
        link = self._link
        if link is None:
            return
        try:
            await link.execute(Query("SELECT 1"), self._statement_timeout_s)
        except StoreError:
            link.close()
        else:
            self._later(_HEARTBEAT_S, self._beat)

    def _later(self, delay_s: float, step: Callable[[], Any]) -> None:
        if self._closed:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(delay_s, self._do, step)

    def _do(self, step: Callable[[], Any]) -> None:
        work = Deferred.fromCoroutine(step())
        work.addErrback(lambda failure: _log.failure("listening for changes broke", failure))

    def _notified(self, payload: str) -> None:
        # Anybody who may connect to the database may notify; what is no number is not from us.
        if payload.isascii() and payload.isdigit() and len(payload) < 20:
            self._heard(int(payload))
