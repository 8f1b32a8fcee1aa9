"""Uploads that are answered by a stream, and what their model's ``timeout`` means for them."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.proxy.rig import STREAM_HEAD, Client, Rig, chunk, json_reply

DELTA = b'data: {"type":"transcript.text.delta","delta":"hi"}\n\n'
LAST = b'data: {"type":"transcript.text.done","text":"hi","usage":{"input_tokens":4,"output_tokens":2}}\n\n'


class UploadStreamTests(SynchronousTestCase):
    """Streams that answer uploads."""

    def setUp(self) -> None:
        """Give the model a timeout."""
        self.rig = Rig()
        model = self.rig.models["m"]
        (deployment,) = model.deployments
        self.rig.models["m"] = evolve(model, deployments=(evolve(deployment, timeout_ms=1000),))
        self.rig.publish()

    def upload(self, stream: bytes) -> Client:
        """Send a file behind its fields."""
        fields = {b'"model"': b"m", b'"stream"': stream, b'"file"; filename="a.wav"': b"x" * 1000}
        body = b""
        for name, value in fields.items():
            body += b"--b\r\nContent-Disposition: form-data; name=" + name + b"\r\n\r\n" + value + b"\r\n"
        headers = b"Content-Type: multipart/form-data; boundary=b\r\n"
        return self.rig.send(body + b"--b--\r\n", b"/v1/audio/transcriptions", headers)

    def test_stream(self) -> None:
        """A stream may take longer than the timeout, and its row says that it was one."""
        self.rig.upstream.on_request = lambda peer: peer.send(STREAM_HEAD + chunk(DELTA))
        client = self.upload(b"true")
        self.rig.spin(3, 0.01)
        (peer,) = self.rig.upstream.peers
        peer.send(chunk(LAST) + b"0\r\n\r\n")
        self.rig.spin()
        self.assertEqual(client.body, DELTA + LAST)
        row = self.rig.row
        self.assertEqual((row.status, row.stream, row.source), (200, True, "provider_final"))
        self.assertEqual(row.tokens.total, 6)

    def test_no_stream(self) -> None:
        """Without a stream the timeout holds."""
        client = self.upload(b"false")
        self.rig.spin(1.5, 0.01)
        self.assertEqual((client.status, client.error()["code"]), (504, "upstream_timeout"))
        self.assertEqual((self.rig.row.status, self.rig.row.stream), (504, False))

    def test_whole_reply_to_a_stream(self) -> None:
        """An upstream that does not stream what it was asked to is passed on as it is."""
        self.rig.upstream.on_request = lambda peer: peer.send(
            json_reply({"text": "hi", "usage": {"input_tokens": 4, "output_tokens": 2}})
        )
        client = self.upload(b"true")
        self.rig.spin()
        self.assertEqual((client.status, self.rig.row.tokens.total), (200, 6))
