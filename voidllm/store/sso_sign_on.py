"""What a sign-on does, all of it or nothing: find or make the user, follow the groups, begin a session."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import evolve, field, frozen

from voidllm.core.errors import VoidLLMError
from voidllm.store import removal, standing
from voidllm.store.changes import Changed
from voidllm.store.orgs import lock_org
from voidllm.store.sessions import Session, create_session, end_sessions
from voidllm.store.statements import Op, q
from voidllm.store.totp import remove_totp
from voidllm.store.users import UserRow, create_user, lock_user


class NotLetIn(VoidLLMError):
    """Nobody is signed on; nothing was changed.

    :ivar reason: see :data:`voidllm.auth.oidc.REASONS`.
    :ivar user_id: the account that it was about, if there is one.
    """

    def __init__(self, reason: str, detail: str, user_id: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.user_id = user_id


@frozen
class Memberships:
    """What somebody is in an organisation, before or after.

    :ivar role: there; ``None`` for no member.
    :ivar teams: team ids to roles.
    :ivar given: of these, the ids of the teams that groups put them into.
    """

    role: str | None
    teams: Mapping[str, str]
    given: frozenset[str] = frozenset()


#: Gives what somebody shall be, by the ids of all teams of the organisation by slug, and by what they are.
Decide = Callable[[Mapping[str, str], Memberships], Memberships]


@frozen
class Arrival:
    """Somebody whom a provider vouches for.

    :ivar confined: the provider is this organisation's own, and speaks for nobody else's people.
    :ivar org_id: the organisation that new users get into; ``None`` if there is none.
    :ivar new_id: of the user, if one is made.
    :ivar default_role: of such a user.
    :ivar session: to begin; its ``user_id`` is filled in.
    """

    issuer: str
    subject: str = field(repr=False)
    email: str = field(repr=False)
    name: str = field(repr=False)
    confined: bool
    org_id: str | None
    auto_provision: bool
    default_role: str
    new_id: str
    session: Session = field(repr=False)

    @property
    def provider(self) -> str:
        """Whose provider it is: an organisation's id, or ``''`` for the installation's."""
        return (self.org_id or "") if self.confined else ""


def find_person(arrival: Arrival) -> Op[str]:
    """Give the id of the user that an arrival will be, whether or not it is let in."""
    rows = yield q(
        "SELECT u.id FROM sso_identities i JOIN users u ON u.id = i.user_id AND u.deleted_at_ms IS NULL"
        " WHERE i.provider = ? AND i.issuer = ? AND i.subject = ?",
        arrival.provider,
        arrival.issuer,
        arrival.subject,
    )
    if rows:
        return str(rows[0][0])
    return (yield from _address_of(arrival.email)) or arrival.new_id


def sign_on(arrival: Arrival, decide: Decide, most: int) -> Op[Changed[Session]]:
    """Sign somebody on.

    :param most: how many sessions a user may have.
    :raises NotLetIn: if that must not be.
    """
    now_ms = arrival.session.created_at_ms
    if arrival.org_id is not None and not (yield from lock_org(arrival.org_id)):
        raise NotLetIn("lookup_failed", "the organisation is gone")
    user_id, more = yield from _known(arrival, now_ms)
    if user_id is None:
        user_id, more = yield from _by_address(arrival, now_ms)
    yield from _require_at_home(arrival, user_id, "auth_failed")
    if arrival.org_id is not None:
        more += yield from _follow_groups(arrival.org_id, user_id, decide, now_ms)
    begun = yield from create_session(evolve(arrival.session, user_id=user_id), most)
    return evolve(begun, more=(*more, *begun.more))


def _known(arrival: Arrival, now_ms: int) -> Op[tuple[str | None, tuple[Changed[Any], ...]]]:
    """Find who was here before as the same subject of the same provider."""
    rows = yield q(
        "UPDATE sso_identities SET seen_at_ms = ? WHERE provider = ? AND issuer = ? AND subject = ?"
        " RETURNING user_id",
        now_ms,
        arrival.provider,
        arrival.issuer,
        arrival.subject,
    )
    if not rows:
        return None, ()
    user_id: str = rows[0][0]
    if (yield from lock_user(user_id)):
        return user_id, ()
    # Whoever was removed here does not come back by themselves; somebody may have made them anew.
    yield from _forget(arrival)
    found = yield from _address_of(arrival.email)
    if found is None:
        raise NotLetIn("not_provisioned", "this user was removed", user_id)
    return None, ()


def _by_address(arrival: Arrival, now_ms: int) -> Op[tuple[str, tuple[Changed[Any], ...]]]:
    """Link the account with the same verified address, or make one."""
    user_id = yield from _address_of(arrival.email)
    if user_id is not None:
        yield from lock_user(user_id)
        yield from _require_at_home(arrival, user_id, "provision_failed")
        after = {"issuer": arrival.issuer}
        if (yield from _disarm(arrival, user_id, now_ms)):
            after["local_password"] = "removed"  # noqa: S105
        touched = (("user", user_id),)
        made: Changed[Any] = Changed(
            None, "link", "user", user_id, arrival.org_id, after=after, touched=touched
        )
    else:
        if not arrival.auto_provision or arrival.org_id is None:
            raise NotLetIn("not_provisioned", "there is no such user, and none is created")
        new = UserRow(arrival.new_id, arrival.email, arrival.name, now_ms, auth_provider="oidc")
        created = yield from create_user(new, arrival.org_id, arrival.default_role)
        if created is None:
            raise NotLetIn("lookup_failed", "the organisation is gone")
        user_id, made = new.id, created
    yield q(
        "INSERT INTO sso_identities (provider, issuer, subject, user_id, created_at_ms, seen_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        arrival.provider,
        arrival.issuer,
        arrival.subject,
        user_id,
        now_ms,
        now_ms,
    )
    return user_id, (made,)


def _address_of(email: str) -> Op[str | None]:
    rows = yield q("SELECT id FROM users WHERE lower(email) = ? AND deleted_at_ms IS NULL", email)
    return rows[0][0] if rows else None


def _forget(arrival: Arrival) -> Op[None]:
    yield q(
        "DELETE FROM sso_identities WHERE provider = ? AND issuer = ? AND subject = ?",
        arrival.provider,
        arrival.issuer,
        arrival.subject,
    )


def _require_at_home(arrival: Arrival, user_id: str, reason: str) -> Op[None]:
    """Refuse whom an organisation's provider may not speak for.

    It speaks for those who belong to that organisation and to no other one: whoever administers
    one must not become somebody elsewhere by it.
    """
    if not arrival.confined:
        return
    person = yield from standing.of_user(user_id)
    if person is None or person.system_admin or set(person.orgs) != {arrival.org_id}:
        raise NotLetIn(reason, "the account is not of this organisation alone", user_id)


def _disarm(arrival: Arrival, user_id: str, now_ms: int) -> Op[bool]:
    """Take away a password that somebody else has chosen for the user, and what was begun with it.

    Whoever administers an organisation makes accounts with any address, and chooses their passwords: of
    an account that its owner finds in an organisation of others, nothing is left to those who made it.
    """
    foreign = False
    if not arrival.confined:
        person = yield from standing.of_user(user_id)
        foreign = person is not None and not person.system_admin and arrival.org_id not in person.orgs
    rows = yield q(
        "UPDATE users SET password_hash = NULL, must_change_password = 0, updated_at_ms = ?,"
        " auth_provider = CASE WHEN ? = 1 THEN 'oidc' ELSE auth_provider END"
        " WHERE id = ? AND (must_change_password = 1 OR ? = 1) RETURNING id",
        now_ms,
        int(foreign),
        user_id,
        int(foreign),
    )
    if rows:
        yield from end_sessions(user_id)
        yield q("DELETE FROM password_resets WHERE user_id = ?", user_id)
    if foreign:
        yield from remove_totp(user_id)
    return bool(rows)


def _follow_groups(org_id: str, user_id: str, decide: Decide, now_ms: int) -> Op[tuple[Changed[Any], ...]]:
    rows = yield q("SELECT role FROM org_memberships WHERE org_id = ? AND user_id = ?", org_id, user_id)
    if not rows:
        # Whoever was taken out of the organisation stays out of it.
        return ()
    found = yield q("SELECT slug, id FROM teams WHERE org_id = ? AND deleted_at_ms IS NULL", org_id)
    slugs: dict[str, str] = dict(found)  # type: ignore[arg-type]
    live = set(slugs.values())
    teams = yield q(
        "SELECT t.team_id, t.role, s.team_id IS NOT NULL FROM team_memberships t"
        " LEFT JOIN sso_teams s ON s.team_id = t.team_id AND s.user_id = t.user_id"
        " WHERE t.org_id = ? AND t.user_id = ?",
        org_id,
        user_id,
    )
    now = Memberships(
        standing.role_in_org(rows[0][0]),
        {team: role for team, role, _ in teams if team in live},
        frozenset(team for team, _, given in teams if given and team in live),
    )
    wanted = decide(slugs, now)
    more: list[Changed[Any]] = []
    if wanted.role is not None and wanted.role != now.role:
        yield q(
            "UPDATE org_memberships SET role = ? WHERE org_id = ? AND user_id = ?",
            wanted.role,
            org_id,
            user_id,
        )
        before, after = {"role": now.role}, {"role": wanted.role}
        more.append(
            Changed(None, "update", "membership", user_id, org_id, None, before, after, (("user", user_id),))
        )
    for team_id in sorted(set(now.teams) | set(wanted.teams)):
        more += yield from _follow_team(org_id, team_id, user_id, now, wanted, now_ms)
    return tuple(more)


def _follow_team(
    org_id: str, team_id: str, user_id: str, now: Memberships, wanted: Memberships, now_ms: int
) -> Op[tuple[Changed[Any], ...]]:
    was, shall = now.teams.get(team_id), wanted.teams.get(team_id)
    told: tuple[Changed[Any], ...] = ()
    if was != shall:
        action = "create" if was is None else "delete" if shall is None else "update"
        along: tuple[Changed[Any], ...] = ()
        if shall is None:
            along = yield from removal.of_team_member(org_id, team_id, user_id, now_ms)
        else:
            yield q(
                "INSERT INTO team_memberships (team_id, org_id, user_id, role, created_at_ms)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (team_id, user_id) DO UPDATE SET role = excluded.role",
                team_id,
                org_id,
                user_id,
                shall,
                now_ms,
            )
        told = (
            Changed(
                None,
                action,
                "team_membership",
                user_id,
                org_id,
                team_id,
                None if was is None else {"role": was},
                None if shall is None else {"role": shall},
                (("user", user_id),),
                along,
            ),
        )
    if team_id in wanted.given and team_id not in now.given:
        yield q(
            "INSERT INTO sso_teams (team_id, user_id) VALUES (?, ?)"
            " ON CONFLICT (team_id, user_id) DO NOTHING",
            team_id,
            user_id,
        )
    elif team_id in now.given and team_id not in wanted.given and shall is not None:
        yield q("DELETE FROM sso_teams WHERE team_id = ? AND user_id = ?", team_id, user_id)
    return told
