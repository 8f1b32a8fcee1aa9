"""``python -m bench``: the suite; see :mod:`bench.cli`."""

from .cli import main

main(prog_name="bench")
