"""Routes as values: what a request may hold, who may send it, and all that may come back.

Requests are read by these declarations, replies are encoded from the types named in them, and
the OpenAPI document and the page in the manual are written from them.
"""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Generic, Mapping, TypeVar, cast

import msgspec
from attrs import field, frozen
from twisted.internet.defer import Deferred

from voidllm.admin.access import Actor
from voidllm.admin.context import AdminContext
from voidllm.admin.etags import etag_of, matches
from voidllm.admin.kinds import Asked, Nothing
from voidllm.core.errors import Refusal
from voidllm.core.ids import uuid7
from voidllm.store.audit import Author
from voidllm.store.changes import Changed
from voidllm.store.statements import Op, T

Q = TypeVar("Q", bound=Asked)
B = TypeVar("B", bound=Asked)

#: Every ``error.code`` with its status and when it is given.
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "a field is wrong, unknown or missing; `param` names it"),
    "bad_configuration": (400, "the configuration file has a mistake; the message names place and key"),
    "unauthorized": (401, "there is no API key, or none that is known and alive"),
    "totp_required": (401, "the password is right, and a one-time code is needed as well"),
    "forbidden": (403, "the key lacks the scope or the role, or it is about somebody of a higher role"),
    "address_not_allowed": (403, "the API key may not be used from the client's address"),
    "password_change_required": (403, "the password must be changed before anything else"),
    "not_found": (404, "there is no such thing, or it is not the caller's"),
    "conflict": (409, "the thing is not in a state that allows this"),
    "idempotency_key_in_use": (409, "a request with this key runs, or nobody knows how it ended"),
    "gone": (410, "what was handed out for one use is used up, ended or never was"),
    "precondition_failed": (412, "the thing is not what `If-Match` says"),
    "request_too_large": (413, "the body is too large"),
    "unsupported_content_encoding": (415, "the body is compressed"),
    "unsupported_media_type": (415, "the body is said to be something else than JSON"),
    "idempotency_key_reused": (422, "another request was sent with this key"),
    "too_many_requests": (429, "too many tries; wait as long as `Retry-After` says"),
    "not_ready": (503, "the gateway starts"),
    "service_unavailable": (503, "the database cannot be used now"),
}

#: Whose things a route is about, in words.
TENANTS: Mapping[str, str] = {
    "org": "the organisation in the path, where the role is needed",
    "team": "the team in the path, where the role is needed; administrators of its organisation lead it",
    "own": "what the caller administers or owns; everything for a system_admin",
    "self": "the caller's own",
    "installation": "the whole installation",
    "none": "nobody's",
}


@frozen
class Client:
    """Where a request came from, as far as it matters.

    :ivar address: the client's, behind trusted proxies; empty on the control socket.
    :ivar secure: whether it came over TLS.
    :ivar header: gives a request header by its name, several values joined; ``None`` if there is none.
    """

    address: str = ""
    secure: bool = False
    request_id: str = ""
    header: Callable[[str], str | None] = field(default=lambda name: None, repr=False)


NOBODY = Client()


@frozen(eq=False)
class Call(Generic[Q, B]):
    """One request, read and allowed.

    :ivar path: the variable parts of the path.
    :ivar match: what ``If-Match`` says.
    :ivar org: the organisation in the path of a route about an ``org`` or a ``team``.
    :ivar team: the team in the path of a route about a ``team``.
    :ivar headers: to be added to the reply: names and values.
    """

    context: AdminContext
    actor: Actor
    path: Mapping[str, str]
    query: Q
    body: B = field(repr=False)
    match: str | None = None
    client: Client = NOBODY
    status: int = 200
    org: Any = None
    team: Any = None
    headers: list[tuple[str, str]] = field(factory=list, repr=False)

    @property
    def now_ms(self) -> int:
        """The wall time, Unix milliseconds."""
        return self.context.world.wall_ms()

    def new_id(self) -> str:
        """Make an id for something new."""
        return uuid7(self.now_ms, self.context.world.random_bytes)

    def read(self, op: Callable[..., Op[T]], *args: Any) -> Deferred[T]:
        """Run an operation of the store that only reads."""
        return cast("Deferred[T]", self.context.store.read(op, *args))

    def write(self, op: Callable[..., Op[T]], *args: Any) -> Deferred[T]:
        """Run an operation of the store that changes nothing that is audited or in a snapshot."""
        return cast("Deferred[T]", self.context.store.write(op, *args))

    def change(self, op: Callable[..., Op[Changed[T] | None]], *args: Any) -> Deferred[T | None]:
        """Run an operation of the store and put it on record as the caller's doing."""
        return cast("Deferred[T | None]", self.context.store.change(self.author, op, *args))

    @property
    def author(self) -> Author | None:
        """Whose doing a change is; ``None`` if nothing is put on record."""
        if not self.context.audited:
            return None
        return author_of(self.actor, self.client, self.status)

    def demand(self, current: msgspec.Struct) -> None:
        """Refuse to go on if the thing is no longer what the caller has seen.

        :param current: the thing as GET shows it.
        :raises Refusal: 412.
        """
        if self.match is not None and not matches(self.match, etag_of(current)):
            raise changed()


