"""The figures of one contender, by the same code for each."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Callable

from attrs import define, field, frozen

from .. import generator
from ..figures import added, part_figures, us
from ..generator import ClosedRun
from ..harness import LOAD_CORE, rss_mb
from ..measure import PROXIED, Block, Part, Phase, Side, Tell, run_phase
from ..schedules import Leg
from ..stats import percentile
from ..subjects import LLM, SMALL, Subject, chat_body, headers_of
from ..validity import Alone, judge
from .frontier import BOUNDS_US, Frontier, Window, search
from .server import Contender, must_refuse

RATE = 500.0
CONNECTIONS = 256
#: Requests that a window should hold for its P99 to mean something, unless that takes too long.
_ENOUGH, _LONGEST_S = 300, 6.0
_WARMUP_S, _ROUNDS, _LONGEST_ROUND_S = 0.3, 6, 8.0
#: The last reply may come so long after its request was due, and a tenth of the window.
_DRAIN_S = 0.2


@frozen
class Effort:
    """How long and how often.

    :ivar starts: cold starts after the first.
    :ivar turns: blocks of each way at concurrency 1 and at the fixed rate, of ``turn_s`` each.
    :ivar closed_s: length of the closed loop.
    :ivar pairs: of windows at each rate of the search, of ``window_s`` each at least.
    :ivar search_s: after so long no further rate is tried.
    :ivar rest_s: before memory is read, idle and after the load.
    """

    starts: int = 2
    turns: int = 5
    turn_s: float = 3.0
    closed_s: float = 5.0
    pairs: int = 3
    window_s: float = 1.0
    search_s: float = 120.0
    rest_s: float = 3.0

    @classmethod
    def of(cls, seconds: float | None) -> Effort:
        """Give what fits to so many seconds of load at the fixed rate; ``None`` for the usual."""
        if seconds is None:
            return cls()
        seconds = min(seconds, 60.0)
        return cls(
            turn_s=seconds / 5,
            closed_s=min(5.0, seconds / 3),
            window_s=min(1.0, seconds / 10),
            search_s=min(120.0, seconds * 8),
            rest_s=min(3.0, seconds / 5),
        )


@define
class Measuring:
    """Measures one contender after the other beside the direct way to the same mock.

    :ivar direct: the way without anything between.
    :ivar alone: what generator and mock can do.
    :ivar clock: seconds, monotonic.
    """

    direct: Side
    mock_pid: int
    alone: Alone
    effort: Effort
    tell: Tell
    seed: int = 1
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    body: bytes = field(factory=lambda: chat_body(SMALL))

    def measure(self, name: str, contender: Contender) -> dict[str, Any]:
        """Start it, measure everything, and end it whatever happens.

        :raises Failed: it does not serve, or serves a wrong key.
        """
        try:
            first = contender.start(self.body)
            must_refuse(name, contender, self.body)
            again = []
            for _ in range(self.effort.starts):
                contender.stop()
                again.append(contender.start(self.body))
            self.sleep(self.effort.rest_s)
            memory = {"idle": _rss(contender)}
            side = self._side(contender)
            # Warms it up as well.
            speed = self._closed(side, 8, 1.0).rps
            one = self._one_at_a_time(name, side)
            closed = self._saturated(name, side, speed)
            memory["loaded"] = round(sum(closed.watched_rss_kb) / 1024, 1)
            self.sleep(self.effort.rest_s)
            frontier = self._frontier(name, side, closed.rps)
            found = self._at_rate(name, side, frontier, closed.rps)
            self.sleep(self.effort.rest_s)
            memory["after"] = _rss(contender)
        finally:
            contender.stop()
        return {
            **found,
            "concurrency_1": one,
            "closed": _closed_figures(closed),
            "frontier": frontier_json(frontier),
            "rss_mb": memory,
            "cold_start_s": round(median(again or [first]), 3),
            "cold_starts_s": [round(seconds, 3) for seconds in (first, *again)],
        }

    def _side(self, contender: Contender) -> Side:
        def path_of(subject: Subject) -> str | None:
            return subject.gateway_path if subject is LLM else None

        lines = tuple(f"{name}: {value}" for name, value in contender.headers.items())
        return Side(PROXIED, contender.port, lines, path_of, contender.pids)

    def _closed(self, side: Side, connections: int, seconds: float, warmup: float = _WARMUP_S) -> ClosedRun:
        headers = (*headers_of(LLM), *side.headers)
        path = side.path_of(LLM) or ""
        return generator.closed(
            side.port, self.body, headers, connections, seconds, side.watch(), LOAD_CORE, path, warmup
        )

    def _saturated(self, name: str, side: Side, speed: float) -> ClosedRun:
        """Saturate it with :data:`CONNECTIONS`, for some rounds of all of them.

        A slow server answers them in bunches, so a window of few rounds would count one too much or
        too little.

        :param speed: what few connections get, which tells how long a round may take.
        """
        self.tell.block(f"{name}, {CONNECTIONS} connections", side.name, 0, 1)
        round_s = min(_LONGEST_ROUND_S, CONNECTIONS / max(speed, 1.0))
        seconds = max(self.effort.closed_s, _ROUNDS * round_s)
        return self._closed(side, CONNECTIONS, seconds, max(_WARMUP_S, round_s))

    def _one_at_a_time(self, name: str, side: Side) -> dict[str, Any]:
        """Measure both ways in turn with one connection that asks again when it has its reply."""
        samples: dict[str, list[Any]] = {self.direct.name: [], side.name: []}
        sides = [self.direct, side]
        for turn in range(self.effort.turns):
            for place, one in enumerate(sides if turn % 2 == 0 else sides[::-1]):
                self.tell.block(f"{name}, one at a time", one.name, 2 * turn + place, 2 * self.effort.turns)
                samples[one.name].append(self._closed(one, 1, self.effort.turn_s).latency_ns)
        return added(samples[self.direct.name], samples[side.name], self.seed)

    def _blocks(self, title: str, side: Side, rate: float, seconds: float, turns: int) -> list[Block]:
        part = Part("llm", LLM, lambda length: (Leg("steady", length, rate),))
        blocks: list[Block] = []
        phase = Phase(title, (part,), seconds * turns, turns)
        run_phase(phase, [self.direct, side], self.mock_pid, LOAD_CORE, self.tell, self.seed, blocks)
        return blocks

    def _frontier(self, name: str, side: Side, capacity: float) -> Frontier:
        until = self.clock() + self.effort.search_s

        def windows(rate: float) -> list[Window]:
            found: list[Window] = []
            seconds = max(self.effort.window_s, min(_LONGEST_S, _ENOUGH / rate))
            late: list[Window] = []
            # Windows in which the machine did something else are repeated, but not for ever.
            while len(found) < self.effort.pairs and len(late) < self.effort.pairs:
                blocks = self._blocks(f"{name}, frontier, {rate:,.0f} req/s", side, rate, seconds, 1)
                window = window_of(blocks, self.alone)
                (late if window.generator_late else found).append(window)
                if window.overloaded:
                    # It would only be flooded again; what is left of it must not hit the next rate.
                    self.sleep(min(1.0, self.effort.rest_s))
                    break
            return found or late

        # Not more than a closed loop with many connections gets, but that was one run.
        return search(windows, max(10.0, capacity * 1.25), lambda: self.clock() < until)

    def _at_rate(self, name: str, side: Side, frontier: Frontier, capacity: float) -> dict[str, Any]:
        """Measure at :data:`RATE`, or at the highest rate that it sustains."""
        loosest = frontier.at(BOUNDS_US[-1])
        rate, why = RATE, "the fixed rate"
        if loosest.rps < RATE and (loosest.limited_by == "server" or capacity < 2 * RATE):
            rate = max(1.0, float(int(loosest.rps or capacity / 2)))
            why = "the highest rate found that keeps the added P99 within 50 ms"
            if not loosest.rps:
                why = "half of the closed loop; no rate was found that keeps the added P99 within 50 ms"
        blocks = self._blocks(f"{name}, {rate:,.0f} req/s", side, rate, self.effort.turn_s, self.effort.turns)
        verdict = judge(blocks, self.alone)
        return {
            "llm": part_figures(blocks, "llm", self.seed),
            "rate": {"rps": rate, "why": why},
            "valid": not verdict.reasons,
            "reasons": list(verdict.reasons),
        }


def window_of(blocks: list[Block], alone: Alone) -> Window:
    """Make one window of a direct and a proxied block."""
    ways = {block.side: block for block in blocks}
    proxied = ways.pop(PROXIED)
    (direct,) = ways.values()
    p99 = None
    if proxied.ordered and direct.ordered:
        p99 = us(percentile(proxied.ordered, 0.99) - percentile(direct.ordered, 0.99))
    intended = proxied.run.intended_ns
    span = (intended[-1] - intended[0]) / 1e9
    return Window(
        p99,
        sum(proxied.run.errors.values()),
        proxied.run.seconds - span > _DRAIN_S + 0.1 * span,
        bool(judge(blocks, alone).reasons),
    )


def frontier_json(frontier: Frontier) -> dict[str, Any]:
    """Give the frontier as it stands in a report."""
    return {
        "at_added_p99": [
            {
                "bound_ms": found.bound_us / 1000,
                "rps": round(found.rps, 1),
                "next_rps": None if found.next_rps is None else round(found.next_rps, 1),
                "limited_by": found.limited_by,
            }
            for found in frontier.found
        ],
        "tried": [
            {
                "rps": round(one.rate, 1),
                "added_p99_us": [window.added_p99_us for window in one.windows],
                "overloaded": [window.overloaded for window in one.windows],
                "generator_late": [window.generator_late for window in one.windows],
            }
            for one in frontier.tried
        ],
    }


def _closed_figures(run: ClosedRun) -> dict[str, Any]:
    cpu = sum(run.watched_cpu_s) * 1e6 / run.completed if run.completed else None
    return {
        "connections": CONNECTIONS,
        "rps": round(run.rps, 1),
        "cpu_us_per_request": None if cpu is None else round(cpu, 1),
        "errors": dict(run.errors),
    }


def _rss(contender: Contender) -> float:
    pids = contender.pids()
    return round(rss_mb(pids[0]), 1) if pids else 0.0
