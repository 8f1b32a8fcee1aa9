"""One page of metrics for a parent and its workers: exact sums that never go back."""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.telemetry.test_metrics import EVENT
from voidllm.telemetry.fleet import MOST_BYTES, Fleet
from voidllm.telemetry.metrics import Metrics
from voidllm.telemetry.tables import Table, decode, encode

Key = tuple[str, frozenset[tuple[str, str]]]
REQUESTS = ("voidllm_requests", "counter", "", ("endpoint", "status", "model"), ())


def page(fleet: Fleet) -> dict[Key, float]:
    """Give every sample of the page by its name and labels, as Prometheus reads it."""
    found: dict[Key, float] = {}
    for family in text_string_to_metric_families(fleet.render().decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def counts(fleet: Fleet) -> dict[Key, float]:
    """Give those samples that may only grow."""
    grow = [family for family in fleet.collect() if family.type in ("counter", "histogram")]
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in grow
        for sample in family.samples
    }


def key(name: str, **labels: str) -> Key:
    """Name one sample."""
    return name, frozenset(labels.items())


class FleetCase(SynchronousTestCase):
    """A parent with workers 1 and 2."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.parent = Metrics()
        self.fleet = Fleet(self.parent.registry, (1, 2), self.clock.seconds)

    def value(self, name: str, **labels: str) -> float | None:
        return page(self.fleet).get(key(name, **labels))


class SumTests(FleetCase):
    """Numbers of several processes on one page."""

    def test_everybody_counts(self) -> None:
        """Counters, histograms and gauges are sums over the parent and its workers."""
        self.parent.stream_started()
        for worker, duration in ((1, 120), (2, 700)):
            metrics = Metrics()
            metrics.settled(evolve(EVENT, duration_ms=duration))
            metrics.refused("unauthorized", 401)
            metrics.stream_started()
            metrics.loop_lag(0.002)
            metrics.read("voidllm_upstream_connections", lambda: 3, "idle")
            self.assertTrue(self.fleet.update(worker, "a", metrics.export()))
        labels = {"endpoint": "chat/completions", "status": "200", "model": "gpt"}
        self.assertEqual(self.value("voidllm_requests_total", **labels), 2)
        self.assertEqual(self.value("voidllm_auth_failures_total"), 2)
        self.assertEqual(self.value("voidllm_active_streams"), 3)
        self.assertEqual(self.value("voidllm_upstream_connections", state="idle"), 6)
        self.assertEqual(self.value("voidllm_event_loop_lag_seconds_count"), 2)
        name, labels = "voidllm_proxy_duration_seconds", {"model": "gpt", "stream": "false"}
        self.assertEqual(self.value(f"{name}_bucket", le="0.25", **labels), 1)
        self.assertEqual(self.value(f"{name}_bucket", le="+Inf", **labels), 2)
        self.assertEqual(self.value(f"{name}_sum", **labels), 0.12 + 0.7)

    def test_the_end_of_a_worker(self) -> None:
        """What a worker counted stays when it is gone, its gauges go, and a successor adds to it."""
        metrics = Metrics()
        metrics.settled(EVENT)
        metrics.stream_started()
        self.fleet.update(1, "a", metrics.export())
        self.fleet.gone(1, "a")
        labels = {"endpoint": "chat/completions", "status": "200", "model": "gpt"}
        self.assertEqual(self.value("voidllm_requests_total", **labels), 1)
        self.assertEqual(self.value("voidllm_active_streams"), 0)
        self.fleet.update(1, "b", metrics.export())
        self.assertEqual(self.value("voidllm_requests_total", **labels), 2)
        self.assertEqual(self.value("voidllm_active_streams"), 1)

    def test_told_twice_or_late(self) -> None:
        """A second end, and numbers that come after the end, change nothing."""
        metrics = Metrics()
        metrics.refused("unauthorized", 401)
        self.fleet.update(1, "a", metrics.export())
        self.fleet.gone(1, "a")
        self.fleet.gone(1, "a")
        self.assertFalse(self.fleet.update(1, "a", metrics.export()))
        self.assertEqual(self.value("voidllm_auth_failures_total"), 1)
        self.assertEqual(self.value("voidllm_worker_up", worker="1"), 0)
        self.assertEqual(self.value("voidllm_worker_restarts_total"), 0)

    def test_the_parents_own(self) -> None:
        """What the parent holds for all is not added up, and what runs is told once."""
        self.parent.read("voidllm_cache_size", lambda: 5, "keys")
        metrics = Metrics()
        metrics.read("voidllm_cache_size", lambda: 5, "keys")
        before = page(self.fleet)
        self.fleet.update(1, "a", metrics.export())
        after = page(self.fleet)
        self.assertEqual(after[key("voidllm_cache_size", cache="keys")], 5)
        self.assertEqual([v for k, v in after.items() if k[0] == "voidllm_build_info"], [1])
        name = key("process_start_time_seconds")
        self.assertEqual(after[name], before[name])

    def test_the_oldest_snapshot(self) -> None:
        """The version of the snapshot is that of the process that is furthest behind."""
        versions = {0: 9, 1: 7, 2: 8}
        self.parent.read("voidllm_snapshot_version", lambda: versions[0])
        for worker in (1, 2):
            metrics = Metrics()
            metrics.read("voidllm_snapshot_version", lambda w=worker: versions[w])
            self.fleet.update(worker, "a", metrics.export())
        self.assertEqual(self.value("voidllm_snapshot_version"), 7)
        self.fleet.gone(1, "a")
        self.assertEqual(self.value("voidllm_snapshot_version"), 8)

    def test_the_process(self) -> None:
        """Memory, descriptors and CPU seconds are those of all processes together."""
        alone = page(self.fleet)
        self.fleet.update(1, "a", Metrics().export())
        both = page(self.fleet)
        for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
            self.assertGreater(both[key(name)], alone[key(name)] * 1.5, name)

    def test_only_workers_have_it(self) -> None:
        """A reading that the parent does not have is shown as soon as a worker has it."""
        metrics = Metrics()
        metrics.read("voidllm_usage_events_dropped_total", lambda: 4)
        self.fleet.update(1, "a", metrics.export())
        self.assertEqual(self.value("voidllm_usage_events_dropped_total"), 4)

    def test_no_workers_yet(self) -> None:
        """Before any worker said something the page is the parent's, and says that none is up."""
        own = {k for k in page(self.fleet) if not k[0].startswith("voidllm_worker")}
        families = text_string_to_metric_families(self.parent.render().decode())
        self.assertEqual(own, {(s.name, frozenset(s.labels.items())) for f in families for s in f.samples})
        self.assertEqual(self.value("voidllm_worker_up", worker="2"), 0)


