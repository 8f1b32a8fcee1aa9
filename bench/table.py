"""A document as text for people."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import peers
from .document import scenarios_of
from .verdicts import rows_of

_WAYS = ("direct", "proxied")


def text_of(value: Mapping[str, Any]) -> str:
    """Give a whole report."""
    lines: list[str] = []
    for name, part, results in scenarios_of(value):
        if not results and not part.get("reasons"):
            continue
        if "figures" in results:
            lines += ["", *aligned(rows_of(results["figures"]), last_left=True), *invalid_lines(part)]
            continue
        lines += ["", f"{name}: {part['rps']:,.0f} rps, {part['seconds_each_way']:g} s each way", ""]
        lines += scenario_lines(part, results)
    if value["peers"]:
        lines += ["", peers.table(value)]
    lines += [f"{name}: not run: {why}" for name, why in value["failures"].items()]
    if not value["complete"]:
        lines += ["", "INCOMPLETE: the run was interrupted; what is above was measured before."]
    lines += ["", *environment_lines(value["environment"])]
    lines += [f"problem: {text}" for text in value["problems"]]
    return "\n".join(lines).strip("\n")


def scenario_lines(part: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Give the lines of one scenario."""
    rows: list[Sequence[str]] = [
        ("", "P50", "P90", "P99", "P99.9", "success", "req/s", "CPU/req", "errors"),
    ]
    after: list[str] = []
    for key, found in results.items():
        for way, figures in found.items():
            if isinstance(figures, Mapping) and "p50_us" in figures and "requests" in figures:
                rows.append((f"{key} {way}", *_way(figures)))
        if found.get("overhead"):
            names = (("P50", "p50"), ("P90", "p90"), ("P99", "p99"), ("P99.9", "p999"))
            parts = [f"{title} {with_interval(found['overhead'], point)}" for title, point in names]
            after.append(f"{key}: added: " + ", ".join(parts))
        after += _details(key, found)
    lines = aligned(rows) if len(rows) > 1 else []
    lines += after
    return lines + invalid_lines(part) + [f"note: {note}" for note in part["notes"]]


def invalid_lines(part: Mapping[str, Any]) -> list[str]:
    """Say why figures do not count, if they do not."""
    lines = []
    if part["reasons"]:
        lines.append("INVALID: these figures are not about the gateway:")
        lines += [f"  {reason}" for reason in part["reasons"]]
        if part["could_drive_rps"]:
            lines.append(f"  generator and mock could have driven about {part['could_drive_rps']:,.0f} rps")
    return lines


def _way(figures: Mapping[str, Any]) -> list[str]:
    errors = ", ".join(f"{kind} {count}" for kind, count in figures["errors"].items())
    cpu = figures.get("gateway_cpu_us_per_request")
    return [
        *(micro(figures[f"{p}_us"]) for p in ("p50", "p90", "p99", "p999")),
        percent(figures["success"], len(str(figures["requests"]))),
        f"{figures['achieved_rps']:,.0f}",
        micro(cpu) if cpu is not None else "",
        errors or "none",
    ]


def with_interval(overhead: Mapping[str, Any], point: str) -> str:
    """Give a difference of percentiles with its 95 % interval."""
    low, high = overhead[f"{point}_ci_us"]
    return f"{micro(overhead[f'{point}_us'])} [{micro(low)}, {micro(high)}]"


