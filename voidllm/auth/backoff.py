"""How long whoever fails to log in must wait before the next attempt.

Three things are counted: attempts at an account from one address, attempts from an address at
whatever account, and attempts at an account from wherever. Each may fail a few times; then the wait
doubles with each failure, up to a bound. An attempt that comes too early is not looked at, is not
counted, and makes nobody's wait longer.

Nobody can be locked out by others. What others do to an account delays only addresses that it was
not used from in the last 30 days, by half a minute at most, and each of them waits for itself: the
time runs from the address's own first or latest attempt, however many others try meanwhile.
"""

from __future__ import annotations

import ipaddress
from typing import Callable, Mapping

from attrs import frozen

from voidllm.store.login_attempts import KEPT_MS, Tally

_SECOND = 1000
_HOUR = 3_600_000
_NOTHING = Tally()


@frozen
class Rule:
    """When the waiting begins, and how long it can become; times in milliseconds.

    :ivar free: failures without a wait.
    :ivar forgotten_ms: after so long without an attempt failures count no more.
    """

    free: int
    longest_ms: int
    forgotten_ms: int
    first_ms: int = _SECOND

    def failures(self, tally: Tally, now_ms: int) -> int:
        """Give the failures that still count."""
        return tally.failures if now_ms - tally.last_ms < self.forgotten_ms else 0

    def delay_ms(self, tally: Tally, now_ms: int) -> int:
        """Give how long after an attempt the next one may be."""
        over = self.failures(tally, now_ms) - self.free
        if over < 0:
            return 0
        return min(self.first_ms << min(over, 32), self.longest_ms)


#: One account from one address: after a day of guessing about a hundred attempts.
PAIR = Rule(free=5, longest_ms=15 * 60 * _SECOND, forgotten_ms=24 * _HOUR)
#: One address, behind which may be a whole office.
ADDRESS = Rule(free=30, longest_ms=5 * 60 * _SECOND, forgotten_ms=_HOUR)
#: One account, from addresses that it is not known from.
ACCOUNT = Rule(free=20, longest_ms=30 * _SECOND, forgotten_ms=_HOUR)


@frozen
class Subjects:
    """What one attempt counts for, as digests."""

    account: str
    address: str
    pair: str

    @property
    def all(self) -> tuple[str, ...]:
        """Give all three."""
        return (self.account, self.address, self.pair)


def subjects_of(digest: Callable[[bytes], bytes], email: str, address: str) -> Subjects:
    """Give what an attempt counts for.

    :param digest: a keyed one, so that nobody can try addresses against what is stored.
    :param email: as it was typed, whether or not somebody has it.
    :param address: of the client; of IPv6 the network counts, because one client has all of it.
    """
    account = email.strip().lower()
    network = network_of(address)

    def one(kind: str, *parts: str) -> str:
        return digest("\0".join(("login", kind, *parts)).encode("utf-8", "surrogatepass")).hex()

    return Subjects(one("account", account), one("address", network), one("pair", account, network))


def network_of(address: str) -> str:
    """Give what counts as one client: an IPv4 address, or a /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


def wait_ms(subjects: Subjects, found: Mapping[str, Tally], now_ms: int) -> int:
    """Give how long an attempt must wait, in milliseconds; 0 if it need not."""
    account, address, pair = (found.get(subject, _NOTHING) for subject in subjects.all)
    waits = [
        pair.last_ms + PAIR.delay_ms(pair, now_ms) - now_ms,
        address.last_ms + ADDRESS.delay_ms(address, now_ms) - now_ms,
    ]
    if not known(pair, now_ms):
        # Who was never heard of begins to wait now.
        began_ms = max(pair.since_ms, pair.last_ms) if subjects.pair in found else now_ms
        waits.append(began_ms + ACCOUNT.delay_ms(account, now_ms) - now_ms)
    return max(0, *waits)


def known(pair: Tally | None, now_ms: int) -> bool:
    """Say whether an account was logged in to from an address in the last 30 days."""
    return pair is not None and pair.good_ms is not None and now_ms - pair.good_ms < KEPT_MS


def decide(subjects: Subjects, now_ms: int) -> Callable[[Mapping[str, Tally]], tuple[int, Mapping[str, int]]]:
    """Give the decision on one attempt, for :func:`voidllm.store.login_attempts.count`."""

    def decided(found: Mapping[str, Tally]) -> tuple[int, Mapping[str, int]]:
        rules = ((subjects.account, ACCOUNT), (subjects.address, ADDRESS), (subjects.pair, PAIR))
        failures = {subject: rule.failures(found[subject], now_ms) + 1 for subject, rule in rules}
        return wait_ms(subjects, found, now_ms), failures

    return decided
