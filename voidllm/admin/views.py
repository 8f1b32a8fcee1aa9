"""Stored values as JSON shows them: moments as RFC 3339, money as exact decimals."""

from __future__ import annotations

from typing import Any, cast

from msgspec import structs

from voidllm.admin.key_shapes import Key, MadeKey
from voidllm.admin.limit_shapes import shown
from voidllm.admin.moments import moment, show
from voidllm.store.records import ApiKey

_NANO = 1_000_000_000


def key_view(key: ApiKey) -> Key:
    """Show a key; neither it nor its digest is in there."""
    return Key(
        id=key.id,
        key_hint=key.hint,
        key_type=cast(Any, key.key_type),
        name=key.name,
        org_id=key.org_id,
        team_id=key.team_id,
        user_id=key.user_id,
        service_account_id=key.service_account_id,
        role=key.role,
        scopes=cast(Any, sorted(key.scopes)),
        models=None if key.models is None else sorted(key.models),
        **cast(Any, shown(key.limits)),
        allowed_addresses=list(key.addresses) or None,
        tags=dict(key.tags),
        created_by=key.created_by,
        created_at=moment(key.created_at_ms),
        updated_at=show(key.updated_at_ms or None),
        expires_at=show(key.expires_at_ms),
        revoked_at=show(key.revoked_at_ms),
        last_used_at=show(key.last_used_at_ms),
    )


def made_key_view(key: ApiKey, secret: str) -> MadeKey:
    """Show a key that was just made, and the key itself."""
    return MadeKey(**structs.asdict(key_view(key)), key=secret)


def dollars(nano: int) -> str:
    """Give nano-USD as decimal USD, exactly and without needless zeros."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    whole, rest = divmod(nano, _NANO)
    digits = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
