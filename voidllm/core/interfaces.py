"""The seams between layers, as zope interfaces.

Callback-style on the hot path on purpose: a Deferred chain costs more there than the
work it would carry. Everything off the hot path returns Deferreds.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface

# zope interfaces declare methods without ``self``; linters are told so in pyproject.toml.


class ISnapshotSource(Interface):
    """Holds the newest :class:`~voidllm.core.snapshot.Snapshot`."""

    current = Attribute("The newest Snapshot; reading it never blocks.")

    def subscribe(listener):
        """Call ``listener(snapshot)`` after every swap; returns a function that unsubscribes."""


class IJournal(Interface):
    """Durable list of finished units of work on local disk."""

    def accepting():
        """Say whether new work may be admitted, that is, whether its row would surely fit."""

    def append(event):
        """Write one :class:`~voidllm.core.usage.UsageEvent`.

        The kernel has it before it has anything that is sent after this.

        :raises JournalFull: if not even the reserve has room, and that is known already.
        """


class ILimiter(Interface):
    """Decides and counts in one step."""

    def reserve(scopes, tokens, now_ms):
        """Count one request and ``tokens`` in every scope, or in none.

        :param scopes: tuple of :class:`~voidllm.core.principal.Scope`.
        :returns: an opaque reservation.
        :raises Refusal: 429 ``rate_limit_exceeded`` or ``token_limit_exceeded`` with
            ``retry_after_ms``; then nothing was counted.
        """

    def settle(reservation, tokens, now_ms):
        """Replace the reserved tokens by the true number; each reservation once."""

    def headers(reservation, now_ms):
        """Give ``x-ratelimit-*`` headers for the tightest scope, as (name, value) bytes."""

    def used(scope, now_ms):
        """Give what a scope has used now: requests and tokens of the minute and of the day, and
        tokens of the month; each is right if it is limited, and may be 0 otherwise."""


class ILink(Interface):
    """One end of the line between the control plane and a worker."""

    open = Attribute("Whether the other side is there.")

    clogged = Attribute("Whether the other side does not read what it is sent.")

    def send(message):
        """Send one of :mod:`voidllm.link.messages`; nothing happens when the other side is gone."""

    def close():
        """Hang up once everything has been sent."""


class IPlanner(Interface):
    """Chooses which deployments to try, in order."""

    def plan(model):
        """Give the deployments of ``model`` in the order to try them, at least one."""


class IUpstreamSink(Interface):
    """Receives one reply of an upstream. After ``finished`` or ``failed`` nothing more comes.

    A sink may also have ``got_reply(head, body)``: a :class:`~voidllm.http.upstream.ReplyHead` and
    bytes. Then a reply that came in one piece may be given by this one call instead of three.
    """

    def got_head(status, headers):
        """The reply head: an int and a list of (lower-case name, value) bytes pairs."""

    def got_chunk(data):
        """Some bytes of the body."""

    def finished():
        """The body is complete by its own framing."""

    def failed(failure):
        """No complete reply: an :class:`~voidllm.http.upstream.UpstreamFailure`."""


class IUpstreamCall(Interface):
    """One running call."""

    def cancel():
        """Stop at any phase; the connection is closed and the sink hears nothing more."""

    def pause():
        """Stop reading from the upstream."""

    def resume():
        """Read from the upstream again."""


class IUpstreamPool(Interface):
    """Persistent connections to upstreams."""

    def call(request, sink):
        """Send an :class:`~voidllm.http.upstream.UpstreamRequest`; returns an `IUpstreamCall`.

        The sink may be called before this returns only with ``failed``.
        """

    def close():
        """Drop idle connections and refuse new calls; returns a Deferred fired when none is left."""


class IMessageHandler(Interface):
    """What a front hands its messages to."""

    def handle(request, responder):
        """Answer one request; called once the head is complete, before the body is read.

        :param request: a :class:`~voidllm.http.message.Request`.
        :param responder: an `IResponder`.
        """


class IResponder(Interface):
    """Sends one reply, on either front."""

    def reply(status, headers, body):
        """Send a whole reply in one write; Content-Length is added."""

    def head(status, headers):
        """Start a reply whose length is unknown (chunked, or closed at the end for HTTP/1.0)."""

    def chunk(data):
        """Send some body bytes at once."""

    def end():
        """Complete the reply begun with ``head``."""

    def abort():
        """Drop the connection so that the client cannot take the reply for complete."""

    def register(producer):
        """Attach an ``IPushProducer``.

        It is paused and resumed as the client reads; ``stopProducing`` means that the
        client is gone, after which nothing else is called and nothing sent arrives.
        """


class IStore(Interface):
    """Durable state; both implementations pass one suite. See :mod:`voidllm.store`.

    Values are those of :mod:`voidllm.store.records`. Every method but ``subscribe`` returns a
    Deferred, which may fail with a :class:`~voidllm.core.errors.StoreError`: unavailable, busy
    and timed out may be tried again, a conflict or a rejection may not. Cancelling one stops
    the waiting, not the work. ``kind`` is ``org``, ``team`` or ``key`` unless said otherwise.
    """

    def start():
        """Open the database and bring its tables up to date.

        :raises StoreUnavailable: if it cannot be reached; then this may be called again.
        :raises StateError: if it is in use, or made by another program version.
        """

    def stop():
        """Finish what is running, within a deadline, and close everything."""

    def ping():
        """Fire with ``None`` once the database has answered."""

    def is_empty():
        """Say whether nobody has ever been created here."""

    def meta_get(name):
        """Read a small value by name, or ``None``."""

    def meta_set(name, value):
        """Keep a small value under a name."""

    def read(op, *args):
        """Run the operation ``op(*args)``, which only reads; see :mod:`voidllm.store.statements`."""

    def write(op, *args):
        """Run an operation that changes nothing that a snapshot is built from."""

    def change(author, op, *args):
        """Run an operation that gives a :class:`~voidllm.store.changes.Changed`, or ``None``.

        In the same transaction its audit entries are written, unless ``author`` is ``None``, and
        the change version grows; fires with the operation's result.
        """

    def note(entries):
        """Write :class:`~voidllm.store.audit.Entry` values of what was refused."""

    def bootstrap(seed, now_ms):
        """Create all of a ``Bootstrap``; ``False`` (and nothing done) if not empty."""

    def load(now_ms):
        """Read a ``StoredAccess``, everything that a snapshot is built from, in one transaction."""

    def change_version():
        """Read the number that every change to what ``load`` reads makes greater."""

    def subscribe(listener):
        """Call ``listener()`` after every change; returns a function that unsubscribes.

        On PostgreSQL also after changes of other processes, and whenever some may have been
        missed because the connection was lost.
        """

    def create_key(new, now_ms):
        """Insert a ``NewKey``; fires with the ``ApiKey``."""

    def get_key(key_id):
        """Read an ``ApiKey``, revoked or not, or ``None``."""

    def list_keys(wanted=None, page=None):
        """Read a ``Page`` of the keys that a ``KeyFilter`` lets through; all of them by default."""

    def update_key(key_id, change, revision):
        """Make a key what a ``KeyChange`` says; fires with the ``ApiKey``.

        With ``None``, and nothing done, if it is revoked or no longer at ``revision``.
        """

    def revoke_key(key_id, now_ms):
        """Revoke a key; ``False`` if there is none that was not revoked before."""

    def rotate_key(old_id, new, grace_until_ms, now_ms):
        """Put a ``NewSecret`` in a live key's place and end the old one at ``grace_until_ms``.

        Fires with the new ``ApiKey``, which has all else from the old one, or with ``None`` if
        that is not live.
        """

    def find_org(ref=None):
        """Read the ``Org`` with this id or slug, without ``ref`` the oldest, or ``None``."""

    def find_team(org_id, ref):
        """Read the ``Team`` of an organisation with this id or slug, or ``None``."""

    def find_member(org_id, ref=None):
        """Read the ``Member`` of an organisation with this id or e-mail address, or ``None``.

        System administrators are members everywhere. Without ``ref``: the oldest administrator.
        """

    def find_service_account(org_id, ref):
        """Read the ``ServiceAccount`` of an organisation with this id or name, or ``None``."""

    def named(kind, ids):
        """Read a dict of ids to ``Named``, deleted ones too; kind may be ``user`` or ``service_account``."""

    def create_org(org):
        """Insert an ``Org``."""

    def create_team(team):
        """Insert a ``Team``."""

    def create_user(user, org_id=None, role="member"):
        """Insert a ``User`` and, with ``org_id``, the membership there."""

    def create_service_account(account):
        """Insert a ``ServiceAccount``."""

    def set_limits(kind, scope_id, limits):
        """Set the ``Limits`` of a scope; kind ``system`` ignores the id. ``False`` if there is none."""

    def set_aliases(kind, scope_id, aliases):
        """Make a mapping (alias to model name) all aliases of an org or team."""

    def set_access(kind, scope_id, models):
        """Restrict a scope to some models, to none (empty), or not at all (``None``)."""

    def idempotency_begin(subject, name, fingerprint, now_ms, expires_at_ms):
        """Take a key that a caller chose for a request that is about to run.

        Fires with ``None`` if it is taken now, else with the ``Remembered`` that holds it.
        """

    def idempotency_finish(subject, name, status, reply):
        """Keep the answer, a text without secrets, of the request that took a key."""

    def idempotency_forget(subject, name):
        """Give back the key of a request that did nothing."""

    def commit_usage(segment, end_offset, events):
        """Insert ``UsageEvent`` rows and their sums and note the progress, in one transaction.

        Repeating a call, with any part of the same events, changes nothing.

        :param segment: name of the journal file that the events came from.
        :param end_offset: bytes of it that are committed with this call.
        :returns: how many rows were new.
        """

    def commit_lines(segment, end_offset, lines):
        """Do the same with events as :mod:`voidllm.core.usage_line` writes them, unparsed.

        :param lines: ``bytes`` each; every one begins with ``usage_line.PREFIX``.
        :raises StoreRejected: if one of them cannot become a row; then none did.
        """

    def make_durable():
        """See to it that everything committed so far outlives a power cut; fires when it does."""

    def journal_progress():
        """Read a dict of segment names and the offsets up to which they are committed."""

    def forget_segments(names):
        """Drop the progress of segments that are gone."""

    def usage_report(query):
        """Answer a ``UsageQuery`` with a list of ``UsageRow``."""

    def usage_since(day_start_ms, month_start_ms):
        """Read a list of ``ScopeUsage``, what keys, teams and orgs used since two UTC midnights."""
