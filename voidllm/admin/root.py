"""The resource tree behind the front: probes, ``/v1``, the admin API, and one page."""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from voidllm import __version__
from voidllm.admin.app import make_app
from voidllm.admin.browsers import protect
from voidllm.admin.context import AdminContext
from voidllm.admin.probes import Health, MetricsResource, Readiness
from voidllm.admin.replies import nothing_here, refuse, wrong_method
from voidllm.admin.turns import Turns
from voidllm.core.errors import Refusal
from voidllm.core.world import World
from voidllm.http.clientaddr import TrustedProxies

_PAGE = f"""VoidLLM {__version__}: an LLM gateway that keeps no content.

  /v1/*       the OpenAI-compatible API; point an SDK's base_url here
  /api/v1/*   administration: keys, usage, config; /api/v1/docs shows all of it
  /healthz    is the process alive?
  /readyz     does it want work?
  /metrics    for Prometheus, on this machine or with the configured token

Keys are made with the voidllm command: voidllm keys --help
The documentation is README.rst and docs/ of the source; with the .deb, /usr/share/doc/voidllm.
""".encode("ascii")

_HEADERS = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'"),
)


def make_root(
    world: World,
    *,
    state: Callable[[], str],
    ping: Callable[[], Deferred[Any]],
    proxy: Any,
    context: Callable[[], AdminContext],
    metrics: Any,
    metrics_token: str,
    trusted_proxies: Any,
    refresh: Callable[[], Deferred[Any]] | None = None,
    busy: Callable[[], bool] | None = None,
) -> Resource:
    """Build the tree.

    :param state: gives ``starting``, ``ready`` or ``draining``.
    :param ping: asks the database.
    :param proxy: an ``IResource`` that serves ``/v1``.
    :param context: gives what the admin application works on; called once ``state`` is ``ready``.
    :param metrics: its ``render()`` encodes all metrics, off the reactor.
    :param metrics_token: see :class:`~voidllm.admin.probes.MetricsResource`.
    :param trusted_proxies: networks whose ``X-Forwarded-For`` is believed.
    :param refresh: see :class:`~voidllm.admin.probes.MetricsResource`.
    :param busy: see :class:`~voidllm.admin.turns.Turns`; without it nobody waits.
    """

    def make() -> Any:
        if state() != "ready":
            raise Refusal(503, "not_ready", "the gateway is starting", retry_after_ms=1000)
        return make_app(context())

    root = Root()  # type: ignore[no-untyped-call]
    health = Health(world)
    trusted = TrustedProxies(trusted_proxies)
    for name, leaf in (
        (b"healthz", health),
        (b"health", health),
        (b"readyz", Readiness(state, ping)),
        (b"metrics", MetricsResource(world, metrics.render, metrics_token, trusted, refresh)),
    ):
        root.putChild(name, Leaf(leaf))
    root.putChild(b"v1", proxy)
    turns = None if busy is None else Turns(world.reactor, busy)
    root.putChild(b"api", LazyApp(make, trusted, turns))
    return root


class Missing(Resource):
    """Answers 404 for every method and everything below."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """Answer one request."""
        return refuse(request, nothing_here())


_MISSING = Missing()  # type: ignore[no-untyped-call]


class Root(Resource):
    """``/``: says what this is; knows its children and nothing else."""

    def getChild(self, path: bytes, request: Any) -> Any:
        """Find what has not been put here."""
        return self if path == b"" and not request.postpath else _MISSING

    def render(self, request: Any) -> bytes:
        """Answer one request."""
        if request.method not in (b"GET", b"HEAD"):
            return refuse(request, wrong_method(["GET", "HEAD"]))
        for name, value in _HEADERS:
            request.setHeader(name, value)
        return _PAGE


class Leaf(Resource):
    """Gives a probe exactly its own path and GET and HEAD, and errors in JSON."""

    def __init__(self, probe: Resource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._probe = probe

    def getChild(self, path: bytes, request: Any) -> Any:
        """Nothing is below a probe."""
        return _MISSING

    def render(self, request: Any) -> Any:
        """Answer one request."""
        if request.method not in (b"GET", b"HEAD"):
            return refuse(request, wrong_method(["GET", "HEAD"]))
        return self._probe.render(request)  # type: ignore[no-untyped-call]


class LazyApp(Resource):
    """Builds an admin application when it is first asked for: most gateways never are.

    :param make: builds it; a ``Refusal`` that it raises is the answer, and it is called again.
    :param trusted: proxies that say whether a request came over TLS.
    :param turns: says whose turn it is.
    """

    isLeaf = True

    def __init__(
        self, make: Callable[[], Any], trusted: TrustedProxies | None = None, turns: Turns | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._turns = turns
        self._make = make
        self._trusted = trusted or TrustedProxies()
        self._app: Any = None

    def render(self, request: Any) -> Any:
        """Hand one request to the application."""
        protect(request, self._trusted)
        if self._app is None:
            try:
                self._app = self._make()
            except Refusal as refusal:
                return refuse(request, refusal)
        if self._turns is None:
            return render_app(self._app, request)
        return self._turns.render(request, _App(self._app))


class _App(Resource):
    """The application as a resource, whatever path led here."""

    isLeaf = True

    def __init__(self, app: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._app = app

    def render(self, request: Any) -> Any:
        """Hand one request to the application."""
        return render_app(self._app, request)


def render_app(app: Any, request: Any) -> Any:
    """Route a request by its whole path, whatever led here."""
    request.postpath = [*request.prepath, *request.postpath]
    request.prepath = []
    for segment in request.postpath:
        try:
            segment.decode("utf-8")
        except UnicodeDecodeError:
            return refuse(request, nothing_here())
    return app.resource().render(request)
