"""Helpers: the repository's own files, and commands that must succeed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 100
) -> str:
    """Run ``command`` and give what it printed; an ``AssertionError`` carries the output of a failure."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}"
    return done.stdout


def copy_sources(target: Path) -> Path:
    """Copy what a build reads, so that it leaves no traces in the repository."""
    ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for folder in ("voidllm", "twisted", "bench"):
        shutil.copytree(REPOSITORY / folder, target / folder, ignore=ignore)
    shutil.rmtree(target / "bench" / "build", ignore_errors=True)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.rst"):
        shutil.copy(REPOSITORY / name, target / name)
    return target


class Environment:
    """A new virtual environment that sees our dependencies, but not our own editable install.

    A ``.pth`` line puts a folder on the path without reading the ``.pth`` files in it, which
    is exactly that difference; nothing is downloaded.
    """

    def __init__(self, folder: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        self.python = folder / "bin" / "python"
        self.bin = folder / "bin"
        site = Path(run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        paths = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
        (site / "dependencies.pth").write_text("\n".join(paths) + "\n")
        self.env = {
            k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))
        }

    def install(self, *arguments: str | Path) -> None:
        """Have pip install without looking at any index."""
        command = [sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet"]
        offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        run(*command, *offline, *arguments, env=self.env)

    def twistd(self, *arguments: str, cwd: Path) -> str:
        """Run ``twistd`` of this environment from ``cwd``."""
        code = "from twisted.scripts.twistd import run; run()"
        return run(self.python, "-c", code, *arguments, cwd=cwd, env=self.env)
