"""The plug-in is found however the project was installed."""

from __future__ import annotations

import json
import subprocess
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
        suite = {name for name in names if name.startswith("voidllm/_bench/")}
        for part in (
            "cli.py",
            "native/load.c",
            "native/common.h",
            "peers/versions.toml",
            "peers/locks/litellm.txt",
        ):
            self.assertIn(f"voidllm/_bench/{part}", suite)
        self.assertEqual({name for name in suite if "/mocks/" in name or "/build/" in name}, set())
        self.environment.install(wheel)
        self.assert_works(self.elsewhere)
        self.assertIn("Usage:", run(self.environment.bin / "voidllm", "--help", env=self.environment.env))
        self.assert_measures()

    def assert_measures(self) -> None:
        """Run the installed suite with the Python generator, as where there is no compiler."""
        # What the installation of the dependencies would have made.
        twistd = self.environment.bin / "twistd"
        twistd.write_text(f"#!{self.environment.python}\nfrom twisted.scripts.twistd import run\nrun()\n")
        twistd.chmod(0o755)
        file = self.folder / "bench.json"
        command = [self.environment.bin / "voidllm", "bench", "quick", "--duration", "1s", "--rps", "30"]
        done = subprocess.run(
            [*command, "--json", file],
            cwd=self.elsewhere,
            env={**self.environment.env, "VOIDLLM_BENCH_NATIVE": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        # 1: measured, but on a busy machine the Python generator is late.
        self.assertIn(done.returncode, (0, 1), done.stderr)
        measured = json.loads(file.read_text())
        self.assertEqual(measured["environment"]["alone"]["generator"], "python")
        for way in ("direct", "proxied"):
            self.assertEqual(measured["results"]["llm"][way]["success"], 1)

    def test_editable(self) -> None:
        """``pip install -e .`` leaves the plug-in visible from any folder."""
        self.environment.install("--editable", self.sources)
        self.assert_works(self.elsewhere)
        text = run(
            self.environment.bin / "voidllm", "bench", "--help", env=self.environment.env, cwd=self.elsewhere
        )
        self.assertIn("--against", text)

    def test_clone(self) -> None:
        """A clone works without being installed, once it is on the path."""
        self.environment.env["PYTHONPATH"] = str(self.sources)
        self.assert_works(self.elsewhere)