def author_of(actor: Actor, client: Client, status: int) -> Author:
    """Say who does something, for the audit log."""
    return Author(
        actor.kind,
        actor.user_id or actor.service_account_id or actor.key_id,
        actor.name,
        actor.key_id,
        actor.org_id,
        None,
        client.address,
        client.request_id,
        status,
    )


def changed() -> Refusal:
    """Make the 412 of a thing that somebody else has changed."""
    return Refusal(412, "precondition_failed", "this was changed in the meantime; read it again")


@frozen(eq=False)
class Route:
    """One method of one path.

    :ivar path: with variable parts as ``{name}``.
    :ivar name: unique; the ``operationId``.
    :ivar role: the least role, ``None`` for everybody, without a key.
    :ivar scope: what the caller's key must be for.
    :ivar tenant: one of :data:`TENANTS`.
    :ivar reply: type of the body of a reply that is no error, ``None`` for no body.
    :ivar codes: the ``error.code`` of what only this route refuses; see :func:`codes_of`.
    :ivar tagged: replies carry an ``ETag``, and GET knows ``If-None-Match``.
    :ivar guarded: honours ``If-Match``.
    :ivar secrets: paths in the reply of what is shown once.
    :ivar example: a body to begin with.
    :ivar operators_only: is there on the control socket only.
    :ivar stored: the database is asked, not only for who calls.
    :ivar unready: may be used by somebody who has to change their password first.
    :ivar tag: what it is listed under, if that is not the first part of the path after the version.
    :ivar media: content types of a reply that is a :class:`~voidllm.admin.streaming.Stream`.
    """

    method: str
    path: str
    name: str
    summary: str
    handle: Callable[[Call[Any, Any]], Awaitable[Any]]
    reply: Any
    role: str | None
    scope: str | None = None
    tenant: str = "own"
    query: type[Asked] = Nothing
    body: type[Asked] = Nothing
    status: int = 200
    codes: tuple[str, ...] = ()
    tagged: bool = False
    guarded: bool = False
    secrets: tuple[str, ...] = ()
    example: Mapping[str, Any] | None = None
    description: str = ""
    operators_only: bool = False
    stored: bool = True
    unready: bool = False
    tag: str = ""
    media: tuple[str, ...] = ()

    @property
    def once(self) -> bool:
        """Whether ``Idempotency-Key`` means something.

        Not to strangers, who would all be one caller: to have guesses answered from what is kept, and
        rows written for attempts that are not even looked at.
        """
        return self.method == "POST" and not self.operators_only and self.role is not None

    @property
    def resource(self) -> str:
        """What the route is listed under."""
        return self.tag or self.path.split("/")[3].partition(".")[0]


def codes_of(route: Route) -> tuple[str, ...]:
    """Give every ``error.code`` that a route may answer with, in the order of :data:`PROBLEMS`."""
    found = {"bad_request", *route.codes}
    if not route.operators_only:
        found.add("not_ready")
    if route.role is not None and not route.operators_only:
        found |= {"unauthorized", "forbidden", "address_not_allowed"}
        if not route.unready:
            found.add("password_change_required")
    if route.stored or (route.role is not None and not route.operators_only):
        found.add("service_unavailable")
    if "{" in route.path:
        found.add("not_found")
    if route.method != "GET":
        found |= {"request_too_large", "unsupported_content_encoding", "unsupported_media_type"}
    if route.once:
        found |= {"idempotency_key_in_use", "idempotency_key_reused"}
    if route.guarded:
        found.add("precondition_failed")
    return tuple(code for code in PROBLEMS if code in found)
