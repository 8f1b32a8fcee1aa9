"""From the tree to frozen sections: types, ranges and unknown keys, every mistake at once."""

from __future__ import annotations

import difflib
import ipaddress
import re
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Annotated, Any, Callable, Collection, Iterator, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import AttributeValidationNote, Converter, IterableValidationNote
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from voidllm.config.durations import Duration, parse_duration
from voidllm.config.errors import Path, Unusable
from voidllm.config.fields import OneOf, Range, Text, about
from voidllm.config.kinds import Network
from voidllm.config.processes import WorkerCount, parse_workers
from voidllm.config.tree import Document, Scalar

T = TypeVar("T")

_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(?:[eE][-+]?[0-9]{1,2})?\Z")
_YES = frozenset({"true", "yes", "on"})
_NO = frozenset({"false", "no", "off"})
# Each pass but the last takes something away, and depth is bounded.
_MOST_PASSES = 64
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _scalar(value: Any, what: str) -> Scalar:
    if not isinstance(value, Scalar):
        raise Unusable(f"must be {what}, not a {'list' if isinstance(value, list) else 'mapping'}")
    return value


def _str(value: Any, _: Any) -> str:
    return _scalar(value, "a text").text


def _bare(value: Any, pattern: re.Pattern[str], what: str) -> str:
    scalar = _scalar(value, what)
    if not scalar.bare or not pattern.match(scalar.text):
        raise Unusable(f"must be {what}, without quotes")
    return scalar.text


def _int(value: Any, _: Any) -> int:
    return int(_bare(value, _INT, "a whole number"))


def _float(value: Any, _: Any) -> float:
    return float(_bare(value, _NUMBER, "a number"))


def _decimal(value: Any, _: Any) -> Decimal:
    return Decimal(_bare(value, _NUMBER, "a number"))


def _bool(value: Any, _: Any) -> bool:
    scalar = _scalar(value, "true or false")
    word = scalar.text.lower()
    if not scalar.bare or word not in _YES | _NO:
        raise Unusable("must be true or false, without quotes")
    return word in _YES


def _duration(value: Any, _: Any) -> Duration:
    return parse_duration(_scalar(value, "a duration").text.strip())


def _workers(value: Any, _: Any) -> WorkerCount:
    return parse_workers(_scalar(value, "auto or a whole number").text.strip())


def _network(value: Any, _: Any) -> Any:
    try:
        return ipaddress.ip_network(_scalar(value, "a network").text, strict=False)
    except ValueError:
        raise Unusable("must be an address or a network such as 10.0.0.0/8") from None


