"""Peers' environments: made once, from pinned wheels, to the end or again."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tomllib
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.harness import Failed
from bench.peers.environments import HERE, Pinned, cache, installed, pinned


def make_wheel(folder: Path) -> str:
    """Make a wheel with one module and give its SHA-256."""
    wheel = folder / "tinypeer-1.0-py3-none-any.whl"
    files = {
        "tinypeer.py": "NAME = 'tiny'\n",
        "tinypeer-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinypeer\nVersion: 1.0\n",
        "tinypeer-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("tinypeer-1.0.dist-info/RECORD", record + "tinypeer-1.0.dist-info/RECORD,,\n")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


class Environments(SynchronousTestCase):
    """Installation of a small wheel, without any index."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.said: list[str] = []
        self.setenv(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(self.folder))

    def setenv(self, **values: str) -> None:
        """Set variables for one test; children see them too."""
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)

        def restore() -> None:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

        self.addCleanup(restore)

    def locked(self, digest: str) -> Pinned:
        """Give a peer whose lock names a digest."""
        lock = self.folder / "lock.txt"
        lock.write_text(f"tinypeer==1.0 --hash=sha256:{digest}\n")
        return Pinned("tiny", "tinypeer==1.0", lock)

    def test_once_and_again_when_unfinished(self) -> None:
        """What does not fit the lock is not installed; half of it is made again, all of it reused."""
        good = make_wheel(self.folder)
        base = self.folder / "cache"
        error = self.assertRaises(Failed, installed, self.locked("0" * 64), self.said.append, base)
        for word in ("tinypeer==1.0 cannot be installed", "PIP_INDEX_URL", "--against", good):
            self.assertIn(word, str(error))
        self.assertFalse((base / "tiny-1.0" / ".complete").exists())
        half = base / "tiny-1.0" / "left-over"
        half.write_text("")

        what = self.locked(good)
        programs = installed(what, self.said.append, base)
        (site,) = programs.parent.glob("lib/python3*/site-packages")
        self.assertTrue((site / "tinypeer.py").exists())
        self.assertFalse(half.exists())
        self.assertEqual(programs, base / "tiny-1.0" / "bin")
        self.assertEqual(len(self.said), 2)
        self.assertIn("installing tinypeer==1.0", self.said[1])

        self.assertEqual(installed(what, self.said.append, base), programs)
        self.assertEqual(len(self.said), 2)

    def test_no_place(self) -> None:
        """A cache folder that cannot be made is an error with its name."""
        (self.folder / "file").write_text("")
        what = self.locked("0" * 64)
        error = self.assertRaises(Failed, installed, what, self.said.append, self.folder / "file" / "cache")
        self.assertIn(str(self.folder / "file"), str(error))


class Versions(SynchronousTestCase):
    """One file says the versions; the locks follow it."""

    def test_locks(self) -> None:
        """Every version is exact, and its lock pins that version and everything else by hash."""
        for name in tomllib.loads((HERE / "versions.toml").read_text()):
            what = pinned(name)
            self.assertRegex(what.requirement, r"\A[a-z-]+(\[[a-z,]+\])?==\d+(\.\d+)+\Z")
            text = what.lock.read_text()
            plain = re.sub(r"\[.*\]", "", what.requirement)
            self.assertIn(f"\n{plain} \\\n", "\n" + text)
            for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
                self.assertRegex(entry, r"\A[a-z0-9][a-z0-9._-]*==\S+.* \\\n    --hash=sha256:[0-9a-f]{64}")

    def test_cache(self) -> None:
        """The cache is where the user's caches are."""
        # Nothing is started here, so the variables need not reach children.
        self.patch(os, "environ", {"XDG_CACHE_HOME": "/somewhere"})
        self.assertEqual(cache(), Path("/somewhere/voidllm/bench/peers"))
        home = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {"HOME": str(home)})
        self.assertEqual(cache(), home / ".cache/voidllm/bench/peers")
