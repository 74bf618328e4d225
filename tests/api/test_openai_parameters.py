"""Each parameter that the official client knows is honoured or refused by name; new ones show up here."""

from __future__ import annotations

import typing
from typing import Any

import httpx
import openai
import pytest
from openai.types import completion_create_params, embedding_create_params, image_generate_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from localgpt.server import create_app
from localgpt.settings import Settings
from tests.api.fake_painter import FakePainter
from tests.api.fake_service import FakeService
from tests.api.test_docs import SECTIONS, fields, operations

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
ROUTES: dict[str, tuple[Any, dict[str, Any]]] = {
    "POST /v1/chat/completions": (
        chat_create_params.CompletionCreateParamsNonStreaming,
        {"messages": HELLO},
    ),
    "POST /v1/completions": (completion_create_params.CompletionCreateParamsNonStreaming, {"prompt": "hi"}),
    "POST /v1/embeddings": (embedding_create_params.EmbeddingCreateParams, {"input": "hi"}),
    "POST /v1/images/generations": (
        image_generate_params.ImageGenerateParamsNonStreaming,
        {"prompt": "a cat"},
    ),
    "POST /v1/responses": (response_create_params.ResponseCreateParamsNonStreaming, {"input": "hi"}),
}
# Known to later versions of the client alone: refused by name, as every field that is not known here.
UNKNOWN_HERE: set[tuple[str, str]] = set()
# Values that ask for what is not done here; each must be refused by its name.
REFUSED: list[tuple[str, str, Any]] = [
    ("POST /v1/chat/completions", "audio", {"voice": "alloy", "format": "wav"}),
    ("POST /v1/chat/completions", "modalities", ["text", "audio"]),
    ("POST /v1/chat/completions", "moderation", {"model": "omni-moderation-latest"}),
    ("POST /v1/chat/completions", "prediction", {"type": "content", "content": "hi"}),
    ("POST /v1/chat/completions", "prompt_cache_options", {"mode": "explicit"}),
    ("POST /v1/chat/completions", "prompt_cache_retention", "24h"),
    ("POST /v1/chat/completions", "reasoning_effort", "high"),
    ("POST /v1/chat/completions", "service_tier", "priority"),
    ("POST /v1/chat/completions", "store", True),
    ("POST /v1/chat/completions", "verbosity", "low"),
    ("POST /v1/chat/completions", "web_search_options", {}),
    ("POST /v1/completions", "suffix", "the end"),
    ("POST /v1/embeddings", "dimensions", 7),
    ("POST /v1/images/generations", "complexity", "high"),
    ("POST /v1/images/generations", "frame_count", 4),
    ("POST /v1/images/generations", "frame_duration_ms", 100),
    ("POST /v1/images/generations", "style", "vivid"),
    ("POST /v1/images/generations", "svg", {"model": "gpt-5"}),
    ("POST /v1/responses", "access_programs", ["a"]),
    ("POST /v1/responses", "background", True),
    ("POST /v1/responses", "context_management", [{"type": "compaction"}]),
    ("POST /v1/responses", "background_options", {"a": 1}),
    ("POST /v1/responses", "conversation", "conv_1"),
    ("POST /v1/responses", "image", {"compression": "low"}),
    ("POST /v1/responses", "moderation", {"model": "omni-moderation-latest"}),
    ("POST /v1/responses", "previous_response_id", "resp_never_kept"),
    ("POST /v1/responses", "prompt", {"id": "pmpt_1"}),
    ("POST /v1/responses", "prompt_cache_options", {"mode": "explicit"}),
    ("POST /v1/responses", "prompt_cache_retention", "24h"),
    ("POST /v1/responses", "reasoning", {"effort": "high"}),
    ("POST /v1/responses", "service_tier", "priority"),
]


