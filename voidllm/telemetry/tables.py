"""Numbers of metric families as plain tables: what one process tells another, and what adds up."""

from __future__ import annotations

from typing import Iterable, Iterator, Literal, Sequence

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import INF, floatToGoString

#: One number for a counter or a gauge; for a histogram the sum, then the count of each bucket.
Numbers = list[float]
Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]


class Table(msgspec.Struct, frozen=True, array_like=True):
    """One metric family with its numbers.

    :ivar name: without a counter's ``_total``.
    :ivar labels: names of the labels.
    :ivar bounds: upper bounds of a histogram's buckets but the last, ascending; else empty.
    :ivar rows: label values and numbers.
    """

    name: str
    kind: Kind
    doc: str
    labels: Labels
    bounds: tuple[float, ...]
    rows: Sequence[tuple[Labels, Numbers]]

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    def adds_to(self, other: Table) -> bool:
        """Say whether numbers of the two mean the same."""
        mine = (self.name, self.kind, self.labels, self.bounds)
        return mine == (other.name, other.kind, other.labels, other.bounds)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Table])


def encode(tables: Sequence[Table]) -> bytes:
    """Encode tables for another process, as MessagePack."""
    return _encoder.encode(tables)


def decode(data: bytes) -> list[Table]:
    """Decode what :func:`encode` gave.

    :raises ValueError: if it is anything else.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, MemoryError, OverflowError):
        raise ValueError("not an encoding of tables") from None


def as_metric(table: Table) -> Metric:
    """Make the library's family of a table."""
    if table.kind == "counter":
        counts = CounterMetricFamily(table.name, table.doc, labels=table.labels)
        for labels, numbers in table.rows:
            counts.add_metric(labels, numbers[0])
        return counts
    if table.kind == "gauge":
        gauges = GaugeMetricFamily(table.name, table.doc, labels=table.labels)
        for labels, numbers in table.rows:
            gauges.add_metric(labels, numbers[0])
        return gauges
    spreads = HistogramMetricFamily(table.name, table.doc, labels=table.labels)
    edges = [floatToGoString(bound) for bound in (*table.bounds, INF)]  # type: ignore[no-untyped-call]
    for labels, (total, *counts_of) in table.rows:
        below = 0.0
        buckets = []
        for edge, count in zip(edges, counts_of, strict=True):
            below += count
            buckets.append((edge, float(below)))
        spreads.add_metric(labels, buckets, total)
    return spreads


def tables_of(metrics: Iterable[Metric]) -> Iterator[Table]:
    """Make tables of those of the library's families that are counters and gauges and not empty."""
    for metric in metrics:
        if metric.type in ("counter", "gauge") and metric.samples:
            kind: Kind = "counter" if metric.type == "counter" else "gauge"
            labels = tuple(metric.samples[0].labels)
            rows = [(tuple(sample.labels.values()), [sample.value]) for sample in metric.samples]
            yield Table(metric.name, kind, metric.documentation, labels, (), rows)
