"""Kinds of values that requests and replies of the API are made of.

Each is a type for msgspec: what it allows is checked on the way in, and is what the OpenAPI
document says of it.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

T = TypeVar("T")

MAX_NUMBER = 2**53 - 1
MAX_TEXT = 200
DEFAULT_PAGE = 20
MOST_PER_PAGE = 100

# Control characters, and those that hide or reorder others. The end is written so that it is the
# end in every dialect of regular expressions: Python's $ would let a line feed pass behind it.
_END = r"$(?![\s\S])"
_ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*" + _END
_SPAN = r"(0|([0-9]{1,9}(\.[0-9]{1,9})?(ns|us|ms|s|m|h|d|w))+)"
_DATE = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)

#: One line of text.
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT, pattern=_ONE_LINE)]

#: A text that is compared with what is stored: an id, or another name of the same thing.
Ref = Text

Id = Annotated[
    str,
    Meta(
        max_length=36,
        description="UUIDv7",
        examples=["0199c0de-7a1b-7c3d-8e9f-0123456789ab"],
    ),
]

#: A moment in a reply.
Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC",
        examples=["2026-11-24T10:30:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

Count = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]

#: A number of requests or tokens; 0 is no limit.
Limit = Annotated[int, Meta(ge=0, le=MAX_NUMBER, description="0 is no limit")]

Span = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=f"^{_SPAN}{_END}",
        description="numbers with units, added up",
        examples=["90d", "1h30m"],
    ),
]

Moment = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=f"^({_SPAN}|{_DATE}){_END}",
        description="a span before now, a date (UTC), or RFC 3339",
        examples=["24h", "2026-01-31", "2026-01-31T12:00:00Z"],
    ),
]

#: What is shown once, when it is made, and left out when the same request is sent again.
Once = Annotated[str, Meta(description="shown this once; absent when an Idempotency-Key is used again")]


class Asked(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of everything that a request gives: unknown fields are refused."""


class Nothing(Asked):
    """No fields at all."""


PageSize = Annotated[int, Meta(ge=1, le=MOST_PER_PAGE, description="rows per page")]
Cursor = Annotated[str, Meta(min_length=1, max_length=2000, description="next_cursor of the page before")]


class Listing(Asked):
    """Base of the query of every list."""

    limit: PageSize = DEFAULT_PAGE
    cursor: Cursor | None = None


class Named(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What something is called."""

    id: Id
    name: str
    slug: str | UnsetType = UNSET
    email: str | UnsetType = UNSET


class Page(Struct, Generic[T], kw_only=True, frozen=True):
    """One page of a list."""

    data: list[T]
    has_more: bool
    next_cursor: str | UnsetType = UNSET


class Error(Struct, kw_only=True, frozen=True):
    """What went wrong."""

    message: Annotated[str, Meta(description="for people; never holds a value of the request")]
    type: Annotated[str, Meta(description="the class of the error, as OpenAI's SDKs know it")]
    param: Annotated[str, Meta(description="the field at fault")] | None
    code: Annotated[str, Meta(description="for programs")]
    request_id: str


class Failed(Struct, kw_only=True, frozen=True):
    """Every error's body."""

    error: Error
