"""``/api/v1/orgs/{org_id}/service-accounts``.

Whoever administers the organisation has all of them, who leads a team has that team's, and everybody
has what they made. To have one is not to have a key for it: that is for who administers what it is of.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from voidllm.admin.access import READ, WRITE, Actor, missing, require_team
from voidllm.admin.declare import Call, Route
from voidllm.admin.expanding import expanded
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.service_account_shapes import (
    AccountList,
    AccountPatch,
    NewAccount,
    ServiceAccount,
    account_view,
)
from voidllm.auth.roles import MEMBER, ORG_ADMIN, RANKS, TEAM_ADMIN, rank
from voidllm.core.errors import Refusal
from voidllm.store import directory, service_accounts
from voidllm.store.service_accounts import AccountFilter, AccountRow


async def list_accounts(call: Call[AccountList, Nothing]) -> Page[ServiceAccount]:
    """Give one page of the service accounts that the actor has.

    :raises Refusal: 400.
    """
    query, actor = call.query, call.actor
    page = page_of(query, query.sort)
    visible = None if _administers(actor, call.org.id) else (actor.user_id, _led(actor))
    wanted = AccountFilter(call.org.id, visible, query.team, query.created_by, query.q)
    found = await call.read(service_accounts.list_accounts, wanted, page)
    shown = envelope(
        query,
        query.sort,
        found,
        account_view,
        lambda account: (account.name if page.sort == "name" else "", account.id),
    )
    return await expanded(call.context.store, shown, query.expand or ())


async def create_account(call: Call[Nothing, NewAccount]) -> ServiceAccount:
    """Make a service account.

    :raises Refusal: 403 for a program that administers nothing, 404 for the team.
    """
    actor, ask, team_id = call.actor, call.body, None
    if ask.team_id is not None:
        team = await call.read(directory.find_team, call.org.id, ask.team_id)
        if team is None or actor.role_in_team(call.org.id, team.id) is None:
            raise missing("team_id")
        team_id = team.id
    if actor.user_id is None and not _administers(actor, call.org.id):
        if team_id is None:
            raise Refusal(403, "forbidden", "this needs a person, or the role org_admin")
        require_team(actor, call.org.id, team_id, TEAM_ADMIN)
    new = AccountRow(call.new_id(), call.org.id, ask.name, call.now_ms, team_id, actor.user_id)
    made = await call.change(service_accounts.create_account, new)
    if made is None:
        raise missing()
    return account_view(made)


async def get_account(call: Call[Nothing, Any]) -> ServiceAccount:
    """Show one service account.

    :raises Refusal: 404 for one that the actor does not have.
    """
    found = await call.read(service_accounts.get_account, call.org.id, call.path["service_account_id"])
    if found is None:
        raise missing()
    _require_has(call.actor, found)
    return account_view(found)


async def change_account(call: Call[Nothing, AccountPatch]) -> ServiceAccount:
    """Give a service account another name, and show it.

    :raises Refusal: 404 or 412.
    """
    patch = call.body

    def decide(old: AccountRow) -> str:
        _require_has(call.actor, old)
        call.demand(account_view(old))
        return old.name if patch.name is UNSET else patch.name

    made = await call.change(
        service_accounts.rename_account, call.org.id, call.path["service_account_id"], decide, call.now_ms
    )
    return account_view(made) if made is not None else await get_account(call)


async def delete_account(call: Call[Nothing, Nothing]) -> None:
    """Remove a service account with its keys.

    :raises Refusal: 404 or 412.
    """

    def check(old: AccountRow) -> None:
        _require_has(call.actor, old)
        call.demand(account_view(old))

    made = await call.change(
        service_accounts.delete_account, call.org.id, call.path["service_account_id"], check, call.now_ms
    )
    if made is None:
        raise missing()


def _administers(actor: Actor, org_id: str) -> bool:
    return rank(actor.role_in(org_id) or "") >= RANKS[ORG_ADMIN]


def _led(actor: Actor) -> tuple[str, ...]:
    return tuple(team_id for team_id, role in actor.teams.items() if role == TEAM_ADMIN)


def _require_has(actor: Actor, account: AccountRow) -> None:
    made = account.created_by is not None and account.created_by == actor.user_id
    if not (made or account.team_id in _led(actor) or _administers(actor, account.org_id)):
        raise missing()


_ALL = "/api/v1/orgs/{org_id}/service-accounts"
_ONE = "/api/v1/orgs/{org_id}/service-accounts/{service_account_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_service_accounts",
        "List service accounts",
        list_accounts,
        Page[ServiceAccount],
        MEMBER,
        READ,
        tenant="org",
        query=AccountList,
        description=(
            "All to who administers the organisation, to others those that they made and those of teams that "
            "they lead."
        ),
        tag="service-accounts",
    ),
    Route(
        "POST",
        _ALL,
        "create_service_account",
        "Make a service account",
        create_account,
        ServiceAccount,
        MEMBER,
        WRITE,
        tenant="org",
        body=NewAccount,
        status=201,
        codes=("conflict",),
        example={"name": "nightly-batch", "team_id": "search"},
        description="One of a team is made by its members. Keys are made by who administers what it is of.",
        tag="service-accounts",
    ),
    Route(
        "GET",
        _ONE,
        "get_service_account",
        "Show a service account",
        get_account,
        ServiceAccount,
        MEMBER,
        READ,
        tenant="org",
        tagged=True,
        tag="service-accounts",
    ),
    Route(
        "PATCH",
        _ONE,
        "change_service_account",
        "Give a service account another name",
        change_account,
        ServiceAccount,
        MEMBER,
        WRITE,
        tenant="org",
        body=AccountPatch,
        tagged=True,
        guarded=True,
        example={"name": "nightly"},
        description="A JSON merge patch (RFC 7396).",
        tag="service-accounts",
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_service_account",
        "Remove a service account",
        delete_account,
        None,
        MEMBER,
        WRITE,
        tenant="org",
        status=204,
        guarded=True,
        description="Its keys are revoked at once.",
        tag="service-accounts",
    ),
)
