"""``/api/v1/me``: the caller."""

from __future__ import annotations

from voidllm.admin import me_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.me_shapes import AvailableModels, Me, MePatch, ModelsQuery
from voidllm.auth.roles import MEMBER

_ME = "/api/v1/me"

ROUTES = (
    Route(
        "GET",
        _ME,
        "show_me",
        "Say who calls",
        operations.show_me,
        Me,
        MEMBER,
        READ,
        tenant="self",
        tagged=True,
        unready=True,
    ),
    Route(
        "PATCH",
        _ME,
        "change_me",
        "Change one's own name",
        operations.change_me,
        Me,
        MEMBER,
        WRITE,
        tenant="self",
        body=MePatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        unready=True,
        example={"display_name": "Ada Lovelace"},
    ),
    Route(
        "GET",
        _ME + "/available-models",
        "list_available_models",
        "List the models that one may use",
        operations.available_models,
        AvailableModels,
        MEMBER,
        READ,
        tenant="self",
        query=ModelsQuery,
        codes=("not_found",),
        description="By the access lists of the organisation, of the key's team, and of the key.",
    ),
)
