"""Lists in one envelope, continued by cursors that mean nothing to callers."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Callable, Protocol, Sequence, TypeVar

from voidllm.admin import kinds
from voidllm.admin.fields import bad
from voidllm.admin.kinds import MAX_NUMBER
from voidllm.store.pages import Page
from voidllm.store.statements import storable

R = TypeVar("R")
V = TypeVar("V")


class Paged(Protocol):
    """A query of a list; see :class:`~voidllm.admin.kinds.Listing`."""

    limit: Any
    cursor: Any


def page_of(query: Paged, sort: str) -> Page:
    """Give what to ask a store for: one row more than the page, to know whether more follow.

    :param sort: what to sort by, downwards with ``-`` before it.
    :raises Refusal: 400 for a cursor that is none, or of a list in another order.
    """
    name = sort.removeprefix("-")
    after = None if query.cursor is None else _after(query.cursor, sort)
    return Page(query.limit + 1, name, sort != name, after)


def envelope(
    query: Paged,
    sort: str,
    rows: Sequence[R],
    view: Callable[[R], V],
    position: Callable[[R], tuple[str | int, str]],
) -> kinds.Page[V]:
    """Give one page.

    :param rows: what the store gave for :func:`page_of`.
    :param position: gives what a row has for the sort order, and its id.
    """
    data = [view(row) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return kinds.Page(data=data, has_more=False)
    text = json.dumps([sort, *position(rows[query.limit - 1])], separators=(",", ":"), ensure_ascii=False)
    cursor = base64.urlsafe_b64encode(text.encode("utf-8")).decode("ascii").rstrip("=")
    return kinds.Page(data=data, has_more=True, next_cursor=cursor)


def _after(cursor: str, sort: str) -> tuple[str | int, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        order, value, row_id = json.loads(text)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise bad("cursor is not one that a page gave", param="cursor") from None
    if order != sort:
        raise bad("cursor belongs to a list in another order", param="cursor")
    number = type(value) is int and 0 <= value <= MAX_NUMBER
    if not (number or _storable(value)) or not _storable(row_id):
        raise bad("cursor is not one that a page gave", param="cursor")
    return value, row_id


def _storable(value: object) -> bool:
    return isinstance(value, str) and storable(value)
