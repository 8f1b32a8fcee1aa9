"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from voidllm import __version__

from .harness import CORES, LOAD_CORE, ROOT, SERVER_CORE

_VULNERABILITIES = Path("/sys/devices/system/cpu/vulnerabilities")
#: With more of the machine in use by others than this, figures are not the gateway's.
BUSY_MOST = 0.1


def busy(seconds: float) -> float:
    """Give the share of all cores that others used just now, while this process sleeps."""

    def look() -> tuple[int, int]:
        numbers = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    total, idle = look()
    time.sleep(seconds)
    total_after, idle_after = look()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def stolen() -> float:
    """Give the seconds that the host took from this machine's cores since its start."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _mitigations() -> dict[str, str] | None:
    try:
        found = {file.name: file.read_text().strip() for file in sorted(_VULNERABILITIES.iterdir())}
    except OSError:
        return None
    return {name: text for name, text in found.items() if text != "Not affected"}


def describe() -> dict[str, Any]:
    """Describe machine and versions; ``busy`` is the share of it that others used before the run."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(CORES),
        "cpu": _cpu_model(),
        "pinning": {"generator_and_mock": [LOAD_CORE], "gateway": [SERVER_CORE]},
        "kernel": platform.release(),
        "mitigations": _mitigations(),
        "python": platform.python_version(),
        "twisted": metadata.version("twisted"),
        "voidllm": __version__,
        "commit": _commit(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "busy": round(busy(0.3), 3),
    }
