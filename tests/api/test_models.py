"""Model names: the real ones, the aliases that stand for them, and what an answer calls its model."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI

from localgpt.server import create_app
from localgpt.server.aliases import DEFAULT_ALIASES, target_of
from localgpt.settings import Settings
from localgpt.tasks import EMBEDDED_MODEL_ID
from tests.api.asking import HELLO, ask
from tests.api.fake_service import FakeService


async def test_aliases_follow_the_models(openai: AsyncOpenAI) -> None:
    models = [model async for model in openai.models.list()]
    assert [model.id for model in models] == [EMBEDDED_MODEL_ID, *DEFAULT_ALIASES]
    assert models[0].model_extra == {}
    assert {str(model.model_extra) for model in models[1:]} == {
        "{'localgpt': {'alias_of': 'local/multimodal-base'}}"
    }
    assert (await openai.models.retrieve("gpt-4o")).id == "gpt-4o"
    assert (await openai.models.retrieve("gpt-4o-2024-08-06")).id == "gpt-4o-2024-08-06"
    with pytest.raises(sdk.NotFoundError):
        await openai.models.retrieve("gpt-4o-20")


async def test_the_answer_names_the_model_that_answered(openai: AsyncOpenAI, service: FakeService) -> None:
    reply = await openai.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert reply.model == service.chat.model == EMBEDDED_MODEL_ID
    vectors = await openai.embeddings.create(
        model="text-embedding-3-small", input="a", encoding_format="float"
    )
    assert vectors.model == service.embed.model == EMBEDDED_MODEL_ID


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-4o", "m"),
        ("gpt-4o-2024-08-06", "m"),
        ("gpt-3.5-turbo-0125", "m"),
        ("gpt-4o-audio", None),
        ("gpt-4o-2024-08-06-2024-08-06", None),
        ("", None),
    ],
)
def test_dated_versions(name: str, expected: str | None) -> None:
    assert target_of(name, {"gpt-4o": "m", "gpt-3.5-turbo": "m"}) == expected


async def test_settings_replace_the_table(
    service: FakeService, connect: Callable[..., httpx.AsyncClient]
) -> None:
    settings = Settings(model_aliases={"mine": EMBEDDED_MODEL_ID, "lost": "local/other"})
    http = connect(create_app(settings, service))
    listed = [item["id"] for item in (await http.get("/v1/models")).json()["data"]]
    assert listed == [EMBEDDED_MODEL_ID, "mine"]
    assert (await ask(http, model="mine")).status_code == 200
    for name in ("lost", "gpt-4o"):
        response = await ask(http, model=name)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert "local/other" in (await ask(http, model="lost")).json()["error"]["message"]


async def test_no_aliases(service: FakeService, connect: Callable[..., httpx.AsyncClient]) -> None:
    http = connect(create_app(Settings(model_aliases={}), service))
    assert len((await http.get("/v1/models")).json()["data"]) == 1
    assert (await ask(http, model="gpt-4o")).status_code == 404


async def test_names_are_not_refused_before_the_models_are_loaded(
    http: httpx.AsyncClient, service: FakeService
) -> None:
    """A family of another id is asked by its name, and a request that comes too early waits."""
    whole = (await ask(http)).json()
    service.ready = False
    early = await ask(http, model="local/mine")
    assert early.status_code == 200 and service.chat.model == "local/mine"
    assert (await ask(http, model="gpt-4o")).json()["model"] == EMBEDDED_MODEL_ID
    assert (await ask(http)).json()["system_fingerprint"] == whole["system_fingerprint"]
