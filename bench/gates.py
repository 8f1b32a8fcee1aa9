"""What a request costs in numbers that no other work on the machine changes, against what it may cost.

``python -m bench.gates`` counts and compares; with ``--update`` it keeps what it counted as what is
expected from now on. Bytecodes are counted without sockets (:mod:`bench.hotpath`), and differ from one
minor version of Python to the next; system calls are those of a real gateway (:mod:`bench.calls`).
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Callable, Mapping

import click
from attrs import frozen

from . import calls, hotpath
from .harness import Failed

EXPECTED = Path(__file__).with_name("gates.toml")
VERSION = "{}.{}".format(*sys.version_info)
_ROUNDS = 11
_COMMAND = "python -m bench.gates --update"

Names = Mapping[str, float]


@frozen
class Gate:
    """One number that is held.

    :ivar tolerance: share of the expected number by which it may be off, either way: what got cheaper
        is kept too, or the next change could give it back unseen.
    """

    key: str
    title: str
    tolerance: float


BYTECODES = (
    Gate("bytecodes_buffered", "bytecodes of a buffered request", 0.02),
    Gate("bytecodes_event", "bytecodes of an event of a stream", 0.02),
)
CALLS = (
    Gate("calls_serial", "system calls of a request, one connection", 0.02),
    # How many connections are ready in one turn is not ours alone to say.
    Gate("calls_many", "system calls of a request, 64 connections at once", 0.1),
)


class _Steady:
    """A clock that moves by the same for every round."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def seconds(self) -> float:
        return self.now_s

    def before(self, one: Callable[[], None]) -> Callable[[], None]:
        """Give ``one`` that moves the clock first."""

        def moved() -> None:
            self.now_s += 0.0125
            one()

        return moved


def count_bytecodes() -> dict[str, float]:
    """Count bytecodes of a buffered request and of an event, as ``upstream.engine: auto`` has them."""
    found = {}
    for gate, engine, make, parts in (
        (BYTECODES[0], "direct", lambda path: hotpath.buffered(path, 1030), 1),
        (BYTECODES[1], "treq", hotpath.streamed, hotpath.EVENTS),
    ):
        clock = _Steady()
        with tempfile.TemporaryDirectory() as folder:
            one = clock.before(make(hotpath.build(folder, engine, clock.seconds)))
            for _ in range(_ROUNDS):
                one()
            # Some rounds have more to do, such as a bucket of a histogram that is new.
            counts = Counter(hotpath.bytecodes(one, 1) for _ in range(_ROUNDS))
        found[gate.key] = counts.most_common(1)[0][0] / parts
    return found


def count_calls() -> tuple[dict[str, float], dict[str, Names], str]:
    """Count system calls; give the totals, each by the name of the call, and how it was counted.

    :raises Failed: see :func:`bench.calls.count`.
    """
    counted = calls.count()
    by_name: dict[str, Names] = {CALLS[0].key: counted.serial, CALLS[1].key: counted.many}
    return {key: float(sum(names.values())) for key, names in by_name.items()}, by_name, counted.way


def expected(version: str = VERSION, file: Path = EXPECTED) -> dict[str, float]:
    """Give the numbers that are expected on a minor version of Python.

    :raises Failed: nobody has counted on it yet; the text says how to.
    """
    kept: dict[str, dict[str, float]] = tomllib.loads(file.read_text())
    if version not in kept:
        raise Failed(
            f"{file.name} has no numbers for Python {version}, only for {', '.join(kept)}; "
            f"count them with a Python {version} that has everything installed: {_COMMAND}"
        )
    return kept[version]


def misses(gates: tuple[Gate, ...], counted: Names, wanted: Names) -> list[str]:
    """Say for people which numbers are off by more than they may be."""
    found = []
    for gate in gates:
        now, then = counted[gate.key], wanted.get(gate.key)
        if then is None:
            found.append(f"{gate.title}: {now:g}, and {EXPECTED.name} has no number: {_COMMAND}")
        elif abs(now - then) > gate.tolerance * then:
            found.append(
                f"{gate.title}: {now:g}, expected {then:g} within {gate.tolerance:.0%} "
                f"({now / then - 1:+.1%}); if that is meant: {_COMMAND}"
            )
    return found


def keep(counted: Names, version: str = VERSION, file: Path = EXPECTED) -> None:
    """Keep numbers as the expected ones of a minor version of Python; others stay."""
    kept: dict[str, dict[str, float]] = tomllib.loads(file.read_text()) if file.exists() else {}
    kept[version] = {**kept.get(version, {}), **{key: round(value, 2) for key, value in counted.items()}}
    ordered = dict(sorted(kept.items(), key=lambda item: [int(part) for part in item[0].split(".")]))
    lines = [f"# What a request costs, by minor version of Python; written by {_COMMAND}"]
    for of, numbers in ordered.items():
        lines += ["", f'["{of}"]', *(f"{key} = {value}" for key, value in numbers.items())]
    file.write_text("\n".join(lines) + "\n")


def table(counted: Names, wanted: Names) -> list[str]:
    """Write before and after for people."""
    lines = [f"{'Python ' + VERSION:<50} {'before':>9} {'now':>9}"]
    for gate in (*BYTECODES, *CALLS):
        now, then = counted.get(gate.key), wanted.get(gate.key)
        before = "-" if then is None else f"{then:.2f}"
        after = "-" if now is None else f"{now:.2f}"
        change = "" if now is None or not then else f" {now / then - 1:+.1%}"
        lines.append(f"{gate.title:<50} {before:>9} {after:>9}{change}")
    return lines


@click.command(help=__doc__)
@click.option("--update", is_flag=True, help="Keep what was counted as what is expected.")
def main(update: bool) -> None:
    """Count, compare, keep."""
    try:
        wanted = expected()
    except (Failed, OSError):
        wanted = {}
    counted, by_name, failed = count_bytecodes(), dict[str, Names](), False
    try:
        totals, by_name, way = count_calls()
        counted |= totals
        click.echo(f"system calls counted by {way}")
    except Failed as error:
        failed = True
        click.echo(f"error: {error}", err=True)
    for line in table(counted, wanted):
        click.echo(line)
    for gate in CALLS:
        names = sorted(by_name.get(gate.key, {}).items(), key=lambda item: (-item[1], item[0]))
        if names:
            click.echo(f"{gate.title}: " + ", ".join(f"{name} {number:g}" for name, number in names))
    if update:
        keep(counted)
        click.echo(f"kept in {EXPECTED}")
    else:
        for miss in misses(BYTECODES + (() if failed else CALLS), counted, wanted):
            failed = True
            click.echo(f"missed: {miss}", err=True)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
