"""Every target is measured, in runs that are too short for its figures to mean anything."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from twisted.trial.unittest import SynchronousTestCase

from bench.harness import Nginx
from bench.progress import Progress
from bench.rig import Rig
from bench.targets import Effort, Targets
from bench.verdicts import Figures

SHORTEST = Effort(
    closed_s=0.3,
    closed_turns=1,
    steady_s=0.5,
    exact_s=0.2,
    sustained_s=0.5,
    burst_s=0.9,
    large_s=0.5,
    stream_s=0.5,
    stream_turns=1,
    starts=1,
    idle=40,
    open=40,
)


@pytest.mark.slow
class AllTargets(SynchronousTestCase):
    """The whole table."""

    def test_each(self) -> None:
        """Each line of the table has a figure, or says why it has none, and its target."""
        figures, reasons = Figures(), list[str]()
        with Rig() as rig:
            Targets(rig, SHORTEST, Progress(StringIO()), figures, 1, reasons, []).measure()
        found = {figure.name: figure for figure in figures.found}
        self.assertEqual(len(found), len(figures.found))
        for name, target in (
            ("closed loop, times nginx", 0.45),
            ("CPU per request, closed loop, times nginx", 3),
            ("CPU per request at 2,000 rps, times nginx", 2.3),
            ("added P50 at 1,000 rps", 350),
            ("added P50 at 2,000 rps", 300),
            ("added P50 at 1,000 rps, times nginx", 2),
            ("added P50 with a body of 100 KB", 1000),
            ("added P50 with a body of 1 MB", 5000),
            ("SSE, 500 streams of 20 events/s: CPU per event", 50),
            ("SSE CPU per event, times nginx", 2.5),
            ("SSE added event delay P50", 100),
            ("memory of an idle connection", 4),
            ("memory of an open stream", 15),
            ("memory of an idle worker", 65),
            ("cold start of a worker", 0.4),
            ("cold start with control plane", 0.8),
            ("burst to ten times: errors", 0),
        ):
            self.assertEqual(found[name].target, target, name)
            if Nginx.find() or "nginx" not in name:
                self.assertIsNotNone(found[name].value, name)
            else:
                self.assertIn("nginx is not installed", found[name].note)
        self.assertEqual(found["2,000 rps for 0.2 s, LLM: of 400 succeed"].verdict, "ok")
        self.assertIn("MCP", found["2,000 rps for 0.2 s, MCP: of 400 succeed"].note)
        self.assertEqual(found["burst to ten times: errors"].value, 0)
        json.dumps(figures.to_json(), allow_nan=False)
