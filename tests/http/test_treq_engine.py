"""The treq engine keeps the pool's contract."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from tests.http.engine_behaviour import EngineBehaviour
from voidllm.http.pool import UpstreamPool
from voidllm.http.treq_engine import TreqEngine


class TreqEngineTests(EngineBehaviour, TestCase):
    """What every engine must do, done through treq."""

    def make_engine(self, pool: UpstreamPool) -> Any:
        """Put treq on the pool."""
        return TreqEngine(pool)
