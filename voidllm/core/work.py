"""The nouns of a unit of work: what is asked, what was admitted, how it ended."""

from __future__ import annotations

from voidllm.core.usage import NO_TOKENS, TokenCounts
from voidllm.core.values import value


@value
class Ask:
    """A unit of work that wants to be admitted.

    :ivar kind: ``llm``, ``mcp`` or ``codemode``.
    :ivar endpoint: for ``llm`` the path below ``/v1/``, from our own list.
    :ivar target: what the caller asked for: a model name or alias as sent.
    :ivar estimated_tokens: reserved against token limits before the call.
    :ivar started_ms: Unix milliseconds of the first request byte.
    :ivar started_s: the monotonic clock at that moment, in seconds.
    :ivar tags: those of request and key together, or ``""`` if the request has none.
    """

    kind: str
    endpoint: str
    target: str
    estimated_tokens: int
    request_id: str
    started_ms: int
    started_s: float
    stream: bool = False
    parent_id: str | None = None
    tags: str = ""


@value
class Outcome:
    """How an admitted unit of work ended.

    :ivar status: HTTP status that the client got; 499 if it left before one was sent.
    :ivar deployment: key of the deployment that answered, ``""`` if none did.
    :ivar ttft_ms: milliseconds to the first token of a stream, or ``None``.
    """

    status: int
    error_code: str = ""
    deployment: str = ""
    provider: str = ""
    tokens: TokenCounts = NO_TOKENS
    source: str = "none"
    ttft_ms: int | None = None
