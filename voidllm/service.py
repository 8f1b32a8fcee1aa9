"""The gateway as a Twisted service: the real world, ports, signals and the order of the end."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voidllm import __version__
from voidllm.admin.control import ControlSocket
from voidllm.admin.root import make_root
from voidllm.bootstrap import CREDENTIALS, FirstCredentials
from voidllm.config import Config, ConfigErrors, diff_needs_restart, load_config
from voidllm.core.errors import VoidLLMError
from voidllm.core.world import World
from voidllm.ending import Patience, end_replies
from voidllm.garbage import Keeper
from voidllm.gateway import Gateway
from voidllm.hardening import harden
from voidllm.heap import keep_freed
from voidllm.http import polling
from voidllm.http.front import FrontFactory
from voidllm.http.resource import ProxyResource
from voidllm.http.site import StrictSite
from voidllm.instruments import register_gateway, register_plane
from voidllm.listening import endpoint, listen, listen_often, url
from voidllm.sdnotify import Notifier
from voidllm.telemetry.fleet import Fleet
from voidllm.telemetry.logs import Log, start_logging
from voidllm.telemetry.looplag import LoopLag
from voidllm.telemetry.metrics import Metrics
from voidllm.upstreams import make_upstreams
from voidllm.welcome import first_start, welcome
from voidllm.wiring import front_settings, make_plan, pool_settings

if TYPE_CHECKING:
    from voidllm.workers import Workers

_log = Logger()


def real_world() -> World:
    """Give the world of a real process."""
    from twisted.internet import reactor
    from twisted.internet.threads import deferToThread

    return World(reactor=reactor, in_thread=deferToThread)


def make_service(config_path: str | None, listen: str | None) -> GatewayService:
    """Load the configuration and compose the service.

    :raises SystemExit: if the configuration cannot be used; all that is wrong is printed.
    """
    load = partial(load_config, config_path, os.environ, os.getcwd())
    try:
        config = load()
    except ConfigErrors as errors:
        sys.stderr.write(f"{errors}\n")
        raise SystemExit(1) from None
    log = start_logging(config.logging.level, config.logging.format, sys.stdout)
    return GatewayService(real_world(), config, load, listen, Notifier(os.environ), log)


class GatewayService(Service):
    """Runs one gateway on real ports.

    :param load: reads the configuration again, for SIGHUP.
    :param listen: endpoint description that replaces ``server.proxy``'s host and port.
    """

    def __init__(
        self,
        world: World,
        config: Config,
        load: Callable[[], Config],
        listen: str | None,
        notifier: Notifier,
        log: Log,
    ) -> None:
        self._world = world
        self._started_with = self._config = config
        self._load = load
        self._listen_on = listen
        self._notifier = notifier
        self._log = log
        self._metrics = Metrics()
        self._lag = LoopLag(world, self._metrics)
        self._watchdog: LoopingCall | None = None
        self._port: Any = None
        self._control: ControlSocket | None = None
        self._signals = 0
        self._workers: Workers | None = None
        self._tls: tuple[bytes, bytes] | None = None
        self._gateway, self._front = self._compose()

    def _compose(self) -> tuple[Gateway, Any]:
        world, config = self._world, self._config
        page: Any = self._metrics
        size = config.workers.on(len(os.sched_getaffinity(0)))
        if size > 1:
            from voidllm.workers import Workers

            page = Fleet(self._metrics.registry, range(1, size + 1), world.reactor.seconds)
            bind = partial(listen_often, self._description())
            self._workers = Workers(world, size, bind, page)
        workers = self._workers
        upstreams = make_upstreams(world, config.upstream.engine, pool_settings(config))
        gateway = Gateway(
            world,
            config,
            upstreams,
            self._metrics,
            self._announce,
            os.environ,
            Keeper(),
            workers,
        )
        settings = front_settings(config)
        root = make_root(
            world,
            state=lambda: gateway.state,
            ping=gateway.store.ping,
            proxy=ProxyResource(world, gateway.plane.door, settings),
            context=gateway.admin_context,
            metrics=page,
            metrics_token=config.metrics.token or "",
            trusted_proxies=settings.trusted_proxies,
            refresh=workers.refresh if workers else None,
            busy=lambda: gateway.plane.busy,
        )
        site = StrictSite(world, root, settings, gateway.plane.door.welcome)
        front: Any = site
        if workers is None and config.server.front == "fast":
            front = FrontFactory(world, gateway.plane.door, site, settings)
        register_plane(self._metrics, gateway.plane, front, upstreams)
        register_gateway(self._metrics, gateway)
        return gateway, front

    def _description(self) -> str:
        return self._listen_on or endpoint(self._config)

    # -- start

    def startService(self) -> None:
        """Listen at once, open in the background, and take over the signals."""
        super().startService()  # type: ignore[no-untyped-call]
        for config_warning in self._config.warnings:
            _log.warn("{warning}", warning=config_warning)
        for warning in harden():
            _log.warn("{warning}", warning=warning)
        keep_freed()
        polling.install(self._world.reactor)
        self._world.reactor.callWhenRunning(self._take_signals)
        opening = Deferred.fromCoroutine(self._open())
        opening.addErrback(self._cannot_open)

    async def _open(self) -> None:
        factory: Any = self._front
        tls = self._config.server.proxy.tls
        if tls.enabled:
            from voidllm.http.server_tls import context_factory, read_pair, secured

            self._tls = read_pair(tls.cert, tls.key)
            # With workers only to see that it can be made.
            factory = secured(factory, context_factory(*self._tls))
        if self._workers is None:
            self._port = await listen(self._world.reactor, self._description(), factory)
        else:
            plan = make_plan(self._config, self._workers.size, self._tls)
            self._workers.attach(self._gateway.holder, self._front, plan)
        await self._gateway.open()
        if self._gateway.state != "ready":
            return
        self._control = ControlSocket(
            self._world,
            self._config.state_dir,
            self._gateway.admin_context(),
            reload=self.reload,
            workers=self._workers.roster if self._workers is not None else None,
        )
        await self._control.start()
        self._lag.start()
        where = self._url() or self._description()
        self._notifier.send("READY=1", f"STATUS=serving on {where}")
        if self._notifier.watchdog_s:
            self._watchdog = LoopingCall(self._notifier.send, "WATCHDOG=1")
            self._watchdog.clock = self._world.reactor
            self._watchdog.start(self._notifier.watchdog_s)
        _log.info("voidllm {version} is ready on {where}", version=__version__, where=where)

    def _url(self, reachable: bool = False) -> str | None:
        secure = self._config.server.proxy.tls.enabled or (self._listen_on or "").startswith("ssl:")
        port = self._workers or self._port
        return url(port.getHost(), secure, reachable)

    def _cannot_open(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, VoidLLMError):
            _log.critical("the gateway cannot start: {why}", why=str(error))
        elif isinstance(error, OSError) and error.strerror:
            why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            _log.critical("the gateway cannot start: {why}", why=why)
        else:
            _log.failure("the gateway cannot start", failure)
        self._notifier.send("STATUS=cannot start")
        reactor = self._world.reactor
        # twistd's own exit status would be 0; this runs after everything has been closed.
        reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        reactor.callLater(0, reactor.stop)

    def _announce(self, first: FirstCredentials) -> None:
        path = os.path.join(self._config.state_dir, CREDENTIALS)
        # Straight to the terminal, once, never through the log; a service manager would keep
        # what is printed, so there only the file is named.
        if "JOURNAL_STREAM" in os.environ:
            sys.stderr.write(first_start(path))
        else:
            sys.stderr.write(welcome(first, path, self._config, self._url(reachable=True)))
        sys.stderr.flush()

    # -- signals

    def _take_signals(self) -> None:
        call = self._world.reactor.callFromThread
        signal.signal(signal.SIGHUP, lambda *_: call(self._reload_for_signal))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: call(self._asked_to_stop))

    def _asked_to_stop(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._world.reactor.stop()
        else:
            # Rows of what is running go to the journal, which the next start reads.
            self._gateway.cut()
            if self._workers is not None:
                self._workers.cut()
            # The last words of each stream leave now: there is no end of this turn.
            outbox = polling.outbox_of(self._world.reactor)
            if outbox is not None:
                outbox.flush()
            _log.warn("a second signal: voidllm ends at once; what was used is in the journal")
            os._exit(1)

    def _reload_for_signal(self) -> None:
        try:
            restart = self.reload()
        except VoidLLMError as error:
            _log.error("the configuration was not reloaded: {why}", why=str(error))
        else:
            late = f"; only a restart applies {', '.join(restart)}" if restart else ""
            _log.info("the configuration was reloaded{late}", late=late)

    def reload(self) -> list[str]:
        """Take over the configuration file as it is now, or leave all as it was.

        :returns: keys whose change needs a restart.
        :raises ConfigErrors: if the file cannot be used.
        """
        new = self._load()
        # Against what the process was started with, so that an earlier reload hides nothing.
        restart = diff_needs_restart(self._started_with, new)
        for config_warning in new.warnings:
            _log.warn("{warning}", warning=config_warning)
        self._config = new
        self._log.level = new.logging.level
        self._gateway.reload(new)
        if self._workers is not None:
            self._workers.reload(make_plan(new, self._workers.size, self._tls))
        return list(restart)

    # -- the end

    def stopService(self) -> Deferred[None]:
        """Drain, then cut what still runs, then close; fires when all is closed."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notifier.send("STOPPING=1")
        self._gateway.drain()
        patience_s = self._config.server.proxy.drain_timeout.seconds
        if self._workers is not None:
            self._workers.drain(patience_s)
        self._front.drain()
        if self._workers is not None or not self._front.drained().called:
            _log.info(
                "stopping: what is running has {patience} s to end; a second signal ends it at once",
                patience=f"{patience_s:g}",
            )
        patience = Patience(self._world, patience_s)
        await end_replies(self._world, self._gateway.plane, self._front, self._port, patience)
        if self._workers is not None:
            await self._workers.stop(patience_s)
        if self._control is not None:
            await self._control.stop()
        self._lag.stop()
        if self._watchdog is not None and self._watchdog.running:
            self._watchdog.stop()
        await self._gateway.close()
        _log.info("voidllm has stopped")
