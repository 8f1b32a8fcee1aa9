"""What was refused to somebody who is known goes on record, as what was done does."""

from __future__ import annotations

import re
from typing import Any, Mapping

from attrs import evolve
from twisted.logger import Logger

from voidllm.admin.access import Actor
from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Client, Route, author_of
from voidllm.core.errors import Refusal, StoreConflict, StoreError
from voidllm.core.ids import uuid7
from voidllm.store import directory
from voidllm.store.audit import Author, Entry
from voidllm.store.statements import storable

_log = Logger()
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ACTIONS = {"GET": "read", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_NAMES = {
    "limits": "limits",
    "me": "user",
    "members": "membership",
    "model-access": "model_access",
    "model-aliases": "model_alias",
    "sso": "sso_config",
}
_LONGEST = 64
_STRANGER = "somebody of another organisation"


async def refused(
    route: Route,
    context: AdminContext,
    actor: Actor,
    client: Client,
    path: Mapping[str, str],
    refusal: Refusal,
) -> None:
    """Put on record that a change, or a look at what is somebody else's, was refused.

    Of the request nothing is kept but the route, the organisation and team of the path if they are
    there, and what has the form of an id: the rest may be anything that somebody typed.
    """
    if not context.audited or actor.kind == "anonymous" or refusal.status >= 500:
        return
    if route.method == "GET" and refusal.status != 403:
        return
    skipped = context.refusals.take(actor.subject)
    if skipped is None:
        return
    now_ms = context.world.wall_ms()
    action, resource = what_of(route)
    try:
        org, team = await _scopes(context, path)
        entry = Entry(
            id=uuid7(now_ms, context.world.random_bytes),
            at_ms=now_ms,
            author=author_of(actor, client, refusal.status),
            action=action,
            resource_type=resource,
            resource_id=_about(route, path, org, team),
            org_id=actor.org_id if org is None else org.id,
            team_id=None if team is None else team.id,
            diff={"more_refused": [None, skipped]} if skipped else {},
            error_code=refusal.code,
        )
        entries = [entry]
        if org is not None and actor.role_in(org.id) is None:
            # The organisation is told that somebody knocked; who it was is for the system's administrators.
            stranger = Author(
                "anonymous", name=_STRANGER, request_id=client.request_id, status=refusal.status
            )
            told = evolve(entry, id=uuid7(now_ms, context.world.random_bytes), author=stranger, diff={})
            about = {"org_id": [None, org.id], **entry.diff}
            entries = [evolve(entry, org_id=None, team_id=None, diff=about), told]
        await context.store.note(entries)
    except StoreError as error:
        # The refusal itself stands, whether or not it could be written down.
        _log.warn("a refusal was not put on record: {kind}", kind=type(error).__name__)


def refusal_of(error: StoreError) -> Refusal:
    """Give how what the database refused is answered."""
    if isinstance(error, StoreConflict):
        return Refusal(409, "conflict", "this is in conflict with what is stored")
    return Refusal(400, "bad_request", "the database refuses these values")


def what_of(route: Route) -> tuple[str, str]:
    """Give the action and the kind of thing that a route is about, as changes name them.

    What is posted behind the id of a thing and is no list of others is what is done to it.
    """
    parts = [part for part in route.path.split("/") if part]
    last, before = parts[-1], parts[-2]
    action = _ACTIONS[route.method]
    if last.startswith("{"):
        kind = _one_of(before)
        return ("revoke" if kind == "key" and action == "delete" else action), kind
    if route.method in ("POST", "PATCH") and not last.endswith("s") and before not in ("v1", "me"):
        return last.replace("-", "_"), _one_of(parts[-3] if before.startswith("{") else before)
    return action, _one_of(last)


def _one_of(plural: str) -> str:
    return _NAMES.get(plural) or plural.removesuffix("s").replace("-", "_")


async def _scopes(context: AdminContext, path: Mapping[str, str]) -> tuple[Any, Any]:
    org, team = path.get("org_id"), path.get("team_id")
    if org is None or any(len(one) > _LONGEST or not storable(one) for one in (org, team or "")):
        return None, None
    found: tuple[Any, Any] = await context.store.read(directory.find_scopes, org, team)
    return found


def _about(route: Route, path: Mapping[str, str], org: Any, team: Any) -> str | None:
    *_, before, last = route.path.split("/")
    part = last if last.startswith("{") else before
    # What is about to be made in something has no id yet.
    if not part.startswith("{") or (last != part and what_of(route)[0] in _ACTIONS.values()):
        return None
    found = {"{org_id}": org, "{team_id}": team}.get(part)
    if found is not None:
        return str(found.id)
    given = path.get(part[1:-1], "")
    return given if _ID.fullmatch(given) is not None else None
