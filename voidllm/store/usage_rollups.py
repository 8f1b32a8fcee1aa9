"""What usage is added up by, and in which columns.

One event is counted in several roll-ups: the narrow ones have few rows and answer most questions,
the widest tells everything apart. A roll-up keeps its sums by hours, days or months.
"""

from __future__ import annotations

from typing import Iterable

from attrs import frozen

from voidllm.core.usage_histogram import LATENCY_BOUNDS, SPEED_BOUNDS, TTFT_BOUNDS

HOUR, DAY, MONTH = "hour", "day", "month"

#: Everything that an event is told apart by but its tags, and the column's type.
PLAIN = (
    ("org_id", "text"),
    ("team_id", "text"),
    ("user_id", "text"),
    ("service_account_id", "text"),
    ("key_id", "text"),
    ("model", "text"),
    ("provider", "text"),
    ("deployment", "text"),
    ("status", "int"),
    ("kind", "text"),
    ("endpoint", "text"),
    ("source", "text"),
)

#: The same as columns of ``usage_groups``, with tags.
GROUP = (*(name for name, _ in PLAIN), "tag")

_EVERYTHING = tuple(name for name, _ in PLAIN)
_MODEL = ("model", "provider", "deployment")
_OWNER = ("team_id", "user_id", "service_account_id", "key_id")


@frozen
class Rollup:
    """One way of adding up.

    :ivar number: what it is in the database; never given to another one.
    :ivar of: the roll-up whose sums it can be made of, ``None`` for those made of events.
    :ivar columns: what it tells apart.
    :ivar grains: which periods it has.
    """

    number: int
    name: str
    of: str | None
    columns: tuple[str, ...]
    grains: frozenset[str]

    def answers(self, columns: Iterable[str]) -> bool:
        """Say whether ``columns`` can be grouped and filtered by."""
        return set(columns) <= {*self.columns}


#: Those with the fewest rows come first, and each before the one that it is made of. Few of them have
#: statuses: there are few errors, of many kinds, so that every kind is nearly as many rows as all else.
ROLLUPS = (
    Rollup(1, "model", "team_model_status", ("org_id", *_MODEL, "status"), frozenset({HOUR, DAY})),
    Rollup(2, "team", "team_model_status", ("org_id", "team_id", "status"), frozenset({HOUR, DAY})),
    Rollup(3, "owner", "owner_model", ("org_id", *_OWNER), frozenset({DAY, MONTH})),
    Rollup(14, "owner_provider", "owner_model", ("org_id", *_OWNER, "provider"), frozenset({DAY, MONTH})),
    Rollup(4, "team_model", "team_model_status", ("org_id", "team_id", *_MODEL), frozenset({DAY, MONTH})),
    Rollup(
        5, "team_model_status", "detail", ("org_id", "team_id", *_MODEL, "status"), frozenset({DAY, MONTH})
    ),
    Rollup(13, "owner_status", "detail", ("org_id", *_OWNER, "status"), frozenset({DAY, MONTH})),
    Rollup(6, "owner_model", "detail", ("org_id", *_OWNER, *_MODEL), frozenset({MONTH})),
    Rollup(7, "detail", None, _EVERYTHING, frozenset({HOUR, DAY, MONTH})),
    Rollup(8, "tag_model", "tag", ("org_id", *_MODEL, "status", "tag"), frozenset({HOUR, DAY})),
    Rollup(9, "tag_team", "tag", ("org_id", "team_id", "status", "tag"), frozenset({HOUR, DAY})),
    Rollup(10, "tag_owner", "tag", ("org_id", *_OWNER, "tag"), frozenset({DAY, MONTH})),
    Rollup(12, "tag_team_model", "tag", ("org_id", "team_id", *_MODEL, "tag"), frozenset({DAY, MONTH})),
    Rollup(11, "tag", None, (*_EVERYTHING, "tag"), frozenset({DAY, MONTH})),
)

#: The sums that every row has.
SUMS = (
    "requests",
    "errors",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "cost_nano",
    "unpriced_requests",
    "duration_sum_ms",
    "ttft_sum_ms",
    "ttft_count",
    "speed_tokens",
    "speed_sum_ms",
)
TOKENS = SUMS[2:9]


def _counts(name: str, bounds: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_{place:02d}" for place in range(len(bounds) + 1))


LATENCY = _counts("latency", LATENCY_BOUNDS)
TTFT = _counts("ttft", TTFT_BOUNDS)
SPEED = _counts("speed", SPEED_BOUNDS)

#: The counts of the three histograms; NULL for none.
BUCKETS = (*LATENCY, *TTFT, *SPEED)


def rollup_for(columns: Iterable[str], grain: str) -> Rollup | None:
    """Give the smallest roll-up with a grain that tells ``columns`` apart; not all have hours."""
    wanted = tuple(columns)
    return next((one for one in ROLLUPS if grain in one.grains and one.answers(wanted)), None)


def months_for(columns: Iterable[str]) -> bool:
    """Say whether months spare rows; the roll-ups whose days are few have none."""
    wanted = tuple(columns)
    days = rollup_for(wanted, DAY)
    return days is not None and days.number not in _FEW


_FEW = frozenset(one.number for one in ROLLUPS if HOUR in one.grains and one.of is not None)
