"""The one way in for every unit of work: who asks, may they, is there room, and what was used."""

from __future__ import annotations

from voidllm.auth.credentials import find_credential
from voidllm.core.crypto import KeyDigester
from voidllm.core.errors import JournalFull, Refusal
from voidllm.core.ids import IdSource
from voidllm.core.interfaces import IJournal, ILimiter, ISnapshotSource
from voidllm.core.model import Model
from voidllm.core.networks import inside
from voidllm.core.principal import Principal
from voidllm.core.usage import UsageEvent
from voidllm.core.work import Ask, Outcome
from voidllm.core.world import World
from voidllm.gate.admission import Admission
from voidllm.gate.metrics import GateMetrics, NoMetrics
from voidllm.gate.rows import finished_row, refused_row
from voidllm.http.message import HeadMemo

_INFERENCE = "inference"
_BUSY_RETRY_MS = 5000
_LIMITED = {"rate_limit_exceeded": "request", "token_limit_exceeded": "token"}


class Gate:
    """Admits units of work and writes one usage row for each, admitted or refused.

    Every :class:`~voidllm.core.errors.Refusal` that it raises is made anew: an exception object
    that is raised again and again keeps every traceback, and in it every caller's key.

    :ivar draining: set when the process shuts down; nothing is admitted from then on.
    :ivar in_flight: how many admissions are not settled yet.
    """

    def __init__(
        self,
        world: World,
        snapshots: ISnapshotSource,
        limiter: ILimiter,
        journal: IJournal,
        digester: KeyDigester,
        metrics: GateMetrics | None = None,
    ) -> None:
        self.draining = False
        self.in_flight = 0
        self._snapshots = snapshots
        self._limiter = limiter
        self._journal = journal
        self._metrics = metrics or NoMetrics()
        self._digest = digester.digest
        self._wall_ms = world.wall_ms
        self._seconds = world.reactor.seconds
        self._new_id = IdSource(world.random_bytes)

    def identify(
        self,
        headers: list[tuple[bytes, bytes]],
        client: str | None,
        request_id: str = "",
        started_s: float | None = None,
        memo: HeadMemo | None = None,
    ) -> Principal:
        """Say whom the key in ``headers`` speaks for.

        Nothing of the key is kept but its digest, in ``memo``, and it is in no error.

        :param headers: (lower-case name, value) pairs.
        :param client: the client's address, which some keys are confined to; ``None`` if it is
            looked at later.
        :param request_id: for the row of a known key that may not call models.
        :param started_s: monotonic seconds of the first request byte, for the same row.
        :param memo: keeps the key's digest for the next request with the same fields.
        :raises Refusal: 400 ``bad_request`` for two different keys; 401 ``unauthorized`` for
            none, or one that is malformed, unknown or expired: these have no row, as nobody
            is known to write it for. 403 ``address_not_allowed`` for a key that may not be used
            from there, ``insufficient_scope`` for one that is not made for inference: their rows
            are written here.
        """
        digest = None if memo is None else memo.key_digest
        if digest is None:
            try:
                digest = self._digest(find_credential(headers))
            except Refusal as refusal:
                self._metrics.refused(refusal.code, refusal.status)
                raise
            if memo is not None:
                memo.key_digest = digest
        principal: Principal | None = self._snapshots.current.keys.get(digest)
        if principal is None:
            raise self._unknown()
        expires_at_ms = principal.expires_at_ms
        if expires_at_ms is not None and expires_at_ms <= self._wall_ms():
            raise self._unknown()
        if principal.networks and client is not None and not inside(principal.networks, client):
            missing = Refusal(403, "address_not_allowed", "the API key may not be used from this address")
            self._refuse_early(principal, request_id, started_s, missing)
            raise missing
        if _INFERENCE not in principal.scopes:
            missing = Refusal(403, "insufficient_scope", "the API key is not made for inference")
            self._refuse_early(principal, request_id, started_s, missing)
            raise missing
        return principal

    def admit(self, principal: Principal, ask: Ask) -> Admission:
        """Let a unit of work in, or say why not.

        Limits come last, so that what is refused for another reason costs nothing.

        :returns: an admission that must be settled, whatever happens.
        :raises Refusal: 503 ``service_unavailable`` when draining, 503 ``journal_full``, 404
            ``model_not_found``, 403 ``model_access_denied``, 429 ``rate_limit_exceeded`` or
            ``token_limit_exceeded``. The row is written already.
        """
        model: Model | None = None
        try:
            if self.draining:
                raise Refusal(503, "service_unavailable", "the server is shutting down", None, _BUSY_RETRY_MS)
            if not self._journal.accepting():
                raise Refusal(
                    503, "journal_full", "there is no room to account for new work", None, _BUSY_RETRY_MS
                )
            model = self._snapshots.current.resolve(ask.target, principal)
            if model is None:
                raise Refusal(404, "model_not_found", "the requested model was not found", "model")
            if not principal.may_use(model.name):
                raise Refusal(403, "model_access_denied", "the API key may not use this model", "model")
            reservation = self._limiter.reserve(principal.counted, ask.estimated_tokens, self._wall_ms())
        except Refusal as refusal:
            scope = _LIMITED.get(refusal.code)
            if scope is not None:
                self._metrics.limited(scope)
            self._write_refusal(principal, model, ask, refusal)
            raise
        self.in_flight += 1
        return Admission(self, principal, model, ask, reservation)

    def refuse(self, principal: Principal, ask: Ask, refusal: Refusal) -> None:
        """Write the row of a unit of work that the caller refuses before asking to admit it.

        :param ask: as far as it is known; its target is ignored, because nobody resolved it.
        """
        self._write_refusal(principal, None, ask, refusal)

    def finish(self, admission: Admission, outcome: Outcome) -> None:
        """Count and write what an admitted unit of work used; called by the admission, once."""
        self.in_flight -= 1
        now_ms = admission.settled_ms = self._wall_ms()
        self._limiter.settle(admission.reservation, outcome.tokens.total, now_ms)
        ask = admission.ask
        event = finished_row(
            self._new_id(now_ms), admission.principal, admission.model, ask, outcome, self._since(ask)
        )
        self._append(event)
        self._metrics.settled(event)

    def rate_headers(self, admission: Admission) -> tuple[tuple[bytes, bytes], ...]:
        """Give the reply headers that say how the limits stand; ``()`` without limits."""
        if not admission.principal.counted:
            return ()
        # After settling these are for the very same reply.
        now_ms = admission.settled_ms or self._wall_ms()
        headers: tuple[tuple[bytes, bytes], ...] = self._limiter.headers(admission.reservation, now_ms)
        return headers

    def _refuse_early(
        self, principal: Principal, request_id: str, started_s: float | None, refusal: Refusal
    ) -> None:
        now_ms = self._wall_ms()
        began_s = self._seconds() if started_s is None else started_s
        ask = Ask("llm", "", "", 0, request_id or self._new_id(now_ms), now_ms, began_s)
        self._write_refusal(principal, None, ask, refusal)

    def _write_refusal(self, principal: Principal, model: Model | None, ask: Ask, refusal: Refusal) -> None:
        # When the disk is full, what room is left is for the rows of work that is running.
        if self._journal.accepting():
            row_id = self._new_id(self._wall_ms())
            self._append(refused_row(row_id, principal, model, ask, refusal, self._since(ask)))
        self._metrics.refused(refusal.code, refusal.status)

    def _append(self, event: UsageEvent) -> None:
        try:
            self._journal.append(event)
        except JournalFull:
            # The journal keeps the row and writes it later; new work is refused until then.
            pass

    def _unknown(self) -> Refusal:
        # An expired key is told what an unknown one is told.
        self._metrics.refused("unauthorized", 401)
        return Refusal(401, "unauthorized", "invalid API key")

    def _since(self, ask: Ask) -> int:
        passed_ms = round((self._seconds() - ask.started_s) * 1000)
        return passed_ms if passed_ms > 0 else 0
