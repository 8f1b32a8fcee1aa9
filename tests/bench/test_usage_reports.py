"""The bench of usage reports: what it asks and how it judges."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from bench.reports import DAY_MS, KEYS, NOW_MS, PAGE, Timing, lines, questions, table
from voidllm.core.usage_line import decode_line
from voidllm.store.usage_report import cover_of


class ReportBenchTests(SynchronousTestCase):
    """Without a store."""

    def test_questions(self) -> None:
        """Each is asked once, and every store can answer it."""
        asked = list(questions())
        self.assertEqual(len({name for name, _ in asked}), len(asked))
        for _, query in asked:
            cover_of(query)

    def test_events(self) -> None:
        """They are spread over ninety days, all keys and five tags, in the order of their times."""
        events = [decode_line(line) for line in lines(5000)]
        self.assertEqual(len(Counter(one.key_id for one in events)), KEYS)
        self.assertEqual(len(Counter(one.tags for one in events)), 5)
        started = [one.started_ms for one in events]
        self.assertEqual(started, sorted(started))
        self.assertGreaterEqual(started[0], NOW_MS - 90 * DAY_MS)
        self.assertLess(started[-1], NOW_MS)

    def test_verdict(self) -> None:
        """Only an answer that fits on a page has to be there in time."""
        timings = [Timing("24 h by team", 250.0, 20), Timing("24 h by key", 900.0, PAGE + 1)]
        timings += [Timing(f"{days} by team", 1.0, 1) for days in ("7 d", "14 d", "30 d", "90 d")]
        shown = table("sqlite", 10.0, timings)
        self.assertIn("6 questions, 5 of dashboards, 1 of them over 200 ms", shown[0])
        self.assertTrue(any("more than a page" in line for line in shown))
