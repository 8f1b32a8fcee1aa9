"""What each route is tried with: something that it is about, made afresh, and a body that is right."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Mapping

from attrs import field, frozen

#: Makes what a route is about, in ``case.org`` unless it has to be elsewhere; gives the parts of the path.
Make = Callable[[Any], Awaitable[Mapping[str, str]]]
Provoke = Callable[[Any, Any], Awaitable[Any]]


async def nothing(case: Any) -> Mapping[str, str]:
    """Make nothing: the path has no variable parts."""
    return {}


async def own_org(case: Any) -> Mapping[str, str]:
    """The organisation of the case."""
    return {"org_id": case.org.id}


async def own_team(case: Any) -> Mapping[str, str]:
    """The team of the case."""
    return {"org_id": case.org.id, "team_id": case.team.id}


@frozen
class Sample:
    """How to try one route.

    :ivar body: one that is right, if the route needs one; may be made of the parts of the path.
    :ivar other: another one that is right.
    :ivar query: one that is right, with its question mark.
    :ivar provoke: codes of errors to ``async f(case, route)``, where the general way does not reach them.
    """

    make: Make = nothing
    body: Mapping[str, Any] | Callable[[Mapping[str, str]], Mapping[str, Any]] | None = None
    other: Mapping[str, Any] | Callable[[Mapping[str, str]], Mapping[str, Any]] | None = None
    query: str = ""
    provoke: Mapping[str, Provoke] = field(factory=dict)

    def bodies(self, parts: Mapping[str, str]) -> tuple[Any, Any]:
        """Give both bodies for one path."""
        first, second = (one(parts) if callable(one) else one for one in (self.body, self.other))
        return first, second


def samples() -> dict[str, Sample]:
    """Give the samples of every resource, by the name of the route."""
    from tests.admin import (
        samples_access,
        samples_audit,
        samples_identity,
        samples_keys,
        samples_models,
        samples_plain,
        samples_sso,
        samples_tenants,
        samples_usage,
    )

    found: dict[str, Sample] = {}
    for module in (
        samples_access,
        samples_audit,
        samples_identity,
        samples_keys,
        samples_models,
        samples_plain,
        samples_sso,
        samples_tenants,
        samples_usage,
    ):
        found |= module.SAMPLES
    return found
