"""Everything that is counted, with methods named for what happened.

Names, labels and buckets of the proxy are those of the Go VoidLLM, so that dashboards stay.
"""

from __future__ import annotations

import platform
from typing import Callable

from prometheus_client import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

import twisted
from voidllm import __version__
from voidllm.core.usage import UsageEvent
from voidllm.telemetry.families import OTHER, Registry, counter, gauge, histogram
from voidllm.telemetry.readings import Readings
from voidllm.telemetry.tables import encode

_DURATION = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_TTFT = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
#: From 20 us to 1 s, each a fifth above the one before: a quantile can be read within a tenth.
_ADDED = tuple(float(f"{20e-6 * 1.2**step:.3g}") for step in range(61))
_LAG = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_UNAUTHORIZED = 401


class Metrics:
    """The metrics of one process, on a registry of their own.

    Counting is for the reactor's thread, costs less than a microsecond and never raises. Label
    values are configured names, our own codes and HTTP statuses; whatever a caller made up is
    counted as ``other``.
    """

    def __init__(self) -> None:
        self.registry = registry = Registry()
        self._requests = counter(
            registry, "voidllm_requests_total", "Requests by what clients got.", "endpoint", "status", "model"
        )
        self._refusals = counter(
            registry, "voidllm_refusals_total", "Requests that were not admitted, by reason.", "code"
        )
        self._auth_failures = counter(
            registry, "voidllm_auth_failures_total", "Requests without a valid API key."
        ).child()
        self._limited = counter(
            registry, "voidllm_ratelimit_rejections_total", "Requests refused by a limit.", "scope"
        )
        self._duration = histogram(
            registry,
            "voidllm_proxy_duration_seconds",
            "Duration of requests that succeeded.",
            _DURATION,
            "model",
            "stream",
        )
        self._ttft = histogram(
            registry, "voidllm_proxy_ttft_seconds", "Time to the first token of a stream.", _TTFT, "model"
        )
        added = histogram(
            registry,
            "voidllm_added_seconds",
            "Time from a request's arrival to its reply's first byte, less its upstream's; 1 request in 16.",
            _ADDED,
            "stream",
        )
        self._added = added.child("false"), added.child("true")
        self._tokens = counter(registry, "voidllm_tokens_total", "Tokens.", "model", "direction")
        self._upstream_requests = counter(
            registry,
            "voidllm_upstream_requests_total",
            "Replies of upstreams.",
            "model",
            "provider",
            "status",
        )
        self._upstream_errors = counter(
            registry,
            "voidllm_upstream_errors_total",
            "Calls without a complete reply.",
            "model",
            "provider",
        )
        self._streams = gauge(registry, "voidllm_active_streams", "Streams that run now.").child()
        self._lag = histogram(
            registry, "voidllm_event_loop_lag_seconds", "How late the event loop is.", _LAG
        ).child()
        self._readings = Readings()
        registry.register(self._readings)
        build = gauge(registry, "voidllm_build_info", "What runs.", "version", "python", "twisted")
        build.child(__version__, platform.python_version(), twisted.__version__).value = 1
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    # -- the gate

    def refused(self, code: str, status: int) -> None:
        """Count a unit of work that was not admitted; ``code`` is one of ours."""
        self._refusals.child(code).value += 1
        self._requests.child(OTHER, status, OTHER).value += 1
        if status == _UNAUTHORIZED:
            self._auth_failures.value += 1

    def settled(self, event: UsageEvent) -> None:
        """Count an admitted unit of work that ended, with its tokens."""
        model = event.model
        self._requests.child(event.endpoint, event.status, model).value += 1
        tokens = event.tokens
        if prompt := tokens.prompt:
            self._tokens.child(model, "prompt").value += prompt
        if completion := tokens.completion:
            self._tokens.child(model, "completion").value += completion
        if event.status < 400:
            self._duration.child(model, "true" if event.stream else "false").observe(event.duration_ms / 1000)
        if event.ttft_ms is not None:
            self._ttft.child(model).observe(event.ttft_ms / 1000)

    def limited(self, scope: str) -> None:
        """Count a refusal by a limit: ``scope`` is ``request`` or ``token``."""
        self._limited.child(scope).value += 1

    # -- the proxy

    def upstream_response(self, model: str, provider: str, status: int) -> None:
        """Count the head of an upstream's reply."""
        self._upstream_requests.child(model, provider, status).value += 1

    def upstream_error(self, model: str, provider: str) -> None:
        """Count a call without a complete reply."""
        self._upstream_errors.child(model, provider).value += 1

    def added(self, stream: bool, seconds: float) -> None:
        """Count the time that an admitted request spent in the gateway, up to the first byte of its reply.

        Only few requests are measured so, see :mod:`voidllm.http.sampling`.
        """
        self._added[stream].observe(seconds)

    def stream_started(self) -> None:
        """Count a stream in."""
        self._streams.value += 1

    def stream_ended(self) -> None:
        """Count a stream out."""
        self._streams.value -= 1

    # -- the process

    def loop_lag(self, seconds: float) -> None:
        """Take note of how late the event loop came to a timer."""
        self._lag.observe(seconds)

    def read(self, name: str, reading: Callable[[], float | None], label: str = "") -> Callable[[], None]:
        """Have a number read whenever the metrics are asked for.

        :param name: one of :data:`~voidllm.telemetry.readings.READINGS`.
        :param reading: gives the number, or ``None``; called off the reactor, so it must only read.
        :param label: value of the metric's label, if it has one.
        :returns: a function that ends this.
        """
        return self._readings.register(name, reading, label)

    def render(self) -> bytes:
        """Encode everything for Prometheus; slow with many models, so run it off the reactor."""
        return generate_latest(self.registry)

    def export(self) -> bytes:
        """Encode everything for :class:`~voidllm.telemetry.fleet.Fleet` in another process.

        Takes well under a millisecond with a hundred models. On the reactor's thread what it gives
        is of one moment; on another, a histogram's sum may be one observation ahead of its buckets.
        """
        return encode(list(self.registry.tables()))
