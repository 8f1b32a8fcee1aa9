"""The request body: parsed once, checked, and encoded again from that parse.

What was checked is what is sent: an upstream never sees bytes that were not looked at
the way it will look at them. Only the top level is parsed; values stay byte-exact.
"""

from __future__ import annotations

import re
from typing import Callable, Mapping

import msgspec
from msgspec import Raw

from voidllm.core.errors import Refusal
from voidllm.core.values import value

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
# Made once: what ``msgspec.json.decode(raw, type=int | None)`` does first costs 3 us each time.
_decode_string = msgspec.json.Decoder(str).decode
_decode_integer: Callable[[Raw], int | None] = msgspec.json.Decoder(int | None).decode

# Only these are read here, so only for these must no two spellings exist.
_READ = frozenset({"model", "stream", "stream_options"})
# Names that real clients send; skips the casefold of nearly every key.
_PLAIN = _READ | {
    "messages",
    "input",
    "prompt",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "tools",
    "tool_choice",
    "response_format",
    "stop",
    "n",
    "seed",
    "user",
    "presence_penalty",
    "frequency_penalty",
}
# How bodies with such names look in Python's own default style, which many clients send.
_SPACED: dict[tuple[str, ...], bytes] = {}
_MOST_FORMS = 256
_MAX_MODEL_NAME = 256
_MOST_FIELDS = 1000
_NO_VALUE = Raw()
# A member's name up to its value, and what may follow a value. Possessive: nothing is tried again.
_MEMBER = re.compile(rb'[ \t\n\r]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*+:[ \t\n\r]*+')
_AFTER_VALUE = re.compile(rb"[ \t\n\r]*+[,}]")
_CHOICES = ("n", "best_of")
# What says how much may be written: limits of the output, and how often it is made.
_ESTIMATED = frozenset({"max_completion_tokens", "max_tokens", "max_output_tokens", *_CHOICES})
_DEFAULT_OUTPUT = 1000
_MOST_TOKENS = 1 << 53
_INCLUDE_USAGE = Raw(b'{"include_usage":true}')
_TRUE = Raw(b"true")


def refuse(message: str, param: str | None = None, code: str = "bad_request") -> Refusal:
    """Make a 400 that names the field at fault."""
    return Refusal(400, code, message, param)


