"""The last checks: the others have asked every route and sent every documented parameter at least once."""

from __future__ import annotations

import re
from typing import Any

from openai.types import completion_create_params, embedding_create_params, image_generate_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params

from benchmarks.conformance_checks.target import Target, check, expect

DOCUMENTED: dict[str, Any] = {
    "/v1/chat/completions": chat_create_params.CompletionCreateParamsStreaming,
    "/v1/completions": completion_create_params.CompletionCreateParamsStreaming,
    "/v1/responses": response_create_params.ResponseCreateParamsStreaming,
    "/v1/embeddings": embedding_create_params.EmbeddingCreateParams,
    "/v1/images/generations": image_generate_params.ImageGenerateParamsStreaming,
}


def documented_parameters(params: Any) -> set[str]:
    """Names in a TypedDict of the official client and in those it is made of."""
    names = set(params.__annotations__)
    for base in getattr(params, "__orig_bases__", ()):
        if hasattr(base, "__annotations__"):
            names |= documented_parameters(base)
    return names


@check("coverage", "every documented parameter was sent")
async def everything_was_sent(target: Target) -> None:
    for path, params in DOCUMENTED.items():
        unsent = documented_parameters(params) - target.sent[path]
        expect(not unsent, f"{path}: never sent {', '.join(sorted(unsent))}")


@check("coverage", "every route of the schema was asked")
async def everything_was_asked(target: Target) -> None:
    paths = (await target.http.get("/openapi.json")).json()["paths"]
    for template, methods in paths.items():
        if template.startswith("/api/"):  # the page's own, which are no part of this wire
            continue
        # A model's name may hold a slash, other names in a path do not.
        pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", template.replace("{model}", "(.+)")))
        for method in methods:
            asked = any(verb == method.upper() and pattern.fullmatch(path) for verb, path in target.asked)
            expect(asked, f"{method.upper()} {template} was never asked")
