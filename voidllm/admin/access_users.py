"""Who may change what belongs to a person everywhere: address, password, second factor, sessions.

A person is the same in all organisations. So whoever sets a password or an address takes over all
that the person can do, and may do so only who administers all of it.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar

from voidllm.admin.access import Actor, missing
from voidllm.auth.roles import ORG_ADMIN
from voidllm.core.errors import Refusal
from voidllm.store import standing
from voidllm.store.changes import Changed
from voidllm.store.standing import Standing
from voidllm.store.statements import Op

T = TypeVar("T")


def require_may_manage_user(actor: Actor, person: Standing | None) -> None:
    """Refuse whoever does not administer every organisation that a person belongs to.

    Of a system administrator only another one manages anything.

    :param person: what the person is now, as :func:`voidllm.store.standing.of_user` reads it; ``None``
        if there is no such person.
    :raises Refusal: 404 for somebody in none of the actor's organisations, 403 for the others.
    """
    if person is None:
        raise missing()
    if actor.everywhere:
        return
    administered = {org_id for org_id, role in actor.orgs.items() if role == ORG_ADMIN}
    if not administered & set(person.orgs):
        raise missing()
    if person.system_admin:
        raise Refusal(403, "forbidden", "nobody may act on somebody of a higher role")
    if not set(person.orgs) <= administered:
        message = "this person belongs to an organisation that you do not administer"
        raise Refusal(403, "forbidden", message)


def managed(
    actor: Actor, user_id: str, op: Callable[..., Op[Changed[T] | None]], *args: Any
) -> Op[Changed[T] | None]:
    """Run ``op(user_id, *args)`` if the actor may manage that user, both in one transaction.

    :raises Refusal: 404 or 403; nothing is changed then.
    """
    require_may_manage_user(actor, (yield from standing.of_user(user_id)))
    return (yield from op(user_id, *args))
