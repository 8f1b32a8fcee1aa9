"""Peers as servers: started with a key that they check, measured by one code, always ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from bench import peers
from bench.harness import Failed, Mock, Nginx, family, post
from bench.measure import Side
from bench.peers.binary import BinaryPeer
from bench.peers.measuring import Effort, Measuring
from bench.peers.nginx import NginxPeer
from bench.peers.server import Place, Recipe, Server, must_refuse
from bench.progress import Progress
from bench.subjects import MODEL, chat_body
from bench.validity import Alone

#: What a Go binary does, as far as the suite knows it: reads its configuration, prints a key once. What
#: serves is our own gateway, which is neither faster nor slower than itself.
STAND_IN = """\
#!{python}
import json, os, sys, time
from pathlib import Path
import yaml
if sys.argv[1:] == ["--version"]:
    print("stand-in 1")
    sys.exit()
assert sys.argv[1] == "--config"
given = yaml.safe_load(Path(sys.argv[2]).read_text())
assert len(given["settings"]["admin_key"]) >= 32 and given["settings"]["encryption_key"]
state = Path(given["database"]["dsn"]).with_suffix(".state")
state.mkdir(exist_ok=True)
config = {{"state_dir": str(state), "server": given["server"], "models": given["models"]}}
(state / "voidllm.yaml").write_text(json.dumps(config))
credentials = state / "first-credentials.json"
if not credentials.exists() and not os.fork():
    until = time.monotonic() + 60
    while time.monotonic() < until and not credentials.exists():
        time.sleep(0.01)
    print("api key:", json.loads(credentials.read_text())["api_key"], file=sys.stderr, flush=True)
    os._exit(0)
listen = f"tcp:{{given['server']['proxy']['port']}}:interface=127.0.0.1"
sys.argv = ["twistd", "-n", "--pidfile=", "voidllm", "--config", str(state / "voidllm.yaml")]
sys.argv += ["--listen", listen]
from twisted.scripts.twistd import run
run()
"""


def gone(pid: int) -> bool:
    """Say whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@define
class OpenPeer(NginxPeer):
    """nginx without its key check."""

    def recipe(self, place: Place) -> Recipe:
        """Take the line with the check out."""
        recipe = super().recipe(place)
        config = place.folder / "nginx.conf"
        config.write_text(config.read_text().replace("if ($known = 0) { return 401; }", ""))
        return recipe


@define
class Silent:
    """A program that ends at once, or serves nothing."""

    code: str
    name: str = "silent"
    version: str = "1"
    usage_rows: bool = False
    notes: tuple[str, ...] = ()

    def prepare(self, say: Callable[[str], None]) -> None:
        """Nothing to do."""

    def recipe(self, place: Place) -> Recipe:
        """Run the code."""
        return Recipe((sys.executable, "-c", self.code))

    def key_of(self, place: Place, log: Path) -> str | None:
        """Give the key."""
        return place.key


@define
class Quiet(Progress):
    """Tells nobody."""

    said: list[str] = field(factory=list)

    def block(self, phase: str, side: str, done: int, of: int) -> None:
        """Remember what is measured."""
        self.said.append(f"{phase}: {side}")


