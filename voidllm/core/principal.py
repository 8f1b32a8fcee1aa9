"""Who asks: principals, their limits and what they may reach."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Limits:
    """Numbers of one scope (a key, a team or an organisation); 0 means unlimited.

    Requests count admitted units of work; tokens count input plus output of every kind.
    ``minute`` is a sliding 60 seconds, ``day`` and ``month`` are calendar periods in UTC.
    """

    requests_per_minute: int = 0
    requests_per_day: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0
    tokens_per_month: int = 0

    @property
    def unlimited(self) -> bool:
        """True when no number is set."""
        return not (
            self.requests_per_minute
            or self.requests_per_day
            or self.tokens_per_minute
            or self.tokens_per_day
            or self.tokens_per_month
        )


@frozen
class Scope:
    """One counting scope with its own limits.

    :ivar kind: ``key``, ``team`` or ``org``, or ``system`` for the whole installation.
    :ivar id: id of the key, team or organisation, else empty.
    :ivar cell: its place in the table that processes share; -1 where there is no such table.
    """

    kind: str
    id: str
    limits: Limits
    cell: int = -1


@frozen
class Principal:
    """Whom a key speaks for, ready for the hot path: no look-up is needed to use it.

    :ivar key_type: ``user_key``, ``team_key``, ``sa_key`` or ``session_key``.
    :ivar scopes: what the key is for: ``inference``, ``admin:read``, ``admin:write``.
    :ivar expires_at_ms: Unix milliseconds after which the key is dead, or ``None``.
    :ivar counted: the scopes whose limits are not all zero, order key, team, org, system.
    :ivar access: one entry per scope that restricts models; a model must be in every
        one of them, so an empty set allows nothing and an empty tuple allows all.
    :ivar networks: where the key may be used from, see :mod:`voidllm.core.networks`; an empty
        tuple allows everywhere.
    :ivar tags: what its usage is reported by, see :mod:`voidllm.core.usage_tags`.
    """

    key_id: str
    key_type: str
    key_name: str
    org_id: str
    team_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    role: str = "member"
    scopes: frozenset[str] = frozenset({"inference"})
    expires_at_ms: int | None = None
    counted: tuple[Scope, ...] = ()
    access: tuple[frozenset[str], ...] = field(default=())
    networks: tuple[str, ...] = ()
    tags: str = ""

    def may_use(self, model_name: str) -> bool:
        """Say whether every access list of this principal holds the canonical ``model_name``."""
        return not self.access or all(model_name in allowed for allowed in self.access)
