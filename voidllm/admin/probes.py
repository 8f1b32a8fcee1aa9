"""``/healthz``, ``/readyz`` and ``/metrics``: plain resources, so that they need no Klein."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any, Callable

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from voidllm import __version__
from voidllm.admin.replies import refuse, send_json
from voidllm.core.errors import Refusal, StoreError
from voidllm.core.world import World
from voidllm.http.clientaddr import TrustedProxies, plain_address

_log = Logger()
#: Seconds that workers have for telling their numbers; a scrape has ten as a rule.
_REFRESH_S = 1


class Health(Resource):
    """Says that the process lives; never checks anything and stays 200 while draining."""

    isLeaf = True

    def __init__(self, world: World) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seconds = world.reactor.seconds
        self._began_s = self._seconds()

    def render_GET(self, request: Any) -> bytes:
        """Answer one probe."""
        uptime = int(self._seconds() - self._began_s)
        return send_json(request, 200, {"status": "ok", "version": __version__, "uptime_seconds": uptime})


class Readiness(Resource):
    """Says whether work is wanted here.

    :param state: gives ``starting``, ``ready`` or ``draining``.
    :param ping: asks the database; gives a Deferred.
    """

    isLeaf = True

    def __init__(self, state: Callable[[], str], ping: Callable[[], Deferred[Any]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._state = state
        self._ping = ping

    def render_GET(self, request: Any) -> bytes | int:
        """Answer one probe; draining is told without asking the database."""
        state = self._state()
        if state == "draining":
            return send_json(request, 503, {"status": "draining"})
        if state != "ready":
            request.setHeader(b"retry-after", b"1")
            return send_json(request, 503, {"status": "not ready", "database": "starting"})
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        asked = self._ping()
        asked.addCallbacks(lambda _: "ok", self._database_gone)

        def answer(database: str) -> None:
            if not gone:
                request.write(send_json(request, 200, {"status": "ok", "database": database}))
                request.finish()

        asked.addCallback(answer)
        asked.addErrback(lambda failure: None if gone else request.processingFailed(failure))
        return NOT_DONE_YET

    def _database_gone(self, failure: Failure) -> str:
        failure.trap(StoreError)  # type: ignore[no-untyped-call]
        # The snapshot serves on; taking every box out of rotation would be the real outage.
        return "error"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(plain_address(address.strip())).is_loopback
    except ValueError:
        return False


class MetricsResource(Resource):
    """Gives the metrics to this machine, or to whoever knows the token.

    :param render: encodes all metrics; runs off the reactor.
    :param token: bearer token, or ``""`` to serve loopback only.
    :param refresh: fetches what other processes count before it is encoded. When it fails, or has
        not done so within a second (it is then cancelled), they are shown as last known.
    """

    isLeaf = True

    def __init__(
        self,
        world: World,
        render: Callable[[], bytes],
        token: str,
        trusted: TrustedProxies,
        refresh: Callable[[], Deferred[Any]] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._world = world
        self._render = render
        self._refresh = refresh
        self._token = token.encode("utf-8")
        self._trusted = trusted

    def render_GET(self, request: Any) -> bytes | int:
        """Answer one scrape."""
        if not self._allowed(request):
            message = "metrics are for loopback or with the configured bearer token"
            return refuse(request, Refusal(403, "metrics_forbidden", message))
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(text: bytes) -> None:
            if not gone:
                request.setHeader(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
                request.write(text)
                request.finish()

        def failed(failure: Failure) -> None:
            if not gone:
                request.processingFailed(failure)

        asked = succeed(None) if self._refresh is None else self._refreshed(self._refresh())
        asked.addCallback(lambda _: self._world.in_thread(self._render))
        asked.addCallbacks(answer, failed)
        return NOT_DONE_YET

    def _refreshed(self, asked: Deferred[Any]) -> Deferred[Any]:
        def stale(failure: Failure) -> None:
            if failure.check(TimeoutError) is None:  # type: ignore[no-untyped-call]
                _log.failure("the metrics of other processes cannot be fetched", failure)

        return asked.addTimeout(_REFRESH_S, self._world.reactor).addErrback(stale)

    def _allowed(self, request: Any) -> bool:
        given = request.getHeader(b"authorization") or b""
        if self._token and hmac.compare_digest(given, b"Bearer " + self._token):
            return True
        peer = plain_address(getattr(request.getClientAddress(), "host", "") or "")
        forwarded = request.requestHeaders.getRawHeaders(b"x-forwarded-for", [])
        if forwarded and not self._trusted.trusts(peer):
            # A proxy on this machine that is not trusted speaks for somebody unknown.
            return False
        # Every hop, not only the one that would count as the client: a trusted network is full of
        # machines that may write any first hop, and none of them is this machine.
        hops = b",".join(forwarded).decode("latin-1").split(",") if forwarded else ()
        return not self._token and all(_is_loopback(hop) for hop in (peer, *hops))
