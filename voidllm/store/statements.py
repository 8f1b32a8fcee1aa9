"""Operations as generators that yield statements, so that one text serves both databases.

An operation yields a :class:`Query`, is sent back the rows of its result (a list of tuples,
empty if it has none), and returns its outcome. The SQLite store drives it inside a thread,
the PostgreSQL store from the reactor; neither appears in it. What it yields runs in one
transaction, and it may be started anew after a failure, so it changes nothing but the database.
"""

from __future__ import annotations

from typing import Any, Generator, TypeVar

from attrs import frozen

from voidllm.core.errors import StoreRejected

T = TypeVar("T")
Row = tuple[Any, ...]
Rows = list[Row]

#: Rows that one statement inserts or one page of a long result holds: a larger piece would
#: keep the reactor from other work for too long.
PAGE = 500


@frozen
class Query:
    """One statement; ``?`` marks a parameter in every dialect."""

    sql: str
    params: Row = ()


Op = Generator[Query, Rows, T]


def q(sql: str, *params: Any) -> Query:
    """Make a :class:`Query`.

    :raises StoreRejected: if a text has a NUL or a lone surrogate, which PostgreSQL cannot store.
    """
    for value in params:
        if isinstance(value, str) and not storable(value):
            raise StoreRejected("a text holds a character that cannot be stored")
    return Query(sql, params)


def storable(text: str) -> bool:
    """Say whether both databases can store ``text``."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
