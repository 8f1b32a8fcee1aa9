"""One connection to PostgreSQL, with every wait bounded and nothing that blocks the reactor."""

from __future__ import annotations

from typing import Any, Callable

import psycopg2
from twisted.internet.defer import Deferred
from txpostgres import txpostgres  # type: ignore[import-untyped]

from voidllm.core.errors import StoreError, StoreTimeout, StoreUnavailable
from voidllm.store.dialect import to_pyformat
from voidllm.store.pg_errors import ERRORS, ConnectionGone, connect_error, store_error
from voidllm.store.statements import Query, Rows

#: The local timer gives the server's own ``statement_timeout`` this much head start.
GRACE_S = 1.0


class _Cursor(txpostgres.Cursor):  # type: ignore[misc]
    def _cancel(self, deferred: Any) -> None:
        # The original asks the server to stop, synchronously: with a frozen server the whole
        # process would wait. Nobody cancels these, but if somebody did, this is how.
        self._connection.close()

    def _handleCancellation(self, failure: Any) -> Any:
        # The original makes a statement timeout look as if we had cancelled.
        return failure


class _Connection(txpostgres.Connection):  # type: ignore[misc]
    """A txpostgres connection that reports its loss instead of logging it as unhandled."""

    cursorFactory = _Cursor

    def __init__(self, reactor: Any, lost: Callable[[], None], notified: Callable[[str], None]) -> None:
        super().__init__(reactor)
        self._lost = lost
        self._notified = notified

    def _cancel(self, deferred: Any) -> None:
        self.close()

    def doRead(self) -> None:
        try:
            super().doRead()
        except (psycopg2.Error, txpostgres.UnexpectedPollResult):
            self._lost()

    def doWrite(self) -> None:
        try:
            super().doWrite()
        except (psycopg2.Error, txpostgres.UnexpectedPollResult):
            self._lost()

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self._lost()

    def checkForNotifies(self) -> None:
        notifies = self._connection.notifies
        payloads = [notify.payload for notify in notifies]
        del notifies[:]
        for payload in payloads:
            self._notified(payload)


class Link:
    """One connection, used by one transaction at a time.

    :param lost: called once with this link when it is closed, whoever closed it.
    :param notified: called with the payload of every notification.
    """

    def __init__(
        self,
        reactor: Any,
        lost: Callable[[Link], None],
        notified: Callable[[str], None] = lambda payload: None,
    ) -> None:
        self._reactor = reactor
        self._on_lost = lost
        self._connection = _Connection(reactor, self._gone, notified)
        self.closed = False

    async def connect(self, dsn: str, timeout_s: float) -> None:
        """Open the connection.

        :raises StoreUnavailable: if that fails or takes too long. libpq's own
            ``connect_timeout`` means nothing to a connection that does not block.
        """
        timer = self._reactor.callLater(timeout_s, self.close)
        try:
            await self._connection.connect(dsn)
        except ERRORS as error:
            self.close()
            raise connect_error(error) from None
        finally:
            if timer.active():
                timer.cancel()
        if self.closed:
            raise StoreUnavailable("PostgreSQL closed the connection at once")

    async def execute(self, query: Query, timeout_s: float) -> Rows:
        """Run one statement and give its rows.

        After ``timeout_s`` and :data:`GRACE_S` without an answer the connection is closed.

        :raises StoreError: what :func:`store_error` says; then the transaction is dead.
        """
        if self.closed:
            raise ConnectionGone("the connection to PostgreSQL was lost")
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self.close()

        timer = self._reactor.callLater(timeout_s + GRACE_S, expire)
        try:
            cursor = self._connection.cursor()
            running: Deferred[Any] = cursor.execute(to_pyformat(query.sql), query.params)
            await running
            return [] if cursor.description is None else cursor.fetchall()
        except ERRORS as error:
            if expired:
                raise StoreTimeout("PostgreSQL did not answer in time") from None
            found = store_error(error)
            if self._connection.closed or isinstance(found, ConnectionGone):
                self.close()
                # Whatever the last words were (57P01 and the like), nobody hears us any more.
                found = ConnectionGone("the connection to PostgreSQL was lost")
            raise found from None
        finally:
            if timer.active():
                timer.cancel()

    async def roll_back(self, timeout_s: float) -> None:
        """End a failed transaction; a connection where even that fails is closed."""
        if self.closed:
            return
        try:
            await self.execute(Query("ROLLBACK"), timeout_s)
        except StoreError:
            self.close()

    def close(self) -> None:
        """Drop the connection now; a running statement fails."""
        if self._connection.pollable() is not None:
            self._connection.close()
        self._gone()

    def _gone(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._connection.pollable() is not None:
            # What the other side closed is still a descriptor of ours, and a reader.
            self._connection.close()
        self._on_lost(self)
