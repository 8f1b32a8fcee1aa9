"""Asks all workers for something, and waits for their answers, but not for long."""

from __future__ import annotations

from typing import Any, Collection

from attrs import frozen
from twisted.internet.defer import Deferred

#: Who has not answered by then is not waited for.
PATIENCE_S = 1.0


@frozen(eq=False)
class _Question:
    missing: set[int]
    done: Deferred[None]
    late: Any


class Census:
    """Keeps count of who has answered which question.

    :param reactor: an ``IReactorTime``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._open: dict[int, _Question] = {}
        self._last = 0

    def ask(self, whom: Collection[int]) -> tuple[int, Deferred[None]]:
        """Begin a question.

        :returns: its number, from 1, and what fires when everybody has answered or is late.
        """
        self._last += 1
        done: Deferred[None] = Deferred()
        late = self._reactor.callLater(PATIENCE_S, self._over, self._last)
        self._open[self._last] = _Question(set(whom), done, late)
        number = self._last
        if not whom:
            self._over(number)
        return number, done

    def answered(self, who: int, number: int) -> None:
        """Take note of an answer; one that comes late, or that nobody asked for, is none."""
        question = self._open.get(number)
        if question is not None:
            question.missing.discard(who)
            if not question.missing:
                self._over(number)

    def gone(self, who: int) -> None:
        """Expect no answer from somebody any more."""
        for number in list(self._open):
            self.answered(who, number)

    def close(self) -> None:
        """End every question."""
        for number in list(self._open):
            self._over(number)

    def _over(self, number: int) -> None:
        question = self._open.pop(number, None)
        if question is not None:
            if question.late.active():
                question.late.cancel()
            question.done.callback(None)
