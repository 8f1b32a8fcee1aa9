"""Figures with their targets."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from attrs import define, field


@define
class Figure:
    """One line of the table.

    :ivar value: ``None`` when it could not be measured; the note says why.
    :ivar at_most: the target is an upper bound; else a lower one.
    :ivar target: ``None`` for a figure that is shown but not judged.
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

    def to_json(self) -> dict[str, Any]:
        """Give it as it stands in a report."""
        return {
            "name": self.name,
            "value": None if self.value is None else round(self.value, 4),
            "unit": self.unit,
            "target": self.target,
            "at_most": self.at_most,
            "verdict": self.verdict,
            "note": self.note,
        }


@define
class Figures:
    """All figures so far, in the order of the table."""

    found: list[Figure] = field(factory=list)

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
        self.found.append(Figure(name, value, unit, target, least is None, note))

    def to_json(self) -> list[dict[str, Any]]:
        """Give them as they stand in a report."""
        return [figure.to_json() for figure in self.found]


def missed(figures: Sequence[Mapping[str, Any]]) -> bool:
    """Give whether a report's figures miss a target."""
    return any(figure["verdict"] == "MISSED" for figure in figures)


def rows_of(figures: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """Give a report's figures as rows: figure, measured, target, verdict, note."""
    rows = [("figure", "measured", "target", "verdict", "")]
    for f in figures:
        bound = "≤" if f["at_most"] else "≥"
        target = "" if f["target"] is None else f"{bound} {plain(f['target'])} {f['unit']}".strip()
        value = "-" if f["value"] is None else f"{plain(f['value'])} {f['unit']}".strip()
        rows.append((f["name"], value, target, f["verdict"], f["note"]))
    return rows


def plain(value: float) -> str:
    """Give a number with as many digits as it deserves."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"
