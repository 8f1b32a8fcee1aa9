"""``/api/v1/models``."""

from __future__ import annotations

from voidllm.admin import health, model_testing
from voidllm.admin import model_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Page
from voidllm.admin.model_shapes import Model, ModelList, ModelPatch, NewModel
from voidllm.auth.roles import SYSTEM_ADMIN

_ALL = "/api/v1/models"
_ONE = "/api/v1/models/{model_id}"

_PATCH = {"base_url": "http://10.0.0.7:8000/v1", "input_price_per_1m": "0.15", "timeout": None}

ROUTES = (
    *health.ROUTES,
    *model_testing.ROUTES,
    Route(
        "GET",
        _ALL,
        "list_models",
        "List models",
        operations.list_models,
        Page[Model],
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        query=ModelList,
        description="Those of the configuration file (`source` yaml) and those of the store (`source` api).",
    ),
    Route(
        "POST",
        _ALL,
        "create_model",
        "Make a model",
        operations.create_model,
        Model,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=NewModel,
        status=201,
        codes=("conflict",),
        tagged=True,
        example={
            "name": "gpt-example",
            "provider": "openai",
            "base_url": "https://api.example.com/v1",
            "api_key": "sk-example",
            "input_price_per_1m": "0.15",
            "output_price_per_1m": "0.60",
        },
        description="It is served within a second. With `provider` it gets a first deployment along.",
    ),
    Route(
        "GET",
        _ONE,
        "get_model",
        "Show a model",
        operations.get_model,
        Model,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        tagged=True,
    ),
    Route(
        "PATCH",
        _ONE,
        "change_model",
        "Change a model",
        operations.change_model,
        Model,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=ModelPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example=_PATCH,
        description="A JSON merge patch (RFC 7396). Models of the configuration file are changed there.",
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_model",
        "Delete a model",
        operations.delete_model,
        None,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        status=204,
        codes=("conflict",),
        guarded=True,
        description="Its deployments and their keys go along; what was used stays in the reports.",
    ),
    Route(
        "PATCH",
        _ONE + "/activate",
        "activate_model",
        "Serve a model again",
        operations.activate_model,
        Model,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        codes=("conflict",),
        tagged=True,
        guarded=True,
    ),
    Route(
        "PATCH",
        _ONE + "/deactivate",
        "deactivate_model",
        "Serve a model no longer",
        operations.deactivate_model,
        Model,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        codes=("conflict",),
        tagged=True,
        guarded=True,
    ),
)
