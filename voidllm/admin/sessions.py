"""``/api/v1/me/sessions``: where somebody is logged in."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from attrs import evolve
from msgspec import Meta, Struct

from voidllm.admin.access import READ, WRITE, Actor, missing
from voidllm.admin.declare import Call, Route
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Count, Id, Listing, Nothing, Page, Text, Time
from voidllm.admin.me_operations import require_person
from voidllm.admin.moments import moment
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.session_cookies import clear_cookies
from voidllm.auth.roles import MEMBER
from voidllm.auth.sessions import SessionRules
from voidllm.store import pages, sessions
from voidllm.store.sessions import Session as Stored

_ALL = "/api/v1/me/sessions"
_ONE = _ALL + "/{session_id}"
_NUMBER = re.compile("[0-9]{1,15}")

Way = Literal["password", "sso", "invite"]


class Session(Struct, kw_only=True, frozen=True):
    """One login."""

    id: Id
    current: Annotated[bool, Meta(description="it is the one that this request comes with")]
    way: Annotated[Way, Meta(description="how it began")]
    address: Annotated[str, Meta(description="of the client where it began")]
    agent: Annotated[str, Meta(description="browser and system", examples=["Firefox on Linux"])]
    created_at: Time
    last_seen_at: Annotated[Time, Meta(description="up to a minute late")]
    expires_at: Annotated[Time, Meta(description="if it is not used any more")]


class SessionList(Listing):
    """Which sessions."""

    sort: Literal["created_at", "-created_at", "last_seen_at", "-last_seen_at"] = "-last_seen_at"
    q: Annotated[Text, Meta(description="is in the address or the agent")] | None = None
    way: Way | None = None


class Ended(Struct, kw_only=True, frozen=True):
    """How many sessions have ended."""

    ended: Count


async def list_sessions(call: Call[SessionList, Nothing]) -> Page[Session]:
    """Give one page of the caller's sessions.

    :raises Refusal: 400, or 409 for a program.
    """
    query, now_ms, rules = call.query, call.now_ms, call.context.sessions
    user_id = require_person(call.actor)
    page = _page(query)
    used_since_ms = now_ms - rules.idle_ms
    found = await call.read(sessions.list_sessions, user_id, query.q, query.way, used_since_ms, now_ms, page)
    return envelope(
        query,
        query.sort,
        found,
        lambda session: _view(session, call.actor, rules),
        lambda session: (str(session.seen_at_ms) if page.sort == "last_seen_at" else "", session.id),
    )


def _page(query: SessionList) -> pages.Page:
    page = page_of(query, query.sort)
    if page.sort != "last_seen_at" or page.after is None:
        return page
    value, row_id = page.after
    if _NUMBER.fullmatch(str(value)) is None:
        raise bad("cursor is not one that a page gave", param="cursor")
    return evolve(page, after=(int(value), row_id))


async def end_session(call: Call[Nothing, Nothing]) -> None:
    """End one of the caller's sessions.

    :raises Refusal: 404, or 409 for a program.
    """
    user_id, session_id = require_person(call.actor), call.path["session_id"]
    if await call.change(sessions.end_session, user_id, session_id, "revoke") is None:
        raise missing()
    if session_id == call.actor.session_id:
        clear_cookies(call)


async def end_others(call: Call[Nothing, Nothing]) -> Ended:
    """End all sessions of the caller but the one that the request comes with.

    :raises Refusal: 409 for a program.
    """
    ended = await call.change(sessions.revoke_sessions, require_person(call.actor), call.actor.session_id)
    return Ended(ended=ended or 0)


def _view(session: Stored, actor: Actor, rules: SessionRules) -> Session:
    return Session(
        id=session.id,
        current=session.id == actor.session_id,
        way=session.way,  # type: ignore[arg-type]
        address=session.address,
        agent=session.agent,
        created_at=moment(session.created_at_ms),
        last_seen_at=moment(session.seen_at_ms),
        expires_at=moment(rules.ends_ms(session.seen_at_ms, session.expires_at_ms)),
    )


ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_my_sessions",
        "List one's sessions",
        list_sessions,
        Page[Session],
        MEMBER,
        READ,
        tenant="self",
        query=SessionList,
        codes=("conflict",),
    ),
    Route(
        "DELETE",
        _ALL,
        "end_my_other_sessions",
        "End all of one's sessions but this one",
        end_others,
        Ended,
        MEMBER,
        WRITE,
        tenant="self",
        codes=("conflict",),
    ),
    Route(
        "DELETE",
        _ONE,
        "end_my_session",
        "End one of one's sessions",
        end_session,
        None,
        MEMBER,
        WRITE,
        tenant="self",
        status=204,
        codes=("conflict",),
    ),
)
