"""Callers as they see themselves: names of where they belong, and what they may change."""

from __future__ import annotations

from typing import Mapping

from attrs import frozen

from voidllm.store import directory, totp
from voidllm.store.changes import Changed
from voidllm.store.passwords import Account, get_account
from voidllm.store.records import Named
from voidllm.store.standing import Standing, of_user
from voidllm.store.statements import PAGE, Op, q


@frozen
class Profile:
    """What is known of a caller beside the roles.

    :ivar account: of a person.
    :ivar totp: whether a second factor is asked for.
    :ivar codes: recovery codes left.
    :ivar team_orgs: team to its organisation.
    :ivar owner: whom the caller's key speaks for.
    """

    orgs: Mapping[str, Named]
    teams: Mapping[str, Named]
    team_orgs: Mapping[str, str]
    account: Account | None = None
    created_at_ms: int = 0
    totp: bool = False
    codes: int = 0
    owner: Named | None = None
    key_name: str = ""


def load_profile(
    user_id: str | None,
    key_id: str | None,
    team_id: str | None,
    account_id: str | None,
    orgs: tuple[str, ...],
    teams: tuple[str, ...],
) -> Op[Profile]:
    """Read what belongs to a caller.

    :param key_id: of the key that the caller came with.
    :param team_id: of a key that is a team's own.
    :param account_id: of a key that is a service account's.
    """
    # More than a page of either is nobody's; the rest is left out.
    org_names = yield from directory.named("org", orgs[:PAGE])
    team_names = yield from directory.named("team", teams[:PAGE])
    team_orgs: dict[str, str] = {}
    if team_names:
        marks = ", ".join("?" * len(team_names))
        rows = yield q(f"SELECT id, org_id FROM teams WHERE id IN ({marks})", *team_names)  # noqa: S608
        team_orgs = dict(rows)
    rows = (yield q("SELECT name FROM api_keys WHERE id = ?", key_id)) if key_id is not None else []
    key_name = rows[0][0] if rows else ""
    if user_id is None:
        kind, id_ = ("service_account", account_id) if account_id is not None else ("team", team_id)
        owners = (yield from directory.named(kind, (id_,))) if id_ is not None else {}
        return Profile(org_names, team_names, team_orgs, owner=owners.get(id_ or ""), key_name=key_name)
    account = yield from get_account(user_id)
    factor = yield from totp.find_totp(user_id)
    codes = yield from totp.count_codes(user_id)
    rows = yield q("SELECT created_at_ms FROM users WHERE id = ?", user_id)
    return Profile(
        org_names,
        team_names,
        team_orgs,
        account,
        rows[0][0] if rows else 0,
        factor is not None and factor.confirmed_at_ms is not None,
        codes,
        None if account is None else Named(account.id, account.name, None, account.email),
        key_name,
    )


def rename(user_id: str, name: str, now_ms: int) -> Op[Changed[bool] | None]:
    """Give a user another name; ``None`` if there is no such user."""
    person: Standing | None = yield from of_user(user_id)
    if person is None:
        return None
    yield q("UPDATE users SET name = ?, updated_at_ms = ? WHERE id = ?", name, now_ms, user_id)
    return Changed(
        True,
        "update",
        "user",
        user_id,
        person.org_id,
        before={"display_name": person.name},
        after={"display_name": name},
        touched=(("user", user_id),),
    )
