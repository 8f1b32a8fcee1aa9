"""Aligned columns for people, with colours on a terminal only."""

from __future__ import annotations

import os
import sys
from typing import Sequence

import click


def coloured() -> bool:
    """Say whether standard output is a terminal that may have colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, **style: object) -> str:
    """Give ``text`` in a style, or plain where there are no colours."""
    return click.style(text, **style) if coloured() else text  # type: ignore[arg-type]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Align cells in columns two spaces apart.

    :param right: numbers of the columns that are aligned to the right.
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([paint(line(header), bold=True), *(line(row) for row in rows)])


def printable(text: str) -> str:
    """Give ``text`` without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
