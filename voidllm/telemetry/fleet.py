"""One page of metrics for a parent and its workers.

Counters and histograms are sums in which a worker that ended keeps its part, so they never go back;
gauges are sums over the processes that live. Floats are added in the same order every time and what
a worker counted is added up by its place first: otherwise its end could make a sum smaller by the
last bit, which Prometheus takes for a restart from nothing.
"""

from __future__ import annotations

from operator import add
from typing import Callable, Iterable, Iterator, Mapping, Protocol

from attrs import evolve, field, frozen
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voidllm.telemetry.families import MOST_CHILDREN, MOST_LABEL, OTHER
from voidllm.telemetry.readings import READINGS
from voidllm.telemetry.tables import Kind, Labels, Numbers, Table, as_metric, decode

#: Of one process' report. A thousand models with usual names give a tenth of it.
MOST_BYTES = 8 << 20
_MOST_NUMBER = float(1 << 63)
#: What ended at one place and may still say something is known by so many names.
_ENDED = 8

#: These are the parent's own: what it holds for all, or what would add up to nonsense.
_PARENTS = {"voidllm_cache_size", "voidllm_build_info", "process_start_time_seconds"}
#: How old may an answer be? As old as the oldest snapshot in force.
_LEAST = {"voidllm_snapshot_version"}
_MEMORY = "process_resident_memory_bytes"
_LAG = "voidllm_event_loop_lag_seconds"

_Rows = dict[Labels, Numbers]
_NOTHING: Mapping[str, _Rows] = {}


class Own(Protocol):
    """The parent's own numbers."""

    def tables(self) -> Iterator[Table]:
        """Give them; may run on any thread."""


@frozen
class _Place:
    """What is known of one worker's place; never changed, so that a page is of one moment.

    :ivar boot: who is there now, ``None`` for nobody.
    :ivar starts: how many were there so far.
    :ivar live: its latest numbers by family.
    :ivar retired: what those before it counted.
    """

    boot: str | None = None
    starts: int = 0
    heard_s: float = 0.0
    live: Mapping[str, _Rows] = field(default=_NOTHING)
    retired: Mapping[str, _Rows] = field(default=_NOTHING)
    ended: tuple[str, ...] = ()


