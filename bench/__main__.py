"""``python -m bench``: the figures for speed and memory; arguments as for :mod:`bench.speed`."""

import sys

from bench.speed import main

sys.exit(main(sys.argv[1:]))
