"""What was consumed: token counts, and the event that becomes one usage row."""

from __future__ import annotations

from voidllm.core.values import value

#: How the token counts of a row are known, best first.
SOURCES = ("provider_final", "provider_partial", "counted", "estimated", "none")


@value
class TokenCounts:
    """Disjoint token buckets: no token is in two of them, so their sum is the total.

    A provider's ``prompt_tokens`` is ``input + cache_read + cache_write + audio_input``
    and its ``completion_tokens`` is ``output + reasoning + audio_output``.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0

    @property
    def prompt(self) -> int:
        """All tokens read."""
        return self.input + self.cache_read + self.cache_write + self.audio_input

    @property
    def completion(self) -> int:
        """All tokens written."""
        return self.output + self.reasoning + self.audio_output

    @property
    def total(self) -> int:
        """All tokens; what token limits count."""
        return (
            self.input
            + self.cache_read
            + self.cache_write
            + self.output
            + self.reasoning
            + self.audio_input
            + self.audio_output
        )


NO_TOKENS = TokenCounts()


@value
class UsageEvent:
    """One finished unit of work; exactly one journal line and one usage row.

    No field holds content. ``requested_model`` is a configured name or alias, or ``""``
    when the caller asked for something that does not exist.

    :ivar id: UUIDv7, the primary key that makes committing idempotent.
    :ivar request_id: what ``X-Request-Id`` said on reply and upstream call.
    :ivar parent_id: id of the unit that caused this one (Code Mode), or ``None``.
    :ivar kind: ``llm``, ``mcp`` or ``codemode``.
    :ivar started_ms: Unix milliseconds of the first request byte.
    :ivar status: HTTP status; 499 when the client left before a status was sent.
    :ivar error_code: our ``error.code`` or the classified fault, ``""`` on success.
    :ivar source: one of :data:`SOURCES`.
    :ivar cost_nano: nano-USD, ``None`` when the model has no price.
    :ivar price_version: which price list, ``""`` without one.
    :ivar duration_ms: until the last byte was handed to the client's connection.
    :ivar ttft_ms: until the first token of a stream, ``None`` if none came or not a stream.
    :ivar tags: ``name:value``, several with commas between, see :mod:`voidllm.core.usage_tags`.
    """

    id: str
    request_id: str
    started_ms: int
    kind: str
    endpoint: str
    org_id: str
    key_id: str
    key_type: str
    status: int
    duration_ms: int
    model: str = ""
    requested_model: str = ""
    deployment: str = ""
    provider: str = ""
    team_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    parent_id: str | None = None
    error_code: str = ""
    stream: bool = False
    tokens: TokenCounts = NO_TOKENS
    source: str = "none"
    cost_nano: int | None = None
    price_version: str = ""
    ttft_ms: int | None = None
    tags: str = ""
