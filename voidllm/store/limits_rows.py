"""Limits of any scope: no row means no limit."""

from __future__ import annotations

from attrs import astuple

from voidllm.core.principal import Limits
from voidllm.store.statements import Op, Row, q

#: The numbers, in the order of the fields of :class:`Limits`; for an outer join on ``l``.
COLUMNS = (
    "l.requests_per_minute, l.requests_per_day, l.tokens_per_minute, l.tokens_per_day, l.tokens_per_month"
)

_PUT = (
    "INSERT INTO scope_limits (scope_kind, scope_id, requests_per_minute, requests_per_day,"
    " tokens_per_minute, tokens_per_day, tokens_per_month) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (scope_kind, scope_id) DO UPDATE SET"
    " requests_per_minute = excluded.requests_per_minute, requests_per_day = excluded.requests_per_day,"
    " tokens_per_minute = excluded.tokens_per_minute, tokens_per_day = excluded.tokens_per_day,"
    " tokens_per_month = excluded.tokens_per_month"
)


def from_row(values: Row) -> Limits:
    """Make limits of the five joined columns, which are all NULL without a row."""
    return Limits(*(value or 0 for value in values))


def put(kind: str, scope_id: str, limits: Limits) -> Op[None]:
    """Set the limits of one scope; all zero removes the row."""
    if limits.unlimited:
        yield q("DELETE FROM scope_limits WHERE scope_kind = ? AND scope_id = ?", kind, scope_id)
    else:
        yield q(_PUT, kind, scope_id, *astuple(limits))
