"""Find a configuration, read it, and check all of it."""

from __future__ import annotations

import os
from typing import Any, Collection, Mapping

import attrs

from voidllm.config.checks import check, notices
from voidllm.config.convert import convert
from voidllm.config.errors import ConfigErrors, Problem
from voidllm.config.fields import about
from voidllm.config.root import Config
from voidllm.config.tree import Document, Scalar, read_tree
from voidllm.core.world import FileSystem, RealFileSystem

SYSTEM_FILE = "/etc/voidllm/voidllm.yaml"
LOCAL_FILE = "voidllm.yaml"
#: Environment variables that count when there is no file, and the keys they set.
ENVIRONMENT = {
    "VOIDLLM_ADMIN_KEY": ("settings", "admin_key"),
    "VOIDLLM_ENCRYPTION_KEY": ("settings", "encryption_key"),
    "VOIDLLM_LICENSE": ("settings", "license"),
    "VOIDLLM_DATABASE_DSN": ("database", "dsn"),
    "VOIDLLM_DATABASE_DRIVER": ("database", "driver"),
}
_MOST_BYTES = 1024 * 1024


def load_config(
    path: str | None,
    environ: Mapping[str, str],
    cwd: str,
    fs: FileSystem | None = None,
    parts: Collection[str] | None = None,
) -> Config:
    """Load the configuration of this process.

    Order: ``path``, ``VOIDLLM_CONFIG``, ``./voidllm.yaml``, ``/etc/voidllm/voidllm.yaml``, and with
    none of them the environment alone.

    :param path: what ``--config`` named, or ``None``.
    :param cwd: the working directory; relative paths, those in the file too, begin there.
    :param parts: the top-level keys that count, for who needs no more; all others are at their
        defaults, whatever the file says.
    :raises ConfigErrors: if a named file is missing, or with everything that is wrong in it.
    """
    files = fs or RealFileSystem()
    named = path or environ.get("VOIDLLM_CONFIG")
    if named:
        return parse_config(_read(files, os.path.join(cwd, named), named), environ, named, cwd, parts)
    for candidate in (LOCAL_FILE, SYSTEM_FILE):
        full = os.path.join(cwd, candidate)
        if files.exists(full):
            return parse_config(_read(files, full, candidate), environ, candidate, cwd, parts)
    return from_environment(environ, cwd)


def from_environment(environ: Mapping[str, str], cwd: str = "") -> Config:
    """Make the configuration that holds without a file.

    :raises ConfigErrors: if a variable has a value that its key does not take.
    """
    root: dict[str, Any] = {}
    for variable, (part, name) in ENVIRONMENT.items():
        if value := environ.get(variable):
            root.setdefault(part, {})[name] = Scalar(value, True)
    return _finish(Document(root=root), "environment", None, cwd)


def parse_config(
    text: str | bytes,
    environ: Mapping[str, str],
    source_name: str,
    cwd: str = "",
    parts: Collection[str] | None = None,
) -> Config:
    """Make the configuration that a file holds; pure.

    :param environ: for ``${VAR}``.
    :param source_name: what messages call the file.
    :param cwd: relative paths are joined to it; ``""`` leaves them as they are.
    :param parts: see :func:`load_config`.
    :raises ConfigErrors: with everything that is wrong.
    """
    if len(text) > _MOST_BYTES:
        raise ConfigErrors(source_name, [Problem((), f"is larger than {_MOST_BYTES} bytes")])
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigErrors(source_name, [Problem((), "is not UTF-8")]) from None
    document = read_tree(text, environ)
    if parts is not None:
        _keep(document, parts)
    return _finish(document, source_name, source_name, cwd)


def _keep(document: Document, parts: Collection[str]) -> None:
    """Forget all top-level keys but ``parts``, and what is wrong with them."""
    if isinstance(document.root, dict):
        document.root = {name: value for name, value in document.root.items() if name in parts}
    document.problems = [one for one in document.problems if not one.path or one.path[0] in parts]


def _finish(document: Document, name: str, source: str | None, cwd: str) -> Config:
    broken = document.root is None and bool(document.problems)
    config = convert(document, Config)
    if not broken:
        seen = [problem.path for problem in document.problems]
        for path, message in check(config):
            # What already has a better explanation is not explained again.
            if not any(path[: len(other)] == other for other in seen if other):
                document.wrong(path, message)
    if document.problems:
        raise ConfigErrors(name, document.problems)
    config = _absolute(config, cwd) if cwd else config
    if not config.database.dsn:
        dsn = os.path.join(config.state_dir, "voidllm.db")
        config = attrs.evolve(config, database=attrs.evolve(config.database, dsn=dsn))
    elif config.database.driver == "sqlite":
        dsn = os.path.normpath(os.path.join(cwd, config.database.sqlite_path))
        config = attrs.evolve(config, database=attrs.evolve(config.database, dsn=dsn))
    warnings = tuple(
        Problem(path, message, document.lines.get(path)).show(name)
        for path, message in notices(document.root if isinstance(document.root, dict) else {})
    )
    return attrs.evolve(config, source=source, warnings=warnings)


def _absolute(value: Any, cwd: str) -> Any:
    """Join every relative path in a section, and in those below it, to ``cwd``."""
    changes: dict[str, Any] = {}
    for attribute in attrs.fields(type(value)):
        inner = getattr(value, attribute.name)
        described = about(attribute)
        if described is not None and described.path and inner:
            changes[attribute.name] = os.path.normpath(os.path.join(cwd, inner))
        elif attrs.has(type(inner)):
            changes[attribute.name] = _absolute(inner, cwd)
        elif isinstance(inner, tuple) and inner and attrs.has(type(inner[0])):
            changes[attribute.name] = tuple(_absolute(item, cwd) for item in inner)
    return attrs.evolve(value, **changes)


def _read(fs: FileSystem, path: str, name: str) -> bytes:
    """Read at most one byte more than is allowed."""
    try:
        fd = fs.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = b""
            while len(data) <= _MOST_BYTES and (piece := fs.pread(fd, _MOST_BYTES + 1, len(data))):
                data += piece
            return data
        finally:
            fs.close(fd)
    except OSError as error:
        raise ConfigErrors(name, [Problem((), f"cannot be read: {error.strerror}")]) from None
