"""Peers from the Python index, each in an environment of its own below the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from attrs import define, frozen

from ..harness import CORES, Failed, pin
from .server import Place

HERE = Path(__file__).resolve().parent
#: Written last, so that an installation without it is one that was not finished.
_STAMP = ".complete"
_SECONDS = 1800


@frozen
class Pinned:
    """What is installed.

    :ivar requirement: name, extras and exact version.
    :ivar lock: requirements file with everything that belongs to it, with hashes.
    """

    name: str
    requirement: str
    lock: Path

    @property
    def version(self) -> str:
        """The exact version."""
        return self.requirement.rpartition("==")[2]


def pinned(name: str) -> Pinned:
    """Give what ``versions.toml`` says of a peer."""
    found = tomllib.loads((HERE / "versions.toml").read_text())[name]
    return Pinned(name, found["requirement"], HERE / "locks" / f"{name}.txt")


def cache() -> Path:
    """Give the folder that environments are kept in: ``$XDG_CACHE_HOME``, else ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "voidllm" / "bench" / "peers"


def installed(what: Pinned, say: Callable[[str], None], folder: Path | None = None) -> Path:
    """Give the ``bin`` folder of a peer's environment; make the environment unless it is there.

    One that was made from another lock, by another Python, or not to its end, is made again.

    :param folder: instead of :func:`cache`.
    :raises Failed: it cannot be installed; with what to do about it.
    """
    base = cache() if folder is None else folder
    environment = base / f"{what.name}-{what.version}"
    key = hashlib.sha256(sys.version.encode() + what.lock.read_bytes()).hexdigest()
    try:
        base.mkdir(parents=True, exist_ok=True)
        with _alone(base / f"{environment.name}.lock"):
            if _stamp(environment) != key:
                say(f"installing {what.requirement} into {environment}; this can take some minutes")
                shutil.rmtree(environment, ignore_errors=True)
                _install(what, environment)
                (environment / _STAMP).write_text(key)
    except OSError as error:
        raise Failed(f"{what.requirement} cannot be installed in {environment}: {error}") from error
    return environment / "bin"


def _stamp(environment: Path) -> str | None:
    try:
        return (environment / _STAMP).read_text()
    except OSError:
        return None


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _install(what: Pinned, environment: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    _run(
        [sys.executable, "-m", "venv", str(environment)],
        f"{what.requirement} needs an environment, and Python cannot make one: apt install {version}-venv",
    )
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    # No build scripts run: all there is to install are wheels with the hashes that the lock names.
    pip += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    _run(
        [*pip, "--retries", "2", "--requirement", str(what.lock)],
        f"{what.requirement} cannot be installed. Another package index: PIP_INDEX_URL=https://...; a proxy: "
        f"HTTPS_PROXY=http://...; or leave {what.name} out of --against. The lock is made with Python 3.11; "
        f"for another one, or another processor, a wheel may be missing. pip says:",
    )


def _run(command: list[str], advice: str) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            preexec_fn=pin(set(CORES)),
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{advice}\nno end after {_SECONDS} s") from error
    if done.returncode:
        raise Failed(f"{advice}\n{done.stdout.strip()[-2000:]}")


@define
class IndexPeer:
    """What peers from the Python index have in common: an environment, and a key of their configuration."""

    name: str = ""
    version: str = ""
    usage_rows: bool = False
    notes: tuple[str, ...] = ()
    _bin: Path = Path()

    def prepare(self, say: Callable[[str], None]) -> None:
        """Install it, the first time."""
        what = pinned(self.name)
        self._bin = installed(what, say)
        self.version = what.version

    def key_of(self, place: Place, log: Path) -> str | None:
        """Give the key that its configuration has."""
        return place.key
