"""What `/v1/responses` refuses: every documented parameter that is not honoured, and wrong values."""

from __future__ import annotations

from typing import Any

from benchmarks.conformance_checks.target import MODEL, Target, check, expect, refused

PATH = "/v1/responses"
REFUSALS: tuple[tuple[str, Any], ...] = (
    ("background", True),
    ("background_options", {"completion_window": "soonest"}),
    ("conversation", "conv_1"),
    ("prompt", {"id": "pmpt_1"}),
    ("context_management", [{"type": "compaction", "compact_threshold": 1000}]),
    ("access_programs", {"cyber": "standard"}),
    ("moderation", {"model": "omni-moderation-latest"}),
    ("image", {"context_compression": "enabled"}),
    ("prompt_cache_options", {"mode": "explicit"}),
    ("prompt_cache_retention", "24h"),
    ("service_tier", "flex"),
    ("previous_response_id", "resp_" + 32 * "0"),
    ("stream_options", {"include_obfuscation": False}),  # without a stream
    ("truncation", "middle"),
    ("temperature", 3),
    ("top_p", 0),
    ("max_output_tokens", 0),
    ("top_logprobs", 21),
    ("unheard_of", 1),
)
PATHS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("reasoning.effort", {"reasoning": {"effort": "high"}}),
    ("reasoning.summary", {"reasoning": {"summary": "auto"}}),
    ("text.verbosity", {"text": {"verbosity": "low"}}),
    ("text.format", {"text": {"format": {"type": "grammar"}}}),
    ("include[0]", {"include": ["everything"]}),
    ("tools[0]", {"tools": [{"type": "web_search"}]}),
    ("tool_choice.name", {"tools": [], "tool_choice": {"type": "function", "name": "f"}}),
    ("input", {"input": ""}),
    ("input[0]", {"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]}),
    (
        "input[0].content[0]",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ),
    ("input[0].call_id", {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}),
)


@check("refusals", "responses: each parameter that cannot be followed is 400 and named")
async def parameters(target: Target) -> None:
    for param, value in REFUSALS:
        await refused(target, PATH, {"model": MODEL, "input": "Hello", param: value}, param)


@check("refusals", "responses: what is wrong inside a parameter is named by its path")
async def paths(target: Target) -> None:
    for param, change in PATHS:
        await refused(target, PATH, {"model": MODEL, "input": "Hello", **change}, param)


@check("refusals", "responses: what does not fit is 400 unless truncation is auto")
async def truncation(target: Target) -> None:
    turns: list[dict[str, Any]] = []
    for number in range(60):
        turns.append({"role": "user", "content": f"Number {number}: " + "word " * 60})
        turns.append({"role": "assistant", "content": "I see."})
    body = {"model": MODEL, "input": [*turns, {"role": "user", "content": "Hello"}], "max_output_tokens": 2}
    error = await refused(target, PATH, body, "input")
    expect(error["code"] == "context_length_exceeded", f"the code is {error['code']}")
    reply = await target.http.post(PATH, json={**body, "truncation": "auto"})
    expect(reply.status_code == 200, reply.text[:200])
    expect(reply.json()["localgpt"]["notices"], "turns were left out in silence")
