"""The probe of the event loop."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.world import World
from voidllm.telemetry.looplag import LoopLag
from voidllm.telemetry.metrics import Metrics

_NAME = "voidllm_event_loop_lag_seconds"


class LoopLagTests(SynchronousTestCase):
    """Lateness is noted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.probe = LoopLag(World(reactor=self.clock, in_thread=lambda f: f()), self.metrics, 0.5)

    def _sample(self, end: str) -> float:
        return self.metrics.registry.get_sample_value(_NAME + end) or 0.0

    def test_on_time(self) -> None:
        """A loop that is on time has no lag."""
        self.probe.start()
        self.clock.pump([0.5] * 4)
        self.assertEqual(self._sample("_count"), 4)
        self.assertAlmostEqual(self._sample("_sum"), 0)

    def test_late(self) -> None:
        """A block shows once, with its length."""
        self.probe.start()
        self.clock.advance(2.5)
        self.assertEqual(self._sample("_count"), 1)
        self.assertAlmostEqual(self._sample("_sum"), 2.0)

    def test_ends(self) -> None:
        """It can be started and stopped more than once, and leaves no timer."""
        self.probe.stop()
        self.probe.start()
        self.probe.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.probe.stop()
        self.probe.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
