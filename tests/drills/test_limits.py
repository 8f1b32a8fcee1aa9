"""Counts of a day over every way to end a process."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import chat_body, journal_bytes, mock_model, sqlite_rows
from tests.harness import Gateway, MockLLM, request


class MidDayTests(SynchronousTestCase):
    """What was used today stays used."""

    def setUp(self) -> None:
        """Start a gateway that leaves its journal alone while it runs."""
        self.mock = MockLLM()
        self.addCleanup(self.mock.stop)
        self.gateway = Gateway(
            self.mktemp(),
            [mock_model("plain", self.mock.base_url)],
            settings={"usage": {"flush_interval": "5m"}},
        ).start()
        self.addCleanup(self.gateway.kill)

    def ask(self, key: str, model: str = "plain") -> tuple[int, dict[str, str], bytes]:
        """Send one request with ``key``."""
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        body = chat_body(model, max_tokens=16)
        return request(self.gateway.port, "POST", "/v1/chat/completions", body, headers)

    def test_requests_per_day(self) -> None:
        """Stop, ``kill -9`` and ``kill -9`` with an undrained journal keep the count of requests."""
        key = self.gateway.cli("keys", "create", "-q", "--name", "k", "--requests-per-day", "6").strip()
        self.assertEqual([self.ask(key)[0] for _ in range(2)], [200, 200])
        self.gateway.stop()
        self.assertEqual(journal_bytes(self.gateway), 0)
        self.gateway.start()
        self.assertEqual([self.ask(key)[0] for _ in range(2)], [200, 200])
        # Neither of these is counted.
        self.assertEqual(self.ask(key, "nobody-has-this")[0], 404)
        self.gateway.kill()
        self.assertGreater(journal_bytes(self.gateway), 0)
        self.gateway.start()
        self.assertEqual(self.ask(key)[0], 200)
        self.gateway.kill()
        self.gateway.start()
        self.assertEqual(self.ask(key)[0], 200)
        status, headers, body = self.ask(key)
        self.assertEqual((status, json.loads(body)["error"]["code"]), (429, "rate_limit_exceeded"))
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        self.assertEqual(self.gateway.chat("plain")[0], 200)
        self.gateway.stop()
        statuses = sorted(row[1] for row in sqlite_rows(self.gateway).all)
        self.assertEqual(statuses, [200] * 7 + [404, 429])

    def test_tokens_per_day(self) -> None:
        """The same for tokens, which are counted as they were used and not as they were reserved."""
        used = json.loads(self.gateway.chat("plain", max_tokens=16)[2])["usage"]["total_tokens"]
        # Room for two answers and the reservation of a third (the body and 16), not of a fourth.
        limit = 2 * used + 50
        self.assertGreater(used, 16)
        key = self.gateway.cli("keys", "create", "-q", "--name", "k", "--tokens-per-day", str(limit)).strip()
        for end in (self.gateway.stop, self.gateway.kill, self.gateway.kill):
            self.assertEqual(self.ask(key)[0], 200)
            end()
            self.gateway.start()
        status, _, body = self.ask(key)
        self.assertEqual((status, json.loads(body)["error"]["code"]), (429, "token_limit_exceeded"))
