"""A queue of jobs and the threads that do them, each with a connection of its own."""

from __future__ import annotations

import queue
import sqlite3
import threading
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voidllm.core.errors import StoreBusy, StoreUnavailable

Job = Callable[[sqlite3.Connection], Any]

_STOP = None


class ThreadLane:
    """Jobs in their order, done by one thread or by several.

    :param connect: opens a connection; called in the thread that will use it.
    :param depth: how many jobs may wait.
    """

    def __init__(
        self, reactor: Any, connect: Callable[[], sqlite3.Connection], name: str, threads: int, depth: int
    ) -> None:
        self._reactor = reactor
        self._connect = connect
        self._queue: queue.Queue[tuple[Job, Deferred[Any]] | None] = queue.Queue(depth + threads)
        self._depth = depth
        self._closing = False
        self._closed: Deferred[None] = Deferred()
        self._alive = threads
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, job: Job) -> Deferred[Any]:
        """Queue ``job``; its result or failure arrives in the reactor's thread.

        :raises StoreBusy: if too many wait already.
        """
        if self._closing:
            raise StoreUnavailable("the store is closed")
        if self._queue.qsize() >= self._depth:
            raise StoreBusy("too many operations are waiting")
        result: Deferred[Any] = Deferred()
        self._queue.put_nowait((job, result))
        return result

    def close(self) -> Deferred[None]:
        """Finish what is queued, then end the threads and their connections."""
        if not self._closing:
            self._closing = True
            for _ in self._threads:
                self._queue.put_nowait(_STOP)
        return self._closed

    def _work(self) -> None:
        connection = None
        while (item := self._queue.get()) is not _STOP:
            job, result = item
            try:
                # Opened with the first job, so that an error has somebody to go to.
                if connection is None:
                    connection = self._connect()
                value = job(connection)
            except Exception:
                self._reactor.callFromThread(result.errback, Failure())  # type: ignore[no-untyped-call]
            else:
                self._reactor.callFromThread(result.callback, value)
        if connection is not None:
            connection.close()
        self._reactor.callFromThread(self._ended)

    def _ended(self) -> None:
        self._alive -= 1
        if not self._alive:
            for thread in self._threads:
                thread.join()
            self._closed.callback(None)


class InlineLane:
    """The same without threads: a job is done before :meth:`run` returns.

    For simulated worlds, where nothing may happen that the seed did not decide.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._closing = False

    def run(self, job: Job) -> Deferred[Any]:
        """Do ``job`` at once."""
        if self._closing:
            raise StoreUnavailable("the store is closed")
        result: Deferred[Any] = Deferred()
        try:
            if self._connection is None:
                self._connection = self._connect()
            value = job(self._connection)
        except Exception:
            result.errback(Failure())  # type: ignore[no-untyped-call]
        else:
            result.callback(value)
        return result

    def close(self) -> Deferred[None]:
        """Close the connection."""
        self._closing = True
        if self._connection is not None:
            self._connection.close()
        result: Deferred[None] = Deferred()
        result.callback(None)
        return result
