"""Where workers listen."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from tests.harness import ROOT, Gateway, free_port, wait_until
from tests.http.certs import Authority
from tests.workers.support import Case, connections_of, metric, replaced, workers_of


class TestListening(Case):
    """Addresses."""

    def launch(self, listen: str) -> tuple[subprocess.Popen[str], Path]:
        """Start a gateway with ``--listen``; gives it and its log."""
        gateway = Gateway(self.folder(), workers=2)
        command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "voidllm"]
        with open(gateway.log, "w") as log:
            started = subprocess.Popen(
                [*command, "--config", str(gateway.config), "--listen", listen],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.addCleanup(started.wait)
        self.addCleanup(started.kill)
        return started, gateway.log

    def test_six(self) -> None:
        """IPv6 is listened on by all of them."""
        port = free_port()
        started, log = self.launch(f"tcp6:{port}:interface=\\:\\:1")
        wait_until(lambda: f"is ready on http://[::1]:{port}" in log.read_text(), "the gateway")
        for _ in range(8):
            connection = http.client.HTTPConnection("::1", port, timeout=10)
            connection.request("GET", "/readyz")
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
        started.send_signal(signal.SIGTERM)
        self.assertEqual(started.wait(20), 0)

    def test_refused(self) -> None:
        """What is not TCP is refused by name."""
        started, log = self.launch("unix:/nowhere/socket")
        self.assertEqual(started.wait(20), 1)
        self.assertIn("workers listen on TCP only", log.read_text())


class TestTLS(Case):
    """TLS in every worker."""

    def setUp(self) -> None:
        folder = self.folder()
        self.authority = Authority(folder)
        self.cert, self.key_file = self.authority.issue("localhost", "127.0.0.1")
        self.made = Gateway(
            folder / "gateway",
            workers=2,
            server={"proxy": {"tls": {"enabled": True, "cert": self.cert, "key": self.key_file}}},
        )
        self.addCleanup(self.made.kill)
        self.made.start(ready=lambda: self.ask("GET", "/readyz")[0] == 200)

    def connection(self) -> http.client.HTTPSConnection:
        """Open one that trusts the private authority only."""
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        made = http.client.HTTPSConnection("127.0.0.1", self.made.port, context=context, timeout=20)
        self.addCleanup(made.close)
        return made

    def ask(
        self, method: str, path: str, value: object = None, on: http.client.HTTPSConnection | None = None
    ) -> tuple[int, bytes, int]:
        """Send one request; gives status, body, and the serial number of the certificate."""
        connection = on or self.connection()
        headers = {} if path == "/readyz" else {"authorization": f"Bearer {self.made.key}"}
        connection.request(method, path, None if value is None else json.dumps(value), headers)
        serial = int(str(connection.sock.getpeercert()["serialNumber"]), 16)  # type: ignore[union-attr]
        reply = connection.getresponse()
        return reply.status, reply.read(), serial

    def chat(self, on: http.client.HTTPSConnection | None = None) -> tuple[int, bytes, int]:
        """Ask the demo model."""
        body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
        return self.ask("POST", "/v1/chat/completions", body, on)

    def test_relay(self) -> None:
        """Requests of both kinds take turns on one connection, through TLS."""
        for _ in range(4):
            connection = self.connection()
            for _ in range(2):
                self.assertEqual(self.chat(connection)[0], 200)
                self.assertEqual(self.ask("GET", "/readyz", on=connection)[0], 200)

    def test_files_gone(self) -> None:
        """A successor needs no files, and has the certificate that the others have; a restart the new one."""
        old = self.chat()[2]
        cert, key = self.authority.issue("127.0.0.1", name="renewed")
        os.replace(cert, self.cert)
        os.unlink(self.key_file)
        for dead in workers_of(self.made.pid):
            os.kill(dead, signal.SIGKILL)
            replaced(self.made, dead, 2)
        self.assertEqual({self.chat()[::2] for _ in range(8)}, {(200, old)})
        os.replace(key, self.key_file)
        self.made.stop()
        self.made.start(ready=lambda: self.ask("GET", "/readyz")[0] == 200)
        ((status, new),) = {self.chat()[::2] for _ in range(8)}
        self.assertEqual(status, 200)
        self.assertNotEqual(new, old)


class TestPlaces(Case):
    """A place to which nobody comes."""

    def test_deserted(self) -> None:
        """When workers cannot start any more, those that live answer everything; later all share again."""
        broken = self.folder()
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(broken), before)))
        self.addCleanup(
            lambda: os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
        )
        gateway = self.gateway()
        (broken / "sitecustomize.py").write_text("import os\nos._exit(3)\n")
        os.kill(workers_of(gateway.pid)[0], signal.SIGKILL)
        wait_until(lambda: "is missed" in gateway.log.read_text(), "the place to be left")
        for _ in range(40):
            self.assertEqual(gateway.chat()[0], 200)
        (broken / "sitecustomize.py").unlink()
        wait_until(lambda: metric(gateway, "voidllm_worker_up") == 2, "the successor")
        wait_until(lambda: self._shared(gateway), "the address to be shared")

    def _shared(self, gateway: Gateway) -> bool:
        sockets = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(30)]
        try:
            pids = workers_of(gateway.pid)
            wait_until(lambda: sum(map(connections_of, pids)) >= 30, "them to be accepted")
            return all(connections_of(pid) > 5 for pid in pids)
        finally:
            for one in sockets:
                one.close()
