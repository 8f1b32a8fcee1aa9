"""Metric families whose children are found in one look-up, and never become too many."""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

M = TypeVar("M", Counter, Histogram)

#: What stands for every label value that has no room of its own, or no name.
OTHER = "other"
MOST_CHILDREN = 1000


class Family(Generic[M]):
    """One metric with labels.

    ``labels()`` of the library costs more than counting does; a dict by tuple does not.

    :param most: children at a time; further ones are counted together under ``other``.
    """

    def __init__(self, metric: M, labels: int, most: int = MOST_CHILDREN) -> None:
        self._metric: M = metric
        self._others = (OTHER,) * labels
        self._most = most
        self._children: dict[tuple[str | int, ...], M] = {}

    def child(self, *labels: str | int) -> M:
        """Give the child with these label values; an empty value becomes ``other``."""
        found = self._children.get(labels)
        return self._make(labels) if found is None else found

    def _make(self, labels: tuple[str | int, ...]) -> M:
        if len(self._children) >= self._most:
            # Not remembered by its own labels: the dict must stay bounded too.
            rest: M = self._metric.labels(*self._others)
            return rest
        child: M = self._metric.labels(*(str(value)[:256] or OTHER for value in labels))
        self._children[labels] = child
        return child


def counter(registry: CollectorRegistry, name: str, doc: str, *labels: str) -> Family[Counter]:
    """Make a counter family; the name's ``_total`` may be given or not."""
    made: Family[Counter] = Family(Counter(name, doc, labels, registry=registry), len(labels))
    return made


def histogram(
    registry: CollectorRegistry, name: str, doc: str, buckets: tuple[float, ...], *labels: str
) -> Family[Histogram]:
    """Make a histogram family, in seconds."""
    made: Family[Histogram] = Family(
        Histogram(name, doc, labels, buckets=buckets, registry=registry), len(labels)
    )
    return made
