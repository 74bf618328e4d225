"""Where a field may be left out, null says the same."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import httpx
import pytest
from pydantic import ValidationError

from localgpt.server import schemas
from localgpt.server.schemas.api import ConversationBody, PreferencesBody
from localgpt.server.schemas.common import Body
from tests.api.fake_service import FakeService

for found in pkgutil.iter_modules(schemas.__path__):
    importlib.import_module(f"{schemas.__name__}.{found.name}")


def bodies(parent: type[Body] = Body) -> Iterator[type[Body]]:
    for body in parent.__subclasses__():
        yield body
        yield from bodies(body)


@pytest.mark.parametrize("body", sorted(set(bodies()), key=lambda body: f"{body.__module__}.{body.__name__}"))
def test_every_optional_field_takes_null(body: type[Body]) -> None:
    schema = body.model_json_schema()
    for name, field in body.model_fields.items():
        if field.is_required():
            continue
        shown = schema["properties"][field.alias or name]
        kinds = [one.get("type") for one in shown.get("anyOf", [shown])]
        assert "null" in kinds or kinds == [None]  # no type: anything
        wrong = []
        try:
            body.model_validate({field.alias or name: None})
        except ValidationError as error:  # of what must not be left out
            wrong = [one["loc"] for one in error.errors()]
        assert (field.alias or name,) not in wrong


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}),
    ],
)
async def test_null_is_the_default_model(
    http: httpx.AsyncClient, service: FakeService, path: str, body: dict[str, object]
) -> None:
    response = await http.post(path, json={**body, "model": None})
    assert response.status_code == 200, response.text


def test_null_changes_no_setting_that_has_no_null() -> None:
    assert ConversationBody.model_validate({"title": None}).title == ""
    wanted = PreferencesBody.model_validate({"system_prompt": None, "theme": None})
    assert wanted.model_fields_set == {"theme"}
