"""Keys as they are administered: made, changed, rotated and revoked, each on record.

Who may is decided by functions that are handed in, on what is read while nobody else can change it;
they raise what is to be refused, and nothing is done then.
"""

from __future__ import annotations

from typing import Any, Callable

from attrs import asdict, frozen

from voidllm.core.errors import Refusal
from voidllm.store import access_rows, keys, limits_rows
from voidllm.store.changes import Changed
from voidllm.store.limits_above import Above, limits_above
from voidllm.store.pages import Page
from voidllm.store.records import ApiKey, KeyChange, KeyFilter, NewKey, NewSecret
from voidllm.store.service_accounts import AccountRow, create_account
from voidllm.store.statements import PAGE, Op, q

#: Live keys of one user, service account or team: each is held in memory by every process.
MOST_PER_BEARER = 1_000

#: Keys that one request revokes at most.
MOST_REVOKED = PAGE


@frozen
class Rotation:
    """A key and its predecessor, as they are now."""

    new: ApiKey
    old: ApiKey


@frozen
class Sweep:
    """Keys that were revoked together, or would be.

    :ivar more: whether others are left that the same filter finds.
    """

    keys: tuple[ApiKey, ...]
    more: bool


def make_key(
    new: NewKey,
    account: AccountRow | None,
    in_team: bool,
    check: Callable[[Above], None],
    now_ms: int,
) -> Op[Changed[ApiKey]]:
    """Insert a key, and the service account that it is for if that is new.

    :param in_team: the user must belong to the team.
    :param check: raises if it may not be made below such limits.
    :raises Refusal: 400 for somebody who does not belong to the team.
    """
    check((yield from limits_above(new.org_id, new.team_id)))
    more: tuple[Changed[Any], ...] = ()
    if account is not None:
        made_account = yield from create_account(account)
        if made_account is not None:
            more = (made_account,)
    if in_team:
        # Whoever takes the membership away waits, and then finds the key.
        rows = yield q(
            "UPDATE team_memberships SET role = role WHERE team_id = ? AND user_id = ? RETURNING role",
            new.team_id,
            new.user_id,
        )
        if not rows:
            raise Refusal(400, "bad_request", "the user does not belong to the team", "team_id")
    yield from _room(new, now_ms)
    made = yield from keys.create_key(new, now_ms)
    return _changed(made, "create", None, made, more=more)


def _room(new: NewKey, now_ms: int) -> Op[None]:
    """Refuse a key for a bearer that has too many.

    :raises Refusal: 409.
    """
    if new.user_id is not None:
        column, bearer = "user_id", new.user_id
    elif new.service_account_id is not None:
        column, bearer = "service_account_id", new.service_account_id
    else:
        column, bearer = "user_id IS NULL AND service_account_id IS NULL AND team_id", new.team_id or ""
    rows = yield q(
        f"SELECT 1 FROM api_keys WHERE {column} = ? AND revoked_at_ms IS NULL"  # noqa: S608
        " AND (expires_at_ms IS NULL OR expires_at_ms > ?) LIMIT ?",
        bearer,
        now_ms,
        MOST_PER_BEARER,
    )
    if len(rows) == MOST_PER_BEARER:
        raise Refusal(409, "conflict", f"nobody has more than {MOST_PER_BEARER} keys: revoke some first")


def change_key(
    key_id: str, decide: Callable[[ApiKey, Above], KeyChange], now_ms: int
) -> Op[Changed[ApiKey] | None]:
    """Change a key; nothing if there is none, or none that is not revoked.

    :param decide: says what it shall be, by what it is and by the limits above it.
    """
    old = yield from _held(key_id)
    if old is None:
        return None
    wanted = decide(old, (yield from limits_above(old.org_id, old.team_id)))
    yield q(
        "UPDATE api_keys SET name = ?, expires_at_ms = ?, addresses = ?, tags = ?, updated_at_ms = ?"
        " WHERE id = ?",
        wanted.name,
        wanted.expires_at_ms,
        keys.stored(wanted.addresses),
        keys.stored(dict(wanted.tags)),
        now_ms,
        key_id,
    )
    if wanted.limits != old.limits:
        yield from limits_rows.put("key", key_id, wanted.limits)
    if wanted.models != old.models:
        yield from access_rows.put_access("key", key_id, wanted.models)
    made = yield from keys.get_key(key_id)
    assert made is not None
    return _changed(made, "update", old, made)


