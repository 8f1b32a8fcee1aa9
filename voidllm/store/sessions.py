"""Sessions of people: made at login, gone when they end; only a digest of the token is here."""

from __future__ import annotations

from typing import Mapping

from attrs import field, frozen

from voidllm.core.errors import StoreConflict
from voidllm.store import standing
from voidllm.store.changes import Changed
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.standing import Standing
from voidllm.store.statements import PAGE, Op, Row, q


@frozen
class Session:
    """One login of one person.

    :ivar hash: lower-case hex of the HMAC-SHA256 of the token; the token itself is never stored.
    :ivar way: how it began: ``password``, ``sso`` or ``invite``.
    :ivar address: where it began.
    :ivar agent: family of the program, as :func:`voidllm.auth.sessions.agent_family` gives it.
    :ivar seen_at_ms: when it was last used, a minute or so late.
    :ivar expires_at_ms: when it ends at the latest.
    """

    id: str
    hash: str = field(repr=False)
    user_id: str
    way: str
    address: str
    agent: str
    created_at_ms: int
    seen_at_ms: int
    expires_at_ms: int


_COLUMNS = (
    "s.id, s.hash, s.user_id, s.way, s.address, s.agent, s.created_at_ms, s.seen_at_ms, s.expires_at_ms"
)
_SELECT = f"SELECT {_COLUMNS} FROM sessions s"  # noqa: S608

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "s.id", "last_seen_at": "s.seen_at_ms"}


def create_session(new: Session, most: int) -> Op[Changed[Session]]:
    """Begin a session of a user who is there.

    :param most: how many a user may have; those that were longest unused make room.
    :raises StoreConflict: if there is no such user any more.
    """
    person = yield from standing.of_user(new.user_id)
    if person is None:
        raise StoreConflict("no such user")
    yield q(
        "INSERT INTO sessions (id, hash, user_id, way, address, agent,"
        " created_at_ms, seen_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        new.id,
        new.hash,
        new.user_id,
        new.way,
        new.address,
        new.agent,
        new.created_at_ms,
        new.seen_at_ms,
        new.expires_at_ms,
    )
    yield q(
        "DELETE FROM sessions WHERE id IN"
        " (SELECT id FROM sessions WHERE user_id = ? AND id <> ? ORDER BY seen_at_ms DESC, id DESC"
        " LIMIT ? OFFSET ?)",
        new.user_id,
        new.id,
        PAGE,
        most - 1,
    )
    yield q(
        "DELETE FROM sessions WHERE id IN"
        " (SELECT id FROM sessions WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)",
        new.created_at_ms,
        PAGE,
    )
    return Changed(
        new, "login", "session", new.id, person.org_id, after={"user_id": new.user_id, "way": new.way}
    )


def find_session(digest: str) -> Op[tuple[Session, Standing] | None]:
    """Read a session by the digest of its token, and what its user is at this moment.

    Whether it is still alive is for the caller to say; ``None`` if there is none, or no such user any more.
    """
    rows = yield q(_SELECT + " WHERE s.hash = ?", digest)
    if not rows:
        return None
    session = _session(rows[0])
    person = yield from standing.of_user(session.user_id)
    return None if person is None else (session, person)


def seen(session_id: str, now_ms: int) -> Op[None]:
    """Note that a session was used."""
    yield q("UPDATE sessions SET seen_at_ms = ? WHERE id = ? AND seen_at_ms < ?", now_ms, session_id, now_ms)


def list_sessions(
    user_id: str, search: str | None, way: str | None, used_since_ms: int, now_ms: int, page: Page
) -> Op[list[Session]]:
    """Read one page of the sessions of a user that are alive.

    :param search: is in the address or the agent.
    :param way: how they began, ``None`` for whatever way.
    :param used_since_ms: one that was last used at or before that has ended.
    """
    where: list[Condition] = [
        ("s.user_id = ?", (user_id,)),
        ("s.expires_at_ms > ?", (now_ms,)),
        ("s.seen_at_ms > ?", (used_since_ms,)),
    ]
    if search is not None:
        where.append(contains(search, "s.address", "s.agent"))
    if way is not None:
        where.append(("s.way = ?", (way,)))
    rows = yield paged(_SELECT, where, SORTS, "s.id", page)
    return [_session(row) for row in rows]


def end_session(user_id: str, session_id: str, action: str) -> Op[Changed[bool] | None]:
    """End one session of a user; ``None`` if there is none.

    :param action: how the audit log calls it: ``logout`` or ``revoke``.
    """
    rows = yield q("DELETE FROM sessions WHERE user_id = ? AND id = ? RETURNING id", user_id, session_id)
    if not rows:
        return None
    person = yield from standing.of_user(user_id)
    org_id = None if person is None else person.org_id
    return Changed(True, action, "session", session_id, org_id, before={"user_id": user_id})


def end_sessions(user_id: str, keep: str | None = None) -> Op[int]:
    """End every session of a user but ``keep``, as part of a change; gives how many."""
    rows = yield q("DELETE FROM sessions WHERE user_id = ? AND id <> ? RETURNING id", user_id, keep or "")
    return len(rows)


def revoke_sessions(user_id: str, keep: str | None = None) -> Op[Changed[int] | None]:
    """End every session of a user but ``keep``; ``None`` if there was no other."""
    ended = yield from end_sessions(user_id, keep)
    if not ended:
        return None
    person = yield from standing.of_user(user_id)
    org_id = None if person is None else person.org_id
    return Changed(ended, "revoke_sessions", "user", user_id, org_id, after={"sessions_ended": ended})


def _session(row: Row) -> Session:
    return Session(*row)
