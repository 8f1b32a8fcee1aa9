"""Numbers that other parts hold, read when somebody asks for the metrics."""

from __future__ import annotations

from typing import Callable, Iterator, Mapping

from attrs import frozen
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.logger import Logger

_log = Logger(namespace="voidllm.telemetry")


@frozen
class Reading:
    """A metric that is read.

    :ivar label: name of its one label, or ``""``.
    """

    doc: str
    label: str = ""
    counts: bool = False


#: Every metric that may be registered, by name.
READINGS: Mapping[str, Reading] = {
    "voidllm_in_flight_requests": Reading("Requests that were begun and not answered to the end."),
    "voidllm_client_connections": Reading("Open connections of clients."),
    "voidllm_upstream_connections": Reading("Connections to upstreams.", "state"),
    "voidllm_upstream_waiting": Reading("Calls that wait for a connection."),
    "voidllm_cache_size": Reading("Entries of the snapshot in force.", "cache"),
    "voidllm_snapshot_version": Reading("Version of the snapshot in force."),
    "voidllm_usage_buffer_depth": Reading("Usage rows that wait in memory for the disk."),
    "voidllm_usage_journal_lag_bytes": Reading("Journal bytes that are not in the database yet."),
    "voidllm_usage_journal_lag_seconds": Reading("Age of the oldest row that is not in the database yet."),
    "voidllm_usage_events_committed_total": Reading("Usage rows written to the database.", counts=True),
    "voidllm_usage_events_rejected_total": Reading("Usage rows that the database refused.", counts=True),
    "voidllm_usage_events_dropped_total": Reading("Usage rows that were lost.", counts=True),
    "voidllm_usage_commit_failures_total": Reading("Tries to write usage rows that failed.", counts=True),
    "voidllm_usage_journal_damage_total": Reading("Damaged stretches of the journal.", counts=True),
    "voidllm_db_open_connections": Reading("Open connections to the database."),
    "voidllm_db_idle_connections": Reading("Connections to the database without work."),
    # A gauge in spite of its name, as it has always been.
    "voidllm_db_wait_count_total": Reading("How often somebody waited for a connection to the database."),
}


class Readings(Collector):
    """Reads registered callbacks; on the thread that renders, so they must only read."""

    def __init__(self) -> None:
        self._callbacks: dict[tuple[str, str], Callable[[], float | None]] = {}
        self._failed: set[tuple[str, str]] = set()

    def register(self, name: str, read: Callable[[], float | None], label: str = "") -> Callable[[], None]:
        """Read ``name`` from ``read`` from now on, in place of what was registered before.

        :param name: one of :data:`READINGS`.
        :param read: gives the number now, or ``None`` when there is none.
        :param label: value of the metric's label, if it has one.
        :returns: a function that ends this.
        :raises ValueError: if there is no such metric, or its label is missing.
        """
        known = READINGS.get(name)
        if known is None or bool(known.label) != bool(label):
            raise ValueError("no such metric, or not with this label")
        place = (name, label)
        self._callbacks = {**self._callbacks, place: read}

        def end() -> None:
            if self._callbacks.get(place) is read:
                self._callbacks = {k: v for k, v in self._callbacks.items() if k != place}

        return end

    def describe(self) -> list[Metric]:
        """Give nothing: registering must not read anything."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything that is registered."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for (name, label), read in self._callbacks.items():
            value = self._read(name, label, read)
            if value is None:
                continue
            family = families.get(name)
            if family is None:
                known = READINGS[name]
                make = CounterMetricFamily if known.counts else GaugeMetricFamily
                family = families[name] = make(name, known.doc, labels=[known.label] if known.label else [])
            family.add_metric([label] if label else [], value)
        yield from families.values()

    def _read(self, name: str, label: str, read: Callable[[], float | None]) -> float | None:
        try:
            value = read()
            return None if value is None else float(value)
        except Exception:
            # One broken reading must not take all the others away; told once, not at every scrape.
            if (name, label) not in self._failed:
                self._failed.add((name, label))
                _log.failure("the metric {name} cannot be read", name=name)
            return None
