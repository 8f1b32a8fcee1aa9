"""Finding the one API key of a request."""

from __future__ import annotations

from voidllm.auth.keys import looks_like_key
from voidllm.core.errors import Refusal

#: Where a key may be.
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_AUTHORIZATION = b"authorization"
_BEARER = b"bearer"


def find_credential(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Give the key in ``Authorization: Bearer``, ``x-api-key`` or ``api-key``.

    The same key may be there more than once. Two different ones are refused, because which
    of them counts would be a guess; so is a key beside another scheme's ``Authorization``.

    :param headers: (lower-case name, value) pairs.
    :raises Refusal: 401 ``unauthorized`` without a key or with something that is none, 400
        ``bad_request`` with two.
    """
    found: bytes | None = None
    for name, value in headers:
        if name in CREDENTIAL_HEADERS:
            if name == _AUTHORIZATION:
                key = _bearer(value)
            else:
                key = value.strip(b" \t")
            if found is None:
                found = key
            elif found != key:
                raise Refusal(400, "bad_request", "the request holds two different API keys")
    if found is None:
        raise Refusal(401, "unauthorized", "missing authorization header")
    if not looks_like_key(found):
        raise Refusal(401, "unauthorized", "invalid API key format")
    return found


def _bearer(value: bytes) -> bytes:
    if value[:6].lower() == _BEARER and value[6:7] in (b" ", b"\t"):
        return value[7:].strip(b" \t")
    # What another scheme says is no key and, behind a blank, differs from every key.
    return b" " + value