def _details(key: str, found: Mapping[str, Any]) -> list[str]:
    lines = []
    if "skipped" in found:
        lines.append(f"{key}: SKIPPED through the gateway: {found['skipped']}")
    if found.get("incomplete"):
        lines.append(f"{key}: not measured on both ways")
    gateway = found.get("gateway")
    if gateway and gateway["rss_mb"]["max"] is not None:
        lines.append(
            f"{key}: gateway RSS {gateway['rss_mb']['first']:.1f} MB before,"
            f" {gateway['rss_mb']['last']:.1f} MB after;"
            f" event loop late P50 {micro(gateway.get('loop_lag_p50_us'))},"
            f" P99 {micro(gateway.get('loop_lag_p99_us'))}; at most {gateway['descriptors_max']} descriptors"
        )
        for name, line in gateway["slopes"].items():
            if line and gateway["long"]:
                lines.append(f"{key}: slope {name}: {line['slope']:+g} (standard error {line['error']:g})")
    own = found.get("self_reported")
    if own:
        lines.append(
            f"{key}: the gateway's own figure of added time: P50 {micro(own['added_p50_us'])},"
            f" {own['of_outside_p50']:.0%} of what was measured from outside"
        )
    for way, burst in found.get("burst", {}).items():
        legs = ", ".join(f"{leg} {micro(f['p99_us'])}" for leg, f in burst["legs"].items())
        recovery = burst["recovery_s"]
        again = (
            "never" if recovery["max"] is None else f"{recovery['median']:g} s (most {recovery['max']:g} s)"
        )
        lines.append(f"{key} {way}: P99 by leg: {legs}; back at the baseline's P99 after {again}")
    streaming = found.get("streaming", {})
    for way in _WAYS:
        if way in streaming:
            s = streaming[way]
            lines.append(
                f"{key} {way}: {s['streams_complete']} of {s['streams']} streams complete,"
                f" {s['streams_held']} held at once, {s['events_lost']} of {s['events'] + s['events_lost']}"
                f" events lost; a token late by P50 {micro(s['token_delay']['p50_us'])}"
            )
    for name, title in (
        ("added_time_to_first_token_proxied", "added time to first token"),
        ("added_token_delay_proxied", "added inter-token delay"),
    ):
        if streaming.get(name):
            p50, p99 = (with_interval(streaming[name], point) for point in ("p50", "p99"))
            lines.append(f"{key}: {title}: P50 {p50}, P99 {p99}")
    return lines


def environment_lines(env: Mapping[str, Any]) -> list[str]:
    """Give machine and versions in two lines."""
    pinning = env["pinning"]
    lines = [
        f"{env['cpu']}, {env['cores']} cores (generator and mock on {_cores(pinning['generator_and_mock'])},"
        f" gateway on {_cores(pinning['gateway'])}), Linux {env['kernel']}, Python {env['python']},"
        f" Twisted {env['twisted']}, voidllm {env['voidllm']}, commit {env['commit']}",
    ]
    if "alone" in env:
        alone = env["alone"]
        lines.append(
            f"generator ({alone['generator']}) and mock alone: {alone['rps']:,.0f} req/s, "
            f"{alone['cpu_us_per_request']:.1f} us CPU a request of both; "
            f"machine {env['busy']:.0%} busy before"
        )
    return lines


def _cores(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))


def micro(value: float | None) -> str:
    """Give microseconds in the unit that is easiest to read."""
    if value is None:
        return "-"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f} s"
    if abs(value) >= 10_000:
        return f"{value / 1e3:.1f} ms"
    return f"{value:.0f} us"


def percent(share: float | None, digits: int) -> str:
    """Give a share; never 100 % when something is missing."""
    if share is None:
        return "-"
    if share == 1:
        return "100 %"
    return f"{min(share * 100, 100 - 10 ** -max(1, digits - 2)):.{max(1, digits - 2)}f} %"


def aligned(rows: Sequence[Sequence[str]], *, last_left: bool = False) -> list[str]:
    """Give rows with columns under each other, the first one (and the last) to the left."""
    count = max(map(len, rows))
    padded = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(len(row[i]) for row in padded) for i in range(count)]
    lines = []
    for row in padded:
        cells = [
            f"{row[0]:<{widths[0]}}",
            *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True)),
        ]
        if last_left:
            cells[-1] = row[-1]
        lines.append("  ".join(cells).rstrip())
    return lines