# Values that are taken; what the others need beside them is in NEEDS.
TAKEN: dict[str, dict[str, Any]] = {
    "POST /v1/chat/completions": {
        "frequency_penalty": 0.5,
        "function_call": "auto",
        "functions": [{"name": "f"}],
        "logit_bias": {"5": 1},
        "logprobs": True,
        "max_completion_tokens": 5,
        "max_tokens": 5,
        "metadata": {"a": "b"},
        "model": "gpt-4o",
        "n": 2,
        "parallel_tool_calls": True,
        "presence_penalty": 0.5,
        "prompt_cache_key": "k",
        "response_format": {"type": "text"},
        "safety_identifier": "s",
        "seed": 1,
        "stop": ["x"],
        "stream": False,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "tool_choice": "none",
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "top_logprobs": 2,
        "top_p": 0.5,
        "user": "u",
    },
    "POST /v1/completions": {
        "best_of": 2,
        "echo": True,
        "frequency_penalty": 0.5,
        "logit_bias": {"5": 1},
        "logprobs": 2,
        "max_tokens": 5,
        "model": "gpt-3.5-turbo-instruct",
        "n": 1,
        "presence_penalty": 0.5,
        "seed": 1,
        "stop": "x",
        "stream": False,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.5,
        "user": "u",
    },
    "POST /v1/embeddings": {"encoding_format": "base64", "model": "text-embedding-3-small", "user": "u"},
    "POST /v1/images/generations": {
        "background": "opaque",
        "model": "gpt-image-1",
        "moderation": "auto",
        "n": 2,
        "output_compression": 80,
        "output_format": "webp",
        "partial_images": 2,
        "quality": "high",
        "response_format": "b64_json",
        "safety_identifier": "s",
        "size": "512x512",
        "stream": False,
        "user": "u",
    },
    "POST /v1/responses": {
        "include": ["message.output_text.logprobs"],
        "instructions": "Be brief.",
        "max_output_tokens": 16,
        "max_tool_calls": 1,
        "metadata": {"a": "b"},
        "model": "gpt-4o",
        "parallel_tool_calls": True,
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "store": False,
        "stream": False,
        "stream_options": {"include_obfuscation": False},
        "temperature": 0.5,
        "text": {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": False}],
        "top_logprobs": 2,
        "top_p": 0.5,
        "truncation": "auto",
        "user": "u",
    },
}
NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("POST /v1/chat/completions", "top_logprobs"): {"logprobs": True},
    ("POST /v1/chat/completions", "function_call"): {"functions": [{"name": "f"}]},
    ("POST /v1/chat/completions", "tool_choice"): {
        "tools": [{"type": "function", "function": {"name": "f"}}]
    },
    ("POST /v1/chat/completions", "stream_options"): {"stream": True},
    ("POST /v1/completions", "stream_options"): {"stream": True},
    ("POST /v1/images/generations", "output_compression"): {"output_format": "jpeg"},
    ("POST /v1/images/generations", "partial_images"): {"stream": True},
    ("POST /v1/responses", "stream_options"): {"stream": True},
}


@pytest.fixture
def service() -> FakeService:
    return FakePainter()


def known_to_the_client(route: str) -> set[str]:
    return set(typing.get_type_hints(ROUTES[route][0]))


@pytest.mark.parametrize("route", ROUTES)
def test_every_parameter_of_the_client_is_known(route: str) -> None:
    schema = create_app(Settings(), FakeService()).openapi()
    known = fields(schema, dict(operations(schema))[route])
    new = {name for name in known_to_the_client(route) - known if (route, name) not in UNKNOWN_HERE}
    assert not new, (
        f"openai {openai.__version__} has {sorted(new)} for {route}: read and document them, honoured or "
        "refused, or enter them in UNKNOWN_HERE"
    )
    assert all(f"`{name}`" in SECTIONS[route.replace("`", "")] for name in known_to_the_client(route))


@pytest.mark.parametrize("route", ROUTES)
async def test_a_parameter_nobody_knows_is_refused_by_name(route: str, http: httpx.AsyncClient) -> None:
    _, body = ROUTES[route]
    for name in ("never_heard_of", *(one for other, one in UNKNOWN_HERE if other == route)):
        reply = await http.post(route.removeprefix("POST "), json={**body, name: 1})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, name)


@pytest.mark.parametrize(("route", "name", "value"), REFUSED)
async def test_what_is_not_done_is_refused_by_name(
    route: str, name: str, value: Any, http: httpx.AsyncClient, service: FakeService
) -> None:
    assert name in known_to_the_client(route)
    reply = await http.post(route.removeprefix("POST "), json={**ROUTES[route][1], name: value})
    error = reply.json()["error"]
    assert reply.status_code == 400, reply.text
    assert error["param"].partition(".")[0].partition("[")[0] == name and error["message"]


@pytest.mark.parametrize("route", ROUTES)
async def test_what_no_refusal_names_is_honoured(
    route: str, http: httpx.AsyncClient, service: FakeService
) -> None:
    """Each parameter is in one of two lists: refused with a value above, or taken with the value here."""
    taken = TAKEN[route]
    refused = {name for other, name, _ in REFUSED if other == route}
    assert known_to_the_client(route) - refused - set(taken) - set(ROUTES[route][1]) == set()
    for name, value in taken.items():
        reply = await http.post(
            route.removeprefix("POST "),
            json={**ROUTES[route][1], **NEEDS.get((route, name), {}), name: value},
        )
        assert reply.status_code == 200, f"{name}: {reply.text}"
