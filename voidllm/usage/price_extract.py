"""Write the price data of the ``genai-prices`` package as a compact file.

Runs as a process of its own, ``python -m voidllm.usage.price_extract OUT``, because that
package brings pydantic and megabytes of objects that a gateway has no use for. It reads the
data that is installed; the package's updater, which asks the network, is never called.

The file: one JSON object a line. The first line holds ``format`` and ``version``; each further
line is one provider: ``id``, ``match`` (a clause or null), ``fallback`` (ids of providers whose
models it also serves), ``models``: pairs of a clause and a list of ``[first day or null, prices]``,
in the package's order. Prices are decimal USD per million tokens, as strings, by bucket.

A clause is ``["=", text]``, ``["^", prefix]``, ``["$", suffix]``, ``["~", part]``,
``["re", pattern]``, ``["or", clause…]`` or ``["and", clause…]``, on lower-case text.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from typing import Any

#: Grows when readers must extract anew.
FORMAT = 1

_BUCKETS = {
    "input_mtok": "input",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio",
    "output_audio_mtok": "audio_output",
}
_CLAUSES = {"equals": "=", "starts_with": "^", "ends_with": "$", "contains": "~"}


def clause(found: Any) -> list[Any]:
    """Give the compact form of one of the package's match clauses."""
    for name, sign in _CLAUSES.items():
        if hasattr(found, name):
            return [sign, getattr(found, name).lower()]
    if hasattr(found, "regex"):
        return ["re", found.regex]
    if hasattr(found, "or_"):
        return ["or", *map(clause, found.or_)]
    return ["and", *map(clause, found.and_)]


def buckets(prices: Any) -> dict[str, str]:
    """Give the token prices; of a price with tiers, the first tier's."""
    found = {}
    for name, bucket in _BUCKETS.items():
        value = getattr(prices, name)
        if value is not None:
            found[bucket] = format(getattr(value, "base", value), "f")
    return found


def dated(prices: Any) -> list[list[Any]]:
    """Give ``[first day or null, buckets]`` for each price that does not hang on the time of day."""
    if not isinstance(prices, list):
        return [[None, buckets(prices)]]
    found = []
    for one in prices:
        constraint = one.constraint
        if constraint is None:
            found.append([None, buckets(one.prices)])
        elif hasattr(constraint, "start_date"):
            found.append([constraint.start_date.isoformat(), buckets(one.prices)])
    return found or [[None, buckets(prices[0].prices)]]


def extract() -> str:
    """Give the whole file as text."""
    from genai_prices.data import providers

    head = {"format": FORMAT, "version": importlib.metadata.version("genai-prices")}
    lines = [json.dumps(head)]
    for provider in providers:
        entry = {
            "id": provider.id,
            "match": clause(provider.provider_match) if provider.provider_match else None,
            "fallback": provider.fallback_model_providers or [],
            "models": [[clause(model.match), dated(model.prices)] for model in provider.models],
        }
        lines.append(json.dumps(entry, ensure_ascii=True, separators=(",", ":")))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file named on the command line, whole or not at all."""
    path = sys.argv[1]
    part = f"{path}.{os.getpid()}"
    data = extract().encode("ascii")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, path)


if __name__ == "__main__":
    main()
