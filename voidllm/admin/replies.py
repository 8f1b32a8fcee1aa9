"""How the admin application reads requests, answers, and fails."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from voidllm.admin.fields import parse_object
from voidllm.core.errors import (
    Refusal,
    StoreBusy,
    StoreConflict,
    StoreRejected,
    StoreTimeout,
    StoreUnavailable,
)
from voidllm.http.dispatch import log_crash
from voidllm.http.replies import NOTHING_HERE, dump, refusal_reply

_RETRY_MS = 1000
_JSON_KINDS = (b"application/json", b"application/merge-patch+json")


def send_json(request: Any, status: int, value: object) -> bytes:
    """Set status and headers for ``value`` and encode it."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return dump(value)


def reply(request: Any, status: int, value: object) -> bytes:
    """Set status and headers of a whole reply and give its body.

    :param value: plain values or Structs, ``None`` for no body.
    """
    request.setResponseCode(status)
    if value is None:
        request.setHeader(b"content-length", b"0")
        return b""
    request.setHeader(b"content-type", b"application/json")
    body = msgspec.json.encode(value)
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def not_modified(request: Any) -> bytes:
    """Answer 304, which has no body."""
    request.setResponseCode(304)
    request.setHeader(b"cache-control", b"no-store")
    return b""


def header_of(request: Any, name: str) -> str | None:
    """Give the value of a request header, several joined by commas, or ``None``."""
    values = request.requestHeaders.getRawHeaders(name.encode("ascii"))
    return None if not values else b", ".join(values).decode("latin-1")


def refuse(request: Any, refusal: Refusal) -> bytes:
    """Set status and headers of an error reply and give its body."""
    headers, body = refusal_reply(refusal, getattr(request, "request_id", ""))
    request.setResponseCode(refusal.status)
    for name, value in headers:
        request.setHeader(name, value)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def body_of(request: Any) -> dict[str, Any]:
    """Read the request's JSON object.

    :raises Refusal: 400, 413, or 415 for a compressed one or for something else.
    """
    encoding = request.getHeader(b"content-encoding") or b""
    if encoding.lower() not in (b"", b"identity"):
        raise Refusal(
            415, "unsupported_content_encoding", "the request body may not be compressed (content-encoding)"
        )
    kind = (request.getHeader(b"content-type") or b"application/json").partition(b";")[0].strip().lower()
    body = request.content.read()
    # A page of another site can send forms and plain text without asking, but not these.
    if body and kind not in _JSON_KINDS:
        raise Refusal(415, "unsupported_media_type", "the request body must be JSON (content-type)")
    return parse_object(body)


def answer_failure(request: Any, failure: Failure) -> bytes:
    """Turn whatever a route failed with into an error reply."""
    error = failure.value
    refusal = _refusal(error)
    if refusal is None:
        if not isinstance(error, CancelledError) and error is not None:
            log_crash(error)
        refusal = Refusal(500, "internal_error", "the gateway failed")
    return refuse(request, refusal)


def _refusal(error: BaseException | None) -> Refusal | None:
    from werkzeug.exceptions import HTTPException, MethodNotAllowed

    if isinstance(error, Refusal):
        return error
    if isinstance(error, (StoreUnavailable, StoreBusy, StoreTimeout)):
        message = "the database cannot be used now; try again"
        return Refusal(503, "service_unavailable", message, retry_after_ms=_RETRY_MS)
    if isinstance(error, StoreConflict):
        return Refusal(409, "conflict", "this is in conflict with what is stored")
    if isinstance(error, StoreRejected):
        return Refusal(400, "bad_request", "the database refuses these values")
    if isinstance(error, MethodNotAllowed):
        return wrong_method(sorted(error.valid_methods or ()))
    if isinstance(error, HTTPException):
        return nothing_here()
    return None


def nothing_here() -> Refusal:
    """Make the 404 of a path that nobody serves."""
    return Refusal(404, "not_found", NOTHING_HERE)


def wrong_method(allowed: list[str]) -> Refusal:
    """Make a 405 that says which methods there are."""
    return Refusal(
        405,
        "method_not_allowed",
        "this path does not take this method",
        headers=((b"allow", ", ".join(allowed).encode("ascii")),),
    )
