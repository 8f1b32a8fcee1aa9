"""What every exchange shares: collaborators, settings, and the routes worked out so far."""

from __future__ import annotations

from typing import Any, Callable

from attrs import define, field, frozen

from voidllm import __version__
from voidllm.core.model import Deployment
from voidllm.core.world import World
from voidllm.gate.gate import Gate
from voidllm.http.sampling import Probe
from voidllm.http.upstream import FixedHeaders, Origin
from voidllm.providers import IN_PROCESS, PROVIDERS
from voidllm.proxy.metrics import ProxyMetrics
from voidllm.proxy.settings import ProxySettings
from voidllm.proxy.sweeper import StreamSweeper
from voidllm.proxy.timing import Phases, phases_of, server_timing

_AGENT = (b"user-agent", f"VoidLLM/{__version__}".encode("ascii"))
_JSON = (b"content-type", b"application/json")
_ACCEPT_STREAM = (b"accept", b"text/event-stream")
_ACCEPT_ANY = (b"accept", b"*/*")
_IN_PROCESS_ORIGIN = Origin("in-process", "", 0)


@frozen
class Route:
    """Where one endpoint of one deployment is, in the upstream pool's terms.

    :ivar headers: constant headers of a call with a JSON body.
    :ivar stream_headers: the same of a call that streams.
    :ivar upload_headers: constant headers of a call with a multipart body.
    """

    engine: Any
    stream_engine: Any
    origin: Origin
    path: bytes
    headers: FixedHeaders
    stream_headers: FixedHeaders
    upload_headers: FixedHeaders


@define
class ProxyCore:
    """Collaborators of the proxy.

    :ivar pool: carries calls that do not stream.
    :ivar stream_pool: carries calls that do.
    :ivar in_process: answers deployments of in-process providers.
    :ivar live: exchanges that are running, for drain.
    :ivar seconds: the monotonic clock.
    """

    world: World
    gate: Gate
    planner: Any  # IPlanner
    pool: Any  # IUpstreamPool
    stream_pool: Any  # IUpstreamPool
    in_process: Any  # IUpstreamPool
    metrics: ProxyMetrics
    settings: ProxySettings
    sweeper: StreamSweeper
    live: set[Any] = field(factory=set)
    seconds: Callable[[], float] = field(init=False)
    _routes: dict[tuple[int, str], tuple[Deployment, Route]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.seconds = self.world.reactor.seconds

    def phases(self, began_s: float, probe: Probe | None) -> tuple[Phases, ...]:
        """Give what wants to know where the time of a request goes; usually nothing does.

        :param probe: follows the request, if it is one of the few.
        """
        return phases_of(self.seconds, self.settings.server_timing, began_s, probe, self.metrics.added)

    def timing(self, started_s: float) -> tuple[tuple[bytes, bytes], ...]:
        """Give the header that says what a request took which no upstream saw, if replies are to have it.

        :param started_s: the monotonic clock at the request's first byte.
        """
        return (server_timing(self.seconds() - started_s),) if self.settings.server_timing else ()

    def route(self, deployment: Deployment, endpoint: str) -> Route:
        """Say where ``endpoint`` of ``deployment`` is; worked out once per deployment object."""
        key = (id(deployment), endpoint)
        known = self._routes.get(key)
        # Holding the deployment keeps its id from being given to another one.
        if known is not None and known[0] is deployment:
            return known[1]
        if len(self._routes) > 10_000:
            self._routes.clear()
        route = self._work_out(deployment, endpoint)
        self._routes[key] = (deployment, route)
        return route

    def forget_routes(self) -> None:
        """Drop all routes; called when a new snapshot makes old deployments garbage."""
        self._routes.clear()

    def _work_out(self, deployment: Deployment, endpoint: str) -> Route:
        if deployment.provider in IN_PROCESS:
            path = b"/v1/" + endpoint.encode("ascii")
            return _route(self.in_process, self.in_process, _IN_PROCESS_ORIGIN, path, ())
        target = PROVIDERS[deployment.provider].target(deployment, endpoint)
        origin = Origin(target.scheme, target.host, target.port, deployment.tls, deployment.proxy_url)
        return _route(self.pool, self.stream_pool, origin, target.path, target.headers)


def _route(
    engine: Any, stream_engine: Any, origin: Origin, path: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> Route:
    return Route(
        engine,
        stream_engine,
        origin,
        path,
        FixedHeaders((_JSON, _AGENT, *headers, _ACCEPT_ANY)),
        FixedHeaders((_JSON, _AGENT, *headers, _ACCEPT_STREAM)),
        FixedHeaders((_AGENT, *headers)),
    )
