"""Who a request's key speaks for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.gate.support import KEY, REQUEST_ID, START_MS, Surroundings, principal
from voidllm.core.errors import Refusal
from voidllm.core.snapshot import EMPTY_SNAPSHOT
from voidllm.http.message import HeadMemo

BEARER = [(b"host", b"x"), (b"authorization", b"Bearer " + KEY.encode())]


class IdentifyTests(SynchronousTestCase):
    """From headers to a principal."""

    def test_known_key(self) -> None:
        """A known key gives its principal, and counts nothing."""
        box = Surroundings()
        self.assertIs(box.gate.identify(BEARER, "127.0.0.1"), box.who)
        self.assertEqual((box.metrics.calls, box.journal.rows), ([], []))

    def _refused(self, box: Surroundings, headers: list[tuple[bytes, bytes]]) -> Refusal:
        return self.assertRaises(Refusal, box.gate.identify, headers, "127.0.0.1")

    def test_unknown_key(self) -> None:
        """An unknown key is a 401 without a row, and the key is not in the exception."""
        box = Surroundings()
        canary = "vl_uk_" + "cd" * 24
        refusal = self._refused(box, [(b"x-api-key", canary.encode())])
        self.assertEqual((refusal.status, refusal.code), (401, "unauthorized"))
        self.assertNotIn("cdcd", repr(refusal) + str(refusal))
        self.assertEqual(box.journal.rows, [])
        self.assertEqual(box.metrics.calls, [("refused", "unauthorized", 401)])

    def test_no_key(self) -> None:
        """A request without a key is a 401 and counted."""
        box = Surroundings()
        self.assertEqual(self._refused(box, [(b"host", b"x")]).status, 401)
        self.assertEqual(box.metrics.calls, [("refused", "unauthorized", 401)])

    def test_expiry(self) -> None:
        """A key works until the millisecond at which it expires, and then is as an unknown one."""
        box = Surroundings(principal(expires_at_ms=START_MS + 1000))
        box.clock.advance(0.999)
        box.gate.identify(BEARER, "127.0.0.1")
        box.clock.advance(0.001)
        refusal = self._refused(box, BEARER)
        self.assertEqual((refusal.status, refusal.message), (401, "invalid API key"))

    def test_revoked(self) -> None:
        """A key that is gone from the newest snapshot is refused at once."""
        box = Surroundings()
        box.gate.identify(BEARER, "127.0.0.1")
        box.snapshots.swap(EMPTY_SNAPSHOT)
        self.assertEqual(self._refused(box, BEARER).status, 401)

    def test_memo(self) -> None:
        """With a memo the fields are read once; what the key may is looked up each time."""
        box = Surroundings()
        memo = HeadMemo()
        box.gate.identify(BEARER, "127.0.0.1", memo=memo)
        self.assertIs(box.gate.identify([], "127.0.0.1", memo=memo), box.who)
        box.snapshots.swap(EMPTY_SNAPSHOT)
        refusal = self.assertRaises(Refusal, box.gate.identify, [], "127.0.0.1", memo=memo)
        self.assertEqual((refusal.status, refusal.message), (401, "invalid API key"))

    def test_memo_of_no_key(self) -> None:
        """What is refused for its fields leaves nothing in the memo."""
        box = Surroundings()
        memo = HeadMemo()
        self.assertRaises(Refusal, box.gate.identify, [(b"host", b"x")], "127.0.0.1", memo=memo)
        self.assertIsNone(memo.key_digest)

    def test_scope(self) -> None:
        """A key that is not for inference is a 403, with a row for its owner under the request's id."""
        box = Surroundings(principal(scopes=frozenset({"admin:read"})))
        refusal = self.assertRaises(Refusal, box.gate.identify, BEARER, "127.0.0.1", REQUEST_ID, 0.0)
        self.assertEqual((refusal.status, refusal.code), (403, "insufficient_scope"))
        (row,) = box.journal.rows
        self.assertEqual((row.status, row.key_id, row.request_id), (403, "key-1", REQUEST_ID))

    def test_scope_without_request_id(self) -> None:
        """Without a request id that row gets one of its own."""
        box = Surroundings(principal(scopes=frozenset()))
        self._refused(box, BEARER)
        self.assertEqual(len(box.journal.rows[0].request_id), 36)

    def test_fresh_exceptions(self) -> None:
        """Each refusal is a new exception, so that none collects tracebacks."""
        box = Surroundings()
        self.assertIsNot(self._refused(box, []), self._refused(box, []))

    def test_addresses(self) -> None:
        """A key that is confined to networks works there and is a 403 with a row elsewhere."""
        box = Surroundings(principal(networks=("10.1.0.0/16", "2001:db8::/32")))
        for client in ("10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3"):
            self.assertIs(box.gate.identify(BEARER, client), box.who)
        self.assertEqual(box.journal.rows, [])
        for client in ("10.2.0.1", "2001:db9::1", "127.0.0.1", ""):
            refusal = self.assertRaises(Refusal, box.gate.identify, BEARER, client, REQUEST_ID, 0.0)
            self.assertEqual((refusal.status, refusal.code), (403, "address_not_allowed"))
            self.assertNotIn(client or "?", str(refusal))
            row = box.journal.rows.pop()
            self.assertEqual((row.key_id, row.error_code, row.status), ("key-1", "address_not_allowed", 403))
            self.assertEqual((row.request_id, row.deployment), (REQUEST_ID, ""))

    def test_addresses_are_looked_at_before_scopes(self) -> None:
        """Who may not use a key from there learns nothing of what it is for."""
        box = Surroundings(principal(networks=("10.1.0.0/16",), scopes=frozenset({"admin:read"})))
        refusal = self.assertRaises(Refusal, box.gate.identify, BEARER, "10.2.0.1")
        self.assertEqual(refusal.code, "address_not_allowed")

    def test_an_address_that_is_not_known_yet(self) -> None:
        """Before a body is read on the slower face only the key is looked at."""
        box = Surroundings(principal(networks=("10.1.0.0/16",)))
        self.assertIs(box.gate.identify(BEARER, None), box.who)
