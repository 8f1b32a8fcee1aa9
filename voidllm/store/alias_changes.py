"""Other names of models in one organisation or team: read, made, removed and replaced, on record."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from attrs import frozen

from voidllm.core.errors import StoreConflict
from voidllm.store.access_changes import Lists, Where, entry, lists_of, lock
from voidllm.store.changes import Changed
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.statements import Op, Row, q

#: Aliases that one scope may have.
MOST_ALIASES = 500

#: What lists can be sorted by.
SORTS: Mapping[str, str] = {"alias": "alias", "model_name": "model"}

_SELECT = "SELECT scope_kind, scope_id, alias, model, created_at_ms, created_by FROM model_aliases"


@frozen
class AliasRow:
    """Another name of a model.

    :ivar kind: of what has it: ``org`` or ``team``.
    :ivar created_at_ms: 0 if nobody noted it.
    """

    kind: str
    scope_id: str
    alias: str
    model: str
    created_at_ms: int = 0
    created_by: str | None = None


def list_aliases(where: Where, search: str | None, model: str | None, page: Page) -> Op[list[AliasRow]]:
    """Read one page of the aliases of a scope."""
    conditions: list[Condition] = [("scope_kind = ? AND scope_id = ?", (where.kind, where.id))]
    if search is not None:
        conditions.append(contains(search, "alias", "model"))
    if model is not None:
        conditions.append(("model = ?", (model,)))
    rows = yield paged(_SELECT, conditions, SORTS, "alias", page)
    return [AliasRow(*row) for row in rows]


def add_alias(where: Where, new: AliasRow, check: Callable[[Lists], None]) -> Op[Changed[AliasRow] | None]:
    """Give a model another name; nothing if the scope is gone.

    :param check: raises if the scope does not reach the model.
    :raises StoreConflict: if the scope has such an alias, or as many as it may have.
    """
    if not (yield from lock(where)):
        return None
    check((yield from lists_of(where)))
    ((count,),) = yield q(
        "SELECT count(*) FROM model_aliases WHERE scope_kind = ? AND scope_id = ?", where.kind, where.id
    )
    if count >= MOST_ALIASES:
        raise StoreConflict("too many aliases")
    yield from _insert(new)
    return entry(where, "create", "model_alias", new, None, _facts((new,)), new.alias)


def remove_alias(where: Where, alias: str) -> Op[Changed[AliasRow] | None]:
    """Take another name away; nothing if there is none."""
    if not (yield from lock(where)):
        return None
    rows = yield q(
        "DELETE FROM model_aliases WHERE scope_kind = ? AND scope_id = ? AND alias = ?"
        " RETURNING scope_kind, scope_id, alias, model, created_at_ms, created_by",
        where.kind,
        where.id,
        alias,
    )
    if not rows:
        return None
    gone = AliasRow(*rows[0])
    return entry(where, "delete", "model_alias", gone, _facts((gone,)), None, alias)


def replace_aliases(
    where: Where, new: Sequence[AliasRow], check: Callable[[Lists], None]
) -> Op[Changed[tuple[AliasRow, ...]] | None]:
    """Make ``new`` all that a scope has; those that were there stay as they are. Nothing if it is gone.

    :param check: raises if the scope does not reach one of the models.
    """
    if not (yield from lock(where)):
        return None
    check((yield from lists_of(where)))
    rows = yield q(
        "DELETE FROM model_aliases WHERE scope_kind = ? AND scope_id = ?"
        " RETURNING scope_kind, scope_id, alias, model, created_at_ms, created_by",
        where.kind,
        where.id,
    )
    old = {(row[2], row[3]): AliasRow(*row) for row in rows}
    kept = sorted((old.get((one.alias, one.model), one) for one in new), key=lambda one: one.alias)
    for one in kept:
        yield from _insert(one)
    return entry(where, "update", "model_alias", tuple(kept), _facts(old.values()), _facts(kept), where.id)


def _insert(new: AliasRow) -> Op[None]:
    values: Row = (new.kind, new.scope_id, new.alias, new.model, new.created_at_ms, new.created_by)
    yield q(
        "INSERT INTO model_aliases (scope_kind, scope_id, alias, model, created_at_ms, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        *values,
    )


def _facts(aliases: Any) -> dict[str, Any]:
    return {one.alias: one.model for one in aliases}
