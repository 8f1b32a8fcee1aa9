"""Figures with their targets, as a table for people and as JSON."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from attrs import define, field

from bench.harness import LOAD_CORE, ROOT, SERVER_CORE


@define
class Figure:
    """One line of the table.

    :ivar at_most: the target is an upper bound; else a lower one.
    :ivar target: ``None`` for a figure that is shown but not gated.
    """

    name: str
    value: float | None
    unit: str
    target: float | None = None
    at_most: bool = True
    note: str = ""

    @property
    def verdict(self) -> str:
        """``ok``, ``MISSED``, ``not measured``, or nothing when there is no target."""
        if self.target is None:
            return ""
        if self.value is None:
            return "not measured"
        good = self.value <= self.target if self.at_most else self.value >= self.target
        return "ok" if good else "MISSED"


@define
class Report:
    """All figures of one run.

    :ivar problems: failed requests, lost events and whatever else casts doubt on a figure.
    """

    figures: list[Figure] = field(factory=list)
    problems: list[str] = field(factory=list)
    raw: dict[str, Any] = field(factory=dict)
    environment: dict[str, Any] = field(factory=dict)

    def add(
        self,
        name: str,
        value: float | None,
        unit: str,
        *,
        most: float | None = None,
        least: float | None = None,
        note: str = "",
    ) -> None:
        """Add a figure; ``most`` or ``least`` is its target."""
        target = least if most is None else most
        self.figures.append(Figure(name, value, unit, target, least is None, note))

    def to_json(self) -> dict[str, Any]:
        """Give everything, raw runs included."""
        rows = [
            {
                "name": f.name,
                "value": f.value,
                "unit": f.unit,
                "target": f.target,
                "at_most": f.at_most,
                "verdict": f.verdict,
                "note": f.note,
            }
            for f in self.figures
        ]
        return {
            "environment": self.environment,
            "figures": rows,
            "problems": self.problems,
            "raw": self.raw,
        }

    def table(self) -> str:
        """Give the table, one line a figure."""
        lines = [("figure", "measured", "target", "verdict", "")]
        for f in self.figures:
            target = "" if f.target is None else f"{'<=' if f.at_most else '>='} {_number(f.target)}"
            value = "-" if f.value is None else f"{_number(f.value)} {f.unit}".strip()
            lines.append((f.name, value, target, f.verdict, f.note))
        widths = [max(len(line[i]) for line in lines) for i in range(4)]
        text = []
        for name, value, target, verdict, note in lines:
            cells = (
                f"{name:<{widths[0]}}  {value:>{widths[1]}}  {target:>{widths[2]}}  {verdict:<{widths[3]}}"
            )
            text.append(f"{cells}  {note}".rstrip())
        text.insert(1, "-" * len(text[0]))
        env = self.environment
        cores = f"{env['cores']} cores (load on {env['load_core']}, server on {env['server_core']})"
        text.append(
            f"\n{env['cpu']}, {cores}, "
            f"Linux {env['kernel']}, Python {env['python']}, Twisted {env['twisted']}, commit {env['commit']}"
        )
        text += [f"problem: {p}" for p in self.problems]
        return "\n".join(text)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.2f}"


def busy(seconds: float) -> float:
    """Give the share of all cores that others used just now."""

    def look() -> tuple[int, int]:
        numbers = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    total, idle = look()
    time.sleep(seconds)
    total_after, idle_after = look()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def environment() -> dict[str, Any]:
    """Describe the machine; ``busy`` is the load that was there before the run."""
    model = next(
        (
            ln.partition(":")[2].strip()
            for ln in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in ln
        ),
        platform.machine(),
    )
    git = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_core": LOAD_CORE,
        "server_core": SERVER_CORE,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": metadata.version("twisted"),
        "commit": git.stdout.strip() or "unknown",
        "busy": round(busy(0.5), 3),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
