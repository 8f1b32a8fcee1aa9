"""``/api/v1/users``."""

from __future__ import annotations

from voidllm.admin import user_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Page
from voidllm.admin.user_shapes import NewUser, User, UserList, UserPatch
from voidllm.auth.roles import ORG_ADMIN

_ALL = "/api/v1/users"
_ONE = "/api/v1/users/{user_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_users",
        "List people",
        operations.list_users,
        Page[User],
        ORG_ADMIN,
        READ,
        query=UserList,
        codes=("not_found",),
    ),
    Route(
        "POST",
        _ALL,
        "create_user",
        "Make a person",
        operations.create_user,
        User,
        ORG_ADMIN,
        WRITE,
        body=NewUser,
        status=201,
        codes=("not_found", "conflict"),
        example={"email": "ann@example.org", "display_name": "Ann", "org_id": "research"},
        description="An org_admin may give the roles up to org_admin in their own organisation.",
    ),
    Route(
        "GET",
        _ONE,
        "get_user",
        "Show a person",
        operations.get_user,
        User,
        ORG_ADMIN,
        READ,
        tagged=True,
    ),
    Route(
        "PATCH",
        _ONE,
        "change_user",
        "Change a person",
        operations.change_user,
        User,
        ORG_ADMIN,
        WRITE,
        body=UserPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"display_name": "Ann Lee"},
        description=(
            "A JSON merge patch (RFC 7396). Only who administers all of a person's organisations may change "
            "or remove them, and a system_admin only another one."
        ),
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_user",
        "Remove a person",
        operations.delete_user,
        None,
        ORG_ADMIN,
        WRITE,
        status=204,
        codes=("conflict",),
        guarded=True,
        description="Their memberships, keys and sessions end at once. The last administrator stays.",
    ),
)
