"""Plots as SVG text that stands in a page: no reference to anything outside."""

from __future__ import annotations

import io
import math
import re
from typing import Any, Mapping, Sequence

import matplotlib

matplotlib.use("svg")
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

_COLOURS = {"direct": "#888888", "proxied": "#0b6e99", "nginx": "#2e8b57"}
_MORE = ("#c65d21", "#7b4fa3", "#a8842c", "#b03060")
_PERCENTILES = {0.0: "0", 0.5: "50", 0.9: "90", 0.99: "99", 0.999: "99.9", 0.9999: "99.99", 0.99999: "99.999"}
#: The SVG stands inside HTML, where neither prologue nor name spaces are needed.
_OUTSIDE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>", re.S)
_NAMES = re.compile(r' xmlns(:\w+)?="[^"]*"')

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "voidllm",
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
    }
)


def colour(name: str, place: int = 0) -> str:
    """Give the colour of a way or a peer."""
    return _COLOURS.get(name, _MORE[place % len(_MORE)])


def svg(figure: Figure, prefix: str) -> str:
    """Give a figure as an element for a page.

    :param prefix: makes its identifiers different from those of other figures of the page.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight")
    text = _NAMES.sub("", _OUTSIDE.sub("", out.getvalue())).strip()
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
    return text.replace("xlink:href", "href")


def _blank(height: float = 3.2, rows: int = 1, **more: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(9, height))
    return figure, figure.subplots(rows, 1, **more)


def latencies(plots: Mapping[str, Any]) -> Figure:
    """Plot each way's latency by percentile; the axis gives each further nine the same room."""
    figure, axes = _blank()
    for place, (name, curve) in enumerate(_ways(plots)):
        points = [(share, us) for share, us in curve["distribution_us"] if share < 1]
        if points:
            across = [_nines(share) for share, _ in points]
            axes.plot(across, [us / 1000 for _, us in points], label=name, color=colour(name, place))
    axes.xaxis.set_major_locator(FixedLocator([_nines(share) for share in _PERCENTILES]))
    axes.xaxis.set_major_formatter(FuncFormatter(_percentile_label))
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency, ms")
    _logarithmic(axes.yaxis)
    axes.legend()
    return figure


def _logarithmic(axis: Any) -> None:
    axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _nines(share: float) -> float:
    return -math.log10(max(1e-9, 1 - share))


def _percentile_label(value: float, _: Any) -> str:
    share = 1 - 10**-value
    return next((text for known, text in _PERCENTILES.items() if abs(known - share) < 1e-7), "")


def overheads(results: Mapping[str, Any]) -> Figure | None:
    """Plot what the gateway adds, with its 95 % intervals, by part and percentile."""
    parts = [(key, found["overhead"]) for key, found in results.items() if found.get("overhead")]
    if not parts:
        return None
    figure, axes = _blank()
    names = ("p50", "p90", "p99", "p999")
    for place, (key, found) in enumerate(parts):
        across = [i + (place - (len(parts) - 1) / 2) * 0.15 for i in range(len(names))]
        values = [found[f"{name}_us"] for name in names]
        low = [max(0.0, value - found[f"{name}_ci_us"][0]) for name, value in zip(names, values, strict=True)]
        high = [
            max(0.0, found[f"{name}_ci_us"][1] - value) for name, value in zip(names, values, strict=True)
        ]
        tint = "#0b6e99" if len(parts) == 1 else _MORE[place % len(_MORE)]
        axes.errorbar(across, values, yerr=[low, high], fmt="o", capsize=4, label=key, color=tint)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), ["P50", "P90", "P99", "P99.9"])
    axes.set_ylabel("added by the gateway, µs")
    axes.set_yscale("symlog", linthresh=100)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend()
    return figure


def seconds(plots: Mapping[str, Any]) -> Figure:
    """Plot rate, P50 and P99 by second, and the gateway's memory, descriptors and lag beside."""
    samples = plots.get("gateway") or []
    lag = [(s["at_s"], s["loop_lag_p99_us"]) for s in samples if s["loop_lag_p99_us"] is not None]
    files = [(s["at_s"], s["descriptors"]) for s in samples if s["descriptors"] is not None]
    rows = 3 + bool(files) + bool(lag)
    figure, axes = _blank(1.7 * rows, rows, sharex=True)
    for place, (name, curve) in enumerate(_ways(plots)):
        tint = colour(name, place)
        # Blocks of the ways take turns; a line from one to the next would show what was not measured.
        across, rate, middle, high = _with_gaps(curve["seconds"])
        axes[0].plot(across, rate, ".-", color=tint, label=name, markersize=3)
        axes[1].plot(across, middle, ".-", color=tint, label=f"{name} P50", markersize=3)
        axes[1].plot(across, high, ".:", color=tint, label=f"{name} P99", markersize=3)
    axes[0].set_ylabel("good, req/s")
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylabel("latency, ms")
    _logarithmic(axes[1].yaxis)
    axes[1].legend(fontsize="small", ncols=2)
    axes[2].plot([s["at_s"] for s in samples], [s["rss_mb"] for s in samples], color="#0b6e99")
    axes[2].set_ylabel("gateway, MB")
    for place, (points, label) in enumerate(
        p for p in ((files, "descriptors"), (lag, "loop lag P99, µs")) if p[0]
    ):
        axes[3 + place].plot([x for x, _ in points], [y for _, y in points], color="#0b6e99")
        axes[3 + place].set_ylabel(label)
    axes[-1].set_xlabel("seconds since the phase began")
    figure.align_ylabels()
    return figure


def _with_gaps(rows: Sequence[Sequence[float | None]]) -> tuple[list[float], ...]:
    nothing = float("nan")
    columns: tuple[list[float], ...] = ([], [], [], [])
    before = None
    for at, rate, middle, high in rows:
        assert at is not None
        if before is not None and at - before > 1.5:
            for column, value in zip(columns, (at, nothing, nothing, nothing), strict=True):
                column.append(value)
        before = at
        ms = [nothing if us is None else us / 1000 for us in (middle, high)]
        for column, value in zip(columns, (at, rate or 0.0, *ms), strict=True):
            column.append(value)
    return columns


def frontier(peers: Mapping[str, Any]) -> Figure | None:
    """Plot for each contender the rates that were tried and the added P99 there."""
    if not peers:
        return None
    figure, axes = _blank(4)
    for place, (name, found) in enumerate(peers.items()):
        points = []
        for tried in found["frontier"]["tried"]:
            known = sorted(us for us in tried["added_p99_us"] if us is not None)
            if known and known[len(known) // 2] > 0:
                points.append((tried["rps"], known[len(known) // 2] / 1000))
        points.sort()
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            "o-",
            label=name,
            color=colour("proxied" if name == "voidllm" else name, place),
        )
    for bound in (5, 10, 50):
        axes.axhline(bound, color="black", linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("req/s")
    axes.set_ylabel("added P99, ms")
    axes.legend()
    return figure


def _ways(plots: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, curve) for name, curve in plots.items() if name != "gateway"]
