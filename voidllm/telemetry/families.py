"""Metric families that cost an addition to count in, and whose children never become too many.

The library's own take a lock and two look-ups for each number, about 1 us; these are counted by
the reactor's thread alone, and turned into the library's families when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Callable, ClassVar, Generic, Iterator, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voidllm.telemetry.tables import Kind, Labels, Numbers, Table, as_metric, tables_of


class Count:
    """One counter or gauge.

    :ivar value: change it, on the reactor's thread.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Spread:
    """One histogram.

    :param bounds: upper bounds of the buckets but the last, ascending.
    """

    __slots__ = ("_bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``, on the reactor's thread."""
        self.buckets[bisect_left(self._bounds, value)] += 1
        self.total += value


M = TypeVar("M", Count, Spread)

#: What stands for every label value that has no room of its own, or no name.
OTHER = "other"
MOST_CHILDREN = 1000
#: Characters of one label value, and of all that a family shows, a child on average.
MOST_LABEL = 256
_USUAL_LABELS = 128


class Family(Collector, Generic[M]):
    """One metric with labels.

    :param make: makes a child.
    :param labels: names of the labels.
    :param most: children at a time; further ones are counted together under ``other``.
    """

    kind: ClassVar[Kind]

    def __init__(
        self, name: str, doc: str, labels: Labels, make: Callable[[], M], most: int = MOST_CHILDREN
    ) -> None:
        self._name = name.removesuffix("_total")
        self._doc = doc
        self._labels = labels
        self._bounds: tuple[float, ...] = ()
        self._make_child: Callable[[], M] = make
        self._most = most
        self._room = most * _USUAL_LABELS
        self._children: dict[tuple[str | int, ...], M] = {}
        #: The same by what is shown, which may be the same for several.
        self._shown: dict[Labels, M] = {}

    def child(self, *labels: str | int) -> M:
        """Give the child with these label values; an empty value becomes ``other``."""
        found = self._children.get(labels)
        return self._make(labels) if found is None else found

    def _make(self, labels: tuple[str | int, ...]) -> M:
        full = len(self._children) >= self._most or self._room <= 0
        shown = tuple(OTHER if full else str(value)[:MOST_LABEL] or OTHER for value in labels)
        child = self._shown.get(shown)
        if child is None:
            child = self._shown[shown] = self._make_child()
            self._room -= sum(map(len, shown))
        if not full:
            # Otherwise not remembered by its own labels: the dict must stay bounded too.
            self._children[labels] = child
        return child

    def table(self) -> Table:
        """Give every child's numbers; may run on another thread than those that count."""
        rows = [(labels, self._numbers(child)) for labels, child in list(self._shown.items())]
        return Table(self._name, self.kind, self._doc, self._labels, self._bounds, rows)

    def _numbers(self, child: M) -> Numbers:
        raise NotImplementedError

    def describe(self) -> list[Metric]:
        """Say which names are taken."""
        return list(self.collect())

    def collect(self) -> Iterator[Metric]:
        """Give the same as :meth:`table` as the library wants it."""
        yield as_metric(self.table())


class CounterFamily(Family[Count]):
    """Counters of one name."""

    kind: ClassVar[Kind] = "counter"

    def _numbers(self, child: Count) -> Numbers:
        return [child.value]


class GaugeFamily(CounterFamily):
    """Gauges of one name."""

    kind = "gauge"


class HistogramFamily(Family[Spread]):
    """Histograms of one name.

    :param bounds: see :class:`Spread`.
    """

    kind = "histogram"

    def __init__(self, name: str, doc: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        super().__init__(name, doc, labels, lambda: Spread(bounds))
        self._bounds = bounds

    def _numbers(self, child: Spread) -> Numbers:
        return [child.total, *child.buckets]


class Registry(CollectorRegistry):
    """A registry whose numbers can be had as tables."""

    def __init__(self) -> None:
        super().__init__(auto_describe=False)
        self._collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """Add a collector; it stays."""
        super().register(collector)
        self._collectors.append(collector)

    def tables(self) -> Iterator[Table]:
        """Give everything that is registered, in the order of the page; may run on any thread."""
        for collector in self._collectors:
            if isinstance(collector, Family):
                yield collector.table()
            else:
                yield from tables_of(collector.collect())


def counter(registry: CollectorRegistry, name: str, doc: str, *labels: str) -> CounterFamily:
    """Make a counter family; the name's ``_total`` may be given or not."""
    made = CounterFamily(name, doc, labels, Count)
    registry.register(made)
    return made


def gauge(registry: CollectorRegistry, name: str, doc: str, *labels: str) -> GaugeFamily:
    """Make a gauge family."""
    made = GaugeFamily(name, doc, labels, Count)
    registry.register(made)
    return made


def histogram(
    registry: CollectorRegistry, name: str, doc: str, buckets: tuple[float, ...], *labels: str
) -> HistogramFamily:
    """Make a histogram family, in seconds."""
    made = HistogramFamily(name, doc, labels, buckets)
    registry.register(made)
    return made
