"""The limits of the whole installation, which bound those of every organisation."""

from __future__ import annotations

from typing import Callable

from attrs import asdict

from voidllm.core.principal import Limits
from voidllm.store import limits_rows, tenants
from voidllm.store.changes import Changed
from voidllm.store.statements import Op, q


def change_system_limits(decide: Callable[[Limits], Limits]) -> Op[Changed[Limits]]:
    """Change them.

    :param decide: says what they shall be, by what they are while nobody else can change them.
    """
    # There may be no row that could be taken, so one is made.
    yield q(
        "INSERT INTO scope_limits (scope_kind, scope_id, requests_per_minute, requests_per_day,"
        " tokens_per_minute, tokens_per_day, tokens_per_month) VALUES ('system', '', 0, 0, 0, 0, 0)"
        " ON CONFLICT (scope_kind, scope_id) DO UPDATE SET"
        " requests_per_minute = scope_limits.requests_per_minute"
    )
    old = yield from tenants.system_limits()
    wanted = decide(old)
    yield from limits_rows.put("system", "", wanted)
    return Changed(
        wanted,
        "update",
        "limits",
        None,
        before=asdict(old),
        after=asdict(wanted),
        touched=(("system", ""),),
    )
