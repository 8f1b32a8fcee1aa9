"""What blocks become: figures, documents, tables, pages."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench import html
from bench.burst import burst_figures, recovery_s
from bench.document import document, scenarios_of, write, write_text
from bench.figures import curves, part_figures, per_second, samples_json, slopes
from bench.harness import Failed
from bench.sampler import LAG, Histogram, Sample, number, parse
from bench.schedules import burst_legs, draw
from bench.streams import stream_figures
from bench.suite import Report
from bench.table import micro, percent, text_of
from bench.tables import put, tables_of
from bench.verdicts import Figures, missed

from .blocks import MS, block_of, both, run_of

ENVIRONMENT: dict[str, Any] = {
    "time": "2026-01-01T00:00:00Z",
    "cores": 2,
    "cpu": "CPU",
    "pinning": {"generator_and_mock": [0], "gateway": [1]},
    "kernel": "6",
    "python": "3.11",
    "twisted": "26",
    "voidllm": "0",
    "commit": "abc",
    "busy": 0.01,
    "alone": {"rps": 20000.0, "cpu_us_per_request": 15.0, "generator": "c", "mock": "c"},
}


def report(name: str = "quick") -> Report:
    """Give a report of one measured and one skipped part."""
    blocks = both()
    found = Report(name, 500, 15)
    samples = [Sample(float(i), 60 + i / 10, 20 + i, 500.0) for i in range(5)]
    found.results["llm"] = part_figures(blocks, "llm", 1)
    found.results["llm"]["gateway"] = {
        "rss_mb": {"first": 60.0, "last": 61.0, "max": 61.0},
        "descriptors_max": 30,
        "slopes": slopes(samples),
        "long": True,
    }
    found.results["mcp"] = {"skipped": "not built"}
    found.skipped["mcp"] = "not built"
    found.plots["llm"] = {**curves(blocks, "llm"), "gateway": samples_json(samples)}
    found.complete = True
    return found


class FiguresOfBlocks(SynchronousTestCase):
    """Microseconds, shares and counts."""

    def test_shape(self) -> None:
        """A part has the fields that readers of the document count on, with the right values."""
        found = part_figures(both(), "llm", 1)
        self.assertEqual(set(found), {"direct", "proxied", "overhead"})
        proxied = found["proxied"]
        for key in ("p50_us", "p90_us", "p99_us", "p999_us", "success", "achieved_rps", "errors"):
            self.assertIn(key, proxied)
        self.assertEqual((proxied["requests"], proxied["success"], proxied["errors"]), (2000, 1.0, {}))
        # 0.04 and 0.02 s for 400 requests.
        self.assertEqual(proxied["gateway_cpu_us_per_request"], 150)
        self.assertNotIn("gateway_cpu_us_per_request", found["direct"])
        # Until the last reply is there, which takes 10 ms of each block of 400.
        self.assertTrue(970 < proxied["achieved_rps"] < 1000, proxied["achieved_rps"])
        added = found["overhead"]
        self.assertTrue(290 < added["p50_us"] < 310, added)
        low, high = added["p50_ci_us"]
        self.assertTrue(low < 300 < high)
        for name in ("p90", "p99", "p999"):
            self.assertEqual(len(added[f"{name}_ci_us"]), 2)

    def test_failures(self) -> None:
        """Failed requests are counted by kind and in no percentile."""
        run = run_of([10 * MS] * 8 + [1, 1], outcome=bytes(8) + b"\2\5")
        found = part_figures([block_of("proxied", run)], "llm", 1)["proxied"]
        self.assertEqual((found["success"], found["errors"]), (0.8, {"status": 1, "cut": 1}))
        self.assertEqual(found["p50_us"], 10_000)

    def test_nothing_succeeded(self) -> None:
        """With no good reply there are no percentiles and no overhead, and the document stays valid JSON."""
        bad = run_of([1] * 5, outcome=b"\2" * 5)
        found = part_figures([block_of("direct", run_of([10] * 5)), block_of("proxied", bad)], "llm", 1)
        self.assertEqual((found["proxied"]["p50_us"], found["overhead"]), (None, {}))
        json.dumps(found, allow_nan=False)

    def test_parts_share_the_cpu(self) -> None:
        """CPU of a gateway that served several parts at once is divided by all their requests."""
        run = run_of([10 * MS] * 100, watched=(0.0, 0.02))
        blocks = [block_of("proxied", run, key=key) for key in ("llm", "mcp")]
        for key in ("llm", "mcp"):
            self.assertEqual(part_figures(blocks, key, 1)["proxied"]["gateway_cpu_us_per_request"], 100)

    def test_seconds(self) -> None:
        """Time series have the rate and percentiles of each second."""
        rows = per_second(block_of("direct", run_of([10 * MS] * 3000)))
        self.assertEqual([row[:3] for row in rows], [[0, 1000, 10_000], [1, 1000, 10_000], [2, 1000, 10_000]])

    def test_streams(self) -> None:
        """Streams are told apart from tokens: held and complete, lost events, lateness of each."""
        blocks = []
        for turn in range(5):
            for side, late in (("direct", 20_000), ("proxied", 120_000)):
                run = run_of([10 * MS] * 50, gaps=[late] * 500, events=550, held=40, watched=(0, 0.055))
                blocks.append(block_of(side, run, turn=turn))
        found = stream_figures(blocks, "llm", 1)
        self.assertEqual(found["proxied"]["streams_complete"], 250)
        self.assertEqual((found["proxied"]["streams_held"], found["proxied"]["events_lost"]), (40, 0))
        self.assertEqual(found["added_token_delay_proxied"]["p50_us"], 100)
        self.assertEqual(found["proxied"]["gateway_cpu_us_per_event"], 100)


class Recovery(SynchronousTestCase):
    """The end of a burst."""

    def block(self, slow_s: float) -> Any:
        """Give a burst whose requests are slow from the spike until so long after the ramp down."""
        drawn = draw(burst_legs(100, 10, 90))
        latencies = [
            10 * MS + (i * 7919 % 1000) * 1000 + (200 * MS if 40e9 <= due < (60 + slow_s) * 1e9 else 0)
            for i, due in enumerate(drawn.arrivals)
        ]
        run = run_of(latencies, intended=list(drawn.arrivals))
        return block_of("proxied", run, bounds=drawn.bounds)

    def test_time(self) -> None:
        """Recovery is the time from the end of the ramp down until the P99 is as before, by half seconds."""
        self.assertEqual(recovery_s(self.block(-1)), 0)
        found = recovery_s(self.block(3.2))
        assert found is not None
        self.assertTrue(3.2 <= found <= 4, found)

    def test_never(self) -> None:
        """A P99 that does not come back has no recovery, and neither has the whole burst."""
        blocks = [self.block(0.2), self.block(40)]
        self.assertIsNone(recovery_s(blocks[1]))
        found = burst_figures(blocks, "llm")["proxied"]
        self.assertIsNone(found["recovery_s"]["max"])
        self.assertEqual(found["legs"]["spike"]["requests"], 20_000)
        self.assertTrue(990 < found["legs"]["spike"]["offered_rps"] < 1010)

    def test_too_short(self) -> None:
        """A burst whose windows hold a handful of requests has no recovery: their P99 says nothing."""
        drawn = draw(burst_legs(100, 10, 9))
        run = run_of([10 * MS] * len(drawn.arrivals), intended=list(drawn.arrivals))
        self.assertIsNone(recovery_s(block_of("proxied", run, bounds=drawn.bounds)))

    def test_failures_are_slow(self) -> None:
        """Requests that fail after the spike are not a recovery."""
        drawn = draw(burst_legs(100, 10, 90))
        first, end = next(bound[1:] for bound in drawn.bounds if bound[0] == "recovery")
        count = len(drawn.arrivals)
        run = run_of(
            [10 * MS] * count,
            intended=list(drawn.arrivals),
            outcome=bytes(first) + b"\2" * (end - first),
        )
        self.assertIsNone(recovery_s(block_of("proxied", run, bounds=drawn.bounds)))


class Metrics(SynchronousTestCase):
    """The gateway's own words."""

    TEXT = f"""# HELP x y
{LAG}_bucket{{le="0.001"}} 90
{LAG}_bucket{{le="0.01"}} 100
{LAG}_bucket{{le="+Inf"}} 100
{LAG}_sum 0.3
process_open_fds 12.0
"""

    def test_histogram(self) -> None:
        """Quantiles are interpolated within buckets, of what came since an earlier look."""
        histogram = parse(self.TEXT, LAG)
        self.assertAlmostEqual(histogram.quantile(0.45) or 0, 0.0005)
        self.assertAlmostEqual(histogram.quantile(0.95) or 0, 0.0055)
        self.assertIsNone(histogram.since(histogram).quantile(0.5))
        self.assertIsNone(Histogram({}).quantile(0.5))
        self.assertEqual(number(self.TEXT, "process_open_fds"), 12)


