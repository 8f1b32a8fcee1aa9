"""Tests for choosing deployments."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from voidllm.core.interfaces import IPlanner
from voidllm.core.model import Deployment, Model
from voidllm.routing.planner import InOrderPlanner


class InOrderPlannerTests(SynchronousTestCase):
    """The planner tries deployments in the order of the configuration."""

    def test_order(self) -> None:
        """Nothing is left out and nothing changes places."""
        deployments = tuple(Deployment(n, n, "custom", "http://x/v1", n) for n in ("b", "a"))
        planner = InOrderPlanner()
        self.assertEqual(planner.plan(Model("m", "chat", deployments)), deployments)
        self.assertTrue(verifyObject(IPlanner, planner))
