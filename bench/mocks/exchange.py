"""One request as the mock saw it, and which reply it gets."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from attrs import define, field
from multipart import MultipartError  # type: ignore[import-untyped]

from bench.mocks import chat, media, other, responses
from bench.mocks.faults import NONE, Faults, Rules, of_model, parse
from bench.mocks.media import Form
from bench.mocks.reply import Reply, error_reply

_BOUNDARY = re.compile(r'boundary="?([^";]+)')
_MOST_BODY = 64 << 20

_JSON_ROUTES = {
    "/chat/completions": chat.chat,
    "/completions": chat.completions,
    "/embeddings": other.embeddings,
    "/responses": responses.responses,
    "/moderations": other.moderations,
    "/rerank": other.rerank,
    "/audio/speech": media.speech,
}
_FORM_ROUTES = {
    "/images/generations": media.images,
    "/images/edits": media.images,
    "/images/variations": media.images,
    "/audio/transcriptions": media.transcription,
    "/audio/translations": media.transcription,
}


@define
class Exchange:
    """One request and the state of its answer.

    :ivar outcome: ``reading``, ``answering``, ``done``, ``hung_up`` (by the mock, on purpose) or
        ``client_gone``.
    :ivar kept: the first bytes of the body; ``size`` and ``digest`` cover all of it.
    """

    number: int
    connection: int
    method: str = ""
    target: str = ""
    version: str = ""
    headers: list[tuple[str, str]] = field(factory=list)
    outcome: str = "reading"
    size: int = 0
    events_sent: int = 0
    bytes_sent: int = 0
    started_s: float = 0.0
    ended_s: float | None = None
    kept: bytearray = field(factory=bytearray, repr=False)
    form: Form | None = field(default=None, repr=False)
    form_error: str | None = None
    digest: Any = field(factory=hashlib.sha256, repr=False)
    complete: bool = False
    faults: Faults = NONE

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """Give the last value of a header (lower-case name), or an empty text."""
        return next((v for n, v in reversed(self.headers) if n == name), "")

    def begin_body(self) -> None:
        """Look at the head; a multipart body is hashed as it comes instead of kept."""
        kind = self.header("content-type")
        if kind.startswith("multipart/form-data") and (found := _BOUNDARY.search(kind)):
            self.form = Form(found[1])

    def feed(self, data: bytes, keep: int) -> None:
        """Take bytes of the body; at most ``keep`` of a multipart one are remembered."""
        self.size += len(data)
        self.digest.update(data)
        room = (keep if self.form else _MOST_BODY) - len(self.kept)
        if room > 0:
            self.kept += data[:room]
        if self.form is not None and self.form_error is None:
            try:
                self.form.feed(data)
            except MultipartError as error:
                self.form_error = type(error).__name__

    def end_body(self) -> None:
        """Note that the body is complete."""
        self.complete = True
        if self.form is not None and self.form_error is None:
            try:
                self.form.finish()
            except MultipartError as error:
                self.form_error = type(error).__name__

    @property
    def last_on_connection(self) -> bool:
        """Whether the client wants the connection closed after the reply."""
        token = self.header("connection").lower()
        return token == "close" or (self.version == "1.0" and token != "keep-alive")

    def to_json(self, keep: int) -> dict[str, Any]:
        """Give what ``GET /__mock/requests`` shows."""
        shown = bytes(self.kept[:keep])
        try:
            text: dict[str, Any] = {"body": shown.decode()}
        except UnicodeDecodeError:
            text = {"body_base64": base64.b64encode(shown).decode()}
        try:
            text["json"] = json.loads(shown) if shown[:1] == b"{" else None
        except ValueError:
            text["json"] = None
        form = self.form and {
            "fields": self.form.fields,
            "order": self.form.order,
            "files": [
                {
                    "name": f.name,
                    "filename": f.filename,
                    "type": f.content_type,
                    "size": f.size,
                    "sha256": f.sha256,
                }
                for f in self.form.files
            ],
            "complete": self.form.complete,
            "error": self.form_error,
        }
        return {
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "version": self.version,
            "headers": self.headers,
            "outcome": self.outcome,
            "complete": self.complete,
            "body_bytes": self.size,
            "body_sha256": self.digest.hexdigest(),
            "form": form,
            "events_sent": self.events_sent,
            "bytes_sent": self.bytes_sent,
            **text,
        }


def answer(exchange: Exchange, rules: Rules, api_key: str | None) -> tuple[Reply, Faults]:
    """Decide reply and faults for a complete request."""
    path = exchange.path
    if api_key is not None and exchange.header("authorization") != f"Bearer {api_key}":
        return error_reply(401, "Incorrect API key provided.", "invalid_api_key"), NONE
    if "/models" in path and exchange.method == "GET":
        return other.models(path), rules.at_reply(path, None)
    ending = next((e for e in (*_JSON_ROUTES, *_FORM_ROUTES) if path.endswith(e)), None)
    if ending is None:
        return error_reply(404, f"Unknown request URL: {exchange.method} {path}", "unknown_url"), NONE
    if exchange.method != "POST":
        return error_reply(405, "Not allowed to " + exchange.method + " on " + path), NONE
    if "chat/completions" in path:
        ending = "/chat/completions"
    raw = bytes(exchange.kept)
    body: Any
    if exchange.form is not None:
        body = exchange.form.as_body()
    else:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return error_reply(400, "We could not parse the JSON body of your request."), NONE
        if not isinstance(body, dict):
            return error_reply(400, "The body must be an object."), NONE
    model = body.get("model")
    try:
        faults = of_model(model).merged(parse(exchange.header("x-mock")))
    except ValueError as error:
        return error_reply(400, str(error), "mock_unknown_fault", "model"), NONE
    faults = faults.merged(rules.at_reply(path, model))
    if "status" in faults or "redirect" in faults:
        status = faults.number("status", 302)
        return error_reply(status, f"mock answers {status}", "mock_status"), faults
    if not isinstance(model, str) or not model:
        return error_reply(400, "you must provide a model parameter", param="model"), faults
    if ending in _FORM_ROUTES:
        return _FORM_ROUTES[ending](body, exchange.form, path, faults), faults
    return _JSON_ROUTES[ending](body, raw, faults), faults
