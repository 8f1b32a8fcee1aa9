"""Usage events for tests, and a strategy that makes strange ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from voidllm.core.usage import TokenCounts, UsageEvent


def event(number: int = 1, **changes: Any) -> UsageEvent:
    """Give a plausible event whose id follows from ``number``."""
    values: dict[str, Any] = {
        "id": f"0192f0c1-0000-7000-8000-{number:012d}",
        "request_id": f"0192f0c1-0000-7000-9000-{number:012d}",
        "started_ms": 1_790_000_000_000 + number,
        "kind": "llm",
        "endpoint": "chat/completions",
        "org_id": "org",
        "key_id": "key",
        "key_type": "user_key",
        "status": 200,
        "duration_ms": 12,
        "model": "demo",
        "requested_model": "demo",
        "deployment": "demo",
        "provider": "openai",
        "tokens": TokenCounts(input=10, output=5),
        "source": "provider_final",
        "cost_nano": 1234,
        "price_version": "config-00000000",
    }
    values.update(changes)
    return UsageEvent(**values)


_text = st.text(st.characters(codec=None), max_size=12)
_maybe_text = st.none() | _text
_number = st.integers(-(2**80), 2**80)

events = st.builds(
    UsageEvent,
    id=_text,
    request_id=_text,
    started_ms=_number,
    kind=_text,
    endpoint=_text,
    org_id=_text,
    key_id=_text,
    key_type=_text,
    status=_number,
    duration_ms=_number,
    model=_text,
    requested_model=_text,
    deployment=_text,
    provider=_text,
    team_id=_maybe_text,
    user_id=_maybe_text,
    service_account_id=_maybe_text,
    parent_id=_maybe_text,
    error_code=_text,
    stream=st.booleans(),
    tokens=st.builds(TokenCounts, *[_number] * 7),
    source=_text,
    cost_nano=st.none() | _number,
    price_version=_text,
    ttft_ms=st.none() | _number,
)
