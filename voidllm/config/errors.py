"""Everything that is wrong with a configuration, told at once."""

from __future__ import annotations

import re
from typing import Iterable

from attrs import frozen

from voidllm.core.errors import VoidLLMError

#: Keys by name, list items by number.
Path = tuple[str | int, ...]

_SHOWABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


def show_path(path: Path) -> str:
    """Write a path as people do: ``models[0].deployments[1].base_url``.

    A part that does not look like a name is not shown: it may be a misplaced value.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." if text else ""
            text += part if _SHOWABLE.match(part) else "(not a name)"
    return text


@frozen
class Problem:
    """One thing that is wrong; the message never holds the value.

    :ivar line: line in the file, from 1, or ``None`` when it is about the whole.
    """

    path: Path
    message: str
    line: int | None = None

    def show(self, source: str) -> str:
        """Write ``file:line: key.path: message``."""
        where = source if self.line is None else f"{source}:{self.line}"
        key = show_path(self.path)
        return f"{where}: {key}: {self.message}" if key else f"{where}: {self.message}"


class ConfigErrors(VoidLLMError):
    """A configuration that cannot be used.

    :ivar source: name of the file, or of what stands for it.
    :ivar problems: all of them, in the order of the file.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda p: (p.line or 0, show_path(p.path))))
        super().__init__("\n".join(problem.show(source) for problem in self.problems))


class Unusable(ValueError):
    """A value that its key does not take; the message says what it takes."""
