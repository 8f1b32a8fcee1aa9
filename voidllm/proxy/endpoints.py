"""The method and path whitelist of ``/v1``."""

from __future__ import annotations

from attrs import frozen


@frozen
class Endpoint:
    """One endpoint that is proxied.

    :ivar name: path below ``/v1/``.
    :ivar multipart: the body is ``multipart/form-data`` instead of JSON.
    :ivar usage_option: ``stream_options.include_usage`` asks this one for usage.
    :ivar needs_done: a proper stream ends in ``[DONE]``.
    """

    name: str
    multipart: bool = False
    usage_option: bool = False
    needs_done: bool = False


#: Path to endpoint; each is ``POST`` only.
ENDPOINTS: dict[bytes, Endpoint] = {
    b"/v1/" + endpoint.name.encode("ascii"): endpoint
    for endpoint in (
        Endpoint("chat/completions", usage_option=True, needs_done=True),
        Endpoint("completions", usage_option=True, needs_done=True),
        Endpoint("embeddings"),
        Endpoint("responses"),
        Endpoint("moderations"),
        Endpoint("rerank"),
        Endpoint("images/generations"),
        Endpoint("images/edits", multipart=True),
        Endpoint("images/variations", multipart=True),
        Endpoint("audio/speech"),
        Endpoint("audio/transcriptions", multipart=True),
        Endpoint("audio/translations", multipart=True),
    )
}
MODELS = b"/v1/models"
