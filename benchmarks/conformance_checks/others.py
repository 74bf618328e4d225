"""Embeddings, pictures, health, keys, and the routes that are not installed."""

from __future__ import annotations

import base64
import math
from array import array
from typing import Any

import httpx2
import openai

from benchmarks.conformance_checks.target import MODEL, Target, check, expect, picture_url, refused

EMBEDDINGS = "/v1/embeddings"
NOT_INSTALLED: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("POST", "/v1/realtime/calls", {}),
    ("POST", "/v1/vision/detect", {}),
    ("POST", "/v1/vision/scene", {}),
)


def length_of(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


@check("embeddings", "one text and several, in order and of unit length")
async def texts(target: Target) -> None:
    one = await target.lenient.embeddings.create(model=MODEL, input="a dog")  # base64 underneath
    many = await target.openai.embeddings.create(
        model=MODEL, input=["a dog", "a red car"], encoding_format="float", user="me"
    )
    expect([item.index for item in many.data] == [0, 1], "not in order")
    expect(all(abs(length_of(item.embedding) - 1) < 1e-3 for item in many.data), "not of unit length")
    pairs = zip(one.data[0].embedding, many.data[0].embedding, strict=True)
    expect(all(abs(a - b) < 1e-4 for a, b in pairs), "float and base64 differ")
    expect(many.usage.total_tokens > 0, "no usage")


@check("embeddings", "base64 is little-endian float32")
async def base64_floats(target: Target) -> None:
    body = {"model": MODEL, "input": "a dog", "encoding_format": "base64"}
    item = (await target.http.post(EMBEDDINGS, json=body)).json()["data"][0]
    numbers = array("f", base64.b64decode(item["embedding"]))
    expect(abs(length_of(list(numbers)) - 1) < 1e-3, "not of unit length")


@check("embeddings", "pictures in the space of texts, as an extension")
async def pictures(target: Target) -> None:
    image = {"type": "image_url", "image_url": {"url": picture_url()}}
    body = {"model": MODEL, "input": [image, {"type": "text", "text": "a red square"}]}
    data = (await target.http.post(EMBEDDINGS, json=body)).json()["data"]
    expect(len(data[0]["embedding"]) == len(data[1]["embedding"]), "different sizes")


@check("embeddings", "dimensions is honoured or refused; other wrong values are named")
async def embedding_refusals(target: Target) -> None:
    client = target.lenient.embeddings
    size = len((await client.create(model=MODEL, input="x")).data[0].embedding)
    same = await client.create(model=MODEL, input="x", dimensions=size)
    expect(len(same.data[0].embedding) == size, "another size")
    for param, change in (
        ("dimensions", {"dimensions": size - 1}),
        ("encoding_format", {"encoding_format": "hex"}),
        ("input", {"input": ""}),
        ("input", {"input": []}),
        ("input[0]", {"input": [1, 2, 3]}),
        ("unheard_of", {"unheard_of": 1}),
    ):
        await refused(target, EMBEDDINGS, {"model": MODEL, "input": "x", **change}, param)


@check("vision", "describe and ask")
async def vision(target: Target) -> None:
    picture = {"model": MODEL, "image": picture_url(), "max_tokens": 4}
    for path, body in (
        ("/v1/vision/describe", picture),
        ("/v1/vision/describe", {**picture, "language": "zh"}),
        ("/v1/vision/ask", {**picture, "question": "What is this?"}),
    ):
        reply = await target.http.post(path, json=body)
        expect(reply.status_code == 200, f"{path}: {reply.text[:200]}")
        expect(reply.json()["generated_text"], f"{path}: an empty answer")
    await refused(target, "/v1/vision/describe", {"image": "https://example.com/x.png"}, "image")
    await refused(target, "/v1/vision/ask", {**picture, "question": " "}, "question")
    await refused(target, "/v1/vision/describe", {**picture, "language": "fr"}, "language")


@check("service", "health, ready, status, metrics and the schema")
async def service(target: Target) -> None:
    for path in ("/health", "/ready", "/v1/status", "/v1/memory", "/metrics", "/openapi.json"):
        reply = await target.http.get(path)
        expect(reply.status_code == 200, f"{path} gave {reply.status_code}")
        expect(reply.headers.get("x-request-id"), f"{path} has no request id")
    served = (await target.http.get("/openapi.json")).json()["paths"]
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/completions", EMBEDDINGS):
        expect(path in served, f"{path} is not in the schema")


@check("service", "unknown routes and methods have the error body")
async def unknown_routes(target: Target) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/chat/completions", 405)):
        reply = await target.http.request(method, path)
        expect(reply.status_code == status, f"{method} {path} gave {reply.status_code}")
        expect(set(reply.json()["error"]) == {"message", "type", "param", "code"}, "not the error body")


@check("service", "what is not installed is 501 and says what is missing")
async def not_installed(target: Target) -> None:
    for method, path, body in NOT_INSTALLED:
        reply = await target.http.request(method, path, json=body)
        expect(reply.status_code == 501, f"{path} gave {reply.status_code}")
        expect("not installed" in reply.json()["error"]["message"], "it does not say what is missing")


@check("realtime", "a client secret; a call is a WebSocket")
async def client_secrets(target: Target) -> None:
    made = await target.openai.realtime.client_secrets.create(session={"type": "realtime"})
    expect(made.value.startswith("ek_"), f"the secret is {made.value[:3]}...")
    reply = await target.http.get("/v1/realtime")
    expect(reply.status_code == 426, f"status {reply.status_code}")


@check("keys", "a missing or wrong key is 401, where the server asks for one")
async def keys(target: Target) -> None:
    if target.key is None:
        reply = await target.http.get("/v1/models")
        expect(reply.status_code == 200, "a key is asked for, and none was given with --key")
        return
    for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": target.key}):
        request = httpx2.Request("GET", target.http.base_url.join("/v1/models"), headers=header)
        reply = await target.http.send(request)
        expect(reply.status_code == 401, f"status {reply.status_code} with {sorted(header)}")
        expect(reply.json()["error"]["code"] == "invalid_api_key", "another code")
    try:
        await target.openai.with_options(api_key="wrong").models.list()
    except openai.AuthenticationError:
        pass
    else:
        raise AssertionError("a wrong key was let in")
    for path in ("/health", "/ready"):
        request = httpx2.Request("GET", target.http.base_url.join(path))
        expect((await target.http.send(request)).status_code == 200, f"{path} asks for a key")
