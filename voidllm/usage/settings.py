"""How the usage journal and its batcher behave; filled from configuration by the service."""

from __future__ import annotations

from attrs import frozen


@frozen
class UsageSettings:
    """Sizes in bytes, times in seconds.

    :ivar segment_bytes: a segment of the journal is closed when it has grown to this,
    :ivar segment_seconds: or this long after its first record.
    :ivar reserve_bytes: disk space held back per worker for the day the disk is full; 0 for none.
    :ivar fsync: ``off``: a record survives the process, but a power cut can take what the kernel
        had not written yet (about 30 s), and, with a store that syncs as rarely, rows that are
        committed there and gone from the journal. ``interval``: everything but the last
        ``fsync_seconds`` survives the machine; a segment is deleted only once its rows do.
    :ivar memory_bytes: how much may wait in memory for a disk that takes nothing at all.
    :ivar retry_seconds: how often a disk that was full is tried again.
    :ivar batch_rows: most rows in one transaction.
    :ivar flush_seconds: how often the journal is read.
    :ivar read_bytes: most bytes checked in one go off the reactor; half a millisecond of the
        interpreter or so.
    :ivar backoff_seconds: longest wait between tries while the store is away.
    :ivar drain_seconds: how long stopping may wait for the store.
    :ivar rejected_bytes: most bytes kept in ``rejected.jl``.
    """

    segment_bytes: int = 8 * 1024 * 1024
    segment_seconds: float = 5.0
    reserve_bytes: int = 64 * 1024 * 1024
    fsync: str = "off"
    fsync_seconds: float = 1.0
    memory_bytes: int = 64 * 1024 * 1024
    retry_seconds: float = 1.0
    batch_rows: int = 500
    flush_seconds: float = 5.0
    read_bytes: int = 256 * 1024
    backoff_seconds: float = 15.0
    drain_seconds: float = 10.0
    rejected_bytes: int = 64 * 1024 * 1024
