"""How long reports on usage take: a million events over ninety days, on SQLite and on PostgreSQL.

``./dev bench reports`` fills both stores through the way that the journal takes and asks every question by
up to two groups, and those by three that have no time in them, of one day up to ninety. A question is one
of a dashboard if its whole answer fits on a page; those must be answered in time.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Callable, Iterator

import click
from attrs import evolve, frozen

from voidllm.core.ids import uuid7
from voidllm.core.usage import TokenCounts, UsageEvent
from voidllm.core.usage_line import encode_line
from voidllm.core.world import World
from voidllm.store import open_store, usage_roll
from voidllm.store.records import Org, UsageQuery

#: 2026-11-24 10:30 UTC.
NOW_MS = 1_795_516_200_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
DAYS, TEAMS, KEYS, MODELS, TAGS = 90, 20, 200, 10, 5
ZONE = "Europe/Berlin"
ORG = "0199c0de-7a1b-7c3d-8e9f-0123456789ab"

#: What a question of a dashboard may take.
TARGET_MS = 200.0
#: Lines of a page.
PAGE = 1000
_TRIES = 5
#: Nobody waits for the other tries of a question that takes this long.
_LONG_MS = 400.0
_BATCH = {"sqlite": 2048, "postgres": 500}
# Loading in the order of time is all that is in no hurry here: fewer, larger transactions.
_ROWS = 65_536

WINDOWS = (("24 h", 1), ("7 d", 7), ("14 d", 14), ("30 d", 30), ("90 d", 90))
_NAMES = ("model", "provider", "deployment", "team", "user", "key", "tag", "status")


@frozen
class Timing:
    """How long a question took, at best.

    :ivar lines: of the answer; more than :data:`PAGE` if it does not fit.
    """

    name: str
    ms: float
    lines: int

    @property
    def dashboard(self) -> bool:
        """Whether it has to meet the target."""
        return self.lines <= PAGE


def questions() -> Iterator[tuple[str, UsageQuery]]:
    """Give every question with the words that it is shown with."""
    for title, days in WINDOWS:
        base = UsageQuery(
            NOW_MS - days * DAY_MS, NOW_MS + 1, (), (("org", ORG),), PAGE + 1, ZONE, NOW_MS, True
        )
        grains = ("hour", "day") if days <= 7 else ("day",) if days < 90 else ("day", "month")
        groups: list[tuple[str, ...]] = [(), *((name,) for name in (*_NAMES, *grains))]
        groups += combinations(_NAMES, 2)
        groups += ((grain, name) for grain in grains for name in _NAMES)
        groups += combinations(_NAMES, 3)
        for group in groups:
            yield f"{title} by {', '.join(group) or 'nothing'}", evolve(base, group_by=group)
        for name, value in (("key", _key(7)), ("user", _key(7)), ("team", _team(3)), ("model", "model-3")):
            where = (*base.where, (name, value))
            for group in (("day",), ("model",), ("day", "model"), ("team", "key"), ("model", "status")):
                asked = evolve(base, group_by=group, where=where)
                yield f"{title} by {', '.join(group)} of one {name}", asked


def _key(number: int) -> str:
    return f"0199c0de-0000-7000-8000-{number:012d}"


def _team(number: int) -> str:
    return f"0199c0de-0000-7000-a000-{number:012d}"


def lines(count: int, seed: int = 1) -> Iterator[bytes]:
    """Give usage lines in the order of their times; every key uses every model, evenly."""
    rng = Random(seed)
    span = DAYS * DAY_MS
    for number in range(count):
        started = NOW_MS - span + span * number // count
        key, model = rng.randrange(KEYS), rng.randrange(MODELS)
        status = 200 if rng.random() < 0.96 else rng.choice((400, 429, 499, 500))
        wait = int(rng.lognormvariate(5.5, 0.8))
        yield encode_line(
            UsageEvent(
                id=uuid7(started, rng.randbytes),
                request_id=uuid7(started, rng.randbytes),
                started_ms=started,
                kind="llm",
                endpoint="chat/completions",
                org_id=ORG,
                key_id=_key(key),
                key_type="user_key",
                status=status,
                duration_ms=wait + int(rng.lognormvariate(7.5, 1.0)),
                model=f"model-{model}",
                requested_model=f"model-{model}",
                deployment=f"model-{model}/0",
                provider=f"provider-{model % 4}",
                team_id=_team(key % TEAMS),
                user_id=_key(key),
                stream=True,
                tokens=TokenCounts(input=rng.randrange(5000), output=rng.randrange(1, 1000)),
                source="provider_final",
                cost_nano=rng.randrange(10_000_000),
                price_version="bench",
                ttft_ms=wait,
                # Each key works for two of the projects.
                tags=f"project:{'abcde'[(key + rng.randrange(2)) % TAGS]}",
            )
        )


async def fill(store: Any, batch: int, count: int) -> float:
    """Bring ``count`` events into an empty store; gives microseconds for each."""
    usage_roll.ROWS = _ROWS
    await store.create_org(Org(ORG, "Bench", "bench", NOW_MS, timezone=ZONE))
    spent_s, waiting, number = 0.0, list[bytes](), 0
    for line in (*lines(count), None):
        if line is not None:
            waiting.append(line)
        if waiting and (line is None or len(waiting) == batch):
            number += 1
            began = time.perf_counter()
            await store.commit_lines("bench", number, waiting)
            spent_s += time.perf_counter() - began
            waiting = []
    began = time.perf_counter()
    await store.roll_up()
    return (spent_s + time.perf_counter() - began) * 1e6 / count


async def ask(store: Any) -> list[Timing]:
    """Ask every question."""
    found = []
    for name, query in questions():
        best, rows = float("inf"), []
        for number in range(_TRIES):
            began = time.perf_counter()
            rows = await store.usage_report(query)
            best = min(best, (time.perf_counter() - began) * 1000)
            # A single one may be the machine's own.
            if number and best > _LONG_MS:
                break
        found.append(Timing(name, best, len(rows)))
    return found


def table(driver: str, filled_us: float, timings: list[Timing]) -> list[str]:
    """Write everything for people, the slowest first."""
    ours = [one for one in timings if one.dashboard]
    late = [one for one in ours if one.ms > TARGET_MS]
    lines_ = [
        f"{driver}: {filled_us:.0f} us an event to fill; {len(timings)} questions, {len(ours)} of dashboards,"
        f" {len(late)} of them over {TARGET_MS:g} ms"
    ]
    for title, _ in WINDOWS:
        times = sorted(one.ms for one in ours if one.name.startswith(title))
        lines_.append(f"  {title:>5}: P50 {times[len(times) // 2]:.1f} ms, worst {times[-1]:.1f} ms")
    for one in sorted(timings, key=lambda one: -one.ms):
        size = f"{one.lines} lines" if one.dashboard else "more than a page"
        lines_.append(f"  {one.ms:8.1f} ms  {one.name:<44} {size}")
    return lines_


def _stores(folder: Path) -> Iterator[tuple[str, str]]:
    """Give driver and address of each store that can be measured."""
    yield "sqlite", str(folder / "bench.db")
    dsn = os.environ.get("VOIDLLM_BENCH_POSTGRES", "")
    if not dsn:
        try:
            from tests.servers import postgres
        except ImportError:
            return
        dsn = postgres().create_database()
    yield "postgres", dsn


def run(count: int, json_to: str | None, say: Callable[[str], None] = click.echo) -> int:
    """Measure both stores; gives the exit status."""
    from twisted.internet import reactor, task
    from twisted.internet.defer import Deferred, ensureDeferred
    from twisted.internet.threads import deferToThread

    document: dict[str, Any] = {}

    async def measure(folder: Path) -> None:
        # typing note: the reactor is a module to type checkers.
        the_reactor: Any = reactor
        for driver, address in _stores(folder):
            world = World(the_reactor, in_thread=deferToThread, wall_ms=lambda: NOW_MS)
            more = {"connections": 2, "statement_timeout_s": 120.0} if driver == "postgres" else {}
            store = open_store(world, driver, address, **more)
            await store.start()
            try:
                filled_us = await fill(store, _BATCH[driver], count)
                timings = await ask(store)
            finally:
                await store.stop()
            for line in table(driver, filled_us, timings):
                say(line)
            document[driver] = {
                "fill_us": filled_us,
                "questions": [{"name": t.name, "ms": t.ms, "lines": t.lines} for t in timings],
            }

    def main(_: Any, folder: Path) -> Deferred[None]:
        return ensureDeferred(measure(folder))

    with tempfile.TemporaryDirectory(prefix="voidllm-bench-") as folder:
        try:
            task.react(main, (Path(folder),))
        except SystemExit as done:
            if done.code:
                return 2
    if json_to is not None:
        text = json.dumps(document, indent=1)
        if json_to == "-":
            say(text)
        else:
            Path(json_to).write_text(text + "\n")
    late = [
        one
        for store in document.values()
        for one in store["questions"]
        if one["lines"] <= PAGE and one["ms"] > TARGET_MS
    ]
    return 1 if late else 0
