"""``kill -9`` of the whole gateway in the middle of a load."""

from __future__ import annotations

import random
import time

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import Load, faults_in, journal_bytes, mock_model, sqlite_rows
from tests.harness import Gateway, MockLLM, wait_until

ROUNDS = 10
CLIENTS = 10


@pytest.mark.slow
class KilledTests(SynchronousTestCase):
    """Whatever a client has seen complete is accounted, once."""

    def test_ten_times(self) -> None:
        """Rows after restart are the completed replies, plus at most those in flight, each once."""
        mock = MockLLM("--delay-ms", "3", "--interval-ms", "1")
        self.addCleanup(mock.stop)
        models = [mock_model("plain", mock.base_url), mock_model("long", mock.base_url, "words-60")]
        gateway = Gateway(self.mktemp(), models)
        self.addCleanup(gateway.kill)
        rng = random.Random(2026)
        completed: set[str] = set()
        in_flight: set[str] = set()
        for number in range(ROUNDS):
            # Now before, now in the middle of a commit.
            interval = rng.choice(("50ms", "120ms", "5s"))
            gateway.configure(models, settings={"usage": {"flush_interval": interval}})
            gateway.start()
            load = Load(gateway.port, gateway.key, ["plain", "long", "demo"], CLIENTS, number).start()
            wait_until(lambda load=load: len(load.completed) >= 20, "the load to run")
            time.sleep(rng.uniform(0.02, 0.6))
            gateway.kill()
            load.stop()
            self.assertEqual(load.trouble, [])
            completed |= load.completed
            # Those that were refused by a closed port never began; they have no row either.
            in_flight |= load.open
        gateway.start()
        wait_until(lambda: journal_bytes(gateway) == 0, "the journal to be drained")
        self.assertEqual(gateway.stop(), 0)
        rows = sqlite_rows(gateway)
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(completed - set(rows.ids), set())
        extra = set(rows.ids) - completed
        self.assertEqual(extra - in_flight, set())
        self.assertLessEqual(len(extra), ROUNDS * CLIENTS)
        self.assertEqual(rows.detail, rows.counted)
        self.assertEqual(faults_in(gateway.log.read_text()), [])