class Peers(SynchronousTestCase):
    """Real servers beside a real mock."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.mock = Mock(self.folder)
        self.addCleanup(self.mock.stop)
        self.mock.start(1000)
        self.body = chat_body(400)

    def server(self, peer: Any) -> Server:
        """Make a server of a peer."""
        peer.prepare(lambda text: None)
        server = Server(peer, self.folder / peer.name, self.mock.port, MODEL)
        self.addCleanup(server.stop)
        return server

    def test_nginx_checks_its_key(self) -> None:
        """The right key is served, a wrong one and none are refused."""
        self.assertIsNotNone(Nginx.find(), "apt install nginx-light")
        server = self.server(NginxPeer())
        self.assertGreater(server.start(self.body), 0)
        self.assertEqual(post(server.port, self.body, server.headers), 200)
        self.assertEqual(post(server.port, self.body, {"Authorization": "Bearer sk-wrong"}), 401)
        must_refuse("nginx", server, self.body)

    def test_open_server_is_not_measured(self) -> None:
        """A server that answers a wrong key is refused by name, and ended."""
        server = self.server(OpenPeer())
        measuring = self.measuring()
        error = self.assertRaises(Failed, measuring.measure, "open", server)
        self.assertIn("open answers a wrong key with status 200", str(error))
        self.assertEqual(server.pids(), ())

    def test_what_ends_at_once(self) -> None:
        """A program that does not serve is an error with the end of its log."""
        server = self.server(Silent("print('no licence'); raise SystemExit(3)"))
        error = self.assertRaises(Failed, server.start, self.body)
        self.assertIn("no licence", str(error))

    def test_descendants_are_ended(self) -> None:
        """What a peer started is ended with it."""
        code = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
        server = self.server(Silent(code))
        self.patch(sys.modules[Server.__module__], "wait_until_served", lambda *a, **k: None)
        server.start(self.body)
        while len(server.pids()) < 2:
            self.assertIsNotNone(server.pid)
        pids = server.pids()
        self.assertEqual(pids, tuple(family(pids[0])))
        server.stop()
        while not all(gone(pid) for pid in pids):
            pass

    def test_binary(self) -> None:
        """A given binary is configured, its key is read from what it prints, also after a restart."""
        program = self.folder / "stand-in"
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
        peer = BinaryPeer(program)
        server = self.server(peer)
        self.assertEqual(peer.version, "stand-in 1")
        server.start(self.body)
        self.assertRegex(server.headers["Authorization"], r"\ABearer vl_uk_[0-9a-f]{48}\Z")
        must_refuse("stand-in", server, self.body)
        server.stop()
        server.start(self.body)
        self.assertEqual(post(server.port, self.body, server.headers), 200)

    def test_no_binary(self) -> None:
        """What is no program is refused by its path."""
        file = self.folder / "text"
        file.write_text("x")
        error = self.assertRaises(Failed, BinaryPeer(file).prepare, print)
        self.assertIn(str(file), str(error))

    def measuring(self) -> Measuring:
        """Give what measures, with the shortest windows."""
        mock_pid = self.mock.process_id
        assert mock_pid is not None
        direct = Side("direct", self.mock.port, (), lambda subject: subject.direct_path)
        effort = Effort(1, 2, 0.2, 0.2, 1, 0.2, 0.0, 0.0)
        return Measuring(direct, mock_pid, Alone(), effort, Quiet(), sleep=lambda seconds: None)

    def test_figures(self) -> None:
        """A contender's figures have the shape of the report, and its table has a column and notes."""
        measuring = self.measuring()
        peer = NginxPeer()
        figures = measuring.measure("nginx", self.server(peer))
        about = {"version": peer.version, "usage_rows": False, "notes": list(peer.notes)}
        self.assertEqual(set(figures["llm"]) >= {"direct", "proxied", "overhead"}, True)
        self.assertEqual(figures["llm"]["proxied"]["success"], 1)
        self.assertGreater(figures["llm"]["proxied"]["gateway_cpu_us_per_request"], 0)
        self.assertEqual([found["bound_ms"] for found in figures["frontier"]["at_added_p99"]], [5, 10, 50])
        self.assertGreater(figures["closed"]["rps"], 0)
        self.assertGreater(min(figures["rss_mb"].values()), 1)
        self.assertEqual(len(figures["cold_starts_s"]), 2)
        text = peers.table({"peers": {"nginx": {**figures, **about}}})
        for words in (f"nginx {peer.version}", "req/s at added P99 <= 50 ms", "nginx: access log off"):
            self.assertIn(words, text)

    def test_no_such_peer(self) -> None:
        """An unknown name is refused with the names there are; without peers the table is empty."""
        error = self.assertRaises(Failed, peers.prepare, ["nginx", "other"], {}, print)
        self.assertIn("no such peer: other; there are nginx, litellm, lm-proxy", str(error))
        self.assertEqual(peers.table({"peers": {}}), "")
