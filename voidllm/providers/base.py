"""What a provider module knows: where a call goes and which headers it carries."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from attrs import field, frozen

from voidllm.core.model import Deployment


@frozen
class Target:
    """Where one endpoint of one deployment is.

    :ivar scheme: ``http`` or ``https``.
    :ivar path: as sent on the wire, query included.
    :ivar headers: authentication and the like, constant for the deployment.
    """

    scheme: str
    host: str
    port: int
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)


class Provider(Protocol):
    """One kind of upstream; pure, so every method is a function of its arguments."""

    def target(self, deployment: Deployment, endpoint: str) -> Target:
        """Say where ``endpoint`` (the path below ``/v1/``) of ``deployment`` is."""


def split_base_url(base_url: str, path: str) -> tuple[str, str, int, bytes]:
    """Split ``base_url`` and append ``path``; gives scheme, host, port and the wire path.

    :raises ValueError: if ``base_url`` is not an http or https URL with a host.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) URL with a host")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, parts.hostname, port, f"{parts.path.rstrip('/')}/{path}".encode("ascii")
