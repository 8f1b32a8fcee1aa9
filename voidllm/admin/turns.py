"""Whose turn it is: administration waits for itself while this process answers other requests.

An administrative request takes milliseconds of the process, one of the data plane some 80 microseconds.
Fifty administrators who write at once would leave nothing to it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from voidllm.admin.replies import refuse
from voidllm.core.errors import Refusal

#: Requests that wait; more are refused.
MOST_WAITING = 1_000
# A request that takes longer waits for something, or sends a stream, and is in nobody's way.
_LONGEST_S = 0.25
_REST_MOST_S = 0.05
_RETRY_MS = 1000


class Turns:
    """One request at a time, and as much rest after it as it took, while the process is busy.

    Otherwise all of them at once.

    :param reactor: an ``IReactorTime``.
    :param busy: says whether the process has other requests to answer.
    """

    def __init__(self, reactor: Any, busy: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._busy = busy
        self._waiting: deque[tuple[Any, Resource]] = deque()
        self._running = 0
        self._rest_until_s = 0.0
        self._timer: Any = None

    def render(self, request: Any, resource: Resource) -> Any:
        """Render ``resource``, now or when it is its turn."""
        if not self._waiting and self._may():
            return self.start(request, resource)
        if len(self._waiting) >= MOST_WAITING:
            text = "too many administrative requests are waiting"
            return refuse(request, Refusal(503, "service_unavailable", text, None, _RETRY_MS))
        entry = (request, resource)
        self._waiting.append(entry)
        gone: Deferred[Any] = request.notifyFinish()
        gone.addErrback(lambda _: self._forget(entry))
        self._look()
        return NOT_DONE_YET

    def _may(self) -> bool:
        if not self._busy():
            return True
        return not self._running and self._reactor.seconds() >= self._rest_until_s

    def start(self, request: Any, resource: Resource) -> Any:
        """Render ``resource`` now."""
        self._running += 1
        began_s = self._reactor.seconds()
        over = False

        def end(_: Any = None) -> None:
            nonlocal over
            if over:
                return
            over = True
            if late.active():
                late.cancel()
            self._running -= 1
            now_s = self._reactor.seconds()
            self._rest_until_s = now_s + min(now_s - began_s, _REST_MOST_S)
            self._look()

        late = self._reactor.callLater(_LONGEST_S, end)
        finished: Deferred[Any] = request.notifyFinish()
        finished.addBoth(end)
        return resource.render(request)  # type: ignore[no-untyped-call]

    def _look(self) -> None:
        """See to it that whoever waits is looked after."""
        if self._waiting and not (self._timer is not None and self._timer.active()):
            rest_s = self._rest_until_s - self._reactor.seconds() if self._busy() else 0.0
            delay_s = max(0.0, rest_s)
            self._timer = self._reactor.callLater(delay_s, self._next)

    def _next(self) -> None:
        if self._waiting and self._may():
            request, resource = self._waiting.popleft()
            request.render(_Started(self, resource))
        # Whoever runs looks again at the end.
        if not self._running or not self._busy():
            self._look()

    def _forget(self, entry: tuple[Any, Resource]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)


class _Started(Resource):
    """What a request is rendered with when its turn has come."""

    def __init__(self, turns: Turns, resource: Resource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._turns = turns
        self._resource = resource

    def render(self, request: Any) -> Any:
        """Begin."""
        return self._turns.start(request, self._resource)
