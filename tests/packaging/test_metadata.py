"""Package metadata, lock files, change fragments and the shape of the code base."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from typing import Iterator

from twisted.trial import unittest

from voidllm import __version__

from .support import REPOSITORY

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def names(lines: list[str]) -> set[str]:
    """Give the normalised distribution names of requirement lines."""
    found = (NAME.match(line) for line in lines)
    return {re.sub(r"[-_.]+", "-", match.group()).lower() for match in found if match}


def requirement_lines(file: str) -> list[str]:
    """Read a requirements file without comments, options and hash lines."""
    text = (REPOSITORY / "requirements" / file).read_text()
    return [line for line in text.splitlines() if line and line[0] not in "#- "]


class DependencyTests(unittest.SynchronousTestCase):
    """What the package asks for, what people ask for and what is locked agree."""

    def setUp(self) -> None:
        self.project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    def test_runtime(self) -> None:
        """The package's dependencies are those of ``runtime.in``."""
        self.assertEqual(names(self.project["dependencies"]), names(requirement_lines("runtime.in")))

    def test_extras(self) -> None:
        """The extras name nothing that the lock files do not hold."""
        extras = self.project["optional-dependencies"]
        self.assertEqual(names(extras["test"]), names(requirement_lines("test.in")))
        self.assertEqual(names(extras["lint"]) - names(requirement_lines("lint.in")), set())

    def test_locked(self) -> None:
        """Each lock holds each asked-for name, every entry pinned and with hashes."""
        for part in ("build", "runtime", "test", "lint"):
            text = (REPOSITORY / "requirements" / f"{part}.txt").read_text()
            entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^#.*\n?", "", text).strip())
            for entry in entries:
                self.assertRegex(entry, r"\A[a-z0-9][a-z0-9._-]*==\S+ \\\n    --hash=sha256:[0-9a-f]{64}")
            asked = names(requirement_lines(f"{part}.in"))
            self.assertEqual(asked - names(entries), set(), part)

    def test_one_version(self) -> None:
        """The locks that are installed on top of each other agree on every version."""
        versions: dict[str, str] = {}
        for part in ("build", "runtime", "test", "lint"):
            for line in requirement_lines(f"{part}.txt"):
                name, version = line.rstrip("\\ ").split("==")
                self.assertEqual(versions.setdefault(name, version), version, f"{name} in {part}.txt")


class VersionTests(unittest.SynchronousTestCase):
    """There is one version."""

    def test_debian(self) -> None:
        """The Debian changelog's newest entry is the package's version."""
        first = (REPOSITORY / "debian" / "changelog").read_text().splitlines()[0]
        self.assertTrue(first.startswith(f"voidllm ({__version__})"), first)


class ChangesTests(unittest.SynchronousTestCase):
    """Fragments in ``changes/`` are ones that towncrier will pick up."""

    def test_fragments(self) -> None:
        """Each is ``<issue>.<type>.rst`` of a configured type and holds a sentence."""
        settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["towncrier"]
        types = "|".join(kind["directory"] for kind in settings["type"])
        for path in (REPOSITORY / "changes").iterdir():
            if path.name == ".gitkeep":
                continue
            self.assertRegex(path.name, rf"\A\d+\.({types})(\.\d+)?\.rst\Z")
            self.assertTrue(path.read_text().strip().endswith("."), path.name)


class ShapeTests(unittest.SynchronousTestCase):
    """Modules stay small and keep to the rules that no linter of ours knows."""

    def modules(self) -> Iterator[tuple[str, str]]:
        for path in sorted((REPOSITORY / "voidllm").rglob("*.py")):
            yield str(path.relative_to(REPOSITORY)), path.read_text()

    def test_size(self) -> None:
        """No module is over 500 lines; the median of those with code is under 200."""
        sizes = {name: len(text.splitlines()) for name, text in self.modules()}
        self.assertEqual({name: size for name, size in sizes.items() if size > 500}, {})
        self.assertLess(
            statistics.median(size for name, size in sizes.items() if "__init__" not in name), 200
        )

    def test_docstrings(self) -> None:
        """Every module that holds anything says what it is for."""
        filled = [(name, text) for name, text in self.modules() if text.strip()]
        self.assertEqual([name for name, text in filled if not ast.get_docstring(ast.parse(text))], [])

    def test_no_global_reactor(self) -> None:
        """No module imports the reactor at its top level: it is a parameter."""
        guilty = []
        for name, text in self.modules():
            for node in ast.parse(text).body:
                if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                    guilty.extend(name for alias in node.names if alias.name == "reactor")
        self.assertEqual(guilty, [])

    def test_twisted_is_not_ours(self) -> None:
        """Nothing of ours shadows Twisted's own packages."""
        self.assertEqual(list((REPOSITORY / "twisted").rglob("__init__.py")), [])