class Fleet(Collector):
    """The metrics of a parent and its workers together.

    Telling it something is for one thread, the reactor's; asking is for any.

    :param own: the parent's registry. Families that it does not have, or has with other labels or
        buckets, are not taken from a worker.
    :param workers: numbers of the workers' places.
    :param seconds: the reactor's clock.
    """

    def __init__(self, own: Own, workers: Iterable[int], seconds: Callable[[], float]) -> None:
        self._own = own
        self._seconds = seconds
        self._places: dict[int, _Place] = {worker: _Place() for worker in workers}
        known = (*map(_table_of_reading, READINGS), *own.tables())
        self._known = {table.name: table for table in known}
        self._shown: dict[str, set[Labels]] = {name: set() for name in self._known}

    # -- what happens

    def alive(self, worker: int, boot: str) -> None:
        """Take note that a worker lives: when it was started, and at every heartbeat.

        One with another ``boot`` at the same place is its successor.

        :param worker: number of its place.
        :param boot: tells it apart from all others that were or will be there.
        :raises KeyError: if there is no such place.
        """
        place = self._places[worker]
        if boot in place.ended:
            return
        if place.boot != boot:
            if place.boot is not None:
                self.gone(worker, place.boot)
            place = evolve(self._places[worker], boot=boot, starts=place.starts + 1)
        self._places[worker] = evolve(place, heard_s=self._seconds())

    def update(self, worker: int, boot: str, data: bytes) -> bool:
        """Take a worker's numbers in place of those that it told before.

        :param data: what :meth:`~voidllm.telemetry.metrics.Metrics.export` gave there.
        :returns: whether that could be read; if not, the numbers before it stay.
        :raises KeyError: if there is no such place.
        """
        self.alive(worker, boot)
        place = self._places[worker]
        if place.boot != boot or len(data) > MOST_BYTES:
            return False
        try:
            tables = decode(data)
        except ValueError:
            return False
        # A counter that is absent now, or smaller, is a fault of the worker; the sum must not go back.
        live = {name: rows for name, rows in place.live.items() if self._known[name].kind != "gauge"}
        for told in tables:
            known = self._known.get(told.name)
            if known is None or told.name in _PARENTS or not told.adds_to(known):
                continue
            rows = self._readable(told)
            before = live.get(told.name)
            live[told.name] = rows if before is None else _combined((before, rows), max)
        self._places[worker] = evolve(place, live=live)
        return True

    def gone(self, worker: int, boot: str) -> None:
        """Take note that a worker ended: what it counted stays, its gauges go.

        :raises KeyError: if there is no such place.
        """
        if self._places[worker].boot != boot:
            # It ended before it said anything; still it was there.
            self.alive(worker, boot)
        place = self._places[worker]
        if place.boot == boot:
            ended = (*place.ended[-_ENDED + 1 :], boot)
            self._places[worker] = evolve(
                place, boot=None, live=_NOTHING, retired=self._counted(place), ended=ended
            )

    def _readable(self, told: Table) -> _Rows:
        """Give the rows that make sense, with label values that have room."""
        least = -_MOST_NUMBER if told.kind == "gauge" else 0.0
        shown, rows = self._shown[told.name], _Rows()
        names, width = len(told.labels), told.width
        for labels, numbers in told.rows:
            if len(labels) != names or len(numbers) != width:
                continue
            # What is not a number, or infinite, makes such a sum.
            if not (min(numbers) >= least and sum(numbers) < _MOST_NUMBER):
                continue
            if labels not in shown:
                if len(shown) < MOST_CHILDREN and all(len(value) <= MOST_LABEL for value in labels):
                    shown.add(labels)
                else:
                    labels = (OTHER,) * len(labels)
            before = rows.get(labels)
            rows[labels] = numbers if before is None else list(map(add, before, numbers))
        return rows

    def _counted(self, place: _Place) -> dict[str, _Rows]:
        """Give all that was counted at a place."""
        counted = dict(place.retired)
        for name, rows in place.live.items():
            if self._known[name].kind != "gauge":
                counted[name] = _combined((counted.get(name, {}), rows), add)
        return counted

    # -- the page

    def collect(self) -> Iterator[Metric]:
        """Give the families of the parent's page with everybody's numbers, then those of workers."""
        places = dict(self._places)
        counted = {worker: self._counted(place) for worker, place in places.items()}
        own = {table.name: table for table in self._own.tables()}
        for name, known in {**own, **self._known}.items():
            mine = own.get(name)
            parts = [dict(mine.rows)] if mine is not None else []
            if known.kind == "gauge":
                parts += (place.live[name] for place in places.values() if name in place.live)
            else:
                parts += (of[name] for of in counted.values() if name in of)
            if mine is not None or parts:
                yield _metric(known, _combined(parts, min if name in _LEAST else add))
        yield from self._of_workers(places, counted)

    def _of_workers(
        self, places: Mapping[int, _Place], counted: Mapping[int, Mapping[str, _Rows]]
    ) -> Iterator[Metric]:
        now_s = self._seconds()
        up, memory, age, lag = _Rows(), _Rows(), _Rows(), _Rows()
        for worker, place in places.items():
            label = (str(worker),)
            up[label] = [0.0 if place.boot is None else 1.0]
            if place.starts:
                age[label] = [max(0.0, now_s - place.heard_s)]
            for numbers in place.live.get(_MEMORY, {}).values():
                memory[label] = numbers
            for numbers in counted[worker].get(_LAG, {}).values():
                lag[label] = numbers
        restarts = sum(max(0, place.starts - 1) for place in places.values())
        yield _metric(_about("up", "gauge", "Whether the worker lives."), up)
        yield _metric(
            _about("restarts", "counter", "Workers that took another's place.", ()), {(): [restarts]}
        )
        yield _metric(_about("heartbeat_age_seconds", "gauge", "Time since the worker was heard."), age)
        yield _metric(_about("resident_memory_bytes", "gauge", "Resident memory of the worker."), memory)
        bounds = self._known[_LAG].bounds if _LAG in self._known else ()
        doc = "How late the worker's event loop is."
        yield _metric(_about("event_loop_lag_seconds", "histogram", doc, bounds=bounds), lag)

    def render(self) -> bytes:
        """Encode everything for Prometheus; slow with many models, so run it off the reactor."""
        return generate_latest(self)


def _combined(parts: Iterable[Mapping[Labels, Numbers]], how: Callable[[float, float], float]) -> _Rows:
    """Combine numbers with the same labels, in the order of ``parts``."""
    together = _Rows()
    for part in parts:
        for labels, numbers in part.items():
            before = together.get(labels)
            if before is None:
                together[labels] = numbers
            elif how is not max or before != numbers:
                together[labels] = list(map(how, before, numbers))
    return together


def _metric(known: Table, rows: Mapping[Labels, Numbers]) -> Metric:
    return as_metric(Table(known.name, known.kind, known.doc, known.labels, known.bounds, list(rows.items())))


def _table_of_reading(name: str) -> Table:
    reading = READINGS[name]
    kind: Kind = "counter" if reading.counts else "gauge"
    labels = (reading.label,) if reading.label else ()
    return Table(name.removesuffix("_total") if reading.counts else name, kind, reading.doc, labels, (), ())


def _about(
    name: str, kind: Kind, doc: str, labels: Labels = ("worker",), bounds: tuple[float, ...] = ()
) -> Table:
    return Table(f"voidllm_worker_{name}", kind, doc, labels, bounds, ())
