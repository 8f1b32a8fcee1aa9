"""``voidllm bench``: the benchmark suite, which is no part of the gateway and is imported only here."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from voidllm.cli.failures import Failed

#: The package of Debian's Python modules; searched last, and only for what plots need.
_DEBIAN = "/usr/lib/python3/dist-packages"


@click.command(
    short_help="Measure what the gateway costs on this machine.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure what the gateway costs on this machine, beside the same requests without it.

    Starts mock servers, a load generator and a gateway of its own, on free ports and with a state
    folder of its own, and ends them; a gateway that runs here is left alone.

    \b
    Examples:
      voidllm bench --help
      voidllm bench quick --json result.json
    """
    suite = _suite()
    # The report names the command that it came from.
    sys.argv = ["voidllm bench", *arguments]
    suite.main(list(arguments), prog_name=sys.argv[0])


def _suite() -> Any:
    """Give the suite's command: of the package, or of the clone that this one is in.

    :raises Failed: it is in neither.
    """
    if find_spec("voidllm._bench") is not None:
        if sys.prefix.startswith("/usr/lib/") and _DEBIAN not in sys.path:
            sys.path.append(_DEBIAN)
        return import_module("voidllm._bench.cli").main
    clone = Path(__file__).resolve().parents[2]
    if not (clone / "bench" / "cli.py").is_file():
        raise Failed("this installation does not have the benchmark suite")
    if str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    return import_module("bench.cli").main
