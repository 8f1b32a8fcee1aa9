"""Admission, refusal and settlement."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.gate.support import REQUEST_ID, START_MS, Surroundings, principal
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits, Scope
from voidllm.core.usage import TokenCounts
from voidllm.core.work import Outcome
from voidllm.gate.admission import AdmissionSettledTwice

DONE = Outcome(200, "", "gpt", "openai", TokenCounts(input=10, output=5), "provider_final")


def limited(**numbers: int) -> tuple[Scope, ...]:
    """Give a limit of the key."""
    return (Scope("key", "key-1", Limits(**numbers)),)


class AdmitTests(SynchronousTestCase):
    """From an ask to a usage row."""

    def test_admit_and_settle(self) -> None:
        """A settled admission is one row with its model, tokens, cost and duration."""
        box = Surroundings()
        admission = box.gate.admit(box.who, box.ask("smart", stream=True))
        self.assertEqual((admission.model.name, box.gate.in_flight, box.journal.rows), ("gpt", 1, []))
        box.clock.advance(0.25)
        admission.settle(evolve(DONE, ttft_ms=100))
        self.assertEqual(box.gate.in_flight, 0)
        (row,) = box.journal.rows
        self.assertEqual(row.id[14], "7")
        self.assertEqual((row.model, row.requested_model, row.deployment), ("gpt", "smart", "gpt"))
        self.assertEqual((row.request_id, row.started_ms, row.duration_ms), (REQUEST_ID, START_MS, 250))
        self.assertEqual((row.cost_nano, row.price_version, row.ttft_ms), (40, "config-1", 100))
        self.assertEqual((row.org_id, row.team_id, row.user_id), ("org-1", "team-1", "user-1"))
        self.assertEqual((row.stream, row.source, row.error_code), (True, "provider_final", ""))
        self.assertEqual(box.metrics.calls, [("settled", 200)])

    def test_no_price(self) -> None:
        """A model without a price has no cost, which is not a cost of nothing."""
        box = Surroundings()
        box.gate.admit(box.who, box.ask("cheap")).settle(DONE)
        self.assertEqual((box.journal.rows[0].cost_nano, box.journal.rows[0].price_version), (None, ""))

    def test_settled_twice(self) -> None:
        """A second settlement raises and writes nothing."""
        box = Surroundings()
        admission = box.gate.admit(box.who, box.ask())
        admission.settle(DONE)
        self.assertRaises(AdmissionSettledTwice, admission.settle, DONE)
        self.assertEqual((len(box.journal.rows), box.gate.in_flight), (1, 0))

    def test_forgotten_admission(self) -> None:
        """An admission that is never settled shows in the gauge."""
        box = Surroundings()
        for _ in range(3):
            box.gate.admit(box.who, box.ask())
        self.assertEqual(box.gate.in_flight, 3)

    def _refused(self, box: Surroundings, target: str = "gpt", tokens: int = 1000) -> Refusal:
        refusal = self.assertRaises(Refusal, box.gate.admit, box.who, box.ask(target, tokens))
        self.assertEqual(box.gate.in_flight, 0)
        return refusal

    def test_unknown_model(self) -> None:
        """A model that does not exist is a 404, and what was asked for is nowhere."""
        box = Surroundings()
        refusal = self._refused(box, "canary-7f3a")
        self.assertEqual((refusal.status, refusal.code, refusal.param), (404, "model_not_found", "model"))
        (row,) = box.journal.rows
        self.assertEqual((row.status, row.error_code, row.source), (404, "model_not_found", "none"))
        self.assertEqual((row.model, row.requested_model), ("", ""))
        self.assertNotIn("canary", repr(row) + repr(refusal) + str(refusal))
        self.assertEqual(box.metrics.calls, [("refused", "model_not_found", 404)])

    def test_unknown_model_costs_nothing(self) -> None:
        """Asking for models that do not exist, or may not be used, uses up no limit."""
        box = Surroundings(principal(counted=limited(requests_per_minute=1), access=(frozenset({"gpt"}),)))
        self._refused(box, "nothing")
        self._refused(box, "free")
        box.gate.admit(box.who, box.ask())

    def test_access(self) -> None:
        """A model outside an access list is a 403, and the row names it; so is any if the list is empty."""
        box = Surroundings(principal(access=(frozenset({"free"}),)))
        refusal = self._refused(box, "smart")
        self.assertEqual((refusal.status, refusal.code), (403, "model_access_denied"))
        self.assertEqual((box.journal.rows[0].model, box.journal.rows[0].requested_model), ("gpt", "smart"))
        box.publish(principal(access=(frozenset(),)))
        self.assertEqual(self._refused(box, "free").status, 403)

    def test_limited(self) -> None:
        """Over a limit is a 429 with headers and a time, a row, and a count by kind of limit."""
        box = Surroundings(principal(counted=limited(requests_per_minute=1)))
        box.gate.admit(box.who, box.ask()).settle(DONE)
        refusal = self.assertRaises(Refusal, box.gate.admit, box.who, box.ask())
        self.assertEqual((refusal.status, refusal.code), (429, "rate_limit_exceeded"))
        self.assertIn((b"x-ratelimit-remaining-requests", b"0"), refusal.headers)
        assert refusal.retry_after_ms is not None
        self.assertEqual(box.journal.rows[-1].status, 429)
        self.assertEqual(
            box.metrics.calls[1:], [("limited", "request"), ("refused", "rate_limit_exceeded", 429)]
        )
        box.clock.advance(refusal.retry_after_ms / 1000)
        box.gate.admit(box.who, box.ask())

    def test_token_limited(self) -> None:
        """Tokens are reserved before the call and settled to the truth after it."""
        box = Surroundings(principal(counted=limited(tokens_per_day=2000)))
        admission = box.gate.admit(box.who, box.ask(tokens=1500))
        refusal = self.assertRaises(Refusal, box.gate.admit, box.who, box.ask(tokens=1500))
        self.assertEqual(refusal.code, "token_limit_exceeded")
        self.assertIn(("limited", "token"), box.metrics.calls)
        admission.settle(DONE)
        second = box.gate.admit(box.who, box.ask(tokens=1500))
        self.assertIn((b"x-ratelimit-remaining-tokens", b"485"), second.rate_headers())

    def test_no_rate_headers(self) -> None:
        """Without limits there are no rate headers."""
        box = Surroundings()
        self.assertEqual(box.gate.admit(box.who, box.ask()).rate_headers(), ())

    def test_draining(self) -> None:
        """A gate that drains refuses with 503 and still settles what it admitted."""
        box = Surroundings()
        admission = box.gate.admit(box.who, box.ask())
        box.gate.draining = True
        refusal = self.assertRaises(Refusal, box.gate.admit, box.who, box.ask("canary"))
        self.assertEqual((refusal.status, refusal.code), (503, "service_unavailable"))
        assert refusal.retry_after_ms is not None
        self.assertEqual(box.journal.rows[0].requested_model, "")
        admission.settle(DONE)
        self.assertEqual([row.status for row in box.journal.rows], [503, 200])

    def test_journal_refuses(self) -> None:
        """Without room for rows nothing is admitted, and no refusal takes what room is left."""
        box = Surroundings()
        box.journal.open = False
        refusal = self._refused(box)
        self.assertEqual((refusal.status, refusal.code), (503, "journal_full"))
        box.gate.refuse(box.who, box.ask(), Refusal(400, "bad_request", "no"))
        self.assertEqual(box.journal.rows, [])
        self.assertEqual(
            box.metrics.calls, [("refused", "journal_full", 503), ("refused", "bad_request", 400)]
        )

    def test_journal_full_at_settlement(self) -> None:
        """A journal that fills up meanwhile keeps the row itself; the caller goes on."""
        box = Surroundings()
        admission = box.gate.admit(box.who, box.ask())
        box.journal.full = True
        admission.settle(DONE)
        self.assertEqual((len(box.journal.rows), box.gate.in_flight), (1, 0))

    def test_callers_refusal(self) -> None:
        """What the caller refuses itself is a row with its code, and never with the target."""
        box = Surroundings()
        box.clock.advance(1)
        box.gate.refuse(box.who, box.ask("canary"), Refusal(400, "bad_request", "no", param="messages"))
        (row,) = box.journal.rows
        self.assertEqual((row.status, row.error_code, row.endpoint), (400, "bad_request", "chat/completions"))
        self.assertNotIn("canary", repr(row))
        self.assertEqual(box.metrics.calls, [("refused", "bad_request", 400)])

    def test_clock_steps_back(self) -> None:
        """A wall clock that steps back does not make a duration negative."""
        box = Surroundings()
        admission = box.gate.admit(box.who, box.ask())
        box.wall_offset_ms -= 3_600_000
        box.clock.advance(0.1)
        admission.settle(DONE)
        self.assertEqual(box.journal.rows[0].duration_ms, 100)
