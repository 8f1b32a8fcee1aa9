"""What the administrative operations work on, whichever way they are reached."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred, succeed

from voidllm.admin.refusals import RefusalMeter
from voidllm.admin.sso_parts import SignOn, settings_of
from voidllm.auth.passwords import Passwords
from voidllm.auth.sessions import SessionRules
from voidllm.config import Config
from voidllm.core.crypto import KeyDigester
from voidllm.core.keyring import Keyring
from voidllm.core.principal import Limits
from voidllm.core.world import World
from voidllm.http.clientaddr import TrustedProxies


def _nothing_to_do() -> Deferred[None]:
    return succeed(None)


def _passwords(context: AdminContext) -> Passwords:
    return Passwords(context.world)


def _sign_on(context: AdminContext) -> SignOn:
    return SignOn(context.world, lambda: settings_of(context.config(), context.environ))


def _refusals(context: AdminContext) -> RefusalMeter:
    return RefusalMeter(context.world.reactor.seconds)


@frozen
class AdminContext:
    """The parts of a gateway that administration needs.

    :ivar store: an :class:`~voidllm.core.interfaces.IStore`.
    :ivar digester: makes the digests by which API keys are known.
    :ivar snapshots: an :class:`~voidllm.core.interfaces.ISnapshotSource`; says who calls.
    :ivar flush: commits everything that was journaled before the call, so that a report is complete.
    :ivar config_view: gives the configuration as plain values, without secrets.
    :ivar config: gives the configuration itself, with its secrets.
    :ivar environ: where outbound proxies are looked up that the configuration does not name.
    :ivar reload: takes over the configuration file and gives the keys that need a restart.
    :ivar workers: describes the processes that answer requests besides this one, if there are any.
    :ivar used: gives what a scope of this kind and id, with these limits, has used now, see
        :meth:`voidllm.core.interfaces.ILimiter.used`; ``None`` where nobody counts.
    :ivar audited: whether changes and refusals are put on record.
    :ivar refusals: how many refusals go on record.
    :ivar trusted: whose ``X-Forwarded-For`` is believed.
    :ivar began_s: when the gateway began, by the reactor's clock.
    :ivar secrets: seals and opens what is kept encrypted; see :mod:`voidllm.core.keyring`.
    :ivar box: this box's name among those on the database.
    :ivar sessions: how long sessions live.
    :ivar passwords: makes and checks hashes, a few at a time.
    :ivar sign_on: single sign-on.
    :ivar forget_first_password: deletes the file with the password from the first start.
    """

    world: World
    store: Any
    digester: KeyDigester = field(repr=False)
    snapshots: Any = field(repr=False)
    flush: Callable[[], Deferred[Any]] = _nothing_to_do
    config_view: Callable[[], Mapping[str, Any]] = dict
    config: Callable[[], Config] = field(default=Config, repr=False)
    environ: Mapping[str, str] = field(factory=dict, repr=False)
    reload: Callable[[], list[str]] | None = None
    workers: Callable[[], list[dict[str, Any]]] | None = None
    used: Callable[[str, str, Limits], tuple[int, ...]] | None = None
    audited: bool = True
    refusals: RefusalMeter = field(default=Factory(_refusals, takes_self=True), repr=False)
    trusted: TrustedProxies = field(factory=TrustedProxies)
    began_s: float = 0.0
    secrets: Keyring = field(factory=Keyring, repr=False)
    box: str = ""
    sessions: SessionRules = field(factory=SessionRules)
    passwords: Passwords = field(default=Factory(_passwords, takes_self=True), repr=False)
    sign_on: SignOn = field(default=Factory(_sign_on, takes_self=True), repr=False)
    forget_first_password: Callable[[], Deferred[Any]] = _nothing_to_do
