"""Rows as they go into a store and come out of it: frozen values, no behaviour.

Times are Unix milliseconds (UTC), money is integer nano-USD, ids are UUIDv7 texts.
"""

from __future__ import annotations

from typing import Mapping

from attrs import field, frozen

from voidllm.core.principal import Limits

NO_LIMITS = Limits()

#: Scopes that a key gets when nothing else is said.
DEFAULT_SCOPES = frozenset({"inference"})


@frozen
class Org:
    """An organisation, the outermost tenant.

    :ivar slug: unique among organisations that are not deleted.
    :ivar timezone: name of the IANA time zone that its days begin in.
    """

    id: str
    name: str
    slug: str
    created_at_ms: int
    limits: Limits = NO_LIMITS
    timezone: str = "UTC"


@frozen
class Team:
    """A team of one organisation; ``slug`` is unique within it."""

    id: str
    org_id: str
    name: str
    slug: str
    created_at_ms: int
    limits: Limits = NO_LIMITS


@frozen
class User:
    """A person who may log in.

    :ivar password_hash: whatever :mod:`voidllm.auth` made, or ``None`` for no password.
    :ivar auth_provider: ``local`` or ``oidc``.
    """

    id: str
    email: str
    name: str
    created_at_ms: int
    password_hash: str | None = field(default=None, repr=False)
    is_system_admin: bool = False
    must_change_password: bool = False
    auth_provider: str = "local"


@frozen
class ServiceAccount:
    """A program that acts on its own; of one team, or of a whole organisation.

    :ivar created_by: the user who made it, if it was a person.
    """

    id: str
    org_id: str
    name: str
    created_at_ms: int
    team_id: str | None = None
    created_by: str | None = None


@frozen
class Member:
    """A user as a member of an organisation.

    :ivar role: ``member``, ``team_admin``, ``org_admin`` or ``system_admin``.
    """

    id: str
    email: str
    name: str
    role: str


@frozen
class Named:
    """What something is called; ``slug`` and ``email`` where it has such."""

    id: str
    name: str
    slug: str | None = None
    email: str | None = None


@frozen
class NewKey:
    """A key to be created.

    :ivar hash: lower-case hex of the HMAC-SHA256 of the key; the key itself is never stored.
    :ivar hint: its first six and last four characters.
    :ivar models: canonical names that it may use, empty for none, ``None`` for no restriction.
    :ivar addresses: networks that it may be used from, see :mod:`voidllm.core.networks`; empty for all.
    :ivar tags: names and values that its usage is reported by.
    :ivar created_by: the user who made it, if it was a person.
    """

    id: str
    hash: str = field(repr=False)
    hint: str
    key_type: str
    name: str
    org_id: str
    team_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    scopes: frozenset[str] = DEFAULT_SCOPES
    limits: Limits = NO_LIMITS
    models: frozenset[str] | None = None
    expires_at_ms: int | None = None
    addresses: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(factory=dict)
    created_by: str | None = None


@frozen
class NewSecret:
    """What a rotated key gets anew; all the rest it takes over from its predecessor.

    :ivar hash: lower-case hex of the HMAC-SHA256 of the key.
    :ivar created_by: the user who rotates it, if it is a person.
    """

    id: str
    hash: str = field(repr=False)
    hint: str
    expires_at_ms: int | None = None
    created_by: str | None = None


@frozen
class ApiKey(NewKey):
    """A stored key.

    :ivar role: ``member``, ``team_admin``, ``org_admin`` or ``system_admin``; derived from
        the owner when the row is read, never stored with the key.
    :ivar revision: greater after every change of the key, its limits and its access list.
    :ivar updated_at_ms: when it was last changed, 0 for never.
    :ivar last_used_at_ms: when it was last used, to the minute or so; ``None`` for never.
    """

    role: str = "member"
    created_at_ms: int = 0
    revoked_at_ms: int | None = None
    revision: int = 1
    updated_at_ms: int = 0
    last_used_at_ms: int | None = None


@frozen
class KeyChange:
    """All that can be changed of a key, as it shall be."""

    name: str
    limits: Limits
    models: frozenset[str] | None
    expires_at_ms: int | None
    addresses: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(factory=dict)


@frozen
class Seer:
    """Who sees some keys of an organisation: their own, and those of teams that they lead.

    :ivar key_id: the key that they came with.
    """

    user_id: str | None = None
    service_account_id: str | None = None
    key_id: str | None = None
    leads: tuple[str, ...] = ()


