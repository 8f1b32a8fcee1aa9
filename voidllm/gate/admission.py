"""An admitted unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voidllm.core.errors import VoidLLMError
from voidllm.core.model import Model
from voidllm.core.principal import Principal
from voidllm.core.work import Ask, Outcome

if TYPE_CHECKING:
    from voidllm.gate.gate import Gate


class AdmissionSettledTwice(VoidLLMError):
    """A unit of work was settled a second time; it would have had two usage rows."""


class Admission:
    """Permission to do one unit of work; it is settled exactly once, whatever happens.

    :ivar model: what the ask's target means for the principal.
    :ivar reservation: what the limiter counted beforehand.
    :ivar settled: whether :meth:`settle` was called.
    :ivar settled_ms: when it was, in Unix milliseconds; 0 before.
    """

    __slots__ = ("_gate", "ask", "model", "principal", "reservation", "settled", "settled_ms")

    def __init__(self, gate: Gate, principal: Principal, model: Model, ask: Ask, reservation: Any) -> None:
        self._gate = gate
        self.principal = principal
        self.model = model
        self.ask = ask
        self.reservation = reservation
        self.settled = False
        self.settled_ms = 0

    def rate_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Give ``x-ratelimit-*`` for the reply; ``()`` when nothing is limited."""
        return self._gate.rate_headers(self)

    def settle(self, outcome: Outcome) -> None:
        """Count what was used and write the usage row; the kernel has it when this returns.

        The last byte of the reply is sent after this.

        :raises AdmissionSettledTwice: if it was called before.
        """
        if self.settled:
            raise AdmissionSettledTwice("a unit of work is settled once")
        self.settled = True
        self._gate.finish(self, outcome)
