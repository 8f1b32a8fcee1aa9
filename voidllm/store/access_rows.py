"""What scopes may reach and under which names: access lists and aliases."""

from __future__ import annotations

from typing import Iterable, Mapping, Sequence

from voidllm.store.statements import PAGE, Op, q


def put_access(kind: str, scope_id: str, models: Iterable[str] | None) -> Op[None]:
    """Restrict a scope to ``models``, to none if empty, or to nothing at all if ``None``."""
    yield q("DELETE FROM access_lists WHERE scope_kind = ? AND scope_id = ?", kind, scope_id)
    if models is None:
        return
    yield q("INSERT INTO access_lists (scope_kind, scope_id) VALUES (?, ?)", kind, scope_id)
    for model in sorted(set(models)):
        yield q(
            "INSERT INTO access_models (scope_kind, scope_id, model) VALUES (?, ?, ?)", kind, scope_id, model
        )


def get_access(kind: str, scope_id: str) -> Op[frozenset[str] | None]:
    """Read the access list of one scope; ``None`` if it has none."""
    rows = yield q(
        "SELECT m.model FROM access_lists a LEFT JOIN access_models m"
        " ON m.scope_kind = a.scope_kind AND m.scope_id = a.scope_id"
        " WHERE a.scope_kind = ? AND a.scope_id = ?",
        kind,
        scope_id,
    )
    if not rows:
        return None
    return frozenset(model for (model,) in rows if model is not None)


def put_aliases(kind: str, scope_id: str, aliases: Mapping[str, str]) -> Op[None]:
    """Make ``aliases`` (alias to model name) all that a scope has."""
    yield q("DELETE FROM model_aliases WHERE scope_kind = ? AND scope_id = ?", kind, scope_id)
    for alias, model in sorted(aliases.items()):
        yield q(
            "INSERT INTO model_aliases (scope_kind, scope_id, alias, model) VALUES (?, ?, ?, ?)",
            kind,
            scope_id,
            alias,
            model,
        )


def all_access() -> Op[dict[tuple[str, str], frozenset[str]]]:
    """Read every access list, of deleted scopes too."""
    lists: dict[tuple[str, str], set[str]] = {}
    after = ("", "", "")
    while True:
        rows = yield q(
            "SELECT a.scope_kind, a.scope_id, coalesce(m.model, '') FROM access_lists a"
            " LEFT JOIN access_models m ON m.scope_kind = a.scope_kind AND m.scope_id = a.scope_id"
            " WHERE (a.scope_kind, a.scope_id, coalesce(m.model, '')) > (?, ?, ?)"
            " ORDER BY 1, 2, 3 LIMIT ?",
            *after,
            PAGE,
        )
        for kind, scope_id, model in rows:
            names = lists.setdefault((kind, scope_id), set())
            if model:
                names.add(model)
        if len(rows) < PAGE:
            return {scope: frozenset(names) for scope, names in lists.items()}
        after = rows[-1]


def access_of(kind: str, ids: Sequence[str] | None = None) -> Op[dict[tuple[str, str], frozenset[str]]]:
    """Read the access lists of the ``org`` or ``team`` scopes, or of some of them."""
    lists: dict[tuple[str, str], set[str]] = {}
    after = ("", "")
    while True:
        rows = yield q(
            "SELECT a.scope_id, coalesce(m.model, '') FROM access_lists a"  # noqa: S608
            " LEFT JOIN access_models m ON m.scope_kind = a.scope_kind AND m.scope_id = a.scope_id"
            f" WHERE a.scope_kind = ?{_among('a.scope_id', ids)}"
            " AND (a.scope_id, coalesce(m.model, '')) > (?, ?) ORDER BY 1, 2 LIMIT ?",
            kind,
            *(ids or ()),
            *after,
            PAGE,
        )
        for scope_id, model in rows:
            names = lists.setdefault((kind, scope_id), set())
            if model:
                names.add(model)
        if len(rows) < PAGE:
            return {scope: frozenset(names) for scope, names in lists.items()}
        after = rows[-1]


def all_aliases(kind: str, ids: Sequence[str] | None = None) -> Op[dict[tuple[str, str], str]]:
    """Read every alias of the ``org`` or of the ``team`` scopes, or of some of them."""
    aliases: dict[tuple[str, str], str] = {}
    after = ("", "")
    while True:
        rows = yield q(
            "SELECT scope_id, alias, model FROM model_aliases WHERE scope_kind = ?"  # noqa: S608
            f"{_among('scope_id', ids)} AND (scope_id, alias) > (?, ?) ORDER BY scope_id, alias LIMIT ?",
            kind,
            *(ids or ()),
            *after,
            PAGE,
        )
        for scope_id, alias, model in rows:
            aliases[scope_id, alias] = model
        if len(rows) < PAGE:
            return aliases
        after = rows[-1][:2]


def _among(column: str, ids: Sequence[str] | None) -> str:
    return "" if ids is None else f" AND {column} IN ({', '.join('?' * len(ids))})"
