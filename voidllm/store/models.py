"""Stored models with their deployments: read whole, and changed as a whole."""

from __future__ import annotations

import json
from typing import Iterable, Mapping

from attrs import evolve

from voidllm.core.errors import StoreRejected
from voidllm.store import catalogue_version, state
from voidllm.store.changes import Changed, Touched
from voidllm.store.model_records import MOST_MODELS, StoredCatalogue, StoredDeployment, StoredModel
from voidllm.store.sealed import KEY_CHECK
from voidllm.store.statements import PAGE, Op, Row, q

#: What a change of these says that it touched.
TOUCHED: tuple[Touched, ...] = (("models", ""),)

_MODEL = (
    "SELECT id, name, type, created_at_ms, updated_at_ms, pricing, max_context_tokens, timeout_ms, strategy,"
    " max_retries, is_active, revision FROM models"
)
_DEPLOYMENT = (
    "SELECT id, model_id, name, provider, base_url, upstream_model, created_at_ms, updated_at_ms,"
    " credential_id, api_key, weight, priority, is_active FROM deployments"
)


def all_models() -> Op[tuple[StoredModel, ...]]:
    """Read every model, the oldest first."""
    found: list[Row] = []
    while True:
        after = found[-1][0] if found else ""
        rows = yield q(_MODEL + " WHERE id > ? ORDER BY id LIMIT ?", after, PAGE)
        found += rows
        if len(rows) < PAGE:
            break
    names = yield from _names()
    deployments = yield from _deployments()
    return tuple(_model(row, names.get(row[0], ()), deployments.get(row[0], ())) for row in found)


def get_model(ref: str) -> Op[StoredModel | None]:
    """Read the model with this id or canonical name."""
    rows = yield q(_MODEL + " WHERE id = ? OR name = ?", ref, ref)
    if len(rows) != 1:
        return None
    model_id = rows[0][0]
    names = yield q("SELECT name FROM model_names WHERE model_id = ? ORDER BY place", model_id)
    deployments = yield q(_DEPLOYMENT + " WHERE model_id = ? ORDER BY id", model_id)
    return _model(rows[0], tuple(row[0] for row in names), tuple(map(_deployment, deployments)))


def taken(names: Iterable[str], by_others_than: str) -> Op[frozenset[str]]:
    """Say which of ``names`` belong to another model, as its name or an alias."""
    found = set()
    for name in names:
        rows = yield q("SELECT 1 FROM model_names WHERE name = ? AND model_id <> ?", name, by_others_than)
        if rows:
            found.add(name)
    return frozenset(found)


def catalogue() -> Op[StoredCatalogue]:
    """Read what requests are served with."""
    version = yield from catalogue_version.current()
    models = yield from all_models()
    keys = yield q("SELECT id, api_key FROM credentials WHERE id IN (SELECT credential_id FROM deployments)")
    check = yield from state.meta_get(KEY_CHECK)
    return StoredCatalogue(version, models, dict(keys), check)


def create_model(new: StoredModel) -> Op[Changed[StoredModel]]:
    """Keep a new model.

    :raises StoreConflict: if a name is taken.
    :raises StoreRejected: if there are too many.
    """
    rows = yield q("SELECT count(*) FROM models")
    if rows[0][0] >= MOST_MODELS:
        raise StoreRejected("there are too many models")
    yield q(
        "INSERT INTO models (id, name, type, created_at_ms, updated_at_ms, pricing, max_context_tokens,"
        " timeout_ms, strategy, max_retries, is_active, revision)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *_values(new),
    )
    yield from _keep_names(new)
    for one in new.deployments:
        yield from _keep(one)
    yield from catalogue_version.grow()
    after = {**new.plain(), "deployments": [dict(one.plain()) for one in new.deployments]}
    return Changed(new, "create", "model", new.id, after=after, touched=TOUCHED)


def change_model(old: StoredModel, new: StoredModel) -> Op[Changed[StoredModel] | None]:
    """Put a model in the place of what it was, deployments included.

    :returns: ``None`` if somebody has changed or deleted it since ``old`` was read.
    :raises StoreConflict: if a name is taken.
    """
    made = evolve(new, revision=old.revision + 1)
    rows = yield q(
        "UPDATE models SET name = ?, type = ?, updated_at_ms = ?, pricing = ?, max_context_tokens = ?,"
        " timeout_ms = ?, strategy = ?, max_retries = ?, is_active = ?, revision = ?"
        " WHERE id = ? AND revision = ? RETURNING id",
        *(value for place, value in enumerate(_values(made)) if place not in (0, 3)),
        old.id,
        old.revision,
    )
    if not rows:
        return None
    if (old.name, old.aliases) != (made.name, made.aliases):
        yield q("DELETE FROM model_names WHERE model_id = ?", old.id)
        yield from _keep_names(made)
    before = {one.id: one for one in old.deployments}
    after = {one.id: one for one in made.deployments}
    entries: list[Changed[StoredModel]] = []
    for gone in before.keys() - after.keys():
        yield q("DELETE FROM deployments WHERE id = ?", gone)
        entries.append(_entry(made, "delete", before[gone], None))
    for one in made.deployments:
        if before.get(one.id) != one:
            yield from _keep(one)
            entries.append(_entry(made, "update" if one.id in before else "create", before.get(one.id), one))
    if old.plain() != made.plain() or not entries:
        entries.insert(
            0,
            Changed(
                made, "update", "model", made.id, before=old.plain(), after=made.plain(), touched=TOUCHED
            ),
        )
    yield from catalogue_version.grow()
    return evolve(entries[0], more=tuple(entries[1:]))


