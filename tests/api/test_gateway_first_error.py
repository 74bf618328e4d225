"""One wrong field is told, and no more are looked for, however many a body has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from localgpt.server.errors import param_path
from localgpt.server.schemas.api import MessageBody, SignInBody
from localgpt.server.schemas.chat import ChatBody
from localgpt.server.schemas.completions import CompletionBody
from localgpt.server.schemas.embeddings import EmbeddingsBody
from localgpt.server.schemas.responses import ResponsesBody, RetrieveQuery

MANY = 5000
FIELDS = {f"x{number}": 0 for number in range(MANY)}
NUMBERS = [0] * MANY
TEXTS = [{"type": "text", "text": 0}] * MANY
PARTS = [{"type": "input_text", "text": 0}] * MANY
SAID = [{"type": "output_text", "text": 0}] * MANY


def chat(**turn: Any) -> dict[str, Any]:
    return {"messages": [turn]}


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


CASES: list[tuple[type[BaseModel], dict[str, Any], str]] = [
    (SignInBody, {"key": "k", **FIELDS}, "x0"),
    (MessageBody, {"id": "a", "parent_id": None, "text": "t", "attachments": NUMBERS}, "attachments[0]"),
    (ChatBody, {"messages": NUMBERS}, "messages[0]"),
    (ChatBody, {"messages": [{"role": "user", "content": "x", **FIELDS}] * MANY}, "messages[0].x0"),
    (ChatBody, chat(role="user", content=TEXTS), "messages[0].content[0].text"),
    (ChatBody, chat(role="system", content=TEXTS), "messages[0].content[0].text"),
    (ChatBody, chat(role="assistant", content=TEXTS), "messages[0].content[0].text"),
    (ChatBody, chat(role="assistant", content="x", tool_calls=NUMBERS), "messages[0].tool_calls[0]"),
    (ChatBody, chat(role="user", content="x") | {"modalities": NUMBERS}, "modalities[0]"),
    (ChatBody, chat(role="user", content="x") | {"modalities": ["x"] * MANY}, "modalities"),
    (ChatBody, chat(role="user", content="x") | {"tools": NUMBERS}, "tools[0]"),
    (ChatBody, chat(role="user", content="x") | {"functions": NUMBERS}, "functions[0]"),
    (ChatBody, chat(role="user", content="x") | {"stop": NUMBERS}, "stop[0]"),
    (ChatBody, chat(role="user", content="x") | {"metadata": FIELDS}, "metadata"),
    (ChatBody, chat(role="user", content="x") | {"logit_bias": FIELDS}, "logit_bias"),
    (
        ChatBody,
        chat(role="user", content="x") | {"logit_bias": dict(list(FIELDS.items())[:4096])},
        "logit_bias.x0",
    ),
    (CompletionBody, {"prompt": [""] * MANY}, "prompt[0]"),
    (EmbeddingsBody, {"input": NUMBERS}, "input[0]"),
    (EmbeddingsBody, {"input": TEXTS}, "input[0].text"),
    (ResponsesBody, {"input": NUMBERS}, "input[0]"),
    (ResponsesBody, {"input": "x", "include": NUMBERS}, "include[0]"),
    (ResponsesBody, {"input": "x", "tools": NUMBERS}, "tools[0]"),
    (ResponsesBody, {"input": "x", "metadata": FIELDS}, "metadata"),
    (ResponsesBody, {"input": "x", "context_management": NUMBERS}, "context_management"),
    (
        ResponsesBody,
        {"input": "x", "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": NUMBERS}},
        "tool_choice.tools[0]",
    ),
    (ResponsesBody, item(role="user", content=PARTS), "input[0].content[0].text"),
    (ResponsesBody, item(role="assistant", content=SAID), "input[0].content[0].text"),
    (
        ResponsesBody,
        item(type="function_call_output", call_id="c", output=PARTS),
        "input[0].output[0].text",
    ),
    (RetrieveQuery, FIELDS, "x0"),
    (RetrieveQuery, {"include": NUMBERS}, "include[0]"),
]


@pytest.mark.parametrize(
    ("model", "body", "param"), CASES, ids=[f"{model.__name__}-{param}" for model, _, param in CASES]
)
def test_many_wrong_fields_are_one_error(model: type[BaseModel], body: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as failed:
        model.model_validate(body)
    assert failed.value.error_count() <= 2  # of one entry: its name and its value
    assert param_path(failed.value.errors()[0]["loc"]) == param


def test_many_right_entries_are_read() -> None:
    bias = {str(number): 1.0 for number in range(4096)}
    assert ChatBody.model_validate(chat(role="user", content="x") | {"logit_bias": bias}).logit_bias == bias


def lists_without_end(schema: Any) -> list[Any]:
    """Every array of a schema that may have any number of entries."""
    if isinstance(schema, list):
        return [found for entry in schema for found in lists_without_end(entry)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "array" and "maxItems" not in schema else []
    return own + [found for entry in schema.values() for found in lists_without_end(entry)]


@pytest.mark.parametrize("model", [ChatBody, CompletionBody, EmbeddingsBody, ResponsesBody, MessageBody])
def test_every_list_has_an_end(model: type[BaseModel]) -> None:
    assert not lists_without_end(model.model_json_schema())
