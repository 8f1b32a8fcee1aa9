"""The twisted.web side of the port: strict, silent, and writing nothing to disk."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from twisted.python.failure import Failure
from twisted.web.error import UnsupportedMethod
from twisted.web.server import Request as WebRequest
from twisted.web.server import Site

from voidllm.core.world import World
from voidllm.http.channel import StrictChannel, Welcome
from voidllm.http.dispatch import log_crash
from voidllm.http.framing import BadMessage
from voidllm.http.population import Populated, Population
from voidllm.http.replies import NOTHING_HERE, error_body
from voidllm.http.reply_head import DateLine, choose_request_id
from voidllm.http.settings import FrontSettings

# twisted.web's classes are largely without types; as Any they can be called at all.
_Request: Any = WebRequest
_Site: Any = Site


def _error(request: Any, status: int, code: str, message: str) -> bytes:
    """Prepare a JSON error and give its body."""
    body = error_body(status, code, message, None, request.request_id)
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


class _JSONErrors:
    """A resource whose own errors are ours, where twisted.web would send a page in HTML."""

    def __init__(self, resource: Any) -> None:
        self._resource = resource

    def render(self, request: Any) -> Any:
        """Render the resource."""
        resource = self._resource
        # What twisted.web gives for a child that does not exist has no public class.
        if type(resource).__module__ == "twisted.web.resource" and getattr(resource, "code", 0) == 404:
            return _error(request, 404, "not_found", NOTHING_HERE)
        try:
            return resource.render(request)
        except UnsupportedMethod as unsupported:
            if request.method == b"HEAD":
                raise  # answered as a GET without its body
            request.setHeader(b"allow", b", ".join(sorted(unsupported.allowedMethods)))
            return _error(request, 405, "method_not_allowed", "this path does not allow that method")


def _arguments(query: bytes) -> dict[bytes, list[bytes]]:
    """Read a query string; given bytes, the standard library fails at what is not ASCII once decoded."""
    found = parse_qs(query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    return {
        name.encode("latin-1"): [value.encode("latin-1") for value in values]
        for name, values in found.items()
    }


class StrictRequest(_Request):  # type: ignore[misc]
    """twisted.web's request with bodies in memory only and no trace of what it holds.

    :ivar request_id: see :class:`voidllm.http.message.Request`; every reply carries it.
    :ivar started_s: monotonic seconds of the first byte.
    """

    channel: StrictChannel
    content: BytesIO
    request_id = ""
    started_s = 0.0
    _size = 0
    _entered: Population | None = None

    def gotLength(self, length: int | None) -> None:
        """Keep the body in memory: the base class puts larger ones into a plain file."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Take body bytes up to the limit."""
        self._size += len(data)
        if self._size > self.channel.body_limit:
            self.channel.refuse(BadMessage(413, "request_too_large", "the request body is too large"))
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Begin to answer; unlike in the base class a body is never parsed unasked."""
        self.content.seek(0)
        self.method = command
        self.uri = path
        self.clientproto = version
        self.path, _, query = path.partition(b"?")
        self.args = _arguments(query) if query else {}
        self.process()

    def process(self) -> None:
        """Find the resource and render it."""
        channel = self.channel
        self.started_s = channel.started_s
        sent = self.requestHeaders.getRawHeaders(b"x-request-id")
        self.request_id = choose_request_id(sent[0] if sent else None, channel.world)
        self._entered = channel.population
        self._entered.enter()
        super().process()

    def render(self, resrc: Any) -> None:
        """Render with our own default headers in place of the base class's."""
        self.responseHeaders.removeHeader(b"server")
        self.setHeader(b"date", self.channel.date()[6:-2])
        self.setHeader(b"x-request-id", self.request_id.encode("ascii"))
        super().render(_JSONErrors(resrc))

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500 in JSON and log the place, not the text."""
        log_crash(reason.value or RuntimeError())
        if self.startedWriting:
            self.channel.abort()
            return reason
        self.responseHeaders.removeHeader(b"server")
        self.setHeader(b"x-request-id", self.request_id.encode("ascii"))
        self.write(_error(self, 500, "internal_error", "the gateway failed"))
        self.finish()
        return reason

    def finish(self) -> None:
        """Complete the reply."""
        super().finish()
        self._leave()

    def connectionLost(self, reason: Failure) -> None:
        """The client is gone."""
        super().connectionLost(reason)
        self._leave()

    def _leave(self) -> None:
        population, self._entered = self._entered, None
        if population is not None:
            population.leave()


class StrictSite(Populated, _Site):  # type: ignore[misc]
    """A Site that refuses what the fast front refuses and keeps no access log.

    :param resource: the root of the resource tree.
    :param welcome: looks at whoever is about to send the body of a proxied request.
    :ivar population: open connections and running requests; a front before it shares it.
    """

    displayTracebacks = False
    noisy = False
    requestFactory = StrictRequest

    def __init__(
        self,
        world: World,
        resource: Any,
        settings: FrontSettings | None = None,
        welcome: Welcome | None = None,
    ) -> None:
        super().__init__(resource, reactor=world.reactor)
        self.welcome = welcome
        self.world = world
        self.settings = settings or FrontSettings()
        self.population = Population()
        self.date = DateLine(world.wall_ms)

    def buildProtocol(self, addr: Any) -> StrictChannel:
        """Make the protocol of one connection; HTTP/1.1 only, whatever TLS agreed on."""
        channel = StrictChannel(self.world, self.settings, self.population, self.date)
        channel.factory = self
        channel.site = self
        channel.requestFactory = StrictRequest
        channel.callLater = self.world.reactor.callLater
        channel.timeOut = self.settings.idle_timeout_s
        return channel

    def startFactory(self) -> None:
        """Nothing to start: the base class would begin an access log and its clock."""

    def stopFactory(self) -> None:
        """Nothing to stop."""

    def log(self, request: Any) -> None:
        """Write no access log; it would hold paths and header values of callers."""
