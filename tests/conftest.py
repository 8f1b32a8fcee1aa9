"""Order and limits of the whole run; no fixtures that tests would have to know."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Repeatable: the same examples in every run, nothing remembered between runs.
settings.register_profile("voidllm", deadline=None, derandomize=True, database=None)
settings.load_profile("voidllm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow second stage after everything else."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
