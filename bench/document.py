"""The one JSON document of a run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

from .suite import Report


def document(
    name: str,
    reports: Sequence[Report],
    environment: Mapping[str, Any],
    *,
    command: str = "",
    peers: Mapping[str, Any] | None = None,
    failures: Mapping[str, str] | None = None,
    interrupted: bool = False,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """Put a document together.

    For one scenario ``results`` are its parts. For several, each has its own in ``scenarios`` and
    ``results`` has them by scenario.

    :param command: the command line, for whoever wants to run it again.
    :param failures: scenarios that could not be run, and why.
    :param problems: what casts doubt on everything, like a busy machine.
    """
    failures = dict(failures or {})
    shared: dict[str, Any] = {
        "scenario": name,
        "command": command,
        "valid": bool(reports) and all(r.valid for r in reports) and not interrupted and not failures,
        "complete": not interrupted and not failures and all(r.complete for r in reports),
        "environment": dict(environment),
        "problems": list(problems),
        "failures": failures,
    }
    if name == "all":
        shared["results"] = {r.scenario: r.results for r in reports}
        shared["scenarios"] = {
            r.scenario: {k: v for k, v in r.to_json().items() if k != "results"} for r in reports
        }
        shared["skipped"] = {r.scenario: r.skipped for r in reports if r.skipped}
    elif reports:
        shared |= {k: v for k, v in reports[0].to_json().items() if k not in shared}
    shared.setdefault("results", {})
    shared["peers"] = dict(peers or {})
    return shared


def scenarios_of(value: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Give name, the scenario's part of a document, and its results."""
    if value["scenario"] != "all":
        return [(value["scenario"], value, value["results"])]
    return [(name, part, value["results"][name]) for name, part in value["scenarios"].items()]


def write(value: Mapping[str, Any], where: str) -> None:
    """Write a document: to stdout for ``-``, else to a file, whole or not at all.

    :raises OSError: it cannot be written.
    """
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    if where == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    write_text(Path(where), text)


def write_text(file: Path, text: str) -> None:
    """Replace a file by a new one in one step; what is no regular file is written to as it is.

    :raises OSError: it cannot be written.
    """
    # A link stays one.
    file = file.resolve()
    if file.exists() and not file.is_file():
        with file.open("w") as out:
            out.write(text)
        return
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        fresh.write_text(text)
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
