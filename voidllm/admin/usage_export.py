"""Usage as CSV or as JSON lines, read from the database as fast as the client takes it."""

from __future__ import annotations

import csv
import io
from typing import Any, AsyncGenerator, Awaitable, Callable, Iterable, Sequence

import msgspec
from attrs import evolve
from msgspec import structs

from voidllm.admin.declare import Call
from voidllm.admin.kinds import Nothing
from voidllm.admin.moments import moment
from voidllm.admin.reporting import flush, question
from voidllm.admin.streaming import Stream
from voidllm.admin.usage_scope import Whose, everybody, filters, of_org, of_team, own, span
from voidllm.admin.usage_shapes import MOST_LINES, ExportAsk, UsageLine
from voidllm.admin.usage_views import usage_view
from voidllm.admin.views import dollars
from voidllm.store.usage_export import COLUMNS, After, events

#: How CSV and JSON lines are named to browsers.
MEDIA = {"csv": "text/csv", "ndjson": "application/x-ndjson"}

# What a spreadsheet takes for a formula when it is the first character of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NAMES = ("started_at", *(name for name in COLUMNS if name != "started_ms"), "cost")
_STARTED, _COST, _STREAM = (COLUMNS.index(name) for name in ("started_ms", "cost_nano", "stream"))

_Find = Callable[[Call[Any, Any]], Awaitable[Whose]]


async def usage(call: Call[ExportAsk, Nothing]) -> Stream:
    """Export usage of all that the caller administers.

    :raises Refusal: 400, 404, or 503.
    """
    return await _export(call, everybody)


async def org_usage(call: Call[ExportAsk, Nothing]) -> Stream:
    """Export usage of an organisation."""
    return await _export(call, of_org)


async def team_usage(call: Call[ExportAsk, Nothing]) -> Stream:
    """Export usage of a team."""
    return await _export(call, of_team)


async def own_usage(call: Call[ExportAsk, Nothing]) -> Stream:
    """Export what the caller has used."""
    return await _export(call, own)


async def _export(call: Call[ExportAsk, Nothing], find: _Find) -> Stream:
    whose = await find(call)
    await flush(call.context)
    kind = call.query.format
    write = _csv if kind == "csv" else _ndjson
    if call.query.group_by is not None:
        pieces = _report(call, whose, write)
    else:
        since_ms, until_ms = span(call.query, call.now_ms)
        where = (*whose.where, *filters(call.query))
        pieces = _events(call, since_ms, until_ms, where, write)
    return Stream(MEDIA[kind], f"usage.{kind}", pieces)


async def _events(
    call: Call[ExportAsk, Nothing], since_ms: int, until_ms: int, where: Any, write: Any
) -> AsyncGenerator[bytes, None]:
    after: After | None = None
    first = True
    while first or after is not None:
        rows, after = await call.read(events, since_ms, until_ms, where, after)
        yield write(_NAMES, map(_shown, rows), first)
        first = False


async def _report(call: Call[ExportAsk, Nothing], whose: Whose, write: Any) -> AsyncGenerator[bytes, None]:
    group_by = tuple(call.query.group_by or ())
    wanted = evolve(question(call, whose, group_by), limit=MOST_LINES)
    lines = [usage_view(group_by, row, {}) for row in await call.context.store.usage_report(wanted)]
    absent = {name for name in UsageLine.__struct_fields__ if name not in group_by and _optional(name)}
    names = [name for name in UsageLine.__struct_fields__ if name not in absent]
    for start in range(0, len(lines) or 1, 500):
        rows = ([structs.asdict(line)[name] for name in names] for line in lines[start : start + 500])
        yield write(names, rows, start == 0)


def _optional(name: str) -> bool:
    kind = UsageLine.__struct_fields__.index(name) - len(UsageLine.__struct_fields__)
    defaults = UsageLine.__struct_defaults__
    return kind >= -len(defaults) and defaults[kind] is msgspec.UNSET


def _shown(row: Sequence[Any]) -> list[Any]:
    """Give a stored row with its moment and its cost as people write them."""
    rest = [value for place, value in enumerate(row) if place != _STARTED]
    rest[_STREAM - (_STREAM > _STARTED)] = bool(row[_STREAM])
    cost = None if row[_COST] is None else dollars(row[_COST])
    return [moment(max(0, row[_STARTED])), *rest, cost]


def _ndjson(names: Sequence[str], rows: Iterable[Sequence[Any]], first: bool) -> bytes:
    encode = msgspec.json.encode
    return b"".join(encode(dict(zip(names, row, strict=True))) + b"\n" for row in rows)


def _csv(names: Sequence[str], rows: Iterable[Sequence[Any]], first: bool) -> bytes:
    """Write lines as RFC 4180 has them; no cell is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    if first:
        writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
