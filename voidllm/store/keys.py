"""API keys: only their HMAC is here, never the key."""

from __future__ import annotations

import json
from typing import Any, Mapping

from attrs import evolve

from voidllm.core.errors import StoreConflict
from voidllm.store import access_rows, limits_rows
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.records import ApiKey, KeyChange, KeyFilter, NewKey, NewSecret, Seer
from voidllm.store.statements import PAGE, Op, Row, q

# A service account's key is of the account's team, whatever the key's own row says.
TEAM = "CASE WHEN k.service_account_id IS NULL THEN k.team_id ELSE s.team_id END"

# Noted with the usage itself, so that using a key writes nothing to its row.
_USED = "d.last_used_ms"

_COLUMNS = (
    f"k.id, k.hash, k.hint, k.key_type, k.name, k.org_id, {TEAM}, k.user_id, k.service_account_id,"
    " k.scopes, k.created_at_ms, k.expires_at_ms, k.revoked_at_ms, u.is_system_admin, m.role, a.scope_id,"
    f" k.revision, {limits_rows.COLUMNS}, k.addresses, k.tags, k.created_by, k.updated_at_ms, {_USED}"
)

FROM = (
    " FROM api_keys k"
    " JOIN organizations o ON o.id = k.org_id"
    " LEFT JOIN users u ON u.id = k.user_id"
    " LEFT JOIN service_accounts s ON s.id = k.service_account_id"
    f" LEFT JOIN teams t ON t.id = {TEAM}"
    " LEFT JOIN org_memberships m ON m.org_id = k.org_id AND m.user_id = k.user_id"
    " LEFT JOIN scope_limits l ON l.scope_kind = 'key' AND l.scope_id = k.id"
    " LEFT JOIN access_lists a ON a.scope_kind = 'key' AND a.scope_id = k.id"
)

_SELECT = f"SELECT {_COLUMNS}{FROM} LEFT JOIN key_last_used d ON d.key_id = k.id"

# An owner that is gone takes its keys along, whatever else is known of them.
LIVE = (
    " k.revoked_at_ms IS NULL AND (k.expires_at_ms IS NULL OR k.expires_at_ms > ?)"
    " AND o.deleted_at_ms IS NULL AND t.deleted_at_ms IS NULL"
    " AND u.deleted_at_ms IS NULL AND s.deleted_at_ms IS NULL"
    " AND (k.user_id IS NULL OR u.is_system_admin = 1 OR m.role IS NOT NULL)"
)

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "k.id", "name": "k.name", "last_used_at": f"coalesce({_USED}, 0)"}

_INSERT = (
    "INSERT INTO api_keys (id, hash, hint, key_type, name, org_id, team_id, user_id, service_account_id,"  # noqa: S608
    " scopes, created_at_ms, expires_at_ms, addresses, tags, created_by, updated_at_ms)"
    f" VALUES ({', '.join('?' * 16)})"
)


def create_key(new: NewKey, now_ms: int) -> Op[ApiKey]:
    """Insert a key with its limits and access list."""
    yield q(
        _INSERT,
        new.id,
        new.hash,
        new.hint,
        new.key_type,
        new.name,
        new.org_id,
        new.team_id,
        new.user_id,
        new.service_account_id,
        " ".join(sorted(new.scopes)),
        now_ms,
        new.expires_at_ms,
        stored(new.addresses),
        stored(dict(new.tags)),
        new.created_by,
        now_ms,
    )
    yield from limits_rows.put("key", new.id, new.limits)
    yield from access_rows.put_access("key", new.id, new.models)
    rows = yield q(_SELECT + " WHERE k.id = ? AND" + LIVE, new.id, now_ms)
    if not rows:
        raise StoreConflict("the key has expired already, or its owner is gone")
    return _key(rows[0], new.models)


def get_key(key_id: str) -> Op[ApiKey | None]:
    """Read one key, revoked and expired ones too."""
    rows = yield q(_SELECT + " WHERE k.id = ?", key_id)
    if not rows:
        return None
    models = yield from access_rows.get_access("key", key_id)
    return _key(rows[0], models)


