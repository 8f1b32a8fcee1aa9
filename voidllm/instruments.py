"""Registers the numbers that parts hold themselves with the metrics."""

from __future__ import annotations

from typing import Any, Callable

from voidllm.gateway import Gateway
from voidllm.telemetry.metrics import Metrics
from voidllm.wiring import Upstreams


def register(metrics: Metrics, gateway: Gateway, front: Any, upstreams: Upstreams) -> None:
    """Let ``metrics`` read what is going on; the readers run on the thread that renders."""
    pool, holder, counters = upstreams.pool, gateway.holder, gateway.counters
    now_ms = gateway.world.wall_ms
    metrics.read("voidllm_in_flight_requests", lambda: front.in_flight)
    metrics.read("voidllm_client_connections", lambda: len(front.connections))
    metrics.read("voidllm_upstream_connections", lambda: pool.idle, "idle")
    metrics.read("voidllm_upstream_connections", lambda: pool.busy, "busy")
    metrics.read("voidllm_upstream_waiting", lambda: pool.waiting)
    metrics.read("voidllm_cache_size", lambda: len(holder.current.keys), "keys")
    metrics.read("voidllm_cache_size", lambda: len(holder.current.aliases.everywhere), "aliases")
    metrics.read("voidllm_cache_size", lambda: len(holder.current.models), "models")
    metrics.read("voidllm_snapshot_version", lambda: holder.current.version)
    metrics.read("voidllm_usage_buffer_depth", lambda: gateway.journal.waiting if gateway.journal else 0)
    metrics.read("voidllm_usage_journal_lag_bytes", lambda: counters.lag_bytes)
    metrics.read(
        "voidllm_usage_journal_lag_seconds",
        lambda: 0.0 if counters.oldest_ms is None else max(0, now_ms() - counters.oldest_ms) / 1000,
    )
    metrics.read("voidllm_usage_events_committed_total", lambda: counters.rows)
    metrics.read("voidllm_usage_events_rejected_total", lambda: counters.rejected)
    metrics.read(
        "voidllm_usage_events_dropped_total", lambda: gateway.journal.dropped if gateway.journal else 0
    )
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
