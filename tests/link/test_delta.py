"""Changes from one snapshot to the next, and their way between processes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.model import Deployment, Model, Price, UpstreamTLS
from voidllm.core.principal import Limits, Principal, Scope
from voidllm.core.snapshot import Aliases, Snapshot
from voidllm.core.snapshot_delta import Delta, Gap, apply, difference
from voidllm.link.feed import whole_frames
from voidllm.link.framing import Frames
from voidllm.link.messages import Change, Complete, Keys, Whole, decode_to_worker, encode

_names = st.sampled_from(["a", "b", "c"])
_principals = st.builds(
    Principal,
    key_id=_names,
    key_type=st.just("user_key"),
    key_name=_names,
    org_id=_names,
    team_id=st.none() | _names,
    scopes=st.frozensets(_names, max_size=2),
    expires_at_ms=st.none() | st.integers(0, 1 << 60),
    counted=st.lists(
        st.builds(Scope, _names, _names, st.builds(Limits, st.integers(0, 1 << 62)), st.integers(-1, 9)),
        max_size=2,
    ).map(tuple),
    access=st.lists(st.frozensets(_names, max_size=2), max_size=2).map(tuple),
)
_deployments = st.builds(
    Deployment,
    key=_names,
    name=_names,
    provider=_names,
    base_url=_names,
    upstream_model=_names,
    api_key=_names,
    timeout_ms=st.none() | st.integers(0, 99),
    tls=st.builds(UpstreamTLS, st.none() | _names),
    proxy_url=st.none() | _names,
)
_models = st.builds(
    Model,
    name=_names,
    type=_names,
    deployments=st.lists(_deployments, max_size=2).map(tuple),
    aliases=st.lists(_names, max_size=2).map(tuple),
    price=st.none() | st.builds(Price, _names, audio_output=st.none() | st.integers(0, 9)),
)
_aliases = st.builds(
    Aliases,
    st.dictionaries(st.tuples(_names, _names), _names, max_size=2),
    st.dictionaries(st.tuples(_names, _names), _names, max_size=2),
    st.dictionaries(_names, _names, max_size=2),
)
_snapshots = st.builds(
    Snapshot,
    st.integers(0, 1 << 40),
    st.dictionaries(st.binary(min_size=2, max_size=2), _principals, max_size=3),
    st.dictionaries(_names, _models, max_size=2),
    _aliases,
)


class TestDelta(SynchronousTestCase):
    """Differences between snapshots."""

    @given(_snapshots, _snapshots)
    def test_becomes_the_other(self, old: Snapshot, new: Snapshot) -> None:
        """Whatever changed, the old snapshot and the difference, sent over the line, give the new one."""
        change = decode_to_worker(encode(Change(difference(old, new))))
        self.assertEqual(apply(old, change.delta), new)

    @given(_snapshots)
    def test_whole(self, snapshot: Snapshot) -> None:
        """A whole snapshot comes out at the other end as it went in, piece by piece."""
        begin, *pieces, end = map(decode_to_worker, Frames(1 << 20).feed(b"".join(whole_frames(snapshot))))
        assert isinstance(begin, Whole) and isinstance(end, Complete)
        keys: dict[bytes, Principal] = {}
        for piece in pieces:
            assert isinstance(piece, Keys)
            keys |= piece.keys
        self.assertEqual(Snapshot(begin.version, keys, begin.models, begin.aliases), snapshot)

    def test_gap(self) -> None:
        """A change of another version is refused."""
        delta = difference(Snapshot(3), Snapshot(4))
        with self.assertRaises(Gap):
            apply(Snapshot(2), delta)

    def test_sameness(self) -> None:
        """What did not change is not sent, and stays the same object."""
        one = Principal("k", "user_key", "n", "o")
        old = Snapshot(1, {b"1": one, b"2": one}, {"m": Model("m", "chat", ())})
        delta = difference(old, Snapshot(2, {b"1": one}, old.models))
        self.assertEqual(delta, Delta(1, 2, {}, (b"2",), {}, (), None))
        new = apply(old, delta)
        self.assertIs(new.models, old.models)
        self.assertIs(new.keys[b"1"], one)
