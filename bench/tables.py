"""Tables for the documentation from a run's document: ``python -m bench.tables FILE.json``.

``--into docs/performance.md`` puts them between that page's markers, so that no number is typed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

import click

from .document import scenarios_of, write_text
from .table import micro, percent, with_interval
from .verdicts import plain, rows_of

_POINTS = (("P50", "p50"), ("P90", "p90"), ("P99", "p99"), ("P99.9", "p999"))


def markers(section: str) -> tuple[str, str]:
    """Give the lines between which a section's tables stand."""
    return f"<!-- measured: {section} -->", f"<!-- end: {section} -->"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Give a Markdown table; the first row is its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "|".join(["---", *["---:"] * (len(rows[0]) - 1)]) + "|")
    return "\n".join(lines)


def tables_of(value: Mapping[str, Any], command: str | None = None) -> str:
    """Give all tables of a document.

    :param command: the command line that gave it; by default made of the document.
    """
    parts = [_about(value, command)]
    for name, part, results in scenarios_of(value):
        if "figures" in results:
            head, *rows = rows_of(results["figures"])
            parts.append(table([(*head[:4], "note"), *rows]))
        else:
            parts += _scenario(name, part, results)
        parts += [f"Not valid: {reason}." for reason in part["reasons"]]
    if value["peers"]:
        parts.append(_peers(value["peers"]))
    return "\n\n".join(parts) + "\n"


def _about(value: Mapping[str, Any], command: str | None) -> str:
    env = value["environment"]
    alone = env.get("alone")
    words = [
        f"`{command or value['command']}`, {env['time']}, commit `{env['commit']}`, {env['cpu']}, "
        f"{env['cores']} cores, Linux {env['kernel']}, Python {env['python']}, Twisted {env['twisted']}; "
        f"others used {env['busy']:.0%} of the machine before the run."
    ]
    if alone:
        words.append(
            f"Generator and mock alone: {alone['rps']:,.0f} req/s, "
            f"{alone['cpu_us_per_request']:.1f} µs of CPU a request for both."
        )
    if not value["valid"]:
        words.append("**This run is not valid or not complete.**")
    return " ".join(words)


def _scenario(name: str, part: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    rows: list[Sequence[str]] = [
        (name, *(title for title, _ in _POINTS), "success", "req/s", "CPU a request"),
    ]
    skipped = []
    for key, found in results.items():
        for way, figures in found.items():
            if isinstance(figures, Mapping) and "requests" in figures and "p50_us" in figures:
                cpu = figures.get("gateway_cpu_us_per_request")
                rows.append(
                    (
                        f"{key}, {way}",
                        *(micro(figures[f"{point}_us"]) for _, point in _POINTS),
                        percent(figures["success"], len(str(figures["requests"]))),
                        f"{figures['achieved_rps']:,.0f}",
                        "" if cpu is None else micro(cpu),
                    )
                )
        for title, overhead in _overheads(key, found):
            cells = [with_interval(overhead, point) for _, point in _POINTS]
            rows.append((f"**{title}** [95 %]", *cells, "", "", ""))
        if "skipped" in found:
            skipped.append(f"{key}: skipped, {found['skipped']}.")
    title = f"#### {name}: {part['rps']:,.0f} rps, {part['seconds_each_way']:g} s each way"
    return [title, table(rows), *_more(results), *skipped]


def _overheads(key: str, found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    named = [(f"{key}, added", found.get("overhead"))]
    streaming = found.get("streaming", {})
    named.append((f"{key}, added to each token", streaming.get("added_token_delay_proxied")))
    return [(title, overhead) for title, overhead in named if overhead]


def _more(results: Mapping[str, Any]) -> list[str]:
    found = []
    for key, one in results.items():
        burst = one.get("burst")
        if burst:
            legs = list(next(iter(burst.values()))["legs"])
            rows = [(f"{key}, P99 by leg", *(leg.replace("_", " ") for leg in legs), "recovered after")]
            for way, figures in burst.items():
                most = figures["recovery_s"]["max"]
                cells = [micro(figures["legs"][leg]["p99_us"]) for leg in legs]
                rows.append((way, *cells, "not in every pass" if most is None else f"{most:g} s"))
            found.append(table(rows))
        gateway = one.get("gateway")
        if gateway and gateway.get("long"):
            rows = [(f"{key}, slope per minute", "slope", "standard error")]
            for name, line in gateway["slopes"].items():
                if line:
                    rows.append((name, plain(line["slope"]), plain(line["error"])))
            found.append(table(rows))
    return found


def _peers(peers: Mapping[str, Any]) -> str:
    names = list(peers)
    rows: list[Sequence[str]] = [
        ("", *(f"{name} {peers[name].get('version', '')}".strip() for name in names))
    ]
    first = peers[names[0]]
    for place, bound in enumerate(first["frontier"]["at_added_p99"]):
        cells = [f"{peers[n]['frontier']['at_added_p99'][place]['rps']:,.0f}" for n in names]
        rows.append((f"req/s at added P99 ≤ {bound['bound_ms']:g} ms", *cells))
    for title, where in (("one at a time", "concurrency_1"), ("at the rate below", None)):
        for point in ("p50", "p99"):
            cells = []
            for name in names:
                one = peers[name]
                overhead = one[where] if where else one["llm"].get("overhead") or {}
                cells.append(micro(overhead.get(f"{point}_us")))
            rows.append((f"added {point.upper()} {title}", *cells))
    rows.append(("rate", *(f"{peers[n]['rate']['rps']:,.0f} req/s" for n in names)))
    rows.append(
        ("CPU a request", *(micro(peers[n]["llm"]["proxied"]["gateway_cpu_us_per_request"]) for n in names))
    )
    rows.append(("closed loop, 256 connections", *(f"{peers[n]['closed']['rps']:,.0f} req/s" for n in names)))
    for when in ("idle", "loaded", "after"):
        rows.append((f"memory {when}", *(f"{peers[n]['rss_mb'][when]:.0f} MB" for n in names)))
    rows.append(("cold start", *(f"{peers[n]['cold_start_s']:.2f} s" for n in names)))
    return table(rows)


def put(page: str, section: str, text: str) -> str:
    """Give a page with a section's tables replaced.

    :raises ValueError: the page has no such section.
    """
    begin, end = markers(section)
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page has no place for {section!r}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--into", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Page to change.")
@click.option("--section", help="Of the page; by default the scenario's name.")
@click.option("--command", help="The command line that gave the document.")
def main(file: Path, into: Path | None, section: str | None, command: str | None) -> None:
    """Print the tables of a document in Markdown, or put them into a page."""
    try:
        value = json.loads(file.read_text())
        text = tables_of(value, command)
    except (ValueError, KeyError) as error:
        raise click.ClickException(f"{file} is no document of this suite: {error}") from error
    if into is None:
        sys.stdout.write(text)
        return
    try:
        write_text(into, put(into.read_text(), section or value["scenario"], text))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
