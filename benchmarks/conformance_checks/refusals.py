"""What chat and text completions refuse: each parameter that is not honoured, and wrong values."""

from __future__ import annotations

from typing import Any

from benchmarks.conformance_checks.target import MODEL, Target, check, expect, refused

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}

# Parameters of the wire that this server cannot follow, and values out of range of those it can.
CHAT_REFUSALS: tuple[tuple[str, Any], ...] = (
    ("modalities", ["text", "audio"]),
    ("audio", {"voice": "alloy", "format": "wav"}),
    ("prediction", {"type": "content", "content": "x"}),
    ("reasoning_effort", "high"),
    ("verbosity", "low"),
    ("service_tier", "flex"),
    ("store", True),
    ("web_search_options", {}),
    ("moderation", {"model": "omni-moderation-latest"}),
    ("prompt_cache_options", {"mode": "explicit"}),
    ("prompt_cache_retention", "24h"),
    ("temperature", 2.5),
    ("top_p", 0),
    ("frequency_penalty", 3),
    ("presence_penalty", -3),
    ("max_tokens", 0),
    ("max_completion_tokens", 0),
    ("n", 0),
    ("n", 1000),
    ("top_logprobs", 21),
    ("seed", "seven"),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),  # without a stream
    ("tool_choice", "sometimes"),
    ("unheard_of", 1),
)


@check("refusals", "chat: each parameter that cannot be followed is 400 and named")
async def chat_parameters(target: Target) -> None:
    for param, value in CHAT_REFUSALS:
        await refused(target, CHAT, {**HELLO, param: value}, param)


@check("refusals", "chat: what is wrong inside a parameter is named by its path")
async def chat_paths(target: Target) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    for param, change in (
        ("messages", {"messages": []}),
        ("messages[0]", {"messages": [{"role": "critic", "content": "x"}]}),
        ("messages[0].content[0].image_url.url", {"messages": [{"role": "user", "content": [image]}]}),
        ("messages[0].content[0]", {"messages": [{"role": "user", "content": [{"type": "file"}]}]}),
        ("messages[0].tool_call_id", {"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}),
        ("tools[0]", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
        ("response_format", {"response_format": {"type": "grammar"}}),
        ("top_logprobs", {"top_logprobs": 2}),  # without logprobs
    ):
        await refused(target, CHAT, {**HELLO, **change}, param)


@check("refusals", "text completions: each parameter that cannot be followed is 400 and named")
async def text_parameters(target: Target) -> None:
    body = {"model": MODEL, "prompt": "Hello"}
    for param, value in (
        ("suffix", "the end"),
        ("logprobs", 6),
        ("best_of", 0),
        ("n", 0),
        ("max_tokens", 0),
        ("temperature", 3),
        ("prompt", []),
        ("prompt", [1, 2, 3]),
        ("unheard_of", 1),
    ):
        await refused(target, TEXT, {**body, param: value}, param)


@check("refusals", "a body that is no JSON, no object, or missing")
async def bodies(target: Target) -> None:
    for content in (b"{", b"[]", b""):
        reply = await target.http.post(CHAT, content=content, headers={"content-type": "application/json"})
        expect(reply.status_code == 400, f"{content!r} gave {reply.status_code}")
        expect(set(reply.json()["error"]) == {"message", "type", "param", "code"}, "not the error body")


@check("refusals", "a prompt that is far too long is 400 context_length_exceeded")
async def too_long(target: Target) -> None:
    messages = [{"role": "user", "content": "word " * 20_000}]
    error = await refused(target, CHAT, {"model": MODEL, "messages": messages}, "messages")
    expect(error["code"] == "context_length_exceeded", f"the code is {error['code']}")
