"""Sessions that an organisation's provider can have begun do not grow with what the person becomes."""

from __future__ import annotations

from voidllm.store.statements import Op, q


def end_borrowed_sessions(user_id: str, keep: str | None = None) -> Op[None]:
    """End the sessions of somebody who becomes more than a member of one organisation.

    Whoever administers that one may have begun them.

    :param keep: the session that goes on.
    """
    yield q(
        "DELETE FROM sessions WHERE user_id = ? AND way = 'sso' AND id <> ? AND EXISTS"
        " (SELECT 1 FROM sso_identities i WHERE i.user_id = sessions.user_id AND i.provider <> '')",
        user_id,
        keep or "",
    )
