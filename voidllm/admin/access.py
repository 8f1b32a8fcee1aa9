"""Who may administer what; every helper refuses by raising."""

from __future__ import annotations

from typing import Mapping

from attrs import field, frozen

from voidllm.auth.roles import MEMBER, ORG_ADMIN, RANKS, SYSTEM_ADMIN, TEAM_ADMIN, rank, require_not_above
from voidllm.core.errors import Refusal
from voidllm.store.standing import Standing

READ = "admin:read"
WRITE = "admin:write"

#: Everything that a key can be for.
SCOPES = frozenset({"inference", READ, WRITE})


@frozen
class Actor:
    """Whoever asks for something.

    :ivar kind: ``user``, ``key``, ``service_account``, ``operator`` or ``anonymous``.
    :ivar role: the highest that the actor has anywhere; one of :data:`voidllm.auth.roles.RANKS`.
    :ivar scopes: what the actor's key is for; a session is for everything.
    :ivar orgs: organisation to the actor's own role there.
    :ivar teams: team to the actor's own role there.
    :ivar org_id: the organisation that is meant when none is named.
    :ivar user_id: the user that the actor is, if it is a person.
    :ivar key_id: the key that the actor came with, if it is one.
    :ivar session_id: the session that the actor came with, if it is one.
    :ivar subject: tells this actor from every other one.
    :ivar address: where the request came from.
    """

    kind: str
    role: str
    scopes: frozenset[str]
    orgs: Mapping[str, str] = field(factory=dict)
    teams: Mapping[str, str] = field(factory=dict)
    org_id: str | None = None
    user_id: str | None = None
    name: str = ""
    key_id: str | None = None
    key_type: str | None = None
    session_id: str | None = None
    team_id: str | None = None
    service_account_id: str | None = None
    must_change_password: bool = False
    subject: str = ""

    @property
    def everywhere(self) -> bool:
        """Whether no organisation confines the actor."""
        return self.role == SYSTEM_ADMIN

    def role_in(self, org_id: str) -> str | None:
        """Give the actor's role in an organisation, ``None`` outside of it."""
        return SYSTEM_ADMIN if self.everywhere else self.orgs.get(org_id)

    def role_in_team(self, org_id: str, team_id: str) -> str | None:
        """Give the actor's role in a team of an organisation, whose administrators lead every team."""
        there = self.role_in(org_id)
        if there is None:
            return None
        return there if rank(there) >= RANKS[ORG_ADMIN] else self.teams.get(team_id)


#: Who has the operating system's word for it: the control socket and the offline commands.
OPERATOR = Actor("operator", SYSTEM_ADMIN, SCOPES, name="operator", subject="operator")

#: Whoever asks for what everybody may have.
ANYBODY = Actor("anonymous", "", frozenset())


def actor_of(standing: Standing, session_id: str | None = None) -> Actor:
    """Make the actor that a key or a session stands for."""
    roles = (MEMBER, *standing.orgs.values(), *standing.teams.values())
    role = SYSTEM_ADMIN if standing.system_admin else max(roles, key=rank)
    if standing.user_id is not None:
        kind, subject = "user", f"user {standing.user_id}"
    elif standing.service_account_id is not None:
        kind, subject = "service_account", f"key {standing.key_id}"
    else:
        kind, subject = "key", f"key {standing.key_id}"
    return Actor(
        kind,
        role,
        SCOPES if session_id is not None else standing.scopes,
        standing.orgs,
        standing.teams,
        standing.org_id,
        standing.user_id,
        standing.name,
        standing.key_id,
        standing.key_type,
        session_id,
        standing.team_id,
        standing.service_account_id,
        standing.must_change_password,
        subject,
    )


def missing(param: str | None = None) -> Refusal:
    """Make the 404 of what is not there, or is somebody else's: nobody is told which."""
    return Refusal(404, "not_found", "there is no such thing, or it is not yours", param=param)


def require_scope(actor: Actor, scope: str) -> None:
    """Refuse a key that is not for this; a key for inference is no key for administration.

    :raises Refusal: 403 ``forbidden``.
    """
    if scope not in actor.scopes:
        raise Refusal(403, "forbidden", f"this needs a key with the scope {scope}")


def require_grantable(actor: Actor, scopes: frozenset[str]) -> None:
    """Refuse to give a key scopes that the giver's own does not have.

    :raises Refusal: 403 ``forbidden``.
    """
    if not scopes <= actor.scopes:
        raise Refusal(403, "forbidden", "nobody may give a key scopes that they do not have", param="scopes")


def require_org(actor: Actor, org_id: str, least: str = MEMBER) -> None:
    """Refuse whoever does not have the role ``least`` in an organisation.

    :raises Refusal: 404 outside of it, 403 with a lower role.
    """
    _require(actor.role_in(org_id), least, "in this organisation")


def require_team(actor: Actor, org_id: str, team_id: str, least: str = MEMBER) -> None:
    """Refuse whoever does not have the role ``least`` in a team.

    :raises Refusal: 404 outside of it, 403 with a lower role.
    """
    _require(actor.role_in_team(org_id, team_id), least, "in this team")


def _require(role: str | None, least: str, where: str) -> None:
    if role is None:
        raise missing()
    if rank(role) < RANKS[least]:
        raise Refusal(403, "forbidden", f"this needs the role {least} or a higher one {where}")


def require_not_above_in(actor: Actor, org_id: str, role: str) -> None:
    """Refuse to act on, or to mint for, somebody of a higher rank in an organisation than the actor's own.

    Whoever leads a team may act on those whose highest role is to lead one.

    :raises Refusal: 404 outside of the organisation, 403.
    """
    own = actor.role_in(org_id)
    if own is None:
        raise missing()
    if own == MEMBER and role == TEAM_ADMIN and TEAM_ADMIN in actor.teams.values():
        return
    require_not_above(own, role)
