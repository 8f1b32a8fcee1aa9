"""What others hold of somebody's access does not grow with what the person becomes."""

from __future__ import annotations

from voidllm.store.statements import Op, q


def end_borrowed_access(user_id: str, keep: str | None = None) -> Op[None]:
    """End what others may hold of somebody who becomes more than a member of one organisation.

    Whoever administers that one may have issued a token to reset the password, and begun sessions at
    the organisation's provider.

    :param keep: the session that goes on.
    """
    yield q("DELETE FROM password_resets WHERE user_id = ?", user_id)
    yield q(
        "DELETE FROM sessions WHERE user_id = ? AND way = 'sso' AND id <> ? AND EXISTS"
        " (SELECT 1 FROM sso_identities i WHERE i.user_id = sessions.user_id AND i.provider <> '')",
        user_id,
        keep or "",
    )
