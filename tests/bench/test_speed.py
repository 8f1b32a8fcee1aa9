"""The speed script compares as it says and judges by the targets."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.gateway import Gateway
from bench.harness import Mock, Nginx, free_port
from bench.measure import Bench, chat_body
from bench.report import Report


def run_of(p50: float, cpu_s: float = 1.0) -> dict[str, Any]:
    """Give what the generator prints."""
    return {"p50_us": p50, "p99_us": p50 * 2, "watch_cpu_s": cpu_s, "completed": 10_000, "rps": 1000.0}


class Reports(SynchronousTestCase):
    """Figures and verdicts."""

    def test_verdicts(self) -> None:
        """Bounds from above and below are judged, figures without target are not."""
        report = Report(
            environment=dict.fromkeys(
                ("cpu", "cores", "load_core", "server_core", "kernel", "python", "twisted", "commit")
            )
        )
        report.add("a", 5, "us", most=5)
        report.add("b", 5.1, "us", most=5)
        report.add("c", 8000, "req/s", least=8000)
        report.add("d", 0.3, "", least=0.35)
        report.add("e", 1, "us")
        report.add("f", None, "us", most=1)
        self.assertEqual(
            [f.verdict for f in report.figures], ["ok", "MISSED", "ok", "MISSED", "", "not measured"]
        )
        report.problems.append("lost")
        self.assertIn("problem: lost", report.table())
        self.assertEqual(report.to_json()["figures"][1]["verdict"], "MISSED")


class Comparisons(SynchronousTestCase):
    """Added latency against interleaved direct runs."""

    def test_added(self) -> None:
        """A block is compared with the mean of its direct neighbours; the median over repeats counts."""
        direct, proxied = iter([10_000, 10_200, 10_000, 10_000]), iter([10_400, 10_600, 19_000])
        order: list[str] = []

        class Scripted(Bench):
            def run(
                self, mode: str, target: Any, body: bytes, *, stream: bool = False, **options: Any
            ) -> Any:
                order.append(target.name)
                return run_of(next(direct if target.name == "direct" else proxied))

        gateway = Gateway(Path(), 0)
        bench = Scripted(Path(), [], print)
        got = bench.added(Mock(Path()), [gateway], b"{}", 1000, 1, 3)["gateway"]
        self.assertEqual(order, ["direct", "gateway"] * 3 + ["direct"])
        self.assertEqual(got["p50_runs"], [300, 500, 9000])
        self.assertEqual((got["p50"], got["cpu_us"]), (500, 100))

    def test_body_size(self) -> None:
        """Bodies have the size that is asked for."""
        for size in (400, 1030, 1_000_000):
            self.assertEqual(len(chat_body(size)), size)
        self.assertIn(b'"stream": true', chat_body(400, stream=True))


class Servers(SynchronousTestCase):
    """What is started is pointed at the mock and stopped."""

    def test_mock_and_generator(self) -> None:
        """The harness starts the mock, the generator runs against it, and both end."""
        folder = Path(self.mktemp())
        folder.mkdir()
        mock = Mock(folder)
        self.addCleanup(mock.stop)
        mock.start(1000)
        problems: list[str] = []
        bench = Bench(folder, problems, lambda text: None)
        got = bench.run("closed", mock, chat_body(1030), connections=4, seconds=0.1, warmup=0.05)
        self.assertGreater(got["completed"], 20)
        mock.configure(events=1000, interval_us=5000)
        streams = bench.streams(mock, 5, 0.2, ramp=0.02)
        self.assertEqual((streams["streams_live"], problems), (5, []))

    def test_failed_requests_are_problems(self) -> None:
        """A target that refuses shows among the problems instead of as a good figure."""
        folder = Path(self.mktemp())
        folder.mkdir()
        problems: list[str] = []
        nobody = Nginx(folder, 0, port=free_port())
        Bench(folder, problems, lambda text: None).run(
            "open", nobody, b"{}", seconds=0.1, warmup=0, drain=0.1
        )
        self.assertIn("failed", problems[0])

    def test_limits_are_written(self) -> None:
        """Every key and organisation in a stopped gateway's store gets limits; no store gives a note."""
        gateway = Gateway(Path(self.mktemp()), 1)
        gateway.write_config()
        self.assertIn("no SQLite file", gateway.limit_all())
        gateway.state.mkdir()
        base = Path(__file__).resolve().parents[2] / "voidllm/store/migrations/sqlite/0001_base.sql"
        with closing(sqlite3.connect(gateway.state / "voidllm.db")) as db:
            db.executescript(base.read_text())
        self.assertEqual(gateway.limit_all(), "")