@frozen
class KeyFilter:
    """Which keys a list is of; ``None`` restricts nothing.

    :ivar search: is in the name or the hint.
    :ivar ids: those alone.
    :ivar name_prefix: what the name begins with.
    :ivar seen_by: somebody who does not see all of them.
    :ivar unused_since_ms: not used after that moment, nor made after it.
    """

    org_id: str | None = None
    team_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    key_type: str | None = None
    search: str | None = None
    include_revoked: bool = False
    ids: tuple[str, ...] | None = None
    name_prefix: str | None = None
    seen_by: Seer | None = None
    unused_since_ms: int | None = None


@frozen
class Remembered:
    """What is kept of a request that came with an idempotency key.

    :ivar fingerprint: of the request, to tell it from another one with the same key.
    :ivar status: of its answer, ``None`` while it runs or if nobody knows how it ended.
    :ivar reply: its answer without secrets.
    """

    fingerprint: str
    status: int | None = None
    reply: str | None = field(default=None, repr=False)


@frozen
class Bootstrap:
    """What the very first start creates, all of it or nothing.

    :ivar meta: values for ``IStore.meta_get``, such as the check value of the encryption key.
    """

    org: Org
    admin: User
    key: NewKey
    admin_role: str = "org_admin"
    meta: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@frozen
class StoredAccess:
    """Everything of a store that a snapshot is built from, read in one transaction.

    :ivar version: the change version that these rows belong to.
    :ivar keys: live ones only: not revoked, not expired, of an owner that still exists.
    :ivar org_aliases: ``(org_id, alias) -> model name``.
    :ivar team_aliases: ``(team_id, alias) -> model name``.
    :ivar access: ``(kind, id) -> canonical model names`` for ``org``, ``team`` and ``key``;
        an absent entry restricts nothing, an empty set allows nothing.
    """

    version: int
    orgs: tuple[Org, ...] = ()
    teams: tuple[Team, ...] = ()
    keys: tuple[ApiKey, ...] = field(default=(), repr=False)
    org_aliases: Mapping[tuple[str, str], str] = field(factory=dict)
    team_aliases: Mapping[tuple[str, str], str] = field(factory=dict)
    access: Mapping[tuple[str, str], frozenset[str]] = field(factory=dict)
    system_limits: Limits = NO_LIMITS


@frozen
class UsageQuery:
    """What a usage report should say.

    :ivar since_ms: first moment; rounded down to the hour where hours are kept apart, else to the day.
    :ivar until_ms: first moment that no longer counts; rounded up likewise.
    :ivar group_by: names out of :data:`voidllm.store.usage_report.DIMENSIONS`.
    :ivar where: (name out of the same list but periods, value) pairs that rows must equal; a tuple
        of values is any of them.
    :ivar limit: how many rows at most; the most used come first.
    :ivar zone: IANA name; its clocks say which days and hours there are.
    :ivar now_ms: when it is asked; 0 is now.
    :ivar histograms: whether rows have ``counts``.
    """

    since_ms: int
    until_ms: int
    group_by: tuple[str, ...] = ()
    where: tuple[tuple[str, str | int | tuple[str | int, ...]], ...] = ()
    limit: int = 1000
    zone: str = "UTC"
    now_ms: int = 0
    histograms: bool = False


@frozen
class UsageRow:
    """One line of a usage report.

    :ivar group: the values of ``group_by``, in its order: ``status``, ``day`` (YYYYMMDD), ``month``
        (YYYYMM) and ``hour`` (Unix milliseconds of its start) are integers, the rest are texts and
        ``""`` where a request had none.
    :ivar errors: how many ended with a status of 400 or more.
    :ivar cost_nano: sum over the requests that have a price.
    :ivar unpriced_requests: how many that were admitted have none.
    :ivar ttft_count: how many requests ``ttft_sum_ms`` is the sum of.
    :ivar speed_tokens: tokens written by requests that ended well.
    :ivar speed_sum_ms: how long writing them took.
    :ivar counts: histograms of latency, time to first token and speed, one behind the other as in
        :data:`voidllm.store.usage_rollups.BUCKETS`; empty unless asked for.
    """

    group: tuple[str | int, ...]
    total_requests: int
    errors: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    cost_nano: int
    unpriced_requests: int
    duration_sum_ms: int
    ttft_sum_ms: int
    ttft_count: int
    speed_tokens: int
    speed_sum_ms: int
    counts: tuple[int, ...] = ()

    @property
    def prompt_tokens(self) -> int:
        """All tokens read."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.audio_input_tokens

    @property
    def completion_tokens(self) -> int:
        """All tokens written."""
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens


@frozen
class ScopeUsage:
    """What one scope has used in the current day and month, for its limits.

    Only admitted requests count: they have a deployment, however they ended.

    :ivar kind: ``key``, ``team``, ``org``, or ``system`` with an empty id.
    """

    kind: str
    id: str
    day_requests: int
    day_tokens: int
    month_requests: int
    month_tokens: int
