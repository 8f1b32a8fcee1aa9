"""Exact integers from prices as people write them."""

from __future__ import annotations

import hashlib
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from attrs import astuple, evolve

from voidllm.core.model import Price

#: How configuration may write a price; a float is taken for the decimal that it is printed as.
Number = str | float | int

_NANO = 1_000_000_000
_MOST = Decimal(1_000_000)


def nano_per_million(value: Number, name: str = "price") -> int:
    """Turn USD per million tokens into nano-USD per million tokens.

    :param name: what an error calls the field.
    :raises ValueError: if it is no number from 0 to 1,000,000.
    """
    try:
        usd = Decimal("NaN") if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        usd = Decimal("NaN")
    if not (usd.is_finite() and 0 <= usd <= _MOST):
        raise ValueError(f"{name} must be a number from 0 to {_MOST} (USD per million tokens)")
    return int((usd * _NANO).to_integral_value(ROUND_HALF_UP))


def make_price(
    version: str,
    input: int,
    output: int,
    *,
    cache_read: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    audio: int | None = None,
    audio_output: int | None = None,
) -> Price:
    """Make a price in which each bucket without a number costs what its parent costs.

    A token read from or written to a cache, or of audio, is an input token; a token of reasoning,
    or of audio written, is an output token. All in nano-USD per million tokens.
    """

    def given(value: int | None, other: int) -> int:
        return other if value is None else value

    return Price(
        version=version,
        input=input,
        cache_read=given(cache_read, input),
        cache_write=given(cache_write, input),
        output=output,
        reasoning=given(reasoning, output),
        audio=given(audio, input),
        audio_output=given(audio_output, output),
    )


def price_from_config(
    input_per_1m: Number,
    output_per_1m: Number,
    *,
    cache_read_per_1m: Number | None = None,
    cache_write_per_1m: Number | None = None,
    reasoning_per_1m: Number | None = None,
    audio_per_1m: Number | None = None,
    audio_output_per_1m: Number | None = None,
) -> Price:
    """Make the price that configuration states in USD per million tokens.

    Buckets without a number cost what :func:`make_price` says, but an audio price stands for
    both directions. The version is ``config-`` and a short hash of the numbers, so rows before
    and after a change can be told apart.

    :raises ValueError: naming the field that is no price.
    """

    def nano(value: Number | None, name: str) -> int | None:
        return None if value is None else nano_per_million(value, name)

    if audio_output_per_1m is None:
        audio_output_per_1m = audio_per_1m
    price = make_price(
        "",
        nano_per_million(input_per_1m, "input_per_1m"),
        nano_per_million(output_per_1m, "output_per_1m"),
        cache_read=nano(cache_read_per_1m, "cache_read_per_1m"),
        cache_write=nano(cache_write_per_1m, "cache_write_per_1m"),
        reasoning=nano(reasoning_per_1m, "reasoning_per_1m"),
        audio=nano(audio_per_1m, "audio_per_1m"),
        audio_output=nano(audio_output_per_1m, "audio_output_per_1m"),
    )
    digest = hashlib.sha256(repr(astuple(price)[1:]).encode()).hexdigest()
    return evolve(price, version=f"config-{digest[:8]}")
