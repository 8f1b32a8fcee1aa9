"""The mock's own endpoints, for tests in another process.

``GET /__mock/requests[?last=N]``, ``GET /__mock/state``, ``POST /__mock/faults`` with
``{"fault": "status-500", "path": "", "model": null, "times": 1}`` or a list of such,
``DELETE /__mock/faults``, ``DELETE /__mock/requests`` (counts and rules too),
``POST /__mock/settings`` with ``delay_ms``, ``interval_ms``, ``api_key``,
``POST /__mock/close`` (abort every other connection).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from bench.mocks.exchange import Exchange
from bench.mocks.reply import Reply, error_reply, json_reply

if TYPE_CHECKING:
    from bench.mocks.llm import MockLLM


def control(mock: MockLLM, exchange: Exchange) -> Reply:
    """Answer a request for ``/__mock/…``."""
    path, _, query = exchange.target.partition("?")
    try:
        body: Any = json.loads(exchange.kept) if exchange.kept else {}
        return _control(mock, exchange, f"{exchange.method} {path}", query, body)
    except (ValueError, TypeError, KeyError) as error:
        return error_reply(400, f"{type(error).__name__}: {error}")


def _control(mock: MockLLM, exchange: Exchange, what: str, query: str, body: Any) -> Reply:
    if what == "GET /__mock/state":
        return json_reply(mock.state())
    if what == "GET /__mock/requests":
        last = int(parse_qs(query).get("last", ["100"])[0])
        return json_reply([e.to_json(mock.keep) for e in list(mock.requests)[-last:]])
    if what == "POST /__mock/faults":
        for rule in body if isinstance(body, list) else [body]:
            mock.rules.add(**rule)
    elif what == "DELETE /__mock/faults":
        mock.rules.clear()
    elif what == "DELETE /__mock/requests":
        mock.forget()
    elif what == "POST /__mock/settings":
        mock.delay_s = body.get("delay_ms", mock.delay_s * 1000) / 1000
        mock.interval_s = body.get("interval_ms", mock.interval_s * 1000) / 1000
        mock.api_key = body.get("api_key", mock.api_key)
    elif what == "POST /__mock/close":
        for connection in list(mock.connections):
            if connection.number != exchange.connection:
                connection.hang_up(reset=True)
    else:
        return error_reply(404, f"unknown control request {what}")
    return json_reply(mock.state())