@value
class Body:
    """A checked JSON body.

    :ivar fields: top-level fields, values as the client's bytes.
    :ivar wants_usage: the client asked for the usage chunk of a stream.
    :ivar size: bytes received.
    """

    fields: Mapping[str, Raw]
    model: str
    stream: bool
    wants_usage: bool
    size: int

    def estimated_tokens(self) -> int:
        """Estimate what the call will consume at most, for reservation.

        Four bytes a token for the input, plus the output limit the client set for each
        of its ``n`` (or ``best_of``) choices, else 1,000. Upstreams differ in which of several
        limits they heed, so the highest counts.

        :raises Refusal: 400 if a limit is not a whole number.
        """
        output, choices = None, 1
        # In order, so that of two fields at fault it is always the same that is named.
        for name in sorted(_ESTIMATED.intersection(self.fields)):
            number = _integer(self.fields[name], name)
            if number is None:
                continue
            if name in _CHOICES:
                choices = max(choices, number)
            elif output is None or number > output:
                output = number
        each = _DEFAULT_OUTPUT if output is None else output
        return -(-self.size // 4) + min(each * choices, _MOST_TOKENS)

    def encode(self, upstream_model: str, ask_usage: bool) -> bytes:
        """Encode the body for an upstream.

        :param upstream_model: the name that the upstream knows the model by.
        :param ask_usage: set ``stream_options.include_usage``, keeping its other members.
        """
        fields: dict[str, Raw | str] = {**self.fields, "model": upstream_model}
        if ask_usage and not self.wants_usage:
            options = self.fields.get("stream_options")
            if options is None or bytes(options) == b"null":
                fields["stream_options"] = _INCLUDE_USAGE
            else:
                members = _decode_object(options)
                members["include_usage"] = _TRUE
                fields["stream_options"] = Raw(_encode(members))
        return _encode(fields)


def parse(raw: bytes) -> Body:
    """Parse and check a JSON request body.

    :raises Refusal: 400, naming the field where there is one.
    """
    if not raw:
        raise refuse("the request body is empty; a JSON object is required")
    try:
        # The parser checks the grammar of strings, but not that they are UTF-8.
        raw.decode("utf-8")
        fields = _decode_object(raw)
    except UnicodeDecodeError:
        raise refuse("the request body is not valid UTF-8") from None
    except RecursionError:
        raise refuse("the request body is nested too deeply") from None
    except msgspec.MsgspecError:
        raise refuse("the request body is not a valid JSON object") from None
    _check_keys(raw, fields)
    model = _string(fields, "model")
    # A call for what is absent would cost more than the look that finds it so.
    stream, options = fields.get("stream"), fields.get("stream_options")
    return Body(
        fields,
        model,
        stream is not None and _boolean(stream, "stream"),
        options is not None and _wants_usage(options),
        len(raw),
    )


def _check_keys(raw: bytes, fields: Mapping[str, Raw]) -> None:
    if len(fields) > _MOST_FIELDS:
        raise refuse(f"the request body has more than {_MOST_FIELDS} top-level fields")
    if not fields.keys() <= _PLAIN:
        for key in fields:
            if key not in _PLAIN and (folded := key.casefold()) in _READ:
                raise refuse(f"a field differs from '{folded}' only in letter case", folded)
    # A parse that encodes back to the very same bytes dropped nothing.
    compact = _encode(fields)
    if raw == compact:
        return
    # The other style has a blank more at each colon and each comma.
    if len(raw) - len(compact) == 2 * len(fields) - 1 and raw == _spaced(fields):
        return
    duplicate = _duplicate(raw, fields)
    if duplicate is not None:
        known = duplicate if duplicate in _PLAIN else None
        raise refuse("a top-level field appears twice", known, "duplicate_field")


def _spaced(fields: Mapping[str, Raw]) -> bytes:
    names = tuple(fields)
    form = _SPACED.get(names)
    if form is None:
        members = (_encode(name).replace(b"%", b"%%") + b": %b" for name in names)
        form = b"{" + b", ".join(members) + b"}"
        if len(_SPACED) < _MOST_FORMS and fields.keys() <= _PLAIN:
            _SPACED[names] = form
    return form % tuple(fields.values())


def _duplicate(raw: bytes, fields: Mapping[str, Raw]) -> str | None:
    """Find a name that the object ``raw`` holds twice, given what a parse made of it.

    Walks along the top level and compares it with the parse, which keeps the place of a name's
    first occurrence and the value of its last. No object is made of what is inside the values:
    of a large body that would be millions, while everybody waits.
    """
    expected = iter(fields.items())
    at = raw.index(b"{") + 1
    while (found := _MEMBER.match(raw, at)) is not None:
        key = _decode_string(found[1])
        name, value = next(expected, ("", _NO_VALUE))
        at = found.end()
        text = bytes(value)
        if key != name or not text or not raw.startswith(text, at):
            return key
        after = _AFTER_VALUE.match(raw, at + len(text))
        if after is None:
            # Only the beginning of another value.
            return key
        at = after.end()
    return None


def _string(fields: Mapping[str, Raw], name: str) -> str:
    raw = fields.get(name)
    if raw is None:
        raise refuse(f"the field '{name}' is required", name)
    try:
        value = _decode_string(raw)
    except msgspec.MsgspecError:
        raise refuse(f"the field '{name}' must be a string", name) from None
    if not value or len(value) > _MAX_MODEL_NAME:
        raise refuse(f"the field '{name}' must have 1 to {_MAX_MODEL_NAME} characters", name)
    return value


def _boolean(raw: Raw, name: str) -> bool:
    text = bytes(raw)
    if text == b"true":
        return True
    if text in (b"false", b"null"):
        return False
    raise refuse(f"the field '{name}' must be true or false", name)


def _integer(raw: Raw, name: str) -> int | None:
    try:
        value = _decode_integer(raw)
    except msgspec.MsgspecError:
        raise refuse(f"the field '{name}' must be a whole number", name) from None
    if value is not None and not 0 <= value < 1 << 53:
        raise refuse(f"the field '{name}' is out of range", name)
    return value


def _wants_usage(raw: Raw) -> bool:
    if bytes(raw) == b"null":
        return False
    try:
        members = _decode_object(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise refuse("the field 'stream_options' must be an object", "stream_options") from None
    # The upstream must not find a second spelling or a second copy in here either.
    for key in members:
        if key != "include_usage" and key.casefold() == "include_usage":
            raise refuse("a member of 'stream_options' differs only in letter case", "stream_options")
    if _duplicate(bytes(raw), members) is not None:
        raise refuse("a member of 'stream_options' appears twice", "stream_options")
    included = members.get("include_usage")
    return included is not None and _boolean(included, "stream_options.include_usage")
