"""Space held back by writers that are no more."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.world import RealFileSystem
from voidllm.usage.reserve import give_back


class TestGiveBack(SynchronousTestCase):
    """Which files go."""

    def test_fewer(self) -> None:
        """Those of this box' writers beyond the last go; others', and everything else, stays."""
        folder = self.mktemp()
        os.makedirs(folder)
        stay = {
            "a-0.reserve",
            "a-1.reserve",
            "a-b-7.reserve",
            "b-7.reserve",
            "a-7-x-00000001.jl",
            "a-7.reserve.x",
        }
        for name in {*stay, "a-2.reserve", "a-10.reserve"}:
            with open(os.path.join(folder, name), "w"):
                pass
        give_back(RealFileSystem(), folder, "a", 2)
        self.assertEqual(set(os.listdir(folder)), stay)
