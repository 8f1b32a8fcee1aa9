"""Finding a model in extracted price data, by the rules of the package that it came from."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Iterator, Mapping, Sequence

import ujson

from voidllm.core.model import Price
from voidllm.usage.price_extract import FORMAT
from voidllm.usage.price_numbers import make_price, nano_per_million

_DATE = re.compile(r"-(20\d{2})(\d{2})(\d{2})(?=-|:|$)")


def matches(clause: Sequence[Any], text: str) -> bool:
    """Say whether ``text``, in lower case, satisfies a clause; see ``price_extract`` for their form."""
    kind = clause[0]
    if kind == "=":
        return bool(text == clause[1])
    if kind == "^":
        return text.startswith(clause[1])
    if kind == "$":
        return text.endswith(clause[1])
    if kind == "~":
        return clause[1] in text
    if kind == "re":
        return re.search(clause[1], text) is not None
    if kind == "or":
        return any(matches(part, text) for part in clause[1:])
    if kind == "and":
        return all(matches(part, text) for part in clause[1:])
    raise ValueError("unknown kind of clause")


class PriceData:
    """One file of price data; providers stay JSON until they are asked for.

    :param data: the file.
    :raises ValueError: if it is not a whole file of this format.
    :ivar version: names the data in usage rows.
    """

    def __init__(self, data: bytes) -> None:
        head, *lines = data.splitlines()
        found = ujson.loads(head)
        if not isinstance(found, dict) or found.get("format") != FORMAT or not lines:
            raise ValueError("not price data of this format")
        self.version = f"genai-prices-{found['version']}"
        self._lines: dict[str, bytes] = {}
        self._matches: list[tuple[str, list[Any]]] = []
        self._newest: tuple[str, dict[str, Any]] | None = None
        for line in lines:
            provider = ujson.loads(line)
            self._lines[provider["id"]] = line
            if provider["match"] is not None:
                self._matches.append((provider["id"], provider["match"]))

    def find(self, provider: str, model: str, day: str) -> Price | None:
        """Give the price of ``model`` at ``provider`` on ``day``, or ``None`` if it has none by tokens.

        :param provider: our name for it; matched as the package matches.
        :param day: ISO date in UTC.
        """
        found_provider = self._provider(provider.lower().strip())
        if found_provider is None:
            return None
        model = model.lower()
        dated = self._dated(found_provider, model)
        if dated is None:
            spelled_out = _DATE.sub(_with_dashes, model)
            if spelled_out != model:
                dated = self._dated(found_provider, spelled_out)
        return None if dated is None else self._price(dated, day)

    def _provider(self, name: str) -> dict[str, Any] | None:
        if name not in self._lines:
            name = next((known for known, clause in self._matches if matches(clause, name)), "")
        return self._load(name)

    def _load(self, name: str) -> dict[str, Any] | None:
        line = self._lines.get(name)
        if line is None:
            return None
        if self._newest is None or self._newest[0] != name:
            # One is kept: a gateway's models mostly have one provider, and all of them are megabytes.
            self._newest = (name, ujson.loads(line))
        return self._newest[1]

    def _served(self, provider: Mapping[str, Any]) -> Iterator[list[Any]]:
        yield from provider["models"]
        for name in provider["fallback"]:
            other = self._load(name)
            if other is not None:
                yield from other["models"]

    def _dated(self, provider: Mapping[str, Any], model: str) -> list[list[Any]] | None:
        for clause, dated in self._served(provider):
            if matches(clause, model):
                return list(dated)
        return None

    def _price(self, dated: list[list[Any]], day: str) -> Price | None:
        # The last that has begun is in force; before any has, the first.
        found = next(
            (prices for start, prices in reversed(dated) if start is None or start <= day), dated[0][1]
        )
        if "input" not in found and "output" not in found:
            return None
        numbers = {bucket: nano_per_million(text) for bucket, text in found.items()}
        return make_price(
            self.version, input=numbers.pop("input", 0), output=numbers.pop("output", 0), **numbers
        )


def _with_dashes(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return match[0]
    return f"-{year}-{month}-{day}"
