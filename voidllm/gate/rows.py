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
    return UsageEvent(
        id=row_id,
        request_id=ask.request_id,
        started_ms=ask.started_ms,
        kind=ask.kind,
        endpoint=ask.endpoint,
        org_id=principal.org_id,
        key_id=principal.key_id,
        key_type=principal.key_type,
        status=outcome.status,
        duration_ms=duration_ms,
        model=model.name,
        requested_model=ask.target,
        deployment=outcome.deployment,
        provider=outcome.provider,
        team_id=principal.team_id,
        user_id=principal.user_id,
        service_account_id=principal.service_account_id,
        parent_id=ask.parent_id,
        error_code=outcome.error_code,
        stream=ask.stream,
        tokens=outcome.tokens,
        source=outcome.source,
        cost_nano=None if price is None else cost_nano(outcome.tokens, price),
        price_version="" if price is None else price.version,
        ttft_ms=outcome.ttft_ms,
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
    )
