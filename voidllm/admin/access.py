"""Who may administer what; every helper refuses by raising."""

from __future__ import annotations

from attrs import frozen

from voidllm.admin.context import AdminContext
from voidllm.auth.credentials import find_credential
from voidllm.auth.roles import SYSTEM_ADMIN, require_not_above
from voidllm.core.errors import Refusal

READ = "admin:read"
WRITE = "admin:write"

#: Everything that a key can be for.
SCOPES = frozenset({"inference", READ, WRITE})

_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


@frozen
class Actor:
    """Whoever asks for something.

    :ivar role: one of :data:`voidllm.auth.roles.RANKS`.
    :ivar org_id: the organisation that the actor is confined to, ``None`` for no such bound.
    :ivar scopes: what the actor's key is for.
    :ivar user_id: the user that the actor is, if it is a person.
    :ivar subject: tells this actor from every other one.
    """

    role: str
    org_id: str | None
    scopes: frozenset[str]
    user_id: str | None = None
    subject: str = ""


#: Who has the operating system's word for it: the control socket and the offline commands.
OPERATOR = Actor(SYSTEM_ADMIN, None, SCOPES, subject="operator")

#: Whoever asks for what everybody may have.
ANYBODY = Actor("", None, frozenset())


def actor_of(context: AdminContext, headers: list[tuple[bytes, bytes]]) -> Actor:
    """Find who calls by the API key in ``headers``.

    :param headers: (lower-case name, value) pairs.
    :raises Refusal: 401 without a key that is known and alive.
    """
    try:
        credential = find_credential(headers)
    except Refusal as refusal:
        if refusal.status == 401:
            refusal.headers = _CHALLENGE
        raise
    principal = context.snapshots.current.keys.get(context.digester.digest(credential))
    if principal is None or (
        principal.expires_at_ms is not None and principal.expires_at_ms <= context.world.wall_ms()
    ):
        raise Refusal(401, "unauthorized", "invalid API key", headers=_CHALLENGE)
    confined = None if principal.role == SYSTEM_ADMIN else principal.org_id
    subject = f"key {principal.key_id}" if principal.user_id is None else f"user {principal.user_id}"
    return Actor(principal.role, confined, principal.scopes, principal.user_id, subject)


def require_scope(actor: Actor, scope: str) -> None:
    """Refuse a key that is not for this; a key for inference is no key for administration.

    :raises Refusal: 403 ``forbidden``.
    """
    if scope not in actor.scopes:
        raise Refusal(403, "forbidden", f"this needs a key with the scope {scope}")


def require_own_org(actor: Actor, org_id: str) -> None:
    """Refuse what belongs to another organisation, in a way that tells nothing of it.

    :raises Refusal: 404 ``not_found``.
    """
    if actor.org_id is not None and actor.org_id != org_id:
        raise Refusal(404, "not_found", "there is no such thing, or it is not yours")


def require_grantable(actor: Actor, scopes: frozenset[str]) -> None:
    """Refuse to give a key scopes that the giver's own does not have.

    :raises Refusal: 403 ``forbidden``.
    """
    if not scopes <= actor.scopes:
        raise Refusal(403, "forbidden", "nobody may give a key scopes that they do not have", param="scopes")


def require_may_act_on(actor: Actor, org_id: str, role: str) -> None:
    """Refuse to act on what is not the actor's own, or stands above the actor.

    :raises Refusal: 404 or 403.
    """
    require_own_org(actor, org_id)
    require_not_above(actor.role, role)
