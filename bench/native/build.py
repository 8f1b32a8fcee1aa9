"""Find the C programs next to this file, or compile them.

Programs that a package brings ready-made (the folder ``prebuilt``) win when they run on this machine.
Otherwise they are compiled, into ``bench/build/`` in a clone and below the user's cache folder where
there is none or it cannot be written. ``python -m bench.native.build [FOLDER]`` prints the paths, or
compiles into ``FOLDER``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PREBUILT = HERE / "prebuilt"
PROGRAMS = ("mock", "load")


class NoCompiler(Exception):
    """There is no C compiler, or it failed; the text says what to do."""


def build(program: str) -> Path:
    """Give the path of a ready ``mock`` or ``load``; compile it when its source is newer.

    :raises NoCompiler: with a text for people.
    """
    ready = PREBUILT / program
    if runs(ready):
        return ready
    return compiled(program, cache_folder())


def runs(program: Path) -> bool:
    """Say whether a program can be executed here: it may be of another architecture or C library."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def cache_folder() -> Path:
    """Give where compiled programs stay: beside the sources, or in the user's cache."""
    beside, clone = HERE.parent / "build", HERE.parent.parent / "pyproject.toml"
    if clone.exists() and os.access(beside if beside.is_dir() else beside.parent, os.W_OK):
        return beside
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voidllm" / "bench"


def compiled(program: str, folder: Path) -> Path:
    """Compile one program into a folder unless it is there and as new as its sources.

    :raises NoCompiler: with a text for people.
    """
    source, target = HERE / f"{program}.c", folder / program
    newest = max(p.stat().st_mtime for p in (source, *HERE.glob("*.h")))
    if target.exists() and target.stat().st_mtime >= newest:
        return target
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("The benchmark's C programs need a compiler: apt install gcc libc6-dev")
    # Others may compile at the same time; whoever comes last replaces a program by its like.
    fresh = folder / f"{program}.{os.getpid()}.new"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-std=gnu11", "-o", str(fresh), str(source)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompiler(
                f"cc failed for {source.name} (apt install gcc libc6-dev may help):\n{done.stderr}"
            )
        fresh.replace(target)
    except OSError as error:
        raise NoCompiler(f"The benchmark's C programs cannot be kept in {folder}: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return target


def main(arguments: list[str]) -> int:
    """Print where the programs are; with a folder, compile them into it."""
    try:
        for name in PROGRAMS:
            print(compiled(name, Path(arguments[0])) if arguments else build(name))
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