def _optional(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    inner = next(arg for arg in get_args(kind) if arg is not type(None))
    return lambda value, _: None if value is None else converter.structure(value, inner)


def _tuple(converter: Converter, kind: Any) -> Callable[[Any, Any], tuple[Any, ...]]:
    hook = converter.get_structure_hook(list[get_args(kind)[0]])  # type: ignore[misc]

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unusable("must be a list")
        return tuple(hook(value, list))

    return structure


def _annotated(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    base, *rules = get_args(kind)
    hook = converter.get_structure_hook(base)

    def structure(value: Any, _: Any) -> Any:
        result = hook(value, base)
        for rule in rules:
            if isinstance(rule, Range):
                result = _within(rule, result)
            elif isinstance(rule, OneOf) and result not in rule.choices:
                choices = [choice for choice in rule.choices if choice]
                raise Unusable(f"must be one of {', '.join(choices)}{_meant(result, choices)}")
            elif isinstance(rule, Text):
                _fits(rule, result)
        return result

    return structure


def _within(rule: Range, value: Any) -> Any:
    if value == 0 and rule.zero is not None:
        return type(value)(rule.zero)

    def show(bound: Any) -> str:
        return str(type(value)(bound))

    low = rule.least is not None and value < rule.least
    high = rule.most is not None and value > rule.most
    if low or high:
        if rule.most is None:
            raise Unusable(f"must be at least {show(rule.least)}")
        if rule.least is None:
            raise Unusable(f"must be at most {show(rule.most)}")
        also = "0 or " if rule.zero == 0 else ""
        raise Unusable(f"must be {also}from {show(rule.least)} to {show(rule.most)}")
    return value


def _fits(rule: Text, value: str) -> None:
    if value and len(value) < rule.least:
        raise Unusable(f"must have at least {rule.least} characters")
    if len(value) > rule.most:
        raise Unusable(f"must have at most {rule.most} characters")
    if _CONTROL.search(value):
        raise Unusable("must not hold control characters or line breaks")


def _section(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    fields = {a.name for a in attrs.fields(kind) if about(a)}
    hidden = {a.name: override(omit=True) for a in attrs.fields(kind) if not about(a)}

    # Made when a file has such a section: for all forty at once it was 20 ms of each start.
    @cache
    def inner() -> Callable[[Any, Any], Any]:
        return make_dict_structure_fn(
            kind,
            converter,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            **hidden,  # type: ignore[arg-type]
        )

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Unusable("must be a mapping of keys")
        # A key without a value is a key that is not there, as in "models:" and nothing below.
        return inner()({k: v for k, v in value.items() if v is not None or k not in fields}, kind)

    return structure


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and type(None) in get_args(kind)


def _is_tuple(kind: Any) -> bool:
    return bool(get_origin(kind) is tuple)


def _is_annotated(kind: Any) -> bool:
    return bool(get_origin(kind) is Annotated)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(Duration, _duration)
    converter.register_structure_hook(WorkerCount, _workers)
    converter.register_structure_hook_func(lambda kind: kind == Network, _network)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _section(converter, kind))
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuple(converter, kind))
    converter.register_structure_hook_factory(_is_optional, lambda kind: _optional(converter, kind))
    converter.register_structure_hook_factory(_is_annotated, lambda kind: _annotated(converter, kind))
    return converter


_CONVERTER = _make_converter()


def _failures(error: BaseException, path: Path) -> Iterator[tuple[Path, str]]:
    """Walk what cattrs collected; gives paths and our own words for each."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = (*path, note.name)
        elif isinstance(note, IterableValidationNote):
            path = (*path, int(note.index))
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _failures(inner, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [a.name for a in attrs.fields(error.cl) if about(a)]
        for name in sorted(error.extra_fields):
            yield (*path, name), f"is not a known key{_meant(name, known)}"
    elif isinstance(error, Unusable):
        yield path, str(error)
    else:
        # Texts of foreign exceptions may quote the value.
        yield path, "has a value that cannot be used"


def _meant(given: str, known: Collection[str]) -> str:
    """Suggest what may have been meant, if anything is close."""
    close = difflib.get_close_matches(given, known, 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _without(tree: Any, path: Path) -> None:
    """Take the place at ``path`` out of a tree; list items become empty so that numbers stay."""
    *before, last = path
    for part in before:
        tree = tree[part]
    if isinstance(last, int):
        tree[last] = {}
    else:
        del tree[last]


def convert(document: Document, kind: type[T]) -> T:
    """Make a ``kind`` of a document, noting every mistake in ``document.problems``.

    What is wrong is left at its default, so that the rest can be looked at too.
    """
    tree = {} if document.root is None else document.root
    if not isinstance(tree, dict):
        document.wrong((), "the file must be a mapping of keys")
        return kind()
    told: set[Path] = set()
    for _ in range(_MOST_PASSES):
        try:
            return _CONVERTER.structure(tree, kind)
        except BaseValidationError as error:
            found = list(_failures(error, ()))
        gone: set[Path] = set()
        for path, message in found:
            if path in told:
                # Empty did not do for this item, so its whole list goes.
                gone.add(path[:-1])
            else:
                document.wrong(path, message)
                gone.add(path)
        told |= {path for path, _message in found}
        for path in sorted(gone, key=len, reverse=True):
            _without(tree, path)
    return kind()
