"""One page of a long list: filtered, sorted, and continued after the last row that was seen."""

from __future__ import annotations

from typing import Mapping

from attrs import frozen

from voidllm.core.errors import StoreRejected
from voidllm.store.statements import PAGE, Query, Row, q

#: A condition on rows and its parameters.
Condition = tuple[str, Row]


@frozen
class Page:
    """Which part of a list is wanted.

    :ivar limit: how many rows, at most :data:`~voidllm.store.statements.PAGE`.
    :ivar sort: one of the names that the list can be sorted by; ``id`` always is one.
    :ivar after: what the last row that was seen has for ``sort``, and its id.
    """

    limit: int = 100
    sort: str = "id"
    descending: bool = False
    after: tuple[str | int, str] | None = None


def paged(
    select: str, where: list[Condition], columns: Mapping[str, str], id_column: str, page: Page
) -> Query:
    """Make the statement that reads one page.

    :param select: ``SELECT ... FROM ...`` without a ``WHERE``.
    :param where: conditions that all must hold.
    :param columns: names that can be sorted by, and the columns, none of which holds NULL.
    :param id_column: makes the order total.
    :raises StoreRejected: if the list cannot be sorted like that.
    """
    column = id_column if page.sort == "id" else columns.get(page.sort)
    if column is None:
        raise StoreRejected("the list cannot be sorted by that")
    than, direction = ("<", " DESC") if page.descending else (">", "")
    ordered = [id_column] if column == id_column else [column, id_column]
    conditions = list(where)
    if page.after is not None:
        marks = ", ".join("?" * len(ordered))
        condition = f"({', '.join(ordered)}) {than} ({marks})"
        conditions.append((condition, page.after[-len(ordered) :]))
    text = " AND ".join(f"({condition})" for condition, _ in conditions)
    order = ", ".join(name + direction for name in ordered)
    return q(
        f"{select}{' WHERE ' if text else ''}{text} ORDER BY {order} LIMIT ?",
        *(value for _, values in conditions for value in values),
        max(1, min(page.limit, PAGE)),
    )


def contains(text: str, *columns: str) -> Condition:
    """Give the condition that one of ``columns`` holds ``text``, in upper or lower case (ASCII)."""
    folded = text.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return (
        " OR ".join(f"lower({column}) LIKE ? ESCAPE '!'" for column in columns),
        (f"%{folded}%",) * len(columns),
    )