class Documents(SynchronousTestCase):
    """One JSON document."""

    def test_where_it_goes(self) -> None:
        """A file is replaced, a link stays a link, and what is no file is written to as it is."""
        folder = Path(self.mktemp())
        folder.mkdir()
        target, link = folder / "target", folder / "link"
        target.write_text("old")
        link.symlink_to("target")
        write_text(link, "new")
        self.assertEqual((target.read_text(), link.is_symlink()), ("new", True))
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        write_text(pipe, "through")
        self.assertEqual((os.read(reader, 99), pipe.is_fifo()), (b"through", True))
        self.assertEqual(sorted(os.listdir(folder)), ["link", "pipe", "target"])

    def test_one(self) -> None:
        """A scenario's results are at the top; skipped parts are named and do not pass as measured."""
        value = document("quick", [report()], ENVIRONMENT)
        self.assertEqual((value["scenario"], value["valid"]), ("quick", True))
        self.assertEqual(value["results"]["mcp"], {"skipped": "not built"})
        self.assertEqual(value["skipped"], {"mcp": "not built"})
        self.assertIn("mcp: SKIPPED", text_of(value))

    def test_all(self) -> None:
        """Several scenarios are one document, each with its own verdict."""
        late = report("sustained")
        late.reasons.append("late")
        value = document("all", [report(), late], ENVIRONMENT, failures={"burst": "too fast"})
        self.assertFalse(value["valid"])
        self.assertEqual([name for name, _, _ in scenarios_of(value)], ["quick", "sustained"])
        self.assertEqual(
            (value["scenarios"]["quick"]["valid"], value["scenarios"]["sustained"]["valid"]), (True, False)
        )
        text = text_of(value)
        for words in ("INVALID", "burst: not run: too fast"):
            self.assertIn(words, text)

    def test_interrupted(self) -> None:
        """What was interrupted is neither valid nor complete."""
        value = document("quick", [report()], ENVIRONMENT, interrupted=True)
        self.assertEqual((value["valid"], value["complete"]), (False, False))
        self.assertIn("INCOMPLETE", text_of(value))

    def test_file(self) -> None:
        """A file is written whole; no half of it stays when that fails."""
        folder = Path(self.mktemp())
        folder.mkdir()
        write(document("quick", [report()], ENVIRONMENT), str(folder / "x.json"))
        self.assertEqual(json.loads((folder / "x.json").read_text())["scenario"], "quick")
        self.assertRaises(OSError, write, {}, str(folder / "none" / "x.json"))
        self.assertEqual([file.name for file in folder.iterdir()], ["x.json"])

    def test_verdicts(self) -> None:
        """Bounds from above and below are judged, figures without target are not, nothing is not ok."""
        figures = Figures()
        figures.add("a", 5, "us", most=5)
        figures.add("b", 5.1, "us", most=5)
        figures.add("c", 8000, "req/s", least=8000)
        figures.add("d", 0.3, "", least=0.35)
        figures.add("e", 1, "us")
        figures.add("f", None, "us", most=1)
        verdicts = [figure["verdict"] for figure in figures.to_json()]
        self.assertEqual(verdicts, ["ok", "MISSED", "ok", "MISSED", "", "not measured"])
        self.assertTrue(missed(figures.to_json()))

    def test_words(self) -> None:
        """Times have a readable unit, and a share is not rounded up to all."""
        self.assertEqual([micro(v) for v in (None, 12.4, 12_400, 2e6)], ["-", "12 us", "12.4 ms", "2.00 s"])
        self.assertEqual(percent(1.0, 6), "100 %")
        self.assertEqual(percent(0.9999999, 6), "99.9999 %")


