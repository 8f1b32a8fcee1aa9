"""The limiter of several processes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.limits.contract import LimiterContract
from tests.limits.rig import Rotating


class SharedTests(LimiterContract, SynchronousTestCase):
    """What one process does, three do together."""

    def make(self) -> Rotating:
        """Make three."""
        return Rotating(3)


class AloneTests(LimiterContract, SynchronousTestCase):
    """One process with a table."""

    def make(self) -> Rotating:
        """Make one."""
        return Rotating(1)
