"""The targets for speed and memory, each measured beside nginx.

The gateway and nginx have the same core in turn, mock and generator the other, unless said.
"""

from __future__ import annotations

import os
import signal
from statistics import median
from typing import Any

from attrs import define, evolve, frozen

from . import generator
from .burst import burst_figures
from .figures import part_figures
from .gateway import Gateway
from .harness import CORES, LOAD_CORE, Nginx, rss_mb
from .measure import Block, Part, Phase, Side, run_phase
from .memory import idle_connections, open_streams
from .progress import Progress
from .rig import Rig
from .sampler import ADDED, Sampler, parse
from .scenarios import SCENARIOS, flat
from .schedules import Leg
from .stats import merge, percentile, slope
from .subjects import LLM, MCP, SMALL, chat_body
from .validity import judge
from .verdicts import Figures


@frozen
class Effort:
    """How long and how often.

    :ivar sustained_s: of the run at 5,000 rps; ``of`` scales most others with it.
    :ivar steady_s: of load at one rate on each way, five blocks together.
    :ivar closed_s: of a closed loop, ``closed_turns`` times.
    :ivar exact_s: of the run in which every request must succeed.
    """

    closed_s: float = 5.0
    closed_turns: int = 5
    steady_s: float = 30.0
    exact_s: float = 60.0
    sustained_s: float = 300.0
    burst_s: float = 180.0
    large_s: float = 20.0
    stream_s: float = 20.0
    stream_turns: int = 3
    starts: int = 5
    idle: int = 2000
    open: int = 2000

    @classmethod
    def of(cls, seconds: float) -> Effort:
        """Give the effort with a run of so many seconds at 5,000 rps."""
        usual = cls()
        share = seconds / usual.sustained_s
        return evolve(
            usual,
            sustained_s=seconds,
            steady_s=usual.steady_s * share,
            burst_s=usual.burst_s * share,
            large_s=usual.large_s * share,
            stream_s=usual.stream_s * share,
        )


QUICK = Effort(1.0, 1, 3.0, 3.0, 5.0, 9.0, 3.0, 3.0, 1, 1, 500, 500)