class _Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attributes:
            outside = not (value or "").startswith("#")
            if name in ("src", "href", "data", "srcset", "xlink:href") and outside:
                self.found.append(f"{tag} {name}={value}")


class Pages(SynchronousTestCase):
    """The page and the documentation's tables."""

    def value(self) -> dict[str, Any]:
        """Give a document with peers."""
        llm = part_figures(both(), "llm", 1)
        peer = {
            "llm": llm,
            "rate": {"rps": 500.0, "why": "the fixed rate"},
            "concurrency_1": llm["overhead"],
            "closed": {"rps": 9000.0, "cpu_us_per_request": 80.0, "connections": 256, "errors": {}},
            "frontier": {
                "at_added_p99": [{"bound_ms": 5.0, "rps": 4000.0, "next_rps": None, "limited_by": "server"}],
                "tried": [
                    {"rps": 500.0, "added_p99_us": [900.0, None]},
                    {"rps": 900.0, "added_p99_us": [1e4]},
                ],
            },
            "rss_mb": {"idle": 60.0, "loaded": 70.0, "after": 65.0},
            "cold_start_s": 0.5,
            "version": "1",
        }
        peers = {"voidllm": peer, "nginx": peer}
        return document("quick", [report()], ENVIRONMENT, peers=peers, command="./dev bench quick")

    def test_self_contained(self) -> None:
        """The page has the plots and refers to nothing outside of itself."""
        page = html.page(self.value())
        self.assertNotIn("http", page)
        self.assertNotIn("@import", page)
        self.assertEqual(re.findall(r"url\((?!#)", page), [])
        outside = _Outside()
        outside.feed(page)
        self.assertEqual(outside.found, [])
        self.assertEqual((outside.elements.count("svg"), outside.elements.count("script")), (4, 0))
        names = re.findall(r'\bid="([^"]+)"', page)
        self.assertEqual(len(names), len(set(names)))
        for name in re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page):
            self.assertIn(name, names)

    def test_escaped(self) -> None:
        """Words of the document cannot become markup."""
        value = self.value()
        value["environment"]["cpu"] = "<script>alert(1)</script>"
        self.assertNotIn("<script", html.page(value))

    def test_without_matplotlib(self) -> None:
        """Without matplotlib there is a message that says what to install."""
        with mock.patch.dict("sys.modules", {"matplotlib": None}):
            error = self.assertRaises(Failed, html.require_matplotlib)
        self.assertIn("pip install matplotlib", str(error))

    def test_markdown(self) -> None:
        """The documentation's tables come from the document, with rows of as many cells."""
        text = tables_of(self.value())
        self.assertIn("`./dev bench quick`", text)
        self.assertIn("| llm, proxied |", text)
        self.assertIn("mcp: skipped, not built.", text)
        self.assertIn("req/s at added P99 ≤ 5 ms | 4,000 | 4,000 |", text)
        for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
            self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)

    def test_put(self) -> None:
        """Tables replace what stood between a page's markers, and nothing else; twice is as once."""
        page = "a\n<!-- measured: x -->\nold\n<!-- end: x -->\nb\n"
        once = put(page, "x", "new\n")
        self.assertEqual(once, "a\n<!-- measured: x -->\n\nnew\n\n<!-- end: x -->\nb\n")
        self.assertEqual(put(once, "x", "new\n"), once)
        self.assertRaises(ValueError, put, page, "y", "new")

    def test_page_of_the_documentation(self) -> None:
        """The documentation has a place for each run that it shows."""
        page = (Path(__file__).resolve().parents[2] / "docs/performance.md").read_text()
        for section in ("targets", "all", "peers"):
            put(page, section, "x")
