"""The words and waiting times of a refusal."""

from __future__ import annotations

from typing import Iterable

from voidllm.core.errors import Refusal
from voidllm.limits.counter import Counter, Now, Verdict, standing

# For a request that can never pass: 429 promises a Retry-After, and this one is honest for people
# who raise the limit meanwhile.
_NEVER_MS = 60_000
_NO_RETRY = (b"x-should-retry", b"false")


def refusal(asked: Iterable[tuple[str, Counter]], tokens: int, now: Now) -> Refusal | None:
    """Give the refusal of one request of ``tokens``, or ``None`` if every limit has room.

    :param asked: kind and counter of every scope.
    :returns: 429, ``token_limit_exceeded`` if tokens are what keeps it out longest, else
        ``rate_limit_exceeded``, with the headers of the scope that keeps it out.
    """
    worst: Verdict | None = None
    culprit: Counter | None = None
    kind = ""
    for asked_kind, counter in asked:
        for verdict in counter.verdicts(tokens, now):
            if worst is None or _later(verdict, worst):
                worst, culprit, kind = verdict, counter, asked_kind
    if worst is None or culprit is None:
        return None
    headers = standing([culprit], now)
    called = "gateway" if kind == "system" else kind
    if worst.unit == "requests":
        message = f"the {called}'s request limit is used up"
        return Refusal(429, "rate_limit_exceeded", message, None, worst.wait_ms, headers)
    if worst.wait_ms is not None:
        message = f"the {called}'s token limit does not leave enough for this request"
        return Refusal(429, "token_limit_exceeded", message, None, worst.wait_ms, headers)
    # No wait helps but a smaller request or a larger limit; SDKs are told not to try.
    message = f"the request may use more tokens than the {called}'s limit allows at all; lower max_tokens"
    return Refusal(429, "token_limit_exceeded", message, None, _NEVER_MS, (*headers, _NO_RETRY))


def _later(one: Verdict, other: Verdict) -> bool:
    if one.wait_ms is None or other.wait_ms is None:
        return other.wait_ms is not None
    return one.wait_ms > other.wait_ms
