"""Roles, and who stands above whom."""

from __future__ import annotations

from typing import Mapping

from voidllm.core.errors import Refusal

MEMBER = "member"
TEAM_ADMIN = "team_admin"
ORG_ADMIN = "org_admin"
SYSTEM_ADMIN = "system_admin"

#: Higher numbers may do more.
RANKS: Mapping[str, int] = {MEMBER: 0, TEAM_ADMIN: 1, ORG_ADMIN: 2, SYSTEM_ADMIN: 3}


def rank(role: str) -> int:
    """Give the rank of ``role``; a role that is not known is below every other."""
    return RANKS.get(role, -1)


def role_of_key(
    key_type: str, team_id: str | None = None, system_admin: bool = False, membership: str | None = None
) -> str:
    """Give the role of whoever uses a key.

    :param key_type: ``user_key``, ``session_key``, ``team_key`` or ``sa_key``.
    :param team_id: the team of the key, if it has one.
    :param system_admin: whether the key's user is one.
    :param membership: the user's role in the key's organisation, if any.
    """
    if key_type == "team_key":
        return TEAM_ADMIN
    if key_type == "sa_key":
        return TEAM_ADMIN if team_id is not None else ORG_ADMIN
    if system_admin:
        return SYSTEM_ADMIN
    return membership if membership is not None and membership in RANKS else MEMBER


def require(role: str, least: str) -> None:
    """Refuse whoever is below the role ``least``.

    :raises Refusal: 403 ``forbidden``.
    """
    if rank(role) < RANKS[least]:
        raise Refusal(403, "forbidden", f"this needs the role {least} or a higher one")


def require_not_above(actor: str, subject: str) -> None:
    """Refuse to act on, or to mint for, somebody of a higher rank than one's own.

    :raises Refusal: 403 ``forbidden``, also for a subject whose role is not known.
    """
    if subject not in RANKS or rank(actor) < RANKS[subject]:
        raise Refusal(403, "forbidden", "nobody may act on somebody of a higher role")
