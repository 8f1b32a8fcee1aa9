"""Which faults and traits a mock reply has, and who asked for them.

Grammar: ``kind[-arg…]`` joined by ``+``, for instance ``cut-3+crlf``. It comes from a model
name ``mock-fault-<faults>`` (it survives a proxy that drops unknown headers), from an
``x-mock`` header, or from rules set with ``POST /__mock/faults``.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

PREFIX = "mock-fault-"

#: kind -> what it does; the arguments in the order they are given.
KINDS: dict[str, str] = {
    "status": "N [R]: answer with status N and an OpenAI error; R is Retry-After (seconds, or '1500ms')",
    "delay": "MS: wait before the reply head",
    "never": "read the request, answer nothing",
    "close": "close after this reply, with 'Connection: close'",
    "closesilent": "close after this reply without announcing it",
    "drop": "close without a single reply byte",
    "droprst": "reset without a single reply byte",
    "cuthead": "close in the middle of the reply head",
    "stall": "K: stream: silence after K events; buffered: after half of the body",
    "cut": "K: stream: close (FIN) after K events; buffered: after half of the body",
    "reset": "K: like cut, with RST",
    "nodone": "no [DONE] (chat, completions) or no response.completed",
    "badchunk": "K: event K holds malformed JSON; buffered: malformed body",
    "badframing": "broken chunk framing after the first event",
    "errorevent": "K: after K events an error event, then the end",
    "crlf": "CRLF line ends in the event stream",
    "cr": "CR line ends in the event stream",
    "comments": "a comment line before each event",
    "multiline": "each event's data spread over several data: lines",
    "split": "N: every write is cut into segments of N bytes",
    "drip": "MS [N]: N bytes (1) every MS",
    "hugeline": "N: an extra event whose content is N bytes long",
    "bighead": "N: a reply header of N bytes",
    "badhead": "a reply that is not HTTP",
    "eof": "body ends with the connection: no length, no chunks",
    "http10": "HTTP/1.0 reply, body ends with the connection",
    "chunked": "buffered reply in chunked coding",
    "early": "N: an interim reply with status N before the final one",
    "ratelimit": "the upstream account's x-ratelimit-* headers, Retry-After and retry-after-ms",
    "disposition": "a Content-Disposition header",
    "reqid": "TEXT: this x-request-id",
    "cookie": "a Set-Cookie header",
    "redirect": "302 to another origin",
    "gzip": "a gzip body whatever was asked",
    "extra": "bytes of a second reply behind the first (response-queue poisoning)",
    "keepalive": "N: 'Keep-Alive: timeout=N'",
    "nousage": "no usage, whatever was asked",
    "usageevery": "usage in every chunk",
    "words": "N: length of the text in words",
    "interval": "MS: time between events",
    "first": "MS: time between the reply head and the first event",
    "cached": "N: cached prompt tokens in the usage",
    "reasoning": "N: reasoning tokens in the usage",
    "earlyreply": "(rules and header only) answer 413 when the head is read, read on",
    "noread": "(rules and header only) do not read the request body",
}


@frozen
class Faults:
    """Faults of one reply.

    :ivar kinds: kind -> arguments, as text.
    """

    kinds: dict[str, tuple[str, ...]] = field(factory=dict)

    def __contains__(self, kind: str) -> bool:
        return kind in self.kinds

    def number(self, kind: str, default: int = 0, place: int = 0) -> int:
        """Give argument ``place`` of ``kind`` as a number, ``default`` when it is absent."""
        args = self.kinds.get(kind, ())
        return int(args[place]) if len(args) > place else default

    def text(self, kind: str, place: int = 0, default: str = "") -> str:
        """Give argument ``place`` of ``kind``."""
        args = self.kinds.get(kind, ())
        return args[place] if len(args) > place else default

    def merged(self, other: Faults) -> Faults:
        """Give the union; ``other`` wins where both name a kind."""
        return Faults({**self.kinds, **other.kinds}) if other.kinds else self


NONE = Faults()


def parse(text: str) -> Faults:
    """Read the grammar above.

    :raises ValueError: unknown kind, so that a mistyped test does not pass by accident.
    """
    kinds: dict[str, tuple[str, ...]] = {}
    for part in filter(None, text.split("+")):
        kind, *args = part.split("-")
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}")
        kinds[kind] = ("-".join(args),) if kind == "reqid" else tuple(args)
    return Faults(kinds)


def of_model(model: Any) -> Faults:
    """Give the faults named by a model ``mock-fault-…``."""
    return parse(model[len(PREFIX) :]) if isinstance(model, str) and model.startswith(PREFIX) else NONE


@define
class Rule:
    """Faults for requests that match.

    :ivar path: end of the request path, empty for any.
    :ivar model: exact upstream model name, ``None`` for any.
    :ivar times: how many requests it applies to, ``None`` for all.
    """

    faults: Faults
    path: str = ""
    model: str | None = None
    times: int | None = None


@define
class Rules:
    """Rules set through the control endpoint or by a test, oldest first."""

    rules: list[Rule] = field(factory=list)

    def add(self, fault: str, path: str = "", model: str | None = None, times: int | None = None) -> None:
        """Add one rule; see :class:`Rule` and :func:`parse`."""
        self.rules.append(Rule(parse(fault), path, model, times))

    def clear(self) -> None:
        """Forget all rules."""
        self.rules.clear()

    def at_head(self, path: str) -> Faults:
        """Give the faults that act before the body is read (``earlyreply``, ``noread``)."""
        return self._take(path, None, head=True)

    def at_reply(self, path: str, model: Any) -> Faults:
        """Give all other faults for a request."""
        return self._take(path, model, head=False)

    def _take(self, path: str, model: Any, *, head: bool) -> Faults:
        found = NONE
        for rule in list(self.rules):
            if ("earlyreply" in rule.faults or "noread" in rule.faults) is not head:
                continue
            if not path.endswith(rule.path) or (rule.model is not None and rule.model != model):
                continue
            found = found.merged(rule.faults)
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    self.rules.remove(rule)
        return found
