"""Runs that are about generator or mock are found out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.harness import Failed
from bench.scenarios import SCENARIOS
from bench.suite import ImpossibleRate, check_enough, check_rate
from bench.validity import Alone, gateway_saturated, judge, mostly_failed

from .blocks import MS, block_of, both, run_of

ALONE = Alone(20_000, 15.0)


class Validity(SynchronousTestCase):
    """What makes a run invalid, and what does not."""

    def test_good(self) -> None:
        """A generator that is on time and has most of its core left makes no reason."""
        verdict = judge(both(), ALONE, 100_000)
        self.assertEqual((verdict.reasons, verdict.could_rps), ((), None))
        self.assertLess(verdict.seen["generator_and_mock_core_share"], 0.1)

    def test_late_generator(self) -> None:
        """Lateness with a free connection is the generator's: at its median, or, when busy, at its P99."""
        for late, own_cpu_s in (([200_000] * 1000, 0.01), ([1000] * 980 + [5 * MS] * 20, 0.7)):
            run = run_of([10 * MS] * 1000, own_cpu_s=own_cpu_s, late=late)
            verdict = judge([block_of("direct", run)], ALONE)
            self.assertIn("the generator sent late", verdict.reasons[0])
            assert verdict.could_rps is not None
            self.assertGreater(verdict.could_rps, 0)

    def test_full_core(self) -> None:
        """Generator and mock that use up their core say so, and what they could have driven."""
        run = run_of([10 * MS] * 1000, own_cpu_s=0.6, watched=(0.45,), late=[1000] * 1000)
        verdict = judge([block_of("direct", run)], ALONE)
        self.assertIn("generator and mock used", verdict.reasons[0])
        assert verdict.could_rps is not None
        self.assertTrue(700 < verdict.could_rps < 1000, verdict)
        self.assertEqual(judge([block_of("direct", run)], ALONE, cores=2).reasons, ())

    def test_parts_together(self) -> None:
        """Generators of parts that run in parallel are added, the mock is counted once."""
        run = run_of([10 * MS] * 1000, own_cpu_s=0.3, watched=(0.3,), late=[1000] * 1000)
        together = [block_of("direct", run, key=key) for key in ("llm", "mcp")]
        share = judge(together, ALONE).seen["generator_and_mock_core_share"]
        self.assertTrue(0.85 < share < 0.91, share)

    def test_late_mock(self) -> None:
        """A busy mock whose timers are late is a reason."""
        run = run_of([10 * MS] * 1000, own_cpu_s=0.4, watched=(0.3,), late=[1000] * 1000)
        verdict = judge([block_of("direct", run)], ALONE, 4 * MS)
        self.assertIn("the mock's timer was late", verdict.reasons[0])

    def test_pauses(self) -> None:
        """Rare lateness of a generator and a mock that have little to do is the machine's: noted only."""
        verdict = judge(both(), ALONE, 4 * MS)
        self.assertEqual((verdict.reasons, verdict.could_rps), ((), None))
        (note,) = verdict.notes
        self.assertIn("P99 is not resolved: the mock's timer was late", note)
        self.assertIn("others, or the host", note)

    def test_slow_gateway(self) -> None:
        """A gateway that cannot keep up is a result: noted, and no reason."""
        blocks = [block_of("direct", run_of([10 * MS] * 100, late=[1000] * 100))]
        slow = run_of([900 * MS] * 100, outcome=b"\7" * 20 + bytes(80), late=[1000] * 100)
        blocks.append(block_of("proxied", slow))
        self.assertEqual(judge(blocks, ALONE).reasons, ())
        self.assertEqual((gateway_saturated(blocks), mostly_failed(blocks)), (True, []))

    def test_mostly_failed(self) -> None:
        """Percentiles of the few that did not fail are not valid."""
        blocks = [block_of("proxied", run_of([1] * 10, outcome=b"\2" * 6 + bytes(4)))]
        self.assertEqual(mostly_failed(blocks), ["most requests failed (llm, proxied)"])

    def test_impossible_rate(self) -> None:
        """A rate above what can be driven is refused with what is possible; a burst counts its spike."""
        check_rate(15_000, SCENARIOS["quick"], ALONE)
        error = self.assertRaises(ImpossibleRate, check_rate, 17_000, SCENARIOS["quick"], ALONE)
        self.assertIsInstance(error, Failed)
        self.assertIn("at most 16,000", str(error))
        error = self.assertRaises(ImpossibleRate, check_rate, 2000, SCENARIOS["burst"], ALONE)
        self.assertIn("at most 1,600", str(error))

    def test_too_few(self) -> None:
        """Phases with blocks that would have no request are refused."""
        check_enough(SCENARIOS["quick"].phases(10, 0.5))
        check_enough(SCENARIOS["mixed"].phases(34, 0.5))
        for name, rate in (("quick", 0.5), ("mixed", 30), ("endurance", 5)):
            error = self.assertRaises(Failed, check_enough, SCENARIOS[name].phases(rate, 0.5))
            self.assertIn("has no request at this rate", str(error))

    def test_scenarios(self) -> None:
        """Every phase has at least five blocks; the shares of the mixed one are those of the table."""
        for scenario in SCENARIOS.values():
            for phase in scenario.phases(scenario.rps, scenario.seconds):
                self.assertGreaterEqual(phase.blocks, 5)
        (mixed,) = SCENARIOS["mixed"].phases(500, 60)
        rates = {part.key: part.legs(1)[0].rate for part in mixed.parts}
        self.assertEqual(rates, {"llm": 300, "mcp": 150, "codemode": 50})
        (realistic,) = SCENARIOS["realistic"].phases(50, 120)
        self.assertEqual((realistic.tokens, realistic.token_ms), (152, 30))
        self.assertEqual([p.seconds for p in SCENARIOS["endurance"].phases(500, 1800)], [1800])
