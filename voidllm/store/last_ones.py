"""Somebody must be left to administer an organisation, and the installation."""

from __future__ import annotations

from voidllm.core.errors import Refusal
from voidllm.store.statements import Op, q


def require_other_org_admin(org_id: str, user_id: str) -> Op[None]:
    """Refuse to take the last administrator from an organisation, which must be locked.

    :raises Refusal: 409.
    """
    rows = yield q(
        "SELECT 1 FROM org_memberships m JOIN users u ON u.id = m.user_id AND u.deleted_at_ms IS NULL"
        " WHERE m.org_id = ? AND m.role = 'org_admin' AND m.user_id <> ? LIMIT 1",
        org_id,
        user_id,
    )
    if not rows:
        raise Refusal(409, "conflict", "this is the last administrator of an organisation")


def require_other_system_admin(user_id: str) -> Op[None]:
    """Refuse to take the last administrator from the installation.

    The others cannot cease to be ones until the transaction ends.

    :raises Refusal: 409.
    """
    rows = yield q(
        "UPDATE users SET is_system_admin = 1"
        " WHERE is_system_admin = 1 AND deleted_at_ms IS NULL AND id <> ? RETURNING id",
        user_id,
    )
    if not rows:
        raise Refusal(409, "conflict", "this is the last administrator of the installation")