@define
class Targets:
    """One measurement after the other; what was measured before an interruption is in ``figures``.

    :ivar reasons: why figures are about generator or mock.
    :ivar notes: what the machine did not resolve.
    """

    rig: Rig
    effort: Effort
    progress: Progress
    figures: Figures
    seed: int
    reasons: list[str]
    notes: list[str]
    _nginx: Nginx | None = None

    def measure(self) -> None:
        """Measure everything."""
        self._starts()
        self._workers()
        self._memory()
        if Nginx.find():
            self._nginx = Nginx(self.rig.folder / "nginx", self.rig.mock.port)
            self._nginx.start()
        try:
            self.rig.pin(True)
            self._closed(self.rig.proxied(), 64, 0.5)
            self._closed_loops()
            for rate in (1000, 2000):
                self._steady(rate)
            self._exact()
            self._large()
            self._streams()
            self._burst()
            self._sustained()
        finally:
            if self._nginx is not None:
                self._nginx.stop()

    # -- one after the other

    def _starts(self) -> None:
        self.progress.phase("cold start")
        gateway = self.rig.gateway
        assert self.rig.cold_start_s is not None
        again = [self.rig.cold_start_s[1]]
        for _ in range(self.effort.starts - 1):
            gateway.stop()
            again.append(gateway.start(chat_body(SMALL)))
        self.rig.settle()
        self.figures.add(
            "memory of one process for everything", self.rig.rss_mb(), "MB", note="after a request"
        )
        note = f"first start on an empty store {self.rig.cold_start_s[0]:.2f} s"
        self.figures.add("cold start with control plane", median(again), "s", most=0.8, note=note)

    def _workers(self) -> None:
        """Measure what a worker is by itself; killed ones start beside a control plane that is there."""
        self.progress.phase("workers")
        self.rig.gateway.stop()
        gateway = Gateway(self.rig.folder / "workers", self.rig.mock.port, name="workers", workers="2")
        try:
            gateway.start(chat_body(SMALL))
            for _ in range(self.effort.starts):
                known = len(gateway.worker_starts_s())
                os.kill(gateway.worker_pids()[0], signal.SIGKILL)
                gateway.wait_for_worker(known)
            self.rig.settle()
            started = gateway.worker_starts_s()[2:]
            self.figures.add("cold start of a worker", median(started), "s", most=0.4, note="start to ready")
            most = max(rss_mb(pid) for pid in gateway.worker_pids())
            self.figures.add("memory of an idle worker", most, "MB", most=65, note="the larger of two")
        finally:
            gateway.stop()
        self.rig.gateway.start(chat_body(SMALL))

    def _closed(self, side: Side, connections: int, seconds: float) -> generator.ClosedRun:
        watch = side.watch()
        path = side.path_of(LLM) or ""
        body = chat_body(SMALL)
        return generator.closed(side.port, body, side.headers, connections, seconds, watch, LOAD_CORE, path)

    def _closed_loops(self) -> None:
        self.progress.phase("closed loop, 256 connections")
        sides = [self.rig.proxied(), *self._floor()]
        runs: dict[str, list[generator.ClosedRun]] = {side.name: [] for side in sides}
        for turn in range(self.effort.closed_turns):
            for side in sides if turn % 2 == 0 else sides[::-1]:
                self.progress.block("closed loop", side.name, turn, self.effort.closed_turns)
                runs[side.name].append(self._closed(side, 256, self.effort.closed_s))
        rps = {name: median(run.rps for run in found) for name, found in runs.items()}
        cpu = {
            name: median(sum(r.watched_cpu_s) * 1e6 / max(1, r.completed) for r in found)
            for name, found in runs.items()
        }
        failed = sum(sum(run.errors.values()) for run in runs["proxied"])
        self.figures.add("closed loop, 256 connections", rps["proxied"], "req/s", note=f"{failed} errors")
        floor = "nginx" in rps
        note = f"nginx {rps['nginx']:,.0f} req/s" if floor else _NO_NGINX
        alone = self.rig.alone.rps
        if floor and rps["nginx"] > _CEILING * alone:
            note += f", held back by a generator that can {alone:,.0f}: at most this, see CPU"
        ratio = rps["proxied"] / rps["nginx"] if floor else None
        self.figures.add("closed loop, times nginx", ratio, "", least=0.45, note=note)
        self.figures.add("CPU per request, closed loop", cpu["proxied"], "us")
        note = f"nginx {cpu['nginx']:.0f} us" if floor else _NO_NGINX
        ratio = cpu["proxied"] / cpu["nginx"] if floor else None
        self.figures.add("CPU per request, closed loop, times nginx", ratio, "", most=3, note=note)

    def _steady(self, rate: int) -> None:
        part = Part(LLM.key, LLM, flat(rate))
        before = parse(self.rig.metrics(), ADDED)
        found = self._phase(Phase(f"{rate:,} rps", (part,), self.effort.steady_s))
        inside = parse(self.rig.metrics(), ADDED).since(before).quantile(0.5)
        ours, floor = found["overhead"], found.get("overhead_nginx")
        low, high = ours["p50_ci_us"]
        self.figures.add(
            f"added P50 at {rate:,} rps",
            ours["p50_us"],
            "us",
            most=350 if rate == 1000 else 300,
            note=f"95 % interval {low:.0f} to {high:.0f} us",
        )
        off, note = None, "nothing was measured inside"
        if inside and ours["p50_us"] > 0:
            off = abs(inside * 1e6 / ours["p50_us"] - 1) * 100
            note = f"inside {inside * 1e6:.0f} us, outside {ours['p50_us']:.0f} us"
        self.figures.add(
            f"added P50 at {rate:,} rps, inside and outside differ by", off, "%", most=10, note=note
        )
        note = f"nginx {floor['p50_us']:.0f} us" if floor else _NO_NGINX
        ratio = ours["p50_us"] / floor["p50_us"] if floor and floor["p50_us"] > 0 else None
        self.figures.add(f"added P50 at {rate:,} rps, times nginx", ratio, "", most=2, note=note)
        low, high = ours["p99_ci_us"]
        self.figures.add(
            f"added P99 at {rate:,} rps",
            ours["p99_us"],
            "us",
            note=f"95 % interval {low:.0f} to {high:.0f} us",
        )
        cpu = found["proxied"]["gateway_cpu_us_per_request"]
        self.figures.add(f"CPU per request at {rate:,} rps", cpu, "us")
        theirs = found["nginx"]["gateway_cpu_us_per_request"] if floor else None
        note = f"nginx {theirs:.0f} us" if theirs else _NO_NGINX
        bound = 2.3 if rate == 2000 else None
        self.figures.add(
            f"CPU per request at {rate:,} rps, times nginx",
            cpu / theirs if theirs else None,
            "",
            most=bound,
            note=note,
        )

    def _exact(self) -> None:
        seconds = self.effort.exact_s
        wanted = round(2000 * seconds)
        for subject in (LLM, MCP):
            name = f"2,000 rps for {seconds:g} s, {subject.title}: of {wanted:,} succeed"
            if subject.skipped:
                self.figures.add(name, None, "", least=wanted, note=subject.skipped)
                continue
            part = Part(subject.key, subject, flat(2000))
            blocks = self._blocks(Phase(name, (part,), seconds, blocks=1), [self.rig.proxied()])
            good = sum(block.run.outcome.count(0) for block in blocks)
            errors = {k: v for block in blocks for k, v in block.run.errors.items()}
            self.figures.add(name, good, "", least=wanted, note=f"errors {errors}" if errors else "")

    def _large(self) -> None:
        for phase in SCENARIOS["large-payload"].phases(100, self.effort.large_s):
            found = self._phase(phase)
            bound = 1000 if phase.parts[0].size < 1_000_000 else 5000
            title = phase.title.removeprefix("LLM, ")
            self.figures.add(
                f"added P50 with a body of {title}", found["overhead"]["p50_us"], "us", most=bound
            )

    def _streams(self) -> None:
        events, interval_s, count = round(self.effort.stream_s * 20), 0.05, 500
        self.rig.mock.configure(events=events, interval_us=round(interval_s * 1e6))
        # The ramp is no multiple of the interval, so that streams do not fire together.
        ramp = 0.733
        part = Part(
            LLM.key,
            LLM,
            lambda seconds: (Leg("ramp", ramp, count / ramp),),
            size=400,
            stream=True,
            connections=count,
        )
        turns = self.effort.stream_turns
        phase = Phase(
            "500 streams", (part,), ramp * turns, turns, warmup_s=0, tokens=events, token_ms=interval_s * 1000
        )
        blocks = self._blocks(phase, [self.rig.direct(), self.rig.proxied(), *self._floor(streams=True)])
        per: dict[str, float] = {}
        delay: dict[str, float] = {}
        for name in {block.side for block in blocks}:
            of_side = [block for block in blocks if block.side == name]
            cpu = sum(block.server_cpu_s for block in of_side)
            per[name] = cpu * 1e6 / max(1, sum(block.run.events for block in of_side))
            gaps = merge([block.run.gaps_ns for block in of_side])
            delay[name] = percentile(gaps, 0.5) / 1e3 if gaps else float("nan")
        proxied = [block for block in blocks if block.side == "proxied"]
        lost = sum(block.run.events_lost for block in proxied)
        held = max(block.run.held for block in proxied)
        note = f"{held} held, {lost} events lost, set-up of the streams included"
        self.figures.add(
            "SSE, 500 streams of 20 events/s: CPU per event", per["proxied"], "us", most=50, note=note
        )
        ratio = per["proxied"] / per["nginx"] if per.get("nginx") else None
        note = f"nginx {per['nginx']:.0f} us" if ratio else _NO_NGINX
        self.figures.add("SSE CPU per event, times nginx", ratio, "", most=2.5, note=note)
        note = f"nginx {delay['nginx'] - delay['direct']:.0f} us" if "nginx" in delay else _NO_NGINX
        self.figures.add(
            "SSE added event delay P50", delay["proxied"] - delay["direct"], "us", most=100, note=note
        )

    def _burst(self) -> None:
        (phase,) = SCENARIOS["burst"].phases(SCENARIOS["burst"].rps, self.effort.burst_s)
        blocks = self._blocks(phase, [self.rig.direct(), self.rig.proxied()])
        proxied = burst_figures(blocks, LLM.key)["proxied"]
        errors = sum(leg["errors"] for leg in proxied["legs"].values())
        self.figures.add("burst to ten times: errors", errors, "", most=0)
        recovery = proxied["recovery_s"]
        self.figures.add(
            "burst: back at the baseline's P99 after",
            recovery["max"],
            "s",
            most=1,
            note=f"the slowest of {len(recovery['passes'])} passes"
            if recovery["max"] is not None
            else f"passes {recovery['passes']}",
        )

    def _sustained(self) -> None:
        scenario = SCENARIOS["sustained"]
        core = self.rig.pin(False)
        phase = scenario.phases(scenario.rps, self.effort.sustained_s)[0]
        sampler = Sampler(lambda: self.rig.gateway.pid, self.rig.metrics)
        sampler.start()
        try:
            blocks = self._blocks(phase, [self.rig.direct(), self.rig.proxied()], core, len(CORES))
        finally:
            sampler.stop()
            self.rig.pin(True)
        found = part_figures(blocks, LLM.key, self.seed)
        title = f"5,000 rps for {self.effort.sustained_s:g} s on {len(CORES)} cores"
        proxied = found["proxied"]
        note = f"{proxied['achieved_rps']:,.0f} rps; errors {proxied['errors'] or 'none'}"
        self.figures.add(f"{title}: success", proxied["success"] * 100, "%", least=100, note=note)
        self.figures.add(f"{title}: added P50", found["overhead"]["p50_us"], "us", most=500)
        # The first fifth is the filling of caches and pools.
        late = sampler.samples[len(sampler.samples) // 5 :]
        line = slope([(sample.at / 60, sample.rss_mb) for sample in late])
        note = f"standard error {line.error:.3f}; zero when within two of it" if line else "too short"
        beyond = None if line is None else max(0.0, abs(line.per_unit) - 2 * line.error)
        self.figures.add(f"{title}: memory slope beyond its error", beyond, "MB/min", most=0.05, note=note)

    def _memory(self) -> None:
        self.progress.phase("memory of idle connections and open streams")
        # Memory that an earlier load left free would hide what is needed, so each has a fresh start; and
        # a short load goes before, because what comes with the first requests is not a connection's.
        self._fresh()
        each, count = idle_connections(self.rig.gateway, self.effort.idle)
        self.figures.add("memory of an idle connection", each, "KB", most=4, note=f"{count:,} connections")
        self._fresh()
        each, count = open_streams(self.rig, self.effort.open)
        self.figures.add("memory of an open stream", each, "KB", most=15, note=f"{count:,} streams held")
        self.rig.restart()

    def _fresh(self) -> None:
        self.rig.restart()
        self._closed(self.rig.proxied(), 16, 0.5)
        self.rig.settle()

    # -- helpers

    def _floor(self, *, streams: bool = False) -> list[Side]:
        nginx = self._nginx
        if nginx is None:
            return []
        pids = (nginx.pid,) if nginx.pid else ()
        port = nginx.stream_port if streams else nginx.port
        return [Side(nginx.name, port, (), lambda subject: subject.direct_path, lambda: pids)]

    def _blocks(
        self, phase: Phase, sides: list[Side], core: int | None = LOAD_CORE, cores: int = 1
    ) -> list[Block]:
        self.progress.phase(phase.title)
        blocks: list[Block] = []
        self.rig.mock_late_ns()
        run_phase(phase, sides, self.rig.mock_pid, core, self.progress, self.seed, blocks)
        verdict = judge(blocks, self.rig.alone, self.rig.mock_late_ns(), cores)
        self.reasons += [f"{phase.title}: {reason}" for reason in verdict.reasons]
        self.notes += [f"{phase.title}: {note}" for note in verdict.notes]
        return blocks

    def _phase(self, phase: Phase) -> dict[str, Any]:
        sides = [self.rig.direct(), self.rig.proxied(), *self._floor()]
        return part_figures(self._blocks(phase, sides), phase.parts[0].key, self.seed)


#: Share of what generator and mock can do alone, from which on they are what limits.
_CEILING = 0.8
_NO_NGINX = "nginx is not installed: apt install nginx-light"
