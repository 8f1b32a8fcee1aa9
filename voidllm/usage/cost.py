"""What tokens cost: integers only."""

from __future__ import annotations

from voidllm.core.model import Price
from voidllm.core.usage import TokenCounts

_PER = 1_000_000


def cost_nano(tokens: TokenCounts, price: Price) -> int:
    """Give the cost of ``tokens`` in nano-USD.

    The buckets are disjoint, so each is charged once, at its own price; a price of 0 is free.
    Rounded once, half up, over the sum.
    """
    written_audio = price.audio if price.audio_output is None else price.audio_output
    total = (
        tokens.input * price.input
        + tokens.cache_read * price.cache_read
        + tokens.cache_write * price.cache_write
        + tokens.output * price.output
        + tokens.reasoning * price.reasoning
        + tokens.audio_input * price.audio
        + tokens.audio_output * written_audio
    )
    return (total + _PER // 2) // _PER