class WorkerTests(FleetCase):
    """What is told of each worker."""

    def test_up_restarts_and_age(self) -> None:
        """Whether a worker lives, since when it was silent, and how many took another's place."""
        self.fleet.alive(1, "a")
        self.clock.advance(3)
        self.fleet.alive(2, "x")
        self.assertEqual(self.value("voidllm_worker_up", worker="1"), 1)
        self.assertEqual(self.value("voidllm_worker_heartbeat_age_seconds", worker="1"), 3)
        self.assertEqual(self.value("voidllm_worker_heartbeat_age_seconds", worker="2"), 0)
        self.fleet.gone(1, "a")
        self.assertEqual(self.value("voidllm_worker_heartbeat_age_seconds", worker="1"), 3)
        # One that ended before it said anything, and one that was never said to have ended.
        self.fleet.gone(1, "b")
        self.fleet.alive(1, "c")
        self.fleet.alive(2, "y")
        self.assertEqual(self.value("voidllm_worker_restarts_total"), 3)

    def test_memory(self) -> None:
        """Each worker that lives has its memory."""
        self.fleet.update(1, "a", Metrics().export())
        self.assertGreater(self.value("voidllm_worker_resident_memory_bytes", worker="1") or 0, 1e6)
        self.assertIsNone(self.value("voidllm_worker_resident_memory_bytes", worker="2"))
        self.fleet.gone(1, "a")
        self.assertIsNone(self.value("voidllm_worker_resident_memory_bytes", worker="1"))

    def test_lag(self) -> None:
        """Each worker's event loop is seen apart from the others'."""
        metrics = Metrics()
        metrics.loop_lag(0.3)
        self.fleet.update(2, "a", metrics.export())
        name = "voidllm_worker_event_loop_lag_seconds"
        self.assertEqual(self.value(f"{name}_bucket", worker="2", le="0.25"), 0)
        self.assertEqual(self.value(f"{name}_bucket", worker="2", le="0.5"), 1)
        self.assertEqual(self.value(f"{name}_sum", worker="2"), 0.3)

    def test_unknown_place(self) -> None:
        """A place that does not exist is a mistake of ours: labels stay bounded."""
        self.assertRaises(KeyError, self.fleet.alive, 3, "a")
        self.assertRaises(KeyError, self.fleet.update, 3, "a", b"")
        self.assertRaises(KeyError, self.fleet.gone, 3, "a")