def delete_model(old: StoredModel) -> Op[Changed[bool] | None]:
    """Delete a model with its deployments and their keys; ``None`` if somebody has changed it since."""
    rows = yield q("DELETE FROM models WHERE id = ? AND revision = ? RETURNING id", old.id, old.revision)
    if not rows:
        return None
    yield from catalogue_version.grow()
    before = {**old.plain(), "deployments": [dict(one.plain()) for one in old.deployments]}
    return Changed(True, "delete", "model", old.id, before=before, touched=TOUCHED)


def _entry(
    model: StoredModel, action: str, old: StoredDeployment | None, new: StoredDeployment | None
) -> Changed[StoredModel]:
    one = new or old
    assert one is not None
    before = None if old is None else {"model": model.name, **old.plain()}
    after = None if new is None else {"model": model.name, **new.plain()}
    if old is not None and new is not None and old.api_key != new.api_key and after is not None:
        # What it is must not be seen, that it is another one must.
        after["api_key"] = "changed"
    return Changed(model, action, "deployment", one.id, before=before, after=after, touched=TOUCHED)


def _values(model: StoredModel) -> Row:
    return (
        model.id,
        model.name,
        model.type,
        model.created_at_ms,
        model.updated_at_ms,
        json.dumps(dict(model.pricing)),
        model.max_context_tokens,
        model.timeout_ms,
        model.strategy,
        model.max_retries,
        int(model.is_active),
        model.revision,
    )


def _keep_names(model: StoredModel) -> Op[None]:
    for place, name in enumerate((model.name, *model.aliases)):
        yield q("INSERT INTO model_names (name, model_id, place) VALUES (?, ?, ?)", name, model.id, place)


def _keep(one: StoredDeployment) -> Op[None]:
    yield q(
        "INSERT INTO deployments (id, model_id, name, provider, base_url, upstream_model, created_at_ms,"
        " updated_at_ms, credential_id, api_key, weight, priority, is_active)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
        " provider = excluded.provider, base_url = excluded.base_url,"
        " upstream_model = excluded.upstream_model, updated_at_ms = excluded.updated_at_ms,"
        " credential_id = excluded.credential_id, api_key = excluded.api_key, weight = excluded.weight,"
        " priority = excluded.priority, is_active = excluded.is_active",
        one.id,
        one.model_id,
        one.name,
        one.provider,
        one.base_url,
        one.upstream_model,
        one.created_at_ms,
        one.updated_at_ms,
        one.credential_id,
        one.api_key,
        one.weight,
        one.priority,
        int(one.is_active),
    )


def _names() -> Op[Mapping[str, tuple[str, ...]]]:
    found: dict[str, list[str]] = {}
    after: Row = ("", -1)
    while True:
        rows = yield q(
            "SELECT model_id, place, name FROM model_names WHERE (model_id, place) > (?, ?)"
            " ORDER BY model_id, place LIMIT ?",
            *after,
            PAGE,
        )
        for model_id, _, name in rows:
            found.setdefault(model_id, []).append(name)
        if len(rows) < PAGE:
            return {model_id: tuple(names) for model_id, names in found.items()}
        after = rows[-1][:2]


def _deployments() -> Op[Mapping[str, tuple[StoredDeployment, ...]]]:
    found: dict[str, list[StoredDeployment]] = {}
    after = ""
    while True:
        rows = yield q(_DEPLOYMENT + " WHERE id > ? ORDER BY id LIMIT ?", after, PAGE)
        for one in map(_deployment, rows):
            found.setdefault(one.model_id, []).append(one)
        if len(rows) < PAGE:
            return {model_id: tuple(ones) for model_id, ones in found.items()}
        after = rows[-1][0]


def _model(row: Row, names: tuple[str, ...], deployments: tuple[StoredDeployment, ...]) -> StoredModel:
    return StoredModel(
        id=row[0],
        name=row[1],
        type=row[2],
        created_at_ms=row[3],
        updated_at_ms=row[4],
        aliases=names[1:],
        pricing=json.loads(row[5]),
        max_context_tokens=row[6],
        timeout_ms=row[7],
        strategy=row[8],
        max_retries=row[9],
        is_active=bool(row[10]),
        revision=row[11],
        deployments=deployments,
    )


def _deployment(row: Row) -> StoredDeployment:
    return evolve(StoredDeployment(*row), is_active=bool(row[-1]))
