"""Error replies in OpenAI's JSON shape, so that SDKs raise their right exception class."""

from __future__ import annotations

import ujson

from voidllm.core.errors import Refusal

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "client_closed",
}

JSON = (b"content-type", b"application/json")

#: Of every 404 for a path; most who see it left ``/v1`` out of a base URL.
NOTHING_HERE = "there is nothing at this path; the OpenAI-compatible API is below /v1"


def error_type(status: int) -> str:
    """Give OpenAI's ``error.type`` for an HTTP status."""
    return _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def dump(value: object) -> bytes:
    """Encode ``value`` as JSON the way every reply of ours is: UTF-8, no escapes beyond need."""
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False).encode(
        "utf-8"
    )


def error_body(status: int, code: str, message: str, param: str | None, request_id: str) -> bytes:
    """Encode one error: ``{"error": {message, type, param, code, request_id}}``."""
    return dump(
        {
            "error": {
                "message": message,
                "type": error_type(status),
                "param": param,
                "code": code,
                "request_id": request_id,
            }
        }
    )


def refusal_reply(refusal: Refusal, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Give headers and body for a refusal; ``Retry-After`` in whole seconds, rounded up."""
    headers = [JSON, *refusal.headers]
    if refusal.retry_after_ms is not None:
        headers.append((b"retry-after", b"%d" % max(1, -(-refusal.retry_after_ms // 1000))))
        headers.append((b"retry-after-ms", b"%d" % max(1, refusal.retry_after_ms)))
    return headers, error_body(refusal.status, refusal.code, refusal.message, refusal.param, request_id)
