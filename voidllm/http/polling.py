"""The epoll reactor's turn, for a process that passes on many small messages.

Three things are other than in Twisted's own turn. Around each socket's event there is no
logging context, which was about sixteen calls and two dictionaries a proxied request, or a
tenth of what it cost; what the wrapper catches besides is caught by the reactor's own
handler too. The next turn follows at once, without a look at the reactor's timers, as long as
none of them is due or new: where a turn has one event, a seventh of it was that look.
And small writes wait in an :class:`Outbox` for the end of the turn: a peer that sleeps
is woken once for several messages instead of for each, and code that runs without a system
call in its midst runs in warm caches. A busy gateway's request costs a quarter less by it;
an idle one's turn has one event, and nothing waits.
"""

from __future__ import annotations

import errno
from select import EPOLLIN, EPOLLOUT
from typing import Any, Callable, Protocol

#: What is relied on; a reactor that lacks one of these keeps its own turn.
_EXPECTED = (
    "_doReadOrWrite",
    "_justStopped",
    "_newTimedCalls",
    "_pendingTimedCalls",
    "_poller",
    "_selectables",
    "doIteration",
    "running",
    "threadCallQueue",
)
#: Names, on a reactor with such turns, of the outbox and of what is called before sockets are read.
_OUTBOX = "voidllm_outbox"
_BEFORE_READ = "voidllm_before_read"
#: What is called, and must not raise, before a descriptor is read, for as long as it is in here.
BeforeRead = dict[int, Callable[[], None]]
#: Events after which the outbox is emptied in the middle of a turn, some 10 ms: nobody
#: waits longer, however much is ready.
_EVENTS = 128
#: The reactor has a way to wait for longer than the kernel can be told to; it is far beyond this.
_LONGEST_S = 1e6


class Waiting(Protocol):
    """Somebody with something to write."""

    def flush(self) -> None:
        """Write it."""


class Outbox:
    """Writes that wait for the end of a turn, in the order in which they were made.

    What must be on disk before anything leaves for a socket is a class of its own, and goes first.
    """

    __slots__ = ("_due", "_first")

    def __init__(self) -> None:
        self._first: list[Waiting] = []
        self._due: list[Waiting] = []

    def add(self, waiting: Waiting) -> None:
        """Have it flushed, once, before the reactor waits again."""
        self._due.append(waiting)

    def add_behind(self, waiting: Waiting) -> None:
        """Have it flushed, once, when what waits by now is written; at once if nothing waits."""
        if self._due:
            self._due.append(waiting)
        else:
            waiting.flush()

    def add_first(self, waiting: Waiting) -> None:
        """Have it flushed, once, before what :meth:`add` got and before any socket is written to."""
        self._first.append(waiting)

    def flush_first(self) -> None:
        """Flush what :meth:`add_first` got."""
        while self._first:
            first, self._first = self._first, []
            for waiting in first:
                waiting.flush()

    def flush(self) -> None:
        """Flush everything that waits; what is added meanwhile too."""
        self.flush_first()
        while self._due:
            due, self._due = self._due, []
            for waiting in due:
                if self._first:
                    # Of what the one before this led to, the part that goes first.
                    self.flush_first()
                waiting.flush()
            self.flush_first()


def outbox_of(reactor: Any) -> Outbox | None:
    """Give the outbox that ``reactor`` empties in each turn, or ``None`` if it has none."""
    return getattr(reactor, _OUTBOX, None)


def before_read_of(reactor: Any) -> BeforeRead | None:
    """Give what ``reactor`` calls before it reads, to be added to; ``None`` if it does no such thing."""
    return getattr(reactor, _BEFORE_READ, None)


def quick_turn(reactor: Any, outbox: Outbox, before_read: BeforeRead) -> Callable[[float | None], None]:
    """Make a replacement for ``doIteration`` of an epoll reactor.

    It returns when something is to be done that is no socket's: a timer, a call from a thread, the end.

    :param reactor: has what :data:`_EXPECTED` names.
    """
    selectables = reactor._selectables
    read_or_write = reactor._doReadOrWrite
    poll = reactor._poller.poll
    seconds = reactor.seconds
    flush = outbox.flush
    flush_first = outbox.flush_first

    def turn(timeout: float | None) -> None:
        # Timers and calls from threads have run since the last turn.
        flush()
        # Who asks for a turn without waiting wants no other turn.
        once = timeout == 0
        while True:
            try:
                ready = poll(-1 if timeout is None else timeout, len(selectables))
            except OSError as error:
                # A signal; its handler has run, and the loop looks at what it asked for.
                if error.errno == errno.EINTR:
                    return
                raise
            handled = 0
            for fd, event in ready:
                # An event before this one may have closed it.
                selectable = selectables.get(fd)
                if selectable is None:
                    continue
                if before_read and event & EPOLLIN and fd in before_read:
                    before_read[fd]()
                if event & EPOLLOUT:
                    # What it writes may be a reply that was made by an event before this one,
                    # or is made by what it reads now.
                    if event & EPOLLIN:
                        read_or_write(selectable, fd, event & ~EPOLLOUT)
                        event = EPOLLOUT
                    flush_first()
                    if selectables.get(fd) is not selectable:
                        continue
                read_or_write(selectable, fd, event)
                handled += 1
                if handled == _EVENTS:
                    handled = 0
                    flush()
            flush()
            if (
                once
                or reactor.threadCallQueue
                or reactor._newTimedCalls
                or reactor._justStopped
                or not reactor.running
            ):
                return
            timers = reactor._pendingTimedCalls
            timeout = timers[0].time - seconds() if timers else None
            if timeout is not None and not 0 < timeout < _LONGEST_S:
                return

    return turn


def install(reactor: Any) -> bool:
    """Give an epoll reactor quicker turns; any other one is left alone.

    :returns: whether it was done.
    """
    from twisted.internet.epollreactor import EPollReactor

    if not isinstance(reactor, EPollReactor) or not all(hasattr(reactor, name) for name in _EXPECTED):
        return False
    outbox = Outbox()
    before_read: BeforeRead = {}
    # On the instance only: other reactors in the process keep their own.
    turn = quick_turn(reactor, outbox, before_read)
    setattr(reactor, "doIteration", turn)  # noqa: B010 - its type says method
    setattr(reactor, _OUTBOX, outbox)
    setattr(reactor, _BEFORE_READ, before_read)
    return True
