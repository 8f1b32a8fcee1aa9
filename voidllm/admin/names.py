"""What things and people may be called: kinds of fields, and what a schema cannot say of them."""

from __future__ import annotations

import zoneinfo
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Iterator

from msgspec import Meta

from voidllm.admin.fields import bad
from voidllm.core.errors import Refusal, StoreConflict

# The end as in voidllm.admin.kinds: in every dialect it is the end, a line feed behind it too.
_END = r"$(?![\s\S])"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

#: Lower-case ASCII, so that none looks like another one.
Slug = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=63,
        pattern=f"^[a-z0-9][a-z0-9-]{{0,61}}[a-z0-9]{_END}",
        description="2 to 63 lower-case letters, digits and hyphens",
        examples=["platform-team"],
    ),
]

#: ASCII only, as RFC 5321 has it without quotes and address literals; upper case counts as lower case.
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(\.{_LABEL}){{0,9}}{_END}",
        description="e-mail address; upper case counts as lower case",
        examples=["ann@example.org"],
    ),
]

Zone = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=rf"^[A-Za-z0-9_+/-]*{_END}",
        description="name of a time zone of the IANA database",
        examples=["Europe/Berlin"],
    ),
]


@cache
def _zones() -> frozenset[str]:
    # The two are files of the database without being names in it.
    return frozenset(zoneinfo.available_timezones() - {"Factory", "localtime"})


def checked_zone(name: str) -> str:
    """Give back the name of a time zone.

    :raises Refusal: 400.
    """
    if name not in _zones():
        raise bad("timezone must be a name of the IANA time zone database", param="timezone")
    return name


@contextmanager
def unique(field: str) -> Iterator[None]:
    """Say of a conflict inside that it is about what ``field`` gives.

    :raises Refusal: 409.
    """
    try:
        yield
    except StoreConflict:
        raise Refusal(409, "conflict", f"this {field} is taken already", param=field) from None
