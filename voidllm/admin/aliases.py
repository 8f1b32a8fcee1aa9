"""Other names of models, in one organisation or team."""

from __future__ import annotations

from typing import Annotated, Any, Callable, Literal, Sequence

from msgspec import Meta, Struct

from voidllm.admin.access import READ, WRITE, missing
from voidllm.admin.access_lists import where_of
from voidllm.admin.declare import Call, Route
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Asked, Id, Listing, Nothing, Page, Text, Time
from voidllm.admin.model_names import canonical, taken_among
from voidllm.admin.moments import show
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import MEMBER, ORG_ADMIN, TEAM_ADMIN
from voidllm.core.errors import Refusal, StoreConflict
from voidllm.store import alias_changes
from voidllm.store.access_changes import Lists, Where
from voidllm.store.alias_changes import MOST_ALIASES, AliasRow

AliasName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$(?![\s\S])",
        description="letters, digits, dots, hyphens and underscores",
        examples=["smart"],
    ),
]


class Alias(Struct, kw_only=True, frozen=True):
    """Another name of a model."""

    id: Annotated[str, Meta(description="the alias itself, which is unique where it holds")]
    alias: str
    model_name: Annotated[str, Meta(description="the model's own name")]
    scope_type: Literal["org", "team"]
    org_id: Id
    team_id: Id | None
    created_by: Annotated[Id | None, Meta(description="the user who made it")]
    created_at: Time | None


class AliasList(Listing):
    """Which aliases."""

    sort: Literal["alias", "-alias", "model_name", "-model_name"] = "alias"
    q: Annotated[Text, Meta(description="is in the alias or the model's name")] | None = None
    model_name: Text | None = None


class NewAlias(Asked):
    """An alias to be made."""

    alias: AliasName
    model_name: Annotated[Text, Meta(description="name of a model, or an alias that everybody has")]


class NewAliases(Asked):
    """All aliases that there are to be."""

    aliases: Annotated[list[NewAlias], Meta(max_length=MOST_ALIASES)]


class Aliases(Struct, kw_only=True, frozen=True):
    """All aliases of an organisation or team."""

    data: list[Alias]


async def list_aliases(call: Call[AliasList, Nothing]) -> Page[Alias]:
    """Give one page of the aliases of an organisation or team.

    :raises Refusal: 400.
    """
    query, where = call.query, where_of(call)
    page = page_of(query, query.sort)
    rows = await call.read(alias_changes.list_aliases, where, query.q, query.model_name, page)
    return envelope(
        query,
        query.sort,
        rows,
        lambda row: _view(where, row),
        lambda row: (row.model if page.sort == "model_name" else "", row.alias),
    )


async def create_alias(call: Call[Nothing, NewAlias]) -> Alias:
    """Make an alias.

    :raises Refusal: 400, 404, or 409 for a name that is taken.
    """
    where = where_of(call)
    (new,) = await _checked(call, where, [call.body], lambda _: "")
    try:
        made = await call.change(alias_changes.add_alias, where, new, _reaching((new,), lambda _: ""))
    except StoreConflict:
        raise Refusal(
            409, "conflict", "there is such an alias already, or there are too many", param="alias"
        ) from None
    if made is None:
        raise missing()
    return _view(where, made)


async def delete_alias(call: Call[Nothing, Nothing]) -> None:
    """Take an alias away.

    :raises Refusal: 404.
    """
    if await call.change(alias_changes.remove_alias, where_of(call), call.path["alias_id"]) is None:
        raise missing()


async def replace_aliases(call: Call[Nothing, NewAliases]) -> Aliases:
    """Make some aliases all that there are.

    :raises Refusal: 400, 404, or 409 for a name that is taken.
    """
    where, asked = where_of(call), call.body.aliases

    def place(number: int) -> str:
        return f"aliases[{number}]."

    seen: set[str] = set()
    for number, ask in enumerate(asked):
        if ask.alias in seen:
            raise bad("this alias is given twice", param=f"{place(number)}alias")
        seen.add(ask.alias)
    rows = await _checked(call, where, asked, place)
    check = _reaching(rows, place)
    made = await call.change(alias_changes.replace_aliases, where, rows, check)
    if made is None:
        raise missing()
    return Aliases(data=[_view(where, row) for row in made])


async def _checked(
    call: Call[Any, Any], where: Where, asked: Sequence[NewAlias], place: Callable[[int], str]
) -> tuple[AliasRow, ...]:
    """Make rows of what is asked for.

    :param place: says where the fields of one of them are in the request.
    """
    taken = await taken_among(call, [ask.alias for ask in asked])
    models = await canonical(call, [ask.model_name for ask in asked])
    for number, ask in enumerate(asked):
        if ask.alias in taken:
            raise Refusal(
                409,
                "conflict",
                "a model has this name, or this alias for everybody",
                param=f"{place(number)}alias",
            )
        if ask.model_name not in models:
            raise bad("there is no such model", param=f"{place(number)}model_name")
    return tuple(
        AliasRow(where.kind, where.id, ask.alias, models[ask.model_name], call.now_ms, call.actor.user_id)
        for ask in asked
    )


def _reaching(rows: Sequence[AliasRow], place: Callable[[int], str]) -> Callable[[Lists], None]:
    def check(lists: Lists) -> None:
        for number, row in enumerate(rows):
            if not lists.reach(row.model):
                raise bad("the model may not be used there", param=f"{place(number)}model_name")

    return check


def _view(where: Where, row: AliasRow) -> Alias:
    return Alias(
        id=row.alias,
        alias=row.alias,
        model_name=row.model,
        scope_type="org" if where.team_id is None else "team",
        org_id=where.org_id,
        team_id=where.team_id,
        created_by=row.created_by,
        created_at=show(row.created_at_ms or None),
    )


_WHAT = "A team's alias comes before its organisation's, and both before those that everybody has."
_RULES = f"An alias is no name of a model, and its model may be used there. {_WHAT}"


def _routes(path: str, name: str, tenant: str, role: str) -> tuple[Route, ...]:
    path += "/model-aliases"
    about: dict[str, Any] = {"tenant": tenant, "tag": "model-aliases"}
    return (
        Route(
            "GET",
            path,
            f"list_{name}_aliases",
            f"List aliases of models in the {name}",
            list_aliases,
            Page[Alias],
            MEMBER,
            READ,
            query=AliasList,
            description=_WHAT,
            **about,
        ),
        Route(
            "POST",
            path,
            f"create_{name}_alias",
            f"Give a model another name in the {name}",
            create_alias,
            Alias,
            role,
            WRITE,
            body=NewAlias,
            status=201,
            codes=("conflict",),
            example={"alias": "smart", "model_name": "gpt-4o"},
            description=_RULES,
            **about,
        ),
        Route(
            "PUT",
            path,
            f"replace_{name}_aliases",
            f"Make these all aliases of the {name}",
            replace_aliases,
            Aliases,
            role,
            WRITE,
            body=NewAliases,
            codes=("conflict",),
            example={"aliases": [{"alias": "smart", "model_name": "gpt-4o"}]},
            description=f"All or none. {_RULES}",
            **about,
        ),
        Route(
            "DELETE",
            f"{path}/{{alias_id}}",
            f"delete_{name}_alias",
            f"Take another name of a model away in the {name}",
            delete_alias,
            None,
            role,
            WRITE,
            status=204,
            **about,
        ),
    )


ROUTES: tuple[Route, ...] = (
    *_routes("/api/v1/orgs/{org_id}", "org", "org", ORG_ADMIN),
    *_routes("/api/v1/orgs/{org_id}/teams/{team_id}", "team", "team", TEAM_ADMIN),
)
