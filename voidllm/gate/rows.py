"""Usage events: the one place that says which field comes from where."""

from __future__ import annotations

from voidllm.core.errors import Refusal
from voidllm.core.model import Model
from voidllm.core.principal import Principal
from voidllm.core.usage import UsageEvent
from voidllm.core.work import Ask, Outcome
from voidllm.usage.cost import cost_nano


def finished_row(
    row_id: str, principal: Principal, model: Model, ask: Ask, outcome: Outcome, duration_ms: int
) -> UsageEvent:
    """Describe an admitted unit of work that ended."""
    price = model.price
    # Positions, because names would cost as much again as all the rest (0.9 us).
    return UsageEvent(
        row_id,
        ask.request_id,
        ask.started_ms,
        ask.kind,
        ask.endpoint,
        principal.org_id,
        principal.key_id,
        principal.key_type,
        outcome.status,
        duration_ms,
        model.name,
        ask.target,
        outcome.deployment,
        outcome.provider,
        principal.team_id,
        principal.user_id,
        principal.service_account_id,
        ask.parent_id,
        outcome.error_code,
        ask.stream,
        outcome.tokens,
        outcome.source,
        None if price is None else cost_nano(outcome.tokens, price),
        "" if price is None else price.version,
        outcome.ttft_ms,
        ask.tags or principal.tags,
    )


def refused_row(
    row_id: str, principal: Principal, model: Model | None, ask: Ask, refusal: Refusal, duration_ms: int
) -> UsageEvent:
    """Describe a unit of work that was not admitted.

    :param model: what the target turned out to be. Without it the row names no target: what
        a caller made up is content.
    """
    return UsageEvent(
        id=row_id,
        request_id=ask.request_id,
        started_ms=ask.started_ms,
        kind=ask.kind,
        endpoint=ask.endpoint,
        org_id=principal.org_id,
        key_id=principal.key_id,
        key_type=principal.key_type,
        status=refusal.status,
        duration_ms=duration_ms,
        model="" if model is None else model.name,
        requested_model="" if model is None else ask.target,
        team_id=principal.team_id,
        user_id=principal.user_id,
        service_account_id=principal.service_account_id,
        parent_id=ask.parent_id,
        error_code=refusal.code,
        stream=ask.stream,
        tags=ask.tags or principal.tags,
    )