class DamageTests(FleetCase):
    """A worker that is dying, or not itself, cannot break the page."""

    def rows(self, *rows: Any, head: tuple[Any, ...] = REQUESTS) -> bytes:
        return encode([Table(*head, rows)])

    @given(st.binary(max_size=200))
    def test_noise(self, noise: bytes) -> None:
        """Bytes of no meaning are refused, and what was known before stays."""
        self.setUp()
        metrics = Metrics()
        metrics.refused("unauthorized", 401)
        self.fleet.update(1, "a", metrics.export())
        self.fleet.update(1, "a", noise)
        self.assertEqual(self.value("voidllm_auth_failures_total"), 1)

    def test_cut_or_huge(self) -> None:
        """A report that was cut anywhere is refused, and so is one that is too long."""
        data = Metrics().export()
        for length in range(0, len(data), 97):
            self.assertFalse(self.fleet.update(1, "a", data[:length]))
        self.assertFalse(self.fleet.update(1, "a", bytes(MOST_BYTES + 1)))
        self.assertFalse(self.fleet.update(1, "a", b"\x91\x96\xa1x\xa5gauge\xa1d\xdd\xff\xff\xff\xff"))

    def test_senseless_rows(self) -> None:
        """Rows with too many labels or numbers, or with numbers that cannot be, are left out."""
        good = ("e", "200", "m")
        senseless: list[Any] = [((*good, "x"), [1.0]), (good, []), (good, [1.0, 2.0])]
        senseless += [(good, [value]) for value in (-1.0, float("nan"), float("inf"), 1e300)]
        self.assertTrue(self.fleet.update(1, "a", self.rows(*senseless)))
        labels = {"endpoint": "e", "status": "200", "model": "m"}
        self.assertIsNone(self.value("voidllm_requests_total", **labels))
        self.assertTrue(self.fleet.update(1, "a", self.rows(*senseless, (good, [2.0]))))
        self.assertEqual(self.value("voidllm_requests_total", **labels), 2)

    def test_foreign_families(self) -> None:
        """A family that the parent does not have, or has with other labels or buckets, is left out."""
        before = {k[0] for k in page(self.fleet)}
        lag = ("voidllm_event_loop_lag_seconds", "histogram", "", (), (1.0,))
        for head, row in (
            (("x y\n", "counter", "", (), ()), ((), [1.0])),
            (("voidllm_requests", "counter", "", ("a",), ()), (("b",), [1.0])),
            (("voidllm_requests", "gauge", *REQUESTS[2:]), (("a", "b", "c"), [1.0])),
            (lag, ((), [1.0, 1, 1])),
        ):
            self.assertTrue(self.fleet.update(1, "a", self.rows(row, head=head)))
        self.assertEqual({k[0] for k in page(self.fleet)} - before, {"voidllm_worker_heartbeat_age_seconds"})
        self.assertEqual(self.value("voidllm_event_loop_lag_seconds_count"), 0)

    def test_label_values_are_bounded(self) -> None:
        """Past a thousand label sets of all workers together, and for long ones, it is other."""
        for worker in (1, 2):
            many = [(("e", "200", f"m{worker}-{n}"), [1.0]) for n in range(900)]
            self.fleet.update(worker, "a", self.rows(*many, (("e", "200", "x" * 300), [1.0])))
        found = {k: v for k, v in page(self.fleet).items() if k[0] == "voidllm_requests_total"}
        self.assertEqual(len(found), 1001)
        self.assertEqual(sum(found.values()), 1802)

    def test_quotes_and_line_breaks(self) -> None:
        """A label value with quotes and line breaks makes no line of its own."""
        self.fleet.update(1, "a", self.rows((("e", "200", 'a"} 1\nevil{x="'), [1.0])))
        self.assertNotIn("evil", {k[0] for k in page(self.fleet)})

    def test_a_counter_that_shrinks(self) -> None:
        """A worker whose counters go back, or are missing, does not take the sums back."""
        good = ("e", "200", "m")
        labels = {"endpoint": "e", "status": "200", "model": "m"}
        for data in (self.rows((good, [7.0])), self.rows((good, [3.0])), encode([])):
            self.assertTrue(self.fleet.update(1, "a", data))
            self.assertEqual(self.value("voidllm_requests_total", **labels), 7)
        self.fleet.gone(1, "a")
        self.assertEqual(self.value("voidllm_requests_total", **labels), 7)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("work", "work", "tell", "tell", "end", "late", "noise")),
        st.integers(1, 2),
        st.sampled_from(("gpt", "mini")),
        st.integers(1, 10**7),
    ),
    min_size=8,
    max_size=20,
)


