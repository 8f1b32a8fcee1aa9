"""Folders that the gateway keeps its state in."""

from __future__ import annotations

import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.world import RealFileSystem


class Folders(SynchronousTestCase):
    """Nothing is kept where a neighbour could have put something first."""

    def setUp(self) -> None:
        self.path = os.path.join(self.mktemp(), "state")

    def mode(self) -> int:
        return stat.S_IMODE(os.stat(self.path).st_mode)

    def test_a_new_folder_is_private(self) -> None:
        """Whatever the umask, only the owner can enter."""
        before = os.umask(0)
        try:
            RealFileSystem().makedirs(self.path, 0o700)
            RealFileSystem().makedirs(self.path, 0o700)
        finally:
            os.umask(before)
        self.assertEqual(self.mode(), 0o700)

    def test_a_folder_that_everybody_writes_to_is_refused(self) -> None:
        """Links that somebody has put there would be followed."""
        os.makedirs(self.path)
        os.chmod(self.path, 0o777)
        error = self.assertRaises(PermissionError, RealFileSystem().makedirs, self.path, 0o700)
        self.assertEqual(error.filename, self.path)
        self.assertEqual(self.mode(), 0o777)

    def test_the_group_of_an_own_folder_may_write_no_longer(self) -> None:
        """Many users have a umask that lets their group write."""
        os.makedirs(self.path)
        os.chmod(self.path, 0o775)
        RealFileSystem().makedirs(self.path, 0o700)
        self.assertEqual(self.mode(), 0o755)
