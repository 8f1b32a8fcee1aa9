"""Limits as they are changed: who may raise them, and what those above leave."""

from __future__ import annotations

from attrs import asdict

from voidllm.admin.limit_rules import require_only_lowered, require_within_parent
from voidllm.core.principal import Limits
from voidllm.store.limits_above import Above


def require_settable(old: Limits, wanted: Limits, above: Above, raises: bool) -> None:
    """Refuse a change of limits that would raise one's own, or go beyond those of the scope above.

    What stays as it is was allowed when it was set.

    :param above: what bounds the scope.
    :param raises: whether whoever asks stands above the scope.
    :raises Refusal: 403 or 400.
    """
    if not raises:
        require_only_lowered(old, wanted)
    before = asdict(old)
    fresh = {name: number for name, number in asdict(wanted).items() if number != before[name]}
    require_within_parent(Limits(**fresh), above)