def find_live(digest: str, now_ms: int) -> Op[ApiKey | None]:
    """Read the key with this digest if it may be used now, without its access list."""
    rows = yield q(_SELECT + " WHERE k.hash = ? AND" + LIVE, digest, now_ms)
    return _key(rows[0], None) if rows else None


def list_keys(wanted: KeyFilter, page: Page) -> Op[list[ApiKey]]:
    """Read one page of keys, in the order of their ids unless another is asked for."""
    where: list[Condition] = [
        (f"{column} = ?", (value,))
        for column, value in (
            ("k.org_id", wanted.org_id),
            ("k.user_id", wanted.user_id),
            ("k.service_account_id", wanted.service_account_id),
            ("k.key_type", wanted.key_type),
        )
        if value is not None
    ]
    if wanted.search is not None:
        where.append(contains(wanted.search, "k.name", "k.hint"))
    if not wanted.include_revoked:
        where.append(("k.revoked_at_ms IS NULL", ()))
    if wanted.team_id is not None:
        where.append(_of_teams((wanted.team_id,)))
    if wanted.ids is not None:
        where.append((f"k.id IN ({_marks(wanted.ids)})", wanted.ids))
    if wanted.name_prefix is not None:
        # Compared as it is written, unlike a search.
        where.append(("substr(k.name, 1, ?) = ?", (len(wanted.name_prefix), wanted.name_prefix)))
    if wanted.unused_since_ms is not None:
        since = wanted.unused_since_ms
        where.append((f"k.created_at_ms <= ? AND coalesce({_USED}, 0) <= ?", (since, since)))
    if wanted.seen_by is not None:
        where.append(_seen_by(wanted.seen_by))
    rows = yield paged(_SELECT, where, SORTS, "k.id", page)
    found = []
    for row in rows:
        models = (yield from access_rows.get_access("key", row[0])) if row[15] is not None else None
        found.append(_key(row, models))
    return found


def position(key: ApiKey, sort: str) -> str | int:
    """Give what a key has for one of :data:`SORTS`."""
    if sort == "name":
        return key.name
    return (key.last_used_at_ms or 0) if sort == "last_used_at" else ""


def _of_teams(ids: tuple[str, ...]) -> Condition:
    """Give the condition that keys are of one of these teams."""
    marks = _marks(ids)
    # The first half is what there are indexes for.
    return (
        f"(k.team_id IN ({marks}) OR k.service_account_id IN"  # noqa: S608
        f" (SELECT id FROM service_accounts WHERE team_id IN ({marks}))) AND {TEAM} IN ({marks})",
        ids * 3,
    )


def _seen_by(seer: Seer) -> Condition:
    """Give the condition that somebody sees keys who does not see all."""
    found: list[Condition] = [
        (f"{column} = ?", (value,))
        for column, value in (
            ("k.user_id", seer.user_id),
            ("k.service_account_id", seer.service_account_id),
            ("k.id", seer.key_id),
        )
        if value is not None
    ]
    if seer.leads:
        found.append(_of_teams(seer.leads))
    if not found:
        return "1 = 0", ()
    text = " OR ".join(f"({condition})" for condition, _ in found)
    return text, tuple(value for _, values in found for value in values)


def _marks(values: tuple[str, ...]) -> str:
    # No list at all is written as one that nothing is in.
    return ", ".join("?" * len(values)) or "NULL"


def update_key(key_id: str, change: KeyChange, revision: int) -> Op[ApiKey | None]:
    """Change a key that is not revoked and still what it was at ``revision``; else ``None``."""
    rows = yield q(
        "UPDATE api_keys SET revision = revision + 1, name = ?, expires_at_ms = ?, addresses = ?, tags = ?"
        " WHERE id = ? AND revision = ? AND revoked_at_ms IS NULL RETURNING id",
        change.name,
        change.expires_at_ms,
        stored(change.addresses),
        stored(dict(change.tags)),
        key_id,
        revision,
    )
    if not rows:
        return None
    yield from limits_rows.put("key", key_id, change.limits)
    yield from access_rows.put_access("key", key_id, change.models)
    return (yield from get_key(key_id))


