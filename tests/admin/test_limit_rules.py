"""Limits below those of the scope above, and one's own only downwards."""

from __future__ import annotations

from attrs import asdict, astuple
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.admin.limit_rules import require_only_lowered, require_within_parent
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits

_NUMBER = st.one_of(st.just(0), st.integers(1, 3), st.integers(1, 2**53 - 1))
_LIMITS = st.builds(Limits, *[_NUMBER] * len(asdict(Limits())))
_ENDLESS = 2**60


def _bounds(*all_of: Limits) -> list[int]:
    """Give what the scopes together leave of each number."""
    return [min(one or _ENDLESS for one in numbers) for numbers in zip(*map(astuple, all_of), strict=True)]


class Rules(SynchronousTestCase):
    def test_a_limit_above_the_parents_names_field_and_parent(self) -> None:
        """The refusal has the API's name of the field and says which scope it is that allows less."""
        parents = [("team", Limits(tokens_per_day=10)), ("organisation", Limits(tokens_per_month=50))]
        for child, field, word in (
            (Limits(tokens_per_day=11), "daily_token_limit", "team"),
            (Limits(tokens_per_month=51), "monthly_token_limit", "organisation"),
        ):
            refused = self.assertRaises(Refusal, require_within_parent, child, parents)
            self.assertEqual((refused.status, refused.code, refused.param), (400, "bad_request", field))
            self.assertIn(word, refused.message)

    def test_no_limit_of_its_own_is_allowed_below_a_limited_parent(self) -> None:
        """0 means what the scopes above leave, so it is never beyond them."""
        require_within_parent(Limits(), [("team", Limits(1, 1, 1, 1, 1))])

    def test_taking_ones_own_limit_away_is_raising_it(self) -> None:
        """An owner who has a limit can make it smaller, but not greater and not none."""
        require_only_lowered(Limits(requests_per_minute=5), Limits(requests_per_minute=5, tokens_per_day=3))
        for number in (0, 6):
            refused = self.assertRaises(
                Refusal,
                require_only_lowered,
                Limits(requests_per_minute=5),
                Limits(requests_per_minute=number),
            )
            self.assertEqual((refused.status, refused.param), (403, "requests_per_minute"))

    @settings(max_examples=200, deadline=None)
    @given(_LIMITS, _LIMITS)
    def test_whatever_is_let_through_leaves_no_more_than_before(self, old: Limits, new: Limits) -> None:
        """Lowering never makes an effective limit greater."""
        try:
            require_only_lowered(old, new)
        except Refusal:
            return
        for before, after in zip(_bounds(old), _bounds(new), strict=True):
            self.assertLessEqual(after, before)

    @settings(max_examples=200, deadline=None)
    @given(_LIMITS, _LIMITS)
    def test_every_number_that_a_child_has_is_the_one_that_binds(self, child: Limits, parent: Limits) -> None:
        """A limit that may be set below a parent is what is left in the end."""
        try:
            require_within_parent(child, [("organisation", parent)])
        except Refusal:
            return
        for own, left in zip(astuple(child), _bounds(child, parent), strict=True):
            self.assertIn(own, (0, left))
