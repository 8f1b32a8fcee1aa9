"""What of a change is kept: which fields differ, never a secret, never a long text.

Whoever makes a change already leaves secrets out; this is what holds if somebody forgets.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping

#: In place of a value that is not kept, and behind one of which only the beginning is.
HIDDEN = "[redacted]"
CUT = "...[cut]"

MOST_BYTES = 16 * 1024
_LONGEST_TEXT = 500
_MOST_ITEMS = 100
_DEEPEST = 6
_LONGEST_NAME = 64

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET = re.compile(
    "secrets?|passw(or)?ds?|passphrase|tokens?|keys?|apikey|codes?|otp|totp|pin|hash|digest|credentials?"
    "|authorization|cookies?|private|verifier|nonce|signature|prompts?|contents?|messages?|arguments|answers?"
    "|headers?"
)
#: Last words of names whose values tell of a secret without being one.
_ABOUT = re.compile(
    "ids?|hint|type|count|at|ms|limits?|minute|hour|day|month|enabled|mode|name|url|scopes|fields|endpoint"
    "|pattern|version|grace|source|supported"
)
#: Keys as ours and as others' begin; whoever pastes one into a name does not mean to publish it.
_LOOKS_SECRET = re.compile(
    r"vl_[a-z]{2}_[A-Za-z0-9_-]{16,}|\b(?:sk|pk|rk|ghp|gho|xox[abp]|AIza|AKIA)[A-Za-z0-9_-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+|-----BEGIN [A-Z ]+-----.*",
    re.DOTALL,
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY = re.compile(r"(\w://[^\s?#]*)[?#]\S+")


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Say which fields differ: name to what it was and what it is; ``None`` where it was or is not there."""
    old, new = before or {}, after or {}
    names = dict.fromkeys((*old, *new))
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}


def kept(diff: Mapping[str, list[Any]]) -> str:
    """Give the JSON text of a difference as it is stored: without secrets, and of bounded size."""
    shown = {_name(name): [_plain(name, value, 0) for value in pair] for name, pair in diff.items()}
    text = _encoded(shown)
    while len(text) > MOST_BYTES:
        longest = max(shown, key=lambda name: len(_encoded(shown[name])))
        if shown[longest] == [CUT, CUT]:
            return _encoded({"fields": [None, f"{len(shown)} {CUT}"]})
        shown[longest] = [CUT, CUT]
        text = _encoded(shown)
    return text


def _encoded(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def secret_name(name: str) -> bool:
    """Say whether a field of this name may hold a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    return any(map(_SECRET.fullmatch, words)) and _ABOUT.fullmatch(words[-1]) is None


def _plain(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if secret_name(name):
        return HIDDEN
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        return _text(value)
    if depth >= _DEEPEST:
        return CUT
    if isinstance(value, Mapping):
        some = list(value.items())[:_MOST_ITEMS]
        found = {_name(str(key)): _plain(str(key), inner, depth + 1) for key, inner in some}
        return found if len(value) == len(some) else {**found, CUT: len(value) - len(some)}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [_plain(name, inner, depth + 1) for inner in list(value)[:_MOST_ITEMS]]
        return items if len(value) == len(items) else [*items, CUT]
    return HIDDEN


def _text(value: str) -> str:
    value = value[: 4 * _LONGEST_TEXT]
    if "://" in value:
        value = _QUERY.sub(rf"\1?{HIDDEN}", _USERINFO.sub(HIDDEN, value))
    value = _LOOKS_SECRET.sub(HIDDEN, value)
    return value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + CUT


def _name(name: str) -> str:
    shown = _LOOKS_SECRET.sub(HIDDEN, name)
    return shown if len(shown) <= _LONGEST_NAME else shown[:_LONGEST_NAME] + CUT
