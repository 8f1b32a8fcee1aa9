"""Principals from what the store knows: all of them, or those that a change concerns."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, Mapping

from attrs import evolve

from voidllm.core.principal import Limits, Principal, Scope
from voidllm.core.snapshot_keys import KeyDraft, KeyTable, Shared
from voidllm.store.changes_read import Changes, ScopeFacts
from voidllm.store.live_keys import LiveKey

#: Gives a limited scope's place in shared memory by its kind and id.
Cells = Callable[[str, str], int]
Lists = Mapping[str, frozenset[str]]
_Behind = tuple[tuple[Scope, ...], tuple[frozenset[str], ...]]
# A step is some hundred microseconds.
_STEP = 50


class Book:
    """What is known of the store besides the principals, so that a change needs no reading of all.

    Methods that have much to do are generators, each step of which is short.

    :param previous: equal principals of it are used again, so that they need not be told anybody.
    :ivar org_aliases: ``(org_id, alias) -> model``; never changed, only replaced, as the next one.
    """

    def __init__(self, previous: KeyTable, cells: Cells | None = None) -> None:
        self.org_aliases: Mapping[tuple[str, str], str] = {}
        self.team_aliases: Mapping[tuple[str, str], str] = {}
        self._previous = previous
        self._cells = cells
        self._shared = Shared()
        # Live ones; with None for a scope that has no limits.
        self._system: Scope | None = None
        self._orgs: dict[str, Scope | None] = {}
        self._teams: dict[str, tuple[str, Scope | None]] = {}
        self._access: dict[tuple[str, str], frozenset[str]] = {}
        self._own: dict[str, frozenset[str]] = {}
        self._digests: dict[str, bytes] = {}
        # By the id of an organisation, team, user or service account.
        self._owned: dict[str, set[bytes]] = {}
        self._behind: dict[tuple[str, str | None], _Behind] = {}
        self._scopes: dict[str, frozenset[str]] = {}

    # -- all of it

    def begin(self, facts: ScopeFacts) -> None:
        """Take over all organisations and teams; keys follow in pages."""
        self._system = self._scope("system", "", facts.system)
        for org_id, limits in facts.orgs.items():
            self._orgs[org_id] = self._scope("org", org_id, limits)
        for team_id, team in facts.teams.items():
            self._teams[team_id] = (team.org_id, self._scope("team", team_id, team.limits))
        for scope, allowed in facts.access.items():
            self._access[scope] = self._shared(allowed)
        self.org_aliases, self.team_aliases = facts.org_aliases, facts.team_aliases

    def add(self, draft: KeyDraft, keys: Iterable[LiveKey], lists: Lists) -> Iterator[None]:
        """Put live keys in, new ones or as they are now."""
        self._shared.trim()
        for number, key in enumerate(keys, 1):
            self._take(draft, key, lists.get(key.id))
            if number % _STEP == 0:
                yield

    # -- what a change concerns

    def new_owners(self, changes: Changes) -> tuple[list[str], list[str]]:
        """Give organisations and teams that were not there before; what keys they have is not known."""
        orgs = [org_id for org_id in changes.scopes.orgs if org_id not in self._orgs]
        teams = [team_id for team_id in changes.scopes.teams if team_id not in self._teams]
        return orgs, teams

    def follow(self, draft: KeyDraft, changes: Changes) -> Iterator[None]:
        """Make a draft of the keys before into one of the keys after some changes."""
        asked = changes.asked
        touched = self._follow_scopes(changes)
        for number, place in enumerate(touched, 1):
            self._again(draft, place)
            if number % _STEP == 0:
                yield
        live = {key.id for key in changes.keys}
        before = [digest for key_id in asked.get("key", ()) if (digest := self._digests.get(key_id))]
        for kind in ("user", "service_account"):
            for owner in asked.get(kind, ()):
                before += self._owned.get(owner, ())
        for number, digest in enumerate(before, 1):
            principal = draft.get(digest)
            if principal is not None and principal.key_id not in live:
                self._drop(draft, digest, principal)
            if number % _STEP == 0:
                yield
        yield from self.add(draft, changes.keys, changes.lists)

    def sweep(self, draft: KeyDraft, keys: KeyTable, now_ms: int) -> Iterator[None]:
        """Drop keys that have expired, and ask for the place of every scope that is still counted."""
        if self._cells is not None:
            self._keep(self._system)
            for org in self._orgs.values():
                self._keep(org)
            for _, team in self._teams.values():
                self._keep(team)
        for shard in keys.shards():
            yield
            for digest, principal in shard.items():
                if principal.expires_at_ms is not None and principal.expires_at_ms <= now_ms:
                    self._drop(draft, digest, principal)
                elif principal.counted and principal.counted[0].kind == "key":
                    self._keep(principal.counted[0])

    def _follow_scopes(self, changes: Changes) -> list[bytes]:
        """Take over organisations and teams; gives the keys whose limits or access may differ."""
        facts, orgs, teams = changes.scopes, changes.asked.get("org", ()), changes.asked.get("team", ())
        touched = {digest for owner in (*orgs, *teams) for digest in self._owned.get(owner, ())}
        for org_id in orgs:
            if org_id in facts.orgs:
                self._orgs[org_id] = self._scope("org", org_id, facts.orgs[org_id])
            elif self._orgs.pop(org_id, self) is not self:
                for team_id in [team_id for team_id, (of, _) in self._teams.items() if of == org_id]:
                    del self._teams[team_id]
        for team_id in teams:
            if team_id in facts.teams:
                team = facts.teams[team_id]
                self._teams[team_id] = (team.org_id, self._scope("team", team_id, team.limits))
            else:
                self._teams.pop(team_id, None)
        for scope in (*(("org", org_id) for org_id in orgs), *(("team", team_id) for team_id in teams)):
            if scope in facts.access:
                self._access[scope] = self._shared(facts.access[scope])
            else:
                self._access.pop(scope, None)
        self.org_aliases = _aliases(self.org_aliases, orgs, facts.org_aliases)
        self.team_aliases = _aliases(self.team_aliases, teams, facts.team_aliases)
        if orgs or teams:
            self._behind.clear()
        return list(touched)

    # -- one key

    def _take(self, draft: KeyDraft, key: LiveKey, own: frozenset[str] | None) -> None:
        digest = bytes.fromhex(key.hash)
        behind = self._behind_of(key.org_id, key.team_id)
        if behind is None:
            # A key whose organisation or team is gone is dead, whatever its row says.
            known = draft.get(digest)
            if known is not None:
                self._drop(draft, digest, known)
            return
        share = self._shared
        if own is None:
            self._own.pop(key.id, None)
        else:
            own = self._own[key.id] = share(own)
        limits = key.limits
        scope = None if limits is None else self._scope("key", key.id, limits)
        made = Principal(
            key_id=key.id,
            key_type=share(key.key_type),
            key_name=key.name,
            org_id=share(key.org_id),
            team_id=share(key.team_id),
            user_id=key.user_id,
            service_account_id=share(key.service_account_id),
            role=share(key.role),
            scopes=self._scopes_of(key.scopes),
            expires_at_ms=key.expires_at_ms,
            counted=behind[0] if scope is None else (scope, *behind[0]),
            access=behind[1] if own is None else self._with(own, behind[1]),
            networks=() if key.addresses is None else share(key.networks),
            tags="" if key.tags is None else share(key.usage_tags),
        )
        self._put(draft, digest, made)

    def _scopes_of(self, text: str) -> frozenset[str]:
        known = self._scopes.get(text)
        if known is None:
            # There are three, so their combinations are few.
            known = self._scopes[text] = frozenset(text.split())
        return known

    def _again(self, draft: KeyDraft, digest: bytes) -> None:
        """Make a principal anew whose organisation or team is different."""
        principal = draft.get(digest)
        if principal is None:
            return
        behind = self._behind_of(principal.org_id, principal.team_id)
        if behind is None:
            self._drop(draft, digest, principal)
            return
        counted, access = behind
        if principal.counted and principal.counted[0].kind == "key":
            counted = (principal.counted[0], *counted)
        own = self._own.get(principal.key_id)
        if own is not None:
            access = self._with(own, access)
        if counted != principal.counted or access != principal.access:
            self._put(draft, digest, evolve(principal, counted=counted, access=access))

    def _put(self, draft: KeyDraft, digest: bytes, made: Principal) -> None:
        known = draft.get(digest)
        if known is not None and _owners(known) != _owners(made):
            self._forget(digest, known)
            known = None
        if known is None:
            self._digests[made.key_id] = digest
            for owner in _owners(made):
                self._owned.setdefault(owner, set()).add(digest)
        before = self._previous.get(digest)
        draft.put(digest, before if before == made else made)

    def _drop(self, draft: KeyDraft, digest: bytes, principal: Principal) -> None:
        draft.drop(digest)
        self._forget(digest, principal)
        self._own.pop(principal.key_id, None)

    def _forget(self, digest: bytes, principal: Principal) -> None:
        self._digests.pop(principal.key_id, None)
        for owner in _owners(principal):
            owned = self._owned.get(owner)
            if owned is not None:
                owned.discard(digest)
                if not owned:
                    del self._owned[owner]

    def known(self, keys: KeyTable) -> None:
        """Compare with ``keys`` from now on, which are those that were published."""
        self._previous = keys

    # -- what stands behind it

    def _behind_of(self, org_id: str, team_id: str | None) -> _Behind | None:
        """Give the scopes and lists of a team and its organisation; ``None`` if one of them is gone."""
        known = self._behind.get((org_id, team_id))
        if known is not None:
            return known
        if org_id not in self._orgs or (team_id is not None and team_id not in self._teams):
            return None
        scopes = [self._orgs[org_id], self._system]
        lists = [self._access.get(("org", org_id))]
        if team_id is not None:
            scopes.insert(0, self._teams[team_id][1])
            lists.insert(0, self._access.get(("team", team_id)))
        counted = tuple(scope for scope in scopes if scope is not None)
        access = tuple(dict.fromkeys(allowed for allowed in lists if allowed is not None))
        behind = self._behind[self._shared(org_id), self._shared(team_id)] = (counted, self._shared(access))
        return behind

    def _with(self, own: frozenset[str], access: tuple[frozenset[str], ...]) -> tuple[frozenset[str], ...]:
        found: tuple[frozenset[str], ...] = self._shared(tuple(dict.fromkeys((own, *access))))
        return found

    def _scope(self, kind: str, id_: str, limits: Limits) -> Scope | None:
        if limits.unlimited:
            return None
        cell = -1 if self._cells is None else self._cells(kind, id_)
        return Scope(kind, id_, self._shared(limits), cell)

    def _keep(self, scope: Scope | None) -> None:
        if scope is not None and self._cells is not None:
            self._cells(scope.kind, scope.id)


def _owners(principal: Principal) -> tuple[str, ...]:
    owners = (principal.org_id, principal.team_id, principal.user_id, principal.service_account_id)
    return tuple(owner for owner in owners if owner is not None)


def _aliases(
    known: Mapping[tuple[str, str], str], asked: Iterable[str], found: Mapping[tuple[str, str], str]
) -> Mapping[tuple[str, str], str]:
    """Replace the aliases of the scopes that were asked for; without a difference it is the same object."""
    scopes = frozenset(asked)
    if not scopes:
        return known
    made = {place: model for place, model in known.items() if place[0] not in scopes} | dict(found)
    return known if made == known else made
