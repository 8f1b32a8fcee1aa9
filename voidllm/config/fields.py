"""How a section describes its keys: default, range, meaning, and what must not be shown.

A section is a frozen attrs class whose attribute names are its YAML keys. ``Annotated`` types
carry the range, :func:`key` the rest; conversion, redaction, reload and the reference page in
``docs/`` all read the same description.
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import Attribute, Factory, field, frozen

Show = Literal["plain", "secret", "url"]


@frozen
class Key:
    """What is known of a key beside its type and default.

    :ivar doc: one sentence for the reference page.
    :ivar show: ``secret`` is never shown, of a ``url`` all but its credentials.
    :ivar live: a reload applies a change; otherwise only a restart does.
    :ivar path: names a file or folder; relative ones are taken from the working directory.
    """

    doc: str
    show: Show = "plain"
    live: bool = False
    path: bool = False


@frozen
class Range:
    """Bounds of a number or duration, both inclusive; a bound of ``None`` is open.

    :ivar zero: what 0 stands for, or ``None`` if 0 is nothing special.
    """

    least: int | float | None = None
    most: int | float | None = None
    zero: int | float | None = None


@frozen
class OneOf:
    """The only texts that a key takes."""

    choices: tuple[str, ...]


@frozen
class Text:
    """Bounds of a text.

    :ivar least: fewest characters, unless it is empty, that is, not given.
    """

    least: int = 0
    most: int = 4096


def key(default: Any, doc: str, *, show: Show = "plain", live: bool = False, path: bool = False) -> Any:
    """Declare a key of a section."""
    about = Key(doc, show, live, path)
    return field(default=default, repr=show == "plain", metadata={Key: about})


def section(cls: type, doc: str = "", *, live: bool = False) -> Any:
    """Declare a key that holds another section, all defaults unless given."""
    return field(factory=cls, metadata={Key: Key(doc, live=live)})


def internal(default: Any) -> Any:
    """Declare an attribute that is no key of the file."""
    return field(default=default)


def about(attribute: Attribute[Any]) -> Key | None:
    """Give the description of an attribute, or ``None`` if it is no key."""
    found = attribute.metadata.get(Key)
    return found if isinstance(found, Key) else None


def default_of(attribute: Attribute[Any]) -> Any:
    """Give the default of a key, made if it must be."""
    default: Any = attribute.default
    return default.factory() if isinstance(default, Factory) else default  # type: ignore[arg-type]
