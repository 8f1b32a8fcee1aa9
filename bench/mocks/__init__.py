"""Upstream servers for tests and benchmarks."""
