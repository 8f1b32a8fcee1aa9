"""Metric families that cost an addition to count in, and whose children never become too many.

The library's own take a lock and two look-ups for each number, about 1 us; these are counted by
the reactor's thread alone, and turned into the library's families when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Callable, Generic, Iterator, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import INF, floatToGoString


class Count:
    """One counter.

    :ivar value: add to it, on the reactor's thread.
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


class Family(Collector, Generic[M]):
    """One metric with labels.

    :param make: makes a child.
    :param labels: names of the labels.
    :param most: children at a time; further ones are counted together under ``other``.
    """

    def __init__(
        self, name: str, doc: str, labels: tuple[str, ...], make: Callable[[], M], most: int = MOST_CHILDREN
    ) -> None:
        self._name = name
        self._doc = doc
        self._labels = labels
        self._make_child: Callable[[], M] = make
        self._most = most
        self._children: dict[tuple[str | int, ...], M] = {}
        #: The same by what is shown, which may be the same for several.
        self._shown: dict[tuple[str, ...], M] = {}

    def child(self, *labels: str | int) -> M:
        """Give the child with these label values; an empty value becomes ``other``."""
        found = self._children.get(labels)
        return self._make(labels) if found is None else found

    def _make(self, labels: tuple[str | int, ...]) -> M:
        full = len(self._children) >= self._most
        shown = tuple(OTHER if full else str(value)[:256] or OTHER for value in labels)
        child = self._shown.get(shown)
        if child is None:
            child = self._shown[shown] = self._make_child()
        if not full:
            # Otherwise not remembered by its own labels: the dict must stay bounded too.
            self._children[labels] = child
        return child

    def describe(self) -> list[Metric]:
        """Say which names are taken."""
        return list(self.collect())

    def collect(self) -> Iterator[Metric]:
        """Give every child's numbers; may run on another thread than those that count."""
        raise NotImplementedError


class CounterFamily(Family[Count]):
    """Counters of one name."""

    def collect(self) -> Iterator[Metric]:
        """Give every child's number."""
        family = CounterMetricFamily(self._name, self._doc, labels=self._labels)
        for labels, child in list(self._shown.items()):
            family.add_metric(labels, child.value)
        yield family


class HistogramFamily(Family[Spread]):
    """Histograms of one name.

    :param bounds: see :class:`Spread`.
    """

    def __init__(self, name: str, doc: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        super().__init__(name, doc, labels, lambda: Spread(bounds))
        self._edges = [floatToGoString(bound) for bound in (*bounds, INF)]  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Give every child's buckets, cumulative, and its sum."""
        family = HistogramMetricFamily(self._name, self._doc, labels=self._labels)
        for labels, child in list(self._shown.items()):
            below = 0
            buckets = []
            for edge, count in zip(self._edges, tuple(child.buckets), strict=True):
                below += count
                buckets.append((edge, float(below)))
            family.add_metric(labels, buckets, child.total)
        yield family


def counter(registry: CollectorRegistry, name: str, doc: str, *labels: str) -> CounterFamily:
    """Make a counter family; the name's ``_total`` may be given or not."""
    made = CounterFamily(name, doc, labels, Count)
    registry.register(made)
    return made


def histogram(
    registry: CollectorRegistry, name: str, doc: str, buckets: tuple[float, ...], *labels: str
) -> HistogramFamily:
    """Make a histogram family, in seconds."""
    made = HistogramFamily(name, doc, labels, buckets)
    registry.register(made)
    return made
