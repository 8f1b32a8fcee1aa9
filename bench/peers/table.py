"""The peers' figures as one table for people: numbers and how they came about, no judgement."""

from __future__ import annotations

from typing import Any, Mapping

#: The gateway's own name among the peers.
OURS = "voidllm"
_METHOD = (
    "one at a time on the same core, generator and mock on another; the same bodies, a key that is checked; "
    "added: beside direct requests in turn"
)


def table(document: Mapping[str, Any]) -> str:
    """Give the table of a report's ``peers``.

    :param document: the whole report; without ``peers`` the text is empty.
    """
    peers: Mapping[str, Mapping[str, Any]] = document.get("peers") or {}
    if not peers:
        return ""
    head = ["", *(f"{name} {one.get('version', '')}".strip() for name, one in peers.items())]
    rows = [head]
    for title, cell in _rows(next(iter(peers.values()))):
        rows.append([title, *(cell(one) for one in peers.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join([row[0].ljust(widths[0]), *_right(row[1:], widths[1:])]).rstrip() for row in rows]
    lines.insert(1, "-" * max(len(line) for line in lines))
    lines += ["", _METHOD]
    for name, one in peers.items():
        notes = list(one.get("notes", ()))
        if one["rate"]["why"] != "the fixed rate":
            notes.append(f"measured at {_number(one['rate']['rps'])} req/s: {one['rate']['why']}")
        notes += [f"NOT VALID: {reason}" for reason in one.get("reasons", ())]
        lines += [f"{name}: {note}" for note in notes]
    return "\n".join(lines)


def _right(cells: list[str], widths: list[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]


def _rows(first: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        (f"req/s at added P99 <= {found['bound_ms']:g} ms", _frontier_cell(place))
        for place, found in enumerate(first["frontier"]["at_added_p99"])
    ]
    for title, place in (("one at a time", _one), ("at the rate below", _at_rate)):
        for point in ("p50", "p99"):
            rows.append((f"added {point.upper()} {title}, us", _point(place, point)))
    rows += [
        ("  rate, req/s", lambda one: _number(one["rate"]["rps"])),
        ("  success", lambda one: _share(one["llm"]["proxied"]["success"])),
        ("  CPU per request, us", lambda one: _number(one["llm"]["proxied"]["gateway_cpu_us_per_request"])),
        ("closed loop, 256 connections, req/s", lambda one: _number(one["closed"]["rps"])),
        ("  CPU per request, us", lambda one: _number(one["closed"]["cpu_us_per_request"])),
        *((f"RSS {when}, MB", _memory(when)) for when in ("idle", "loaded", "after")),
        ("cold start to the first 200, s", lambda one: f"{one['cold_start_s']:.2f}"),
        ("writes a usage row for each request", lambda one: "yes" if one.get("usage_rows") else "no"),
    ]
    return rows


def _one(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = figures["concurrency_1"]
    return found


def _at_rate(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = figures["llm"].get("overhead") or {}
    return found


def _point(place: Any, point: str) -> Any:
    return lambda one: _number(place(one).get(f"{point}_us"))


def _memory(when: str) -> Any:
    return lambda one: _number(one["rss_mb"][when])


def _frontier_cell(place: int) -> Any:
    def cell(one: Mapping[str, Any]) -> str:
        found = one["frontier"]["at_added_p99"][place]
        if found["limited_by"] == "server":
            return _number(found["rps"])
        # Generator or mock ended first, or the time did: the server may do more.
        return f">= {_number(found['rps'])}" if found["rps"] else "-"

    return cell


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4%}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
