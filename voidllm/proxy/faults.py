"""What a client is told for each way an upstream can fail."""

from __future__ import annotations

from voidllm.core.errors import Refusal
from voidllm.http.replies import error_body
from voidllm.http.upstream import UpstreamFailure

_UNAVAILABLE = (502, "upstream_unavailable", "the upstream provider cannot be reached")
_TIMEOUT = (504, "upstream_timeout", "the upstream provider did not answer in time")
_CUT = (502, "upstream_incomplete", "the upstream provider's reply was cut short")
_ANSWERS: dict[str, tuple[int, str, str]] = {
    "refused": _UNAVAILABLE,
    "dns": _UNAVAILABLE,
    "tls": (502, "upstream_unavailable", "no trusted TLS connection to the upstream provider"),
    "proxy": (502, "upstream_unavailable", "the outbound proxy refused the connection"),
    "connect_timeout": _TIMEOUT,
    "head_timeout": _TIMEOUT,
    "stall": _TIMEOUT,
    "cut": _CUT,
    "malformed": (502, "upstream_malformed", "the upstream provider's reply is not understood"),
    "busy": (503, "upstream_busy", "too many calls are waiting for the upstream provider"),
    "closed": (503, "service_unavailable", "the server is shutting down"),
}
_RETRY_MS = {"busy": 1000, "closed": 5000}

TOO_LARGE = Refusal(502, "upstream_response_too_large", "the upstream provider's reply is too large")
REDIRECT = Refusal(502, "upstream_error", "the upstream provider answered with a redirect")
SHUTDOWN = Refusal(503, "service_unavailable", "the server is shutting down", retry_after_ms=5000)
FIRST_TOKEN = Refusal(*_TIMEOUT)

#: Codes of the one in-band event that ends a stream which could not be completed.
INCOMPLETE = "stream_incomplete"
MALFORMED = "stream_malformed"
TIMED_OUT = "stream_timeout"
STOPPED = "server_shutdown"

_MESSAGES = {
    INCOMPLETE: "the upstream provider ended the stream before it was complete",
    MALFORMED: "the upstream provider sent an event that cannot be read",
    TIMED_OUT: "the stream took longer than is allowed",
    STOPPED: "the server is shutting down",
}


def refusal_for(failure: UpstreamFailure) -> Refusal:
    """Give the reply for a call that failed before its reply was begun."""
    status, code, message = _ANSWERS[failure.kind]
    return Refusal(status, code, message, retry_after_ms=_RETRY_MS.get(failure.kind))


def error_event(code: str, request_id: str, message: str | None = None) -> bytes:
    """Encode the in-band error event; it is never followed by ``[DONE]``."""
    text = message or _MESSAGES.get(code, "the stream was aborted")
    return b"data: " + error_body(502, code, text, None, request_id) + b"\n\n"
