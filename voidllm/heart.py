"""A worker's sign of life, and its numbers, to the control plane."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from voidllm.core.interfaces import ILink
from voidllm.link import messages

#: How often a worker says that it lives.
HEARTBEAT_S = 1.0
# Numbers go along as often as they are cheap to make and to take: those of a thousand models take
# 6 ms here and 18 ms there, those of ten a tenth of a millisecond.
_BYTES_A_BEAT = 16 << 10
_SELDOM = 10


class Heart:
    """Beats.

    :param reactor: an ``IReactorTime``.
    :param export: gives all numbers, encoded.
    """

    def __init__(self, reactor: Any, link: ILink, export: Callable[[], bytes]) -> None:
        self._link: Any = link
        self._export = export
        self._beats = 0
        self._loop = LoopingCall(self._beat)
        self._loop.clock = reactor

    def start(self) -> Deferred[Any]:
        """Beat now and every second; fires at the end."""
        return self._loop.start(HEARTBEAT_S)

    def stop(self) -> None:
        """Beat no more."""
        if self._loop.running:
            self._loop.stop()

    def tell(self, number: int) -> None:
        """Send the numbers.

        :param number: of the question, or 0 if nobody asked.
        """
        data = self._export()
        self._beats = min(_SELDOM, 1 + len(data) // _BYTES_A_BEAT)
        self._link.send(messages.Metrics(number, data))

    def _beat(self) -> None:
        if self._link.clogged:
            # It is the control plane that sleeps; when it wakes, one beat is as good as many.
            return
        self._beats -= 1
        if self._beats > 0:
            self._link.send(messages.Alive())
        else:
            self.tell(0)
