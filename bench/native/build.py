"""Find the C programs next to this file, or compile them.

Programs that a package brings ready-made (the folder ``prebuilt``) win when they run on this machine.
Otherwise they are compiled, into ``bench/build/`` in a clone and below the user's cache folder where
there is none or it cannot be written. ``python -m bench.native.build [FOLDER]`` prints the paths, or
compiles into ``FOLDER``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
PREBUILT = HERE / "prebuilt"
PROGRAMS = ("mock", "load")


class NoCompiler(Exception):
    """There is no C compiler, or it failed; the text says what to do."""


def build(program: str) -> Path:
    """Give the path of a ready ``mock`` or ``load``; compile it when there is none of these sources.

    :raises NoCompiler: with a text for people.
    """
    ready = PREBUILT / program
    if runs(ready):
        return ready
    # By content: the files of a package may well be older than what an earlier one left in the cache.
    digest = hashlib.sha256(
        b"".join(p.read_bytes() for p in (HERE / f"{program}.c", *sorted(HERE.glob("*.h"))))
    )
    folder = cache_folder()
    target = folder / f"{program}-{digest.hexdigest()[:12]}"
    if not target.exists():
        compile_to(program, target)
        for old in set(folder.glob(f"{program}-*")) - {target}:
            old.unlink(missing_ok=True)
    return target


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


def compile_to(program: str, target: Path) -> None:
    """Compile one program.

    :raises NoCompiler: with a text for people.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("The benchmark's C programs need a compiler: apt install gcc libc6-dev")
    source = HERE / f"{program}.c"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Others may compile at the same time; whoever comes last replaces a program by its like.
        with TemporaryDirectory(prefix=".", dir=target.parent) as private:
            fresh = Path(private, program)
            command = [compiler, "-O2", "-Wall", "-Wextra", "-std=gnu11", "-o", str(fresh), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoCompiler(
                    f"cc failed for {source.name} (apt install gcc libc6-dev may help):\n{done.stderr}"
                )
            fresh.replace(target)
    except OSError as error:
        raise NoCompiler(f"The benchmark's C programs cannot be made in {target.parent}: {error}") from error


def main(arguments: list[str]) -> int:
    """Print where the programs are; with a folder, compile them into it."""
    try:
        for name in PROGRAMS:
            if arguments:
                compile_to(name, Path(arguments[0], name))
            print(Path(arguments[0], name) if arguments else build(name))
    except NoCompiler as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
