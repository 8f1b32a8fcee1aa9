"""The upstream pool against a real socket whose every byte is scripted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from tests.http.engine_behaviour import EngineBehaviour
from voidllm.http.pool import UpstreamPool


class DirectEngineTests(EngineBehaviour, TestCase):
    """What every engine must do, done by the pool itself."""

    def make_engine(self, pool: UpstreamPool) -> Any:
        """Use the pool as it is."""
        return pool
