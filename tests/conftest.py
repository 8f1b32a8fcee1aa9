"""Order and limits of the whole run; no fixtures that tests would have to know."""

from __future__ import annotations

import itertools
from typing import Generator, Iterator

import pytest
from hypothesis import settings
from twisted.trial.unittest import SynchronousTestCase

# Repeatable: the same examples in every run, nothing remembered between runs.
settings.register_profile("voidllm", deadline=None, derandomize=True, database=None)
settings.load_profile("voidllm")

SECOND_STAGE = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow second stage after everything else."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Say where the second stage begins: its tests take minutes, not milliseconds."""
    if item.get_closest_marker("slow") and not item.config.stash.get(SECOND_STAGE, False):
        item.config.stash[SECOND_STAGE] = True
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("\nsecond stage: fault drills and the .deb")
    return (yield)


@pytest.fixture(autouse=True, scope="session")
def temporary_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have trial's ``mktemp`` give paths outside the repository.

    It counts on trial having changed to ``_trial_temp``, which pytest does not do. The
    paths are short because sockets are made in them.
    """
    root = tmp_path_factory.mktemp("trial")
    numbers = itertools.count()

    def mktemp(self: SynchronousTestCase) -> str:
        parent = root / str(next(numbers))
        parent.mkdir()
        return str(parent / "temp")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SynchronousTestCase, "mktemp", mktemp)
        yield
