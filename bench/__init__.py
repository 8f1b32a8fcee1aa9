"""Mocks and benchmarks; nothing in here is imported by the gateway."""
