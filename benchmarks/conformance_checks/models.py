"""`/v1/models`."""

from __future__ import annotations

import openai

from benchmarks.conformance_checks.target import MODEL, Target, check, expect


@check("models", "the list begins with the embedded family and shows aliases")
async def listed(target: Target) -> None:
    page = await target.openai.models.list()
    names = [model.id for model in page.data]
    expect(names[0] == MODEL, f"the first model is {names[0]}")
    for alias in ("gpt-4o", "text-embedding-3-small", "whisper-1", "gpt-image-1"):
        expect(alias in names, f"the alias {alias} is not listed")
    expect(len(set(names)) == len(names), "a name is listed twice")


@check("models", "one model, its id with a slash plain or encoded")
async def retrieved(target: Target) -> None:
    expect((await target.openai.models.retrieve(MODEL)).id == MODEL, "another id came back")
    for path in (f"/v1/models/{MODEL}", f"/v1/models/{MODEL.replace('/', '%2F')}"):
        expect((await target.http.get(path)).json()["id"] == MODEL, path)


@check("models", "an alias answers, also one of its dated versions")
async def aliases(target: Target) -> None:
    for alias in ("gpt-4o", "gpt-4o-2024-08-06"):
        expect((await target.openai.models.retrieve(alias)).id == alias, f"{alias} is not known")
        reply = await target.openai.chat.completions.create(
            model=alias, messages=[{"role": "user", "content": "Hi"}], max_tokens=2
        )
        expect(reply.model == MODEL, f"the reply names {reply.model}, not the model that answered")


@check("models", "an unknown model is 404 with its param, on every route")
async def unknown(target: Target) -> None:
    client, wrong = target.openai, "no/such-model"
    for ask in (
        client.models.retrieve(wrong),
        client.chat.completions.create(model=wrong, messages=[{"role": "user", "content": "Hi"}]),
        client.completions.create(model=wrong, prompt="Hi"),
        client.responses.create(model=wrong, input="Hi"),
        client.embeddings.create(model=wrong, input="Hi"),
    ):
        try:
            await ask
        except openai.NotFoundError as error:
            expect(error.param == "model", f"the error names {error.param}")
            expect(error.code == "model_not_found", f"the error's code is {error.code}")
        else:
            raise AssertionError("an unknown model was answered")
