"""YAML text to a tree that knows its lines, without trusting the text.

Built from parser events, because the library's own composer recurses in C: a few thousand
brackets end the process. Values stay text here; what they are is for their keys to say.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Union

import yaml
from attrs import define, field, frozen

from voidllm.config.errors import Path, Problem, Unusable
from voidllm.config.interpolate import interpolate, is_whole

_MOST_DEPTH = 32
_MOST_NODES = 50_000
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_STR_TAG = "tag:yaml.org,2002:str"


@frozen
class Scalar:
    """A value as written, after interpolation.

    :ivar bare: unquoted and not pieced together, so it may be read as a number or a switch.
    """

    text: str = field(repr=False)
    bare: bool


Tree = Union[Scalar, None, "dict[str, Any]", "list[Any]"]


@define
class Document:
    """A parsed file.

    :ivar root: mappings as dicts, lists as lists, values as :class:`Scalar`, nulls as ``None``.
    :ivar lines: line of every path, from 1.
    :ivar problems: what was wrong so far; the places concerned are absent from ``root``.
    """

    root: Tree = None
    lines: dict[Path, int] = field(factory=dict)
    problems: list[Problem] = field(factory=list)

    def wrong(self, path: Path, message: str) -> None:
        """Note a problem at ``path``, with the line of the nearest place that has one."""
        at = path
        while at and at not in self.lines:
            at = at[:-1]
        self.problems.append(Problem(path, message, self.lines.get(at)))


class _Stop(Exception):
    """Reading on makes no sense."""


class _Composer:
    def __init__(self, events: Iterator[Any], environ: Mapping[str, str]) -> None:
        self.document = Document()
        self._events = events
        self._environ = environ
        self._anchors: dict[str, list[Any]] = {}
        self._nodes = 0

    def compose(self) -> None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.document.root = self._node(self._read(), ())
                self._read()
                break
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._fail((), event, "only one YAML document is allowed")

    def _read(self) -> Any:
        return next(self._events)

    def _fail(self, path: Path, event: Any, message: str) -> None:
        self.document.problems.append(Problem(path, message, event.start_mark.line + 1))
        raise _Stop

    def _node(self, event: Any, path: Path) -> Tree:
        """Build the node that begins with ``event``, reading the rest of it."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            self._fail((), event, f"the file has more than {_MOST_NODES} values, counting aliases")
        if len(path) > _MOST_DEPTH:
            self._fail((), event, f"the file is nested more than {_MOST_DEPTH} deep")
        self.document.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if event.anchor is None:
            return self._build(event, path)
        # Kept as events, so that an alias counts, and is checked, like the text it stands for.
        taken = [event, *self._rest(event)]
        self._anchors[event.anchor] = taken
        return self._replay(taken, path)

    def _rest(self, event: Any) -> list[Any]:
        """Read the events up to the end of the node begun by ``event``."""
        taken: list[Any] = []
        depth = isinstance(event, yaml.CollectionStartEvent)
        level = int(depth)
        while level:
            event = self._read()
            taken.append(event)
            if isinstance(event, yaml.CollectionStartEvent):
                level += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                level -= 1
            if level > _MOST_DEPTH or len(taken) > 2 * _MOST_NODES:
                self._fail((), event, "the file is nested too deep or too large")
        return taken

    def _replay(self, events: list[Any], path: Path) -> Tree:
        outer, self._events = self._events, iter(events[1:])
        try:
            return self._build(events[0], path)
        finally:
            self._events = outer

    def _alias(self, event: Any, path: Path) -> Tree:
        events = self._anchors.get(event.anchor)
        if events is None:
            self._fail(path, event, "is an alias of an anchor that is not complete before it")
        assert events is not None
        return self._replay(events, path)

    def _build(self, event: Any, path: Path) -> Tree:
        if event.tag not in (None, "!", _STR_TAG):
            self.document.wrong(path, "YAML tags are not supported")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := self._read(), yaml.SequenceEndEvent):
                items.append(self._node(event, (*path, len(items))))
            return items
        return self._mapping(path)

    def _scalar(self, event: Any, path: Path) -> Tree:
        written = event.value
        plain = not event.style and event.tag is None
        if plain and written in _NULLS:
            return None
        try:
            text = interpolate(written, self._environ)
        except Unusable as problem:
            self.document.wrong(path, str(problem))
            return None
        return Scalar(text, plain and (text == written or is_whole(written)))

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := self._read(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(path, event, "keys must be plain names")
            name = event.value
            below = (*path, name)
            if name == "<<" and not event.style:
                self._merge(self._node(self._read(), below), below, merged)
                continue
            if name in found:
                line = event.start_mark.line + 1
                first = self.document.lines[below]
                self.document.problems.append(Problem(below, f"is given twice, first in line {first}", line))
                self._node(self._read(), (*path, name, "(again)"))
                continue
            # Of a merged key there is a line already; the own one is what is meant.
            self.document.lines[below] = event.start_mark.line + 1
            found[name] = self._node(self._read(), below)
        return {**merged, **found}

    def _merge(self, value: Tree, path: Path, merged: dict[str, Any]) -> None:
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                self.document.wrong(path, "'<<' takes a mapping or a list of mappings")
                continue
            for name, inner in one.items():
                merged.setdefault(name, inner)
        # Errors within merged values are shown where the values were merged.
        line = self.document.lines[path]
        for name in merged:
            self.document.lines.setdefault((*path[:-1], name), line)


def read_tree(text: str, environ: Mapping[str, str]) -> Document:
    """Parse YAML and interpolate its values.

    :returns: the document; look at its ``problems`` before its ``root``.
    """
    composer = _Composer(iter(yaml.parse(text, Loader=yaml.CSafeLoader)), environ)
    document = composer.document
    try:
        composer.compose()
    except _Stop:
        document.root = None
    except yaml.MarkedYAMLError as error:
        # The parser's own words: fixed texts, nothing of the file in them.
        mark = error.problem_mark
        message = f"is not valid YAML: {error.problem}"
        document.problems.append(Problem((), message, None if mark is None else mark.line + 1))
        document.root = None
    except yaml.YAMLError:
        document.problems.append(Problem((), "is not valid YAML: it holds a character that is not allowed"))
        document.root = None
    return document
