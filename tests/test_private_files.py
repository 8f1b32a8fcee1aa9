"""Files that hold secrets, and what may lie in their way."""

from __future__ import annotations

import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from voidllm.bootstrap import write_private
from voidllm.core.world import RealFileSystem


class PrivateFiles(SynchronousTestCase):
    """A secret is written into a file of our own making only."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.makedirs(self.folder)
        self.path = os.path.join(self.folder, "secret")
        self.target = os.path.join(self.folder, "target")

    def check(self) -> None:
        """The secret is in its file, and only its owner can read it."""
        write_private(RealFileSystem(), self.path, b"secret")
        found = os.lstat(self.path)
        self.assertTrue(stat.S_ISREG(found.st_mode))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), b"secret")
        self.assertFalse(os.path.lexists(self.path + ".new"))

    def test_a_link_in_the_way_is_not_followed(self) -> None:
        """Neither one to a file nor one to nothing gets the secret or loses what it had."""
        for content in (b"precious", None):
            if content is not None:
                with open(self.target, "wb") as file:
                    file.write(content)
            os.symlink(self.target, self.path + ".new")
            self.check()
            if content is None:
                self.assertFalse(os.path.exists(self.target))
            else:
                with open(self.target, "rb") as file:
                    self.assertEqual(file.read(), content)
                os.unlink(self.target)

    def test_an_open_file_in_the_way_is_not_used(self) -> None:
        """Whoever made a file under the draft's name, and holds it open, reads nothing."""
        with open(self.path + ".new", "wb+") as file:
            os.chmod(self.path + ".new", 0o666)
            self.check()
            self.assertEqual(file.read(), b"")
