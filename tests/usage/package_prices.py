"""A process that asks the ``genai-prices`` package itself what things cost.

Reads ``[[provider, model, prompt, cached, completion], …]`` as JSON and the time as argument; writes
a list of decimal USD, or null where the package knows no such model. With ``all`` as second
argument it takes every model id of every provider instead, with the given numbers of the first
row, leaves out what has tiers, prices by the hour of the day or other units than tokens, and
writes ``[[provider, model, usd], …]``.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import TieredPrices, TimeOfDateConstraint

TOKENS = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok"}


def plain(prices: Any) -> bool:
    """Say whether prices are numbers by token and nothing else."""
    if isinstance(prices, list):
        return all(not isinstance(p.constraint, TimeOfDateConstraint) and plain(p.prices) for p in prices)
    given = {name: value for name, value in vars(prices).items() if value is not None}
    return bool(given) and all(k in TOKENS and not isinstance(v, TieredPrices) for k, v in given.items())


def main() -> None:
    """Answer."""
    rows = json.load(sys.stdin)
    when = datetime.fromisoformat(sys.argv[1])

    def ask(provider: str, model: str, prompt: int, cached: int, completion: int) -> str | None:
        usage = Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion)
        try:
            found = calc_price(usage, model, provider_id=provider, genai_request_timestamp=when)
        except LookupError:
            return None
        if sys.argv[2:] == ["all"] and not plain(found.model.prices):
            return None
        return str(found.total_price)

    if sys.argv[2:] == ["all"]:
        numbers = rows[0][2:]
        asked = [(p.id, m.id, ask(p.id, m.id, *numbers)) for p in providers for m in p.models]
        json.dump([row for row in asked if row[2] is not None], sys.stdout)
    else:
        json.dump([ask(*row) for row in rows], sys.stdout)


if __name__ == "__main__":
    main()
