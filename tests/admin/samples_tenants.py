"""Organisations, people, memberships, teams and service accounts."""

from __future__ import annotations

from typing import Any, Mapping

from tests.admin.samples import Sample, own_org, own_team
from tests.store.support import NOW, new_id, org, team, user
from voidllm.core.errors import StoreConflict
from voidllm.store.records import ServiceAccount
from voidllm.store.statements import Op, q


async def an_org(case: Any) -> Mapping[str, str]:
    """An organisation of its own, which nobody belongs to."""
    made = await case.store.create_org(org())
    return {"org_id": made.id}


async def a_team(case: Any) -> Mapping[str, str]:
    """A team of its own, which nobody belongs to."""
    made = await case.store.create_team(team(case.org))
    return {"org_id": case.org.id, "team_id": made.id}


async def a_member(case: Any) -> Mapping[str, str]:
    """Somebody who belongs to the organisation."""
    made = await case.store.create_user(user(), case.org.id, "member")
    return {"org_id": case.org.id, "user_id": made.id}


async def a_person(case: Any) -> Mapping[str, str]:
    """Somebody who belongs to the organisation, wherever that is in the path."""
    return {"user_id": (await a_member(case))["user_id"]}


def _join(where: Any, user_id: str) -> Op[None]:
    yield q(
        "INSERT INTO team_memberships (team_id, org_id, user_id, role, created_at_ms)"
        " VALUES (?, ?, ?, 'member', ?)",
        where.id,
        where.org_id,
        user_id,
        NOW,
    )


async def a_team_member(case: Any) -> Mapping[str, str]:
    """Somebody who belongs to the team."""
    parts = await a_member(case)
    await case.store.write(_join, case.team, parts["user_id"])
    return {**await own_team(case), "user_id": parts["user_id"]}


async def an_account(case: Any) -> Mapping[str, str]:
    """A service account of the organisation."""
    made = await case.store.create_service_account(ServiceAccount(new_id(), case.org.id, "robot", NOW))
    return {"org_id": case.org.id, "service_account_id": made.id}


async def _candidate(case: Any) -> Mapping[str, str]:
    """Somebody who belongs to nothing; the id is for the body."""
    made = await case.store.create_user(user())
    return Candidate(org_id=case.org.id, user=made.id)


async def _team_candidate(case: Any) -> Mapping[str, str]:
    """A member of the organisation who is not in the team; the id is for the body."""
    return Candidate(**await own_team(case), user=(await a_member(case))["user_id"])


class Candidate(dict[str, str]):
    """Parts of a path, and somebody who is not in it."""

    def __init__(self, *, user: str, **parts: str) -> None:
        super().__init__(parts)
        self.user = user


def _named_user(parts: Any) -> Mapping[str, Any]:
    return {"user_id": getattr(parts, "user", new_id())}


def _as_admin_of_team(parts: Any) -> Mapping[str, Any]:
    return {**_named_user(parts), "role": "team_admin"}


def _as_admin_of_org(parts: Any) -> Mapping[str, Any]:
    return {**_named_user(parts), "role": "org_admin"}


def _fresh(_: Mapping[str, str]) -> Mapping[str, Any]:
    return {"name": "x", "slug": f"s-{new_id()}"}


def _fresh_person(_: Mapping[str, str]) -> Mapping[str, Any]:
    return {"email": f"{new_id()}@example.org", "display_name": "x"}


async def _slug_taken(case: Any, route: Any) -> None:
    body = {"name": "x", "slug": case.other.slug}
    await case.call(route.method, route.path.format(org_id=case.org.id), body)


async def _team_slug_taken(case: Any, route: Any) -> None:
    taken = await case.store.create_team(team(case.org))
    parts = await own_team(case)
    await case.call(route.method, route.path.format(**parts), {"name": "x", "slug": taken.slug})


async def _email_taken(case: Any, route: Any) -> None:
    parts = await a_person(case)
    body = {"email": case.admin.email.upper(), "display_name": "x"}
    await case.call(route.method, route.path.format(**parts), body)


async def _last_system_admin(case: Any, route: Any) -> None:
    await case.call(route.method, route.path.format(user_id=case.admin.id))


async def _last_org_admin(case: Any, route: Any) -> None:
    path = route.path.format(org_id=case.other.id, user_id=case.users["other_boss"])
    await case.call(route.method, path, {"role": "member"} if route.method == "PATCH" else None)


async def _member_already(case: Any, route: Any) -> None:
    path = route.path.format(org_id=case.org.id, team_id=case.team.id)
    await case.call("POST", path, {"user_id": case.users["mate"]})


async def _nowhere(case: Any, route: Any) -> None:
    if route.method == "GET":
        await case.call("GET", route.path + "?org=nowhere")
    else:
        await case.call("POST", route.path, {**_fresh_person({}), "org_id": "nowhere"})


async def _nobody(case: Any, route: Any) -> None:
    path = route.path.format(org_id=case.org.id, team_id=case.team.id)
    await case.call("POST", path, {"user_id": "nobody"})


async def _team_gone(case: Any, route: Any) -> None:
    with case.instead("change", StoreConflict()):
        await case.call("POST", route.path.format(org_id=case.org.id), {"name": "x"})


SAMPLES = {
    "list_orgs": Sample(),
    "create_org": Sample(body=_fresh, other=_fresh, provoke={"conflict": _slug_taken}),
    "get_org": Sample(own_org),
    "change_org": Sample(own_org, {"name": "x"}, {"name": "y"}, provoke={"conflict": _slug_taken}),
    "delete_org": Sample(an_org),
    "list_users": Sample(provoke={"not_found": _nowhere}),
    "create_user": Sample(
        body=_fresh_person,
        other=_fresh_person,
        provoke={"not_found": _nowhere, "conflict": _email_taken},
    ),
    "get_user": Sample(a_person),
    "change_user": Sample(
        a_person, {"display_name": "x"}, {"display_name": "y"}, provoke={"conflict": _email_taken}
    ),
    "delete_user": Sample(a_person, provoke={"conflict": _last_system_admin}),
    "list_members": Sample(own_org),
    "add_member": Sample(
        _candidate,
        _named_user,
        _as_admin_of_org,
        provoke={"conflict": _member_already, "not_found": _nobody},
    ),
    "get_member": Sample(a_member),
    "change_member": Sample(
        a_member, {"role": "org_admin"}, {"role": "member"}, provoke={"conflict": _last_org_admin}
    ),
    "remove_member": Sample(a_member, provoke={"conflict": _last_org_admin}),
    "list_teams": Sample(own_org),
    "create_team": Sample(own_org, _fresh, _fresh, provoke={"conflict": _team_slug_taken}),
    "get_team": Sample(own_team),
    "change_team": Sample(own_team, {"name": "x"}, {"name": "y"}, provoke={"conflict": _team_slug_taken}),
    "delete_team": Sample(a_team),
    "list_team_members": Sample(own_team),
    "add_team_member": Sample(
        _team_candidate,
        _named_user,
        _as_admin_of_team,
        provoke={"conflict": _member_already, "not_found": _nobody},
    ),
    "get_team_member": Sample(a_team_member),
    "change_team_member": Sample(a_team_member, {"role": "team_admin"}, {"role": "member"}),
    "remove_team_member": Sample(a_team_member),
    "list_service_accounts": Sample(own_org),
    "create_service_account": Sample(own_org, {"name": "x"}, {"name": "y"}, provoke={"conflict": _team_gone}),
    "get_service_account": Sample(an_account),
    "change_service_account": Sample(an_account, {"name": "x"}, {"name": "y"}),
    "delete_service_account": Sample(an_account),
}
