"""Generator and mock in plain Python, for machines without a C compiler: slower, and they say how slow."""
