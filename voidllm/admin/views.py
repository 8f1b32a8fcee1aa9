"""Stored values as JSON shows them: moments as RFC 3339, money as exact decimals."""

from __future__ import annotations

from typing import Any, cast

from msgspec import structs

from voidllm.admin.key_shapes import Key, MadeKey
from voidllm.admin.limit_shapes import shown
from voidllm.admin.moments import moment, show
from voidllm.admin.usage_shapes import UsageLine
from voidllm.store.records import ApiKey, UsageRow

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


def usage_view(group_by: tuple[str, ...], row: UsageRow) -> UsageLine:
    """Show one row of a report; only what it was grouped by is there beside the numbers."""
    groups: dict[str, Any] = {
        name: _group(name, value) for name, value in zip(group_by, row.group, strict=True)
    }
    return UsageLine(
        **groups,
        total_requests=row.total_requests,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        total_tokens=row.prompt_tokens + row.completion_tokens,
        input_tokens=row.input_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_tokens=row.cache_write_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        audio_input_tokens=row.audio_input_tokens,
        audio_output_tokens=row.audio_output_tokens,
        cost_nano=row.cost_nano,
        cost=dollars(row.cost_nano),
        unpriced_requests=row.unpriced_requests,
        duration_sum_ms=row.duration_sum_ms,
        ttft_sum_ms=row.ttft_sum_ms,
        ttft_count=row.ttft_count,
    )


def _group(name: str, value: str | int) -> str:
    if name == "hour":
        return moment(int(value))
    if name == "day":
        digits = f"{value:08d}" if isinstance(value, int) else value
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return str(value)
