"""Print the gateway's figures for speed and memory beside their targets.

``python -m bench.speed [--quick] [--json FILE]``; under 4 minutes, ``--quick`` under one. A mock with
10 ms delay and the load generator share one core, the gateway has another; nginx with the same mock
is the floor. Everything in the gateway is on: keys, limits on the key, prices, usage journal.
P99 is shown, not judged: below some milliseconds a shared machine does not resolve it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen

from bench.gateway import Gateway
from bench.harness import LOAD_CORE, SERVER_CORE, Failed, Mock, Nginx, Target, rss_mb
from bench.measure import Bench, chat_body
from bench.native.build import NoCompiler
from bench.report import Report, busy, environment

SMALL, LARGE = 1030, 1_000_000


@frozen
class Plan:
    """How long and how often."""

    closed_s: float = 4
    closed_repeats: int = 3
    open_s: float = 2.5
    open_repeats: int = 3
    stream_s: float = 4
    large_s: float = 3
    large_repeats: int = 3
    cold_repeats: int = 3
    live_hold_s: float = 4
    live_ramp_s: float = 5


QUICK = Plan(1.5, 1, 1.2, 1, 1.5, 1.2, 1, 1, 2, 2.5)


def progress(text: str) -> None:
    """Tell a person what goes on; stdout stays for the result."""
    print(text, file=sys.stderr, flush=True)


def cold_starts(gateway: Gateway, plan: Plan, report: Report) -> None:
    """Start on an empty state folder, then again; leave it running, its key and organisation with limits."""
    progress("cold start")
    body = chat_body(SMALL)
    first = gateway.start(body)
    time.sleep(0.5)
    report.add(
        "RSS after start", rss_mb(gateway.pid or 0), "MB", most=95, note="one request served, first start"
    )
    gateway.stop()
    note = gateway.limit_all()
    if note:
        report.problems.append(f"the key has no limits: {note}")
    again = []
    for _ in range(plan.cold_repeats):
        gateway.stop()
        again.append(gateway.start(body))
    report.raw["cold_start_s"] = {"first": first, "again": again}
    report.add("cold start, existing database", median(again), "s", most=0.8)
    report.add("cold start, first time", first, "s", most=3)


def closed_loop(bench: Bench, gateway: Target, nginx: Nginx | None, plan: Plan, report: Report) -> None:
    """Measure the most requests a second at 256 connections."""
    progress("closed loop, 256 connections")
    targets: list[Target] = [gateway, *([nginx] if nginx else [])]
    got = bench.closed(targets, chat_body(SMALL), plan.closed_s, plan.closed_repeats)
    report.raw["closed"] = got
    report.add("closed loop, 256 connections", got["gateway"]["rps"], "req/s", least=8000)
    report.add("  CPU per request", got["gateway"]["cpu_us"], "us")
    if nginx:
        ratio = got["gateway"]["rps"] / got["nginx"]["rps"]
        report.add("  ratio to nginx", ratio, "", least=0.35, note=f"nginx {got['nginx']['rps']:,.0f} req/s")
        cpu = got["gateway"]["cpu_us"] / got["nginx"]["cpu_us"]
        report.add(
            "  CPU ratio to nginx", cpu, "", most=3.5, note=f"nginx {got['nginx']['cpu_us']:.0f} us a request"
        )


def open_loop(
    bench: Bench, mock: Mock, gateway: Target, nginx: Nginx | None, plan: Plan, report: Report
) -> None:
    """Measure added latency and CPU at fixed rates."""
    targets: list[Target] = [gateway, *([nginx] if nginx else [])]
    for rate in (1000, 2000):
        progress(f"open loop, {rate} req/s")
        got = bench.added(mock, targets, chat_body(SMALL), rate, plan.open_s, plan.open_repeats)
        report.raw[f"open_{rate}"] = got
        note = f"nginx {got['nginx']['p50']:.0f} us" if nginx else ""
        report.add(f"added P50 at {rate:,} req/s", got["gateway"]["p50"], "us", most=400, note=note)
        note = f"nginx {got['nginx']['p99']:.0f} us" if nginx else ""
        report.add("  added P99", got["gateway"]["p99"], "us", note=note)
        report.add("  CPU per request", got["gateway"]["cpu_us"], "us")
        if nginx:
            cpu = got["gateway"]["cpu_us"] / got["nginx"]["cpu_us"]
            note = f"nginx {got['nginx']['cpu_us']:.0f} us a request"
            report.add("  CPU ratio to nginx", cpu, "", most=3.5, note=note)


def streaming(
    bench: Bench, mock: Mock, gateway: Target, nginx: Nginx | None, plan: Plan, report: Report
) -> None:
    """Measure 500 streams of 20 events a second."""
    progress("500 streams of 20 events a second")
    mock.configure(events=10_000_000, interval_us=50_000)
    # The ramp is no multiple of the interval, so that streams do not fire together.
    common = {"count": 500, "seconds": plan.stream_s, "ramp": 0.733}
    direct = bench.streams(mock, **common)  # type: ignore[arg-type]
    got = bench.streams(gateway, **common)  # type: ignore[arg-type]
    floor = bench.streams(nginx, **common) if nginx else None  # type: ignore[arg-type]
    report.raw["streams"] = {"direct": direct, "gateway": got, "nginx": floor}
    report.add(
        "CPU per SSE event",
        got["cpu_us_per_event"],
        "us",
        most=60,
        note=f"nginx {floor['cpu_us_per_event']:.0f} us" if floor else "",
    )
    for point in ("p50", "p99"):
        note = f"nginx {floor[f'event_{point}_us'] - direct[f'event_{point}_us']:.0f} us" if floor else ""
        delay = got[f"event_{point}_us"] - direct[f"event_{point}_us"]
        report.add(f"  added event delay {point.upper()}", delay, "us", note=note)
    report.add("  added time to first event P50", got["first_p50_us"] - direct["first_p50_us"], "us")


def large_bodies(bench: Bench, mock: Mock, gateway: Target, plan: Plan, report: Report) -> None:
    """Measure what a body of 1 MB costs."""
    progress("1 MB bodies")
    got = bench.added(mock, [gateway], chat_body(LARGE), 30, plan.large_s, plan.large_repeats)
    report.raw["large"] = got
    report.add("added P50 with a 1 MB body", got["gateway"]["p50"] / 1000, "ms", most=6, note="30 req/s")
    report.add("  CPU per request", got["gateway"]["cpu_us"] / 1000, "ms")


def live_streams(bench: Bench, mock: Mock, gateway: Target, plan: Plan, report: Report) -> None:
    """Measure memory while 5,000 streams are live (each with an event a second)."""
    progress("5,000 live streams")
    mock.configure(events=10_000_000, interval_us=1_000_000)
    got = bench.streams(gateway, 5000, plan.live_hold_s, ramp=plan.live_ramp_s)
    report.raw["live"] = got
    report.add(
        "RSS with 5,000 live streams",
        got["watch_rss_kb"] / 1024,
        "MB",
        most=200,
        note=f"{got['streams_live']} live, {got['events_lost']} events lost",
    )


def treq_engine(bench: Bench, mock: Mock, gateway: Gateway, plan: Plan, report: Report) -> None:
    """Measure the same with every upstream call through treq."""
    progress("upstream.engine: treq")
    gateway.stop()
    gateway.engine = "treq"
    gateway.start(chat_body(SMALL))
    body = chat_body(SMALL)
    repeats = max(1, plan.closed_repeats - 1)
    closed = bench.closed([gateway], body, plan.closed_s, repeats)
    added = bench.added(mock, [gateway], body, 1000, plan.open_s, repeats)
    mock.configure(events=10_000_000, interval_us=50_000)
    stream = bench.streams(gateway, 500, plan.stream_s, ramp=0.733)
    report.raw["treq"] = {"closed": closed, "open_1000": added, "streams": stream}
    report.add("treq: closed loop, 256 connections", closed["gateway"]["rps"], "req/s")
    report.add("treq:   CPU per request", closed["gateway"]["cpu_us"], "us")
    report.add("treq: added P50 at 1,000 req/s", added["gateway"]["p50"], "us")
    report.add("treq:   CPU per request", added["gateway"]["cpu_us"], "us")
    report.add("treq: CPU per SSE event", stream["cpu_us_per_event"], "us")


def measure(folder: Path, plan: Plan, args: Any, report: Report) -> None:
    """Do all measurements; what was started is stopped whatever happens."""
    # This process polls during cold starts; on the server's core it would be in the way.
    os.sched_setaffinity(0, {LOAD_CORE})
    mock = Mock(folder)
    nginx: Nginx | None = None
    gateway: Gateway | None = None
    bench = Bench(folder, report.problems, progress)
    try:
        mock.start()
        if Nginx.find():
            nginx = Nginx(folder / "nginx", mock.port)
            nginx.start()
        else:
            report.problems.append(
                "nginx is not installed, so there is no ratio to it: apt install nginx-light"
            )
        gateway = Gateway(folder / "gateway", mock.port, command=args.gateway_cmd)
        cold_starts(gateway, plan, report)
        post_warm(bench, gateway)
        closed_loop(bench, gateway, nginx, plan, report)
        open_loop(bench, mock, gateway, nginx, plan, report)
        large_bodies(bench, mock, gateway, plan, report)
        streaming(bench, mock, gateway, nginx, plan, report)
        live_streams(bench, mock, gateway, plan, report)
        if args.gateway_cmd is None and not args.no_treq:
            treq_engine(bench, mock, gateway, plan, report)
    finally:
        if gateway is not None:
            gateway.stop()
        if nginx is not None:
            nginx.stop()
        mock.stop()


def post_warm(bench: Bench, gateway: Target) -> None:
    """Let pools and caches fill before anything counts."""
    bench.run("closed", gateway, chat_body(SMALL), connections=64, seconds=0.5, warmup=0)


def main(argv: list[str]) -> int:
    """Measure and print; status 1 when a target is missed, 2 when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description="figures for speed and memory")
    parser.add_argument("--quick", action="store_true", help="short runs, under a minute; noisier")
    parser.add_argument("--json", metavar="FILE", help="also write all figures and raw runs ('-': stdout)")
    parser.add_argument(
        "--gateway-cmd", metavar="CMD", help="measure this command: {config} {port} {mock_port}"
    )
    parser.add_argument("--no-treq", action="store_true", help="leave out upstream.engine: treq")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder (logs, state)")
    args = parser.parse_args(argv)
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="voidllm-bench-"))
    report = Report(environment=environment())
    if LOAD_CORE == SERVER_CORE:
        report.problems.append("only one core: load and server disturb each other")
    status = 0
    try:
        measure(folder, QUICK if args.quick else Plan(), args, report)
    except (Failed, NoCompiler) as error:
        report.problems.append(str(error))
        status = 2
    finally:
        if args.keep:
            progress(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    report.environment["busy_after"] = round(busy(0.5), 3)
    others = max(report.environment["busy"], report.environment["busy_after"])
    if others > 0.1:
        report.problems.append(f"other programs used {others:.0%} of the machine before or after the run")
    report.raw["seconds"] = time.monotonic() - begun
    if args.json == "-":
        print(json.dumps(report.to_json(), indent=1))
    else:
        if args.json:
            Path(args.json).write_text(json.dumps(report.to_json(), indent=1) + "\n")
        print(report.table())
    progress(f"{report.raw['seconds']:.0f} s")
    return status or int(any(f.verdict == "MISSED" for f in report.figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
