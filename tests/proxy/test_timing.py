"""Where the time of a request went: the reply's header and the histogram of what the gateway added."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.gate.support import KEY
from tests.proxy.rig import DONE, STREAM_HEAD, Client, Rig, chunk, event, json_reply
from voidllm.http.sampling import Sampling
from voidllm.http.upstream import Origin, UpstreamRequest
from voidllm.proxy.metrics import NoMetrics

REPLY = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
_HEADER = re.compile(rb"server-timing: gw;dur=(\d+\.\d{3})(?:, up;dur=(\d+\.\d{3}))?\r\n")


class Added(NoMetrics):
    """Keeps what was added."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, int]] = []

    def added(self, stream: bool, seconds: float) -> None:
        """Keep it, in whole milliseconds."""
        self.seen.append((stream, round(seconds * 1000)))


def timing(client: Client) -> tuple[int, int | None]:
    """Read the header of the only reply, rounded to milliseconds."""
    ((gateway, upstream),) = _HEADER.findall(client.received)
    return round(float(gateway)), round(float(upstream)) if upstream else None


class TimingTests(SynchronousTestCase):
    """On a clock that stands still while code runs."""

    def setUp(self) -> None:
        """Build the rig, with an upstream that takes ten milliseconds."""
        self.build(server_timing=True)
        self.script((0.010, json_reply(REPLY)))

    def build(self, **settings: Any) -> None:
        """Build a rig in which every request is followed; without a kernel, by the clock alone."""
        self.rig = Rig(**settings)
        self.rig.front.sampling = Sampling(self.rig.reactor, 1)
        self.metrics = self.rig.core.metrics = Added()

    def script(self, *pieces: tuple[float, bytes]) -> None:
        """Let the upstream send each piece when so many seconds have passed."""

        def answer(peer: Any) -> None:
            for after_s, piece in pieces:
                self.rig.reactor.callLater(after_s, peer.send, piece)

        self.rig.upstream.on_request = answer

    def near(self, found: tuple[int, int | None], gateway: int, upstream: int | None) -> None:
        """Compare, with room for the simulated network's milliseconds."""
        self.assertLessEqual(abs(found[0] - gateway), 1, found)
        if upstream is None or found[1] is None:
            self.assertEqual(found[1], upstream)
        else:
            self.assertTrue(upstream <= found[1] <= upstream + 6, found)

    def test_buffered(self) -> None:
        """A buffered reply's upstream time goes from the call to its last byte, known head or not."""
        for _ in range(3):
            client = self.rig.chat()
            self.near(timing(client), 0, 10)
            # It has its turn as long as it is there.
            client.transport.loseConnection()
            self.rig.spin()
        whole = json_reply(REPLY)
        self.script((0.010, whole[:-5]), (0.030, whole[-5:]))
        self.near(timing(self.rig.chat()), 0, 30)
        self.assertEqual(self.metrics.seen, [(False, 0)] * 4)

    def test_streamed(self) -> None:
        """A stream's goes to the event that its head waits for, and nothing is counted after it."""
        self.script((0.005, STREAM_HEAD), (0.020, chunk(event("a"))), (0.040, chunk(DONE) + b"0\r\n\r\n"))
        client = self.rig.chat(stream=True)
        self.near(timing(client), 0, 20)
        self.assertEqual(self.metrics.seen, [(True, 0)])

    def test_opaque(self) -> None:
        """A reply that is passed on as it comes is timed at its head."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 3\r\n\r\n"
        self.script((0.010, head), (0.040, b"abc"))
        self.near(timing(self.rig.chat()), 0, 10)

    def test_slow_client(self) -> None:
        """Waiting for the client's body is neither the gateway's time nor the upstream's."""
        client = self.rig.connect()
        request = self.rig.request({"model": "m", "messages": []})
        client.transport.write(request[:-5])
        self.rig.spin(0.5)
        client.transport.write(request[-5:])
        self.rig.spin(0.05)
        self.near(timing(client), 0, 10)
        self.assertEqual(self.metrics.seen, [(False, 0)])

    def test_slow_upload(self) -> None:
        """The same for the part of an upload that must be there before anybody is asked."""
        client = self.rig.connect()
        body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
        head = (
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
        )
        client.transport.write(head % (KEY.encode(), len(body)) + body[:20])
        self.rig.spin(0.5)
        client.transport.write(body[20:])
        self.rig.spin(0.05)
        self.near(timing(client), 0, 10)

    def test_refused(self) -> None:
        """What no upstream saw has no upstream time, and is not among what was added."""
        for client in (self.rig.send({}), self.rig.send({"model": "other"}), self.rig.send({}, b"/v1/x")):
            self.assertEqual(timing(client), (0, None))
        self.assertEqual(self.metrics.seen, [])

    def test_models(self) -> None:
        """The list of models has it too."""
        client = self.rig.connect()
        client.transport.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: %b\r\n\r\n" % KEY.encode())
        self.rig.spin()
        self.assertEqual((client.status, timing(client)), (200, (0, None)))

    def test_failed(self) -> None:
        """An admitted request whose upstream failed has both."""
        self.script((0.010, b"nonsense\r\n\r\n"))
        client = self.rig.chat()
        self.assertEqual(client.status, 502)
        self.near(timing(client), 0, 10)
        self.assertEqual(self.metrics.seen, [(False, 0)])

    def test_second_call(self) -> None:
        """A second call's time is added to the first one's; what was between them is the gateway's."""
        self.script()
        client = self.rig.chat()
        (exchange,) = self.rig.core.live
        exchange.heard()
        self.rig.spin(0.2)
        again = UpstreamRequest(Origin("http", "127.0.0.1", 9000), b"POST", b"/v1/x", (), b"{}")
        self.script((0.010, json_reply(REPLY)))
        exchange.dispatch(again, self.rig.pool)
        self.rig.spin(0.05)
        gateway, upstream = timing(client)
        self.assertTrue(195 <= gateway <= 205, gateway)
        self.assertTrue(upstream is not None and 55 <= upstream <= 70, upstream)

    def test_off(self) -> None:
        """Nothing is said unless it is asked for; it is counted all the same."""
        self.build()
        self.script((0.010, json_reply(REPLY)))
        clients = self.rig.chat(), self.rig.send({"model": "other"})
        for client in clients:
            self.assertNotIn(b"server-timing", client.received.lower())
        self.assertEqual(self.metrics.seen, [(False, 0)])
