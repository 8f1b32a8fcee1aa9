"""Compile the C programs next to this file into ``bench/build/``.

``python -m bench.native.build`` prints the paths.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build"
PROGRAMS = ("mock", "load")


class NoCompiler(Exception):
    """There is no C compiler, or it failed; the text says what to do."""


def build(program: str) -> Path:
    """Give the path of the compiled ``mock`` or ``load``; compile it when its source is newer.

    :raises NoCompiler: with a text for people.
    """
    source, target = HERE / f"{program}.c", BUILD / program
    newest = max(p.stat().st_mtime for p in (source, *HERE.glob("*.h")))
    if target.exists() and target.stat().st_mtime >= newest:
        return target
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("The benchmark's C programs need a compiler: apt install gcc libc6-dev")
    BUILD.mkdir(exist_ok=True)
    fresh = target.with_suffix(".new")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-std=gnu11", "-o", str(fresh), str(source), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoCompiler(f"cc failed for {source.name}:\n{done.stderr}")
    fresh.replace(target)
    return target


if __name__ == "__main__":
    try:
        for name in PROGRAMS:
            print(build(name))
    except NoCompiler as error:
        sys.exit(str(error))
