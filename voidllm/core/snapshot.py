"""Everything a request needs to be decided, as one frozen, acyclic object."""

from __future__ import annotations

from typing import Mapping

from attrs import field, frozen

from voidllm.core.model import Model
from voidllm.core.principal import Principal
from voidllm.core.snapshot_keys import EMPTY_TABLE, KeyTable, key_table


@frozen
class Aliases:
    """Other names of models; a team's wins over its organisation's.

    :ivar team: ``(team_id, alias) -> model name``.
    :ivar org: ``(org_id, alias) -> model name``.
    :ivar everywhere: ``alias -> model name``, after canonical names.
    """

    team: Mapping[tuple[str, str], str] = field(factory=dict)
    org: Mapping[tuple[str, str], str] = field(factory=dict)
    everywhere: Mapping[str, str] = field(factory=dict)


@frozen
class Snapshot:
    """One version of the gateway's world, swapped in one assignment.

    :ivar version: grows with every change that the control plane publishes.
    :ivar keys: HMAC-SHA256 digest of a key (32 bytes) to the principal it speaks for.
        Revoked keys are absent; expiry is checked at use.
    :ivar models: canonical name to model.
    """

    version: int
    keys: KeyTable = field(default=EMPTY_TABLE, converter=key_table, repr=False)
    models: Mapping[str, Model] = field(factory=dict)
    aliases: Aliases = field(factory=Aliases)

    def resolve(self, requested: str, principal: Principal) -> Model | None:
        """Find the model that ``requested`` names for ``principal``, or ``None``.

        Order: team alias, organisation alias, canonical name, global alias. One hop,
        except that a team's or organisation's alias may point at a global alias.
        """
        name = None
        if principal.team_id is not None and self.aliases.team:
            name = self.aliases.team.get((principal.team_id, requested))
        if name is None and self.aliases.org:
            name = self.aliases.org.get((principal.org_id, requested))
        if name is None:
            name = requested
        model = self.models.get(name)
        if model is None:
            canonical = self.aliases.everywhere.get(name)
            if canonical is not None:
                model = self.models.get(canonical)
        return model


EMPTY_SNAPSHOT = Snapshot(version=0)