def revoke_key(key_id: str, check: Callable[[ApiKey], None], now_ms: int) -> Op[Changed[ApiKey] | None]:
    """Revoke a key for good; nothing if there is none that was not revoked before.

    :param check: raises if it may not be revoked.
    """
    old = yield from _held(key_id)
    if old is None:
        return None
    check(old)
    return _changed((yield from _revoked(old, now_ms)), "revoke", old, None)


def rotate_key(
    key_id: str, successor: NewSecret, grace_until_ms: int, check: Callable[[ApiKey], None], now_ms: int
) -> Op[Changed[Rotation] | None]:
    """Put a new key in the place of a live one, which stays valid for a while; nothing if it is not alive.

    :param check: raises if it may not be rotated.
    """
    old = yield from _held(key_id, now_ms)
    if old is None:
        return None
    check(old)
    new = yield from keys.rotate_key(key_id, successor, grace_until_ms, now_ms)
    ending = yield from keys.get_key(key_id)
    if new is None or ending is None:
        return None
    entry = _changed(ending, "rotate", old, ending, more=(_changed(new, "create", None, new),))
    return Changed(
        Rotation(new, ending),
        entry.action,
        entry.resource,
        entry.resource_id,
        entry.org_id,
        entry.team_id,
        entry.before,
        {**(entry.after or {}), "successor": new.id},
        entry.touched,
        entry.more,
    )


def find_keys(wanted: KeyFilter, check: Callable[[ApiKey], bool]) -> Op[Sweep]:
    """Read the keys that :func:`revoke_keys` would revoke."""
    found = yield from keys.list_keys(wanted, Page(MOST_REVOKED))
    return Sweep(tuple(key for key in found if check(key)), len(found) == MOST_REVOKED)


def revoke_keys(wanted: KeyFilter, check: Callable[[ApiKey], bool], now_ms: int) -> Op[Changed[Sweep] | None]:
    """Revoke several keys, all or none; nothing if there are none.

    :param check: says whether a key that was found is to be revoked; raises if none is to be.
    """
    # Every row that is to be changed is taken first, in one order: two of these never wait for each other.
    before = yield from find_keys(wanted, check)
    gone = []
    for key in before.keys:
        old = yield from _held(key.id)
        if old is not None:
            gone.append(_changed((yield from _revoked(old, now_ms)), "revoke", old, None))
    if not gone:
        return None
    return Changed(
        Sweep(tuple(one.result for one in gone), before.more),
        "bulk_revoke",
        "key",
        None,
        wanted.org_id,
        after={"count": len(gone)},
        more=tuple(gone),
    )


def _held(key_id: str, alive_ms: int = 0) -> Op[ApiKey | None]:
    """Read a key that is not revoked; nobody else changes it until the transaction ends.

    :param alive_ms: when it must not have expired.
    """
    rows = yield q(
        "UPDATE api_keys SET revision = revision + 1 WHERE id = ? AND revoked_at_ms IS NULL"
        " AND (expires_at_ms IS NULL OR expires_at_ms > ?) RETURNING id",
        key_id,
        alive_ms,
    )
    return (yield from keys.get_key(key_id)) if rows else None


def _revoked(key: ApiKey, now_ms: int) -> Op[ApiKey]:
    yield q("UPDATE api_keys SET revoked_at_ms = ?, updated_at_ms = ? WHERE id = ?", now_ms, now_ms, key.id)
    gone = yield from keys.get_key(key.id)
    assert gone is not None
    return gone


def _changed(
    key: ApiKey,
    action: str,
    before: ApiKey | None,
    after: ApiKey | None,
    more: tuple[Changed[Any], ...] = (),
) -> Changed[ApiKey]:
    return Changed(
        key,
        action,
        "key",
        key.id,
        key.org_id,
        key.team_id,
        before=None if before is None else facts(before),
        after=None if after is None else facts(after),
        touched=(("key", key.id),),
        more=more,
    )


def facts(key: ApiKey) -> dict[str, Any]:
    """Give what is put on record of a key; neither it nor its digest is in there."""
    return {
        "name": key.name,
        "key_type": key.key_type,
        "key_hint": key.hint,
        "user_id": key.user_id,
        "team_id": key.team_id,
        "service_account_id": key.service_account_id,
        "scopes": sorted(key.scopes),
        "models": None if key.models is None else sorted(key.models),
        "allowed_addresses": list(key.addresses),
        "tags": dict(key.tags),
        "expires_at_ms": key.expires_at_ms,
        **asdict(key.limits),
    }
