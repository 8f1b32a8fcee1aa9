"""Registers the numbers that parts hold themselves with the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from voidllm.dataplane import DataPlane
from voidllm.telemetry.metrics import Metrics
from voidllm.upstreams import Upstreams

if TYPE_CHECKING:
    # A worker has no control plane, and need not load one.
    from voidllm.gateway import Gateway


def register_plane(metrics: Metrics, plane: DataPlane, front: Any, upstreams: Upstreams) -> None:
    """Let ``metrics`` read what a data plane does; the readers run on the thread that renders."""
    pool, holder = upstreams.pool, plane.holder
    read = metrics.read
    read("voidllm_in_flight_requests", lambda: front.in_flight)
    read("voidllm_client_connections", lambda: len(front.connections))
    read("voidllm_upstream_connections", lambda: pool.idle, "idle")
    read("voidllm_upstream_connections", lambda: pool.busy, "busy")
    read("voidllm_upstream_waiting", lambda: pool.waiting)
    read("voidllm_cache_size", lambda: len(holder.current.keys), "keys")
    read("voidllm_cache_size", lambda: len(holder.current.aliases.everywhere), "aliases")
    read("voidllm_cache_size", lambda: len(holder.current.models), "models")
    read("voidllm_snapshot_version", lambda: holder.current.version)
    read("voidllm_usage_buffer_depth", lambda: plane.journal.waiting if plane.journal else 0)
    read("voidllm_usage_events_dropped_total", lambda: plane.journal.dropped if plane.journal else 0)


def register_gateway(metrics: Metrics, gateway: Gateway) -> None:
    """Let ``metrics`` read what the control plane does."""
    counters, now_ms = gateway.counters, gateway.world.wall_ms
    metrics.read("voidllm_usage_journal_lag_bytes", lambda: counters.lag_bytes)
    metrics.read(
        "voidllm_usage_journal_lag_seconds",
        lambda: 0.0 if counters.oldest_ms is None else max(0, now_ms() - counters.oldest_ms) / 1000,
    )
    metrics.read("voidllm_usage_events_committed_total", lambda: counters.rows)
    metrics.read("voidllm_usage_events_rejected_total", lambda: counters.rejected)
    metrics.read("voidllm_usage_commit_failures_total", lambda: counters.failures)
    metrics.read("voidllm_usage_journal_damage_total", lambda: counters.damaged)
    # A store in a file has no connections to count.
    stats = getattr(gateway.store, "stats", None)
    if stats is not None:
        metrics.read("voidllm_db_open_connections", _number(stats, lambda now: now.idle + now.busy))
        metrics.read("voidllm_db_idle_connections", _number(stats, lambda now: now.idle))
        metrics.read("voidllm_db_wait_count_total", _number(stats, lambda now: now.waits))


def _number(stats: Callable[[], Any], choose: Callable[[Any], int]) -> Callable[[], int | None]:
    """Give a reading of what ``stats`` counts, which is ``None`` while the store is stopped."""

    def read() -> int | None:
        now = stats()
        return None if now is None else choose(now)

    return read
