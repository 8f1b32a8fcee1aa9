"""The plug-in is found however the project was installed."""

from __future__ import annotations

import zipfile
from pathlib import Path

from twisted.trial import unittest

from .support import REPOSITORY, Environment, copy_sources, run


class InstallTests(unittest.TestCase):
    """``twistd`` lists ``voidllm`` and shows its options."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.elsewhere = self.folder / "elsewhere"
        self.elsewhere.mkdir()
        self.environment = Environment(self.folder / "venv")
        self.sources = copy_sources(self.folder / "clone")

    def assert_works(self, cwd: Path) -> None:
        self.assertIn("    voidllm  ", self.environment.twistd("--help", cwd=cwd))
        options = self.environment.twistd("-n", "voidllm", "--help", cwd=cwd)
        self.assertIn("--config=", options)
        self.assertIn("--listen=", options)

    def test_wheel(self) -> None:
        """The wheel holds code, migrations and plug-in, and works when installed."""
        code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
        run(self.environment.python, "-c", code, self.folder, cwd=self.sources, env=self.environment.env)
        (wheel,) = self.folder.glob("voidllm-*.whl")
        names = set(zipfile.ZipFile(wheel).namelist())
        self.assertIn("voidllm/py.typed", names)
        self.assertIn("twisted/plugins/voidllm_plugin.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        self.assertNotIn("twisted/__init__.py", names)
        tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
        self.assertEqual(tops, {"voidllm", "twisted"})
        wanted = {
            str(path.relative_to(REPOSITORY))
            for pattern in ("*.py", "*.sql")
            for path in (REPOSITORY / "voidllm").rglob(pattern)
        }
        self.assertEqual(wanted - names, set())
        self.environment.install(wheel)
        self.assert_works(self.elsewhere)
        self.assertIn("Usage:", run(self.environment.bin / "voidllm", "--help", env=self.environment.env))

    def test_editable(self) -> None:
        """``pip install -e .`` leaves the plug-in visible from any folder."""
        self.environment.install("--editable", self.sources)
        self.assert_works(self.elsewhere)

    def test_clone(self) -> None:
        """A clone works without being installed, once it is on the path."""
        self.environment.env["PYTHONPATH"] = str(self.sources)
        self.assert_works(self.elsewhere)