def revoke_key(key_id: str, now_ms: int) -> Op[bool]:
    """Revoke a key for good; ``False`` if there is none that was not revoked before."""
    rows = yield q(
        "UPDATE api_keys SET revision = revision + 1, revoked_at_ms = ?, updated_at_ms = ?"
        " WHERE id = ? AND revoked_at_ms IS NULL RETURNING id",
        now_ms,
        now_ms,
        key_id,
    )
    return bool(rows)


def rotate_key(old_id: str, new: NewSecret, grace_until_ms: int, now_ms: int) -> Op[ApiKey | None]:
    """Put a new key in the place of a live one, which stays valid until ``grace_until_ms``.

    Once only: another one would end when the grace time does, which nobody expects of a new key.

    Owner, name, scopes, limits and access list are taken over here, in the transaction, so
    that no race and no forgotten argument can make the new key mightier than the old one.
    """
    rows = yield q(
        "UPDATE api_keys SET revision = revision + 1, updated_at_ms = ?, replaced_by = ?, expires_at_ms ="
        " CASE WHEN expires_at_ms IS NULL OR expires_at_ms > ? THEN ? ELSE expires_at_ms END"
        " WHERE id = ? AND revoked_at_ms IS NULL AND (expires_at_ms IS NULL OR expires_at_ms > ?)"
        " AND replaced_by IS NULL RETURNING id",
        now_ms,
        new.id,
        grace_until_ms,
        grace_until_ms,
        old_id,
        now_ms,
    )
    old = (yield from get_key(old_id)) if rows else None
    if old is None:
        return None
    return (
        yield from create_key(
            NewKey(
                id=new.id,
                hash=new.hash,
                hint=new.hint,
                expires_at_ms=new.expires_at_ms,
                key_type=old.key_type,
                name=old.name,
                org_id=old.org_id,
                team_id=old.team_id,
                user_id=old.user_id,
                service_account_id=old.service_account_id,
                scopes=old.scopes,
                limits=old.limits,
                models=old.models,
                addresses=old.addresses,
                tags=old.tags,
                created_by=new.created_by,
            ),
            now_ms,
        )
    )


def live_keys(now_ms: int) -> Op[list[ApiKey]]:
    """Read every key that may be used at ``now_ms``, without the access lists."""
    found: list[ApiKey] = []
    after = ""
    while True:
        rows = yield q(_SELECT + " WHERE k.id > ? AND" + LIVE + " ORDER BY k.id LIMIT ?", after, now_ms, PAGE)
        found += [_key(row, None) for row in rows]
        if len(rows) < PAGE:
            return found
        after = rows[-1][0]


def with_models(keys: list[ApiKey], access: dict[tuple[str, str], frozenset[str]]) -> tuple[ApiKey, ...]:
    """Give ``keys`` with what ``access`` holds for them."""
    return tuple(
        evolve(key, models=access[scope]) if (scope := ("key", key.id)) in access else key for key in keys
    )


def _key(row: Row, models: frozenset[str] | None) -> ApiKey:
    return ApiKey(
        id=row[0],
        hash=row[1],
        hint=row[2],
        key_type=row[3],
        name=row[4],
        org_id=row[5],
        team_id=row[6],
        user_id=row[7],
        service_account_id=row[8],
        scopes=frozenset(row[9].split()),
        created_at_ms=row[10],
        expires_at_ms=row[11],
        revoked_at_ms=row[12],
        role=role_of(row[3], row[6], bool(row[13]), row[14]),
        limits=limits_rows.from_row(row[17:22]),
        models=models,
        revision=row[16],
        addresses=() if row[22] is None else tuple(json.loads(row[22])),
        tags={} if row[23] is None else json.loads(row[23]),
        created_by=row[24],
        updated_at_ms=row[25],
        last_used_at_ms=row[26],
    )


def stored(value: Any) -> str | None:
    """Give a list or an object as it is kept, ``None`` if it is empty."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True) if value else None


def role_of(key_type: str, team_id: str | None, system_admin: bool, membership: str | None) -> str:
    if key_type == "team_key":
        return "team_admin"
    if key_type == "sa_key":
        return "team_admin" if team_id is not None else "org_admin"
    if system_admin:
        return "system_admin"
    # Who leads a team is written with the team.
    return "org_admin" if membership == "org_admin" else "member"