class Interleavings(SynchronousTestCase):
    """Whatever happens in whatever order."""

    @settings(max_examples=40)
    @given(STEPS)
    def test_sums(self, steps: list[tuple[str, int, str, int]]) -> None:
        """Sums are exactly what was told, and no counter or bucket or sum of seconds ever decreases."""
        fleet = Fleet(Metrics().registry, (1, 2), Clock().seconds)
        names = iter(range(1000))
        workers = {worker: (str(next(names)), Metrics()) for worker in (1, 2)}
        worked = dict.fromkeys(workers, 0)
        told = dict.fromkeys(workers, 0)
        gone_for_good = 0
        ended: dict[int, tuple[str, bytes]] = {}
        before = counts(fleet)
        for what, worker, model, duration in steps:
            boot, metrics = workers[worker]
            if what == "work":
                metrics.settled(evolve(EVENT, model=model, duration_ms=duration))
                worked[worker] += 1
            elif what == "tell":
                fleet.update(worker, boot, metrics.export())
                told[worker] = worked[worker]
            elif what == "noise":
                fleet.update(worker, boot, metrics.export()[: duration % 100])
            elif what == "late" and worker in ended:
                fleet.update(worker, *ended[worker])
            elif what == "end":
                ended[worker] = (boot, metrics.export())
                fleet.gone(worker, boot)
                gone_for_good += told[worker]
                told[worker] = worked[worker] = 0
                workers[worker] = (str(next(names)), Metrics())
            now = counts(fleet)
            for sample, value in before.items():
                assert now[sample] >= value, sample
            name = "voidllm_requests_total"
            total = sum(v for k, v in now.items() if k[0] == name)
            assert total == gone_for_good + sum(told.values())
            name = "voidllm_proxy_duration_seconds_count"
            assert total == sum(v for k, v in now.items() if k[0] == name)
            before = now


class ExportTests(SynchronousTestCase):
    """What one process tells."""

    def test_same_as_the_page(self) -> None:
        """An export has every family of the page, with label values and numbers."""
        metrics = Metrics()
        metrics.settled(EVENT)
        metrics.read("voidllm_cache_size", lambda: 3, "keys")
        tables = {table.name: table for table in decode(metrics.export())}
        families = text_string_to_metric_families(metrics.render().decode())
        shown = {f.name: tuple(sorted({n for s in f.samples for n in s.labels} - {"le"})) for f in families}
        for name, labels in shown.items():
            self.assertIn(name, tables)
            if labels:
                self.assertEqual(tuple(sorted(tables[name].labels)), labels)
        row = [(("gpt", "false"), [0.12, 0, 1, *[0] * 10])]
        self.assertEqual(tables["voidllm_proxy_duration_seconds"].rows, row)

    def test_size(self) -> None:
        """However many models there are and however long their names, it stays below the bound."""
        metrics = Metrics()
        for n in range(1200):
            name = f"{n}" + "\U0001f600" * 300
            metrics.settled(evolve(EVENT, model=name, ttft_ms=3, stream=True))
            metrics.upstream_response(name, name, 200)
            metrics.upstream_error(name, name)
        data = metrics.export()
        self.assertLess(len(data), MOST_BYTES)
        self.assertTrue(Fleet(Metrics().registry, (1,), Clock().seconds).update(1, "a", data))

    def test_not_tables(self) -> None:
        """What is no encoding of tables raises ``ValueError``, whatever is wrong with it."""
        for value in (
            None,
            [1],
            [["n", "summary", "", [], [], []]],
            [["n", "gauge", "", [], [], [[["x"], ["1"]]]]],
        ):
            self.assertRaises(ValueError, decode, msgspec.msgpack.encode(value))
