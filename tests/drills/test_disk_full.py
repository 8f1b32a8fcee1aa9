"""A disk with no room left."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import unittest
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import Load, faults_in, journal_bytes, mock_model, sqlite_rows
from tests.harness import Gateway, MockLLM, wait_until

SIZE_MB = 8


class DiskFullTests(SynchronousTestCase):
    """New work is refused in time, no row is lost, and all goes on when there is room."""

    def setUp(self) -> None:
        """Start the mock."""
        self.mock = MockLLM()
        self.addCleanup(self.mock.stop)
        self.folder = Path(self.mktemp())

    def gateway(self, reserve_mb: int) -> Gateway:
        """Describe a gateway with a small reserve."""
        made = Gateway(
            self.folder,
            [mock_model("plain", self.mock.base_url)],
            usage={"reserve_mb": reserve_mb},
            settings={"usage": {"flush_interval": "200ms"}},
        )
        self.addCleanup(made.kill)
        return made

    def _refused(self, gateway: Gateway) -> bool:
        status, headers, body = gateway.chat("plain")
        if status == 200:
            return False
        self.assertEqual((status, json.loads(body)["error"]["code"]), (503, "journal_full"))
        self.assertGreaterEqual(int(headers["retry-after"]), 1)
        return True

    def _drained(self, gateway: Gateway, answered: int) -> None:
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(journal_bytes(gateway), 0)
        rows = sqlite_rows(gateway)
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual(len([row for row in rows.all if row[1] == 200]), answered)
        self.assertEqual(rows.detail, rows.counted)

    @pytest.mark.slow
    def test_small_disk(self) -> None:
        """The state folder's file system fills up under load."""
        self._mount(self.folder / "state")
        gateway = self.gateway(1).start()
        self.assertEqual(gateway.chat("plain")[0], 200)
        filler = gateway.state_dir / "filler"
        load = Load(gateway.port, gateway.key, ["plain", "demo"], 4, 11).start()
        wait_until(lambda: len(load.completed) > 50, "the load to run")
        with filler.open("wb", buffering=0) as file:

            def fill() -> bool:
                # What the reserve gives back a neighbour takes.
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass
                return bool(load.trouble)

            wait_until(fill, "new work to be refused")
        wait_until(lambda: self._refused(gateway), "new work to be refused for everybody")
        load.stop()
        self.assertEqual({text[:3] for text in load.trouble}, {"503"})
        self.assertTrue(all("journal_full" in text for text in load.trouble))
        filler.unlink()
        wait_until(lambda: not self._refused(gateway), "work to be admitted again")
        after = Load(gateway.port, gateway.key, ["plain"], 4, 12).start()
        wait_until(lambda: len(after.completed) > 50, "the load to go on")
        after.stop()
        self.assertEqual(after.trouble, [])
        self._drained(gateway, 1 + len(load.completed) + 1 + len(after.completed))

    def test_disk_that_takes_nothing(self) -> None:
        """Not even the reserve helps: rows of running work wait in memory, and are written later."""
        gateway = self.gateway(1).start()
        load = Load(gateway.port, gateway.key, ["plain"], 4, 13).start()
        wait_until(lambda: len(load.completed) > 50, "the load to run")
        soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0, hard))
        wait_until(lambda: load.trouble, "new work to be refused")
        load.stop()
        self.assertEqual({text[:3] for text in load.trouble}, {"503"})
        self.assertTrue(self._refused(gateway))
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (soft, hard))
        wait_until(lambda: not self._refused(gateway), "work to be admitted again")
        self._drained(gateway, len(load.completed) + 1)
        self.assertEqual([line for line in faults_in(gateway.log.read_text()) if "Traceback" in line], [])

    def _mount(self, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            # The other test of this file needs no privilege.
            raise unittest.SkipTest(f"no file system of our own (uid {os.geteuid()}): {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
