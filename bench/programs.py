"""Generator and mock: the C programs where they can be had, the slower Python ones elsewhere.

Both take the same options and print the same; ``VOIDLLM_BENCH_NATIVE=0`` asks for the Python ones.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from attrs import frozen

from .native.build import NoCompiler, build

_PACKAGE = __package__ or "bench"
_ROOT = Path(__file__).resolve().parents[len(_PACKAGE.split("."))]


@frozen
class Program:
    """What to start.

    :ivar words: the command, before its options.
    :ivar environ: its environment.
    :ivar kind: ``c`` or ``python``.
    :ivar reason: why it is the Python one, for people.
    """

    words: tuple[str, ...]
    environ: dict[str, str]
    kind: str
    reason: str = ""


def command(name: str) -> Program:
    """Give how to start ``mock`` or ``load``."""
    environ = dict(os.environ)
    reason = "VOIDLLM_BENCH_NATIVE=0 asks for it"
    if environ.get("VOIDLLM_BENCH_NATIVE") != "0":
        try:
            return Program((str(build(name)),), environ, "c")
        except NoCompiler as error:
            reason = str(error)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), environ.get("PYTHONPATH"))))
    return Program((sys.executable, "-m", f"{_PACKAGE}.fallback.{name}"), environ, "python", reason)
