"""Items of the responses wire: what came in, as it is listed and read again later, and references to items.

An item's id holds the id of its response, so that a reference finds it without an index:
`msg_<response>_0` is the first item of the answer, `msg_<response>_in0` the first of the input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from localgpt.server.schemas.response_items import (
    AssistantMessage,
    FunctionCall,
    FunctionCallOutput,
    InputImagePart,
    InputItem,
    InputMessage,
    ItemReference,
    OutputTextPart,
    PaintedItem,
    ReasoningItem,
)

__all__ = ["PlacedItem", "input_id", "is_response_id", "listed", "output_id", "owner_response", "read_items"]

ReadableItem = InputMessage | AssistantMessage | FunctionCall | FunctionCallOutput
_ITEM_ID = re.compile(r"(?:msg|fc|fco|ig)_([0-9a-f]{32})_(?:in)?[0-9]+")
_RESPONSE_ID = re.compile(r"resp_[0-9a-f]{32}")
_ADAPTER: TypeAdapter[list[Any]] = TypeAdapter(list[InputItem])


class PlacedItem(NamedTuple):
    """An item the model reads, and the parameter it came with."""

    item: ReadableItem
    param: str


def output_id(kind: str, response_id: str, index: int) -> str:
    """Id of an item of an answer; `kind` is msg, fc or ig (a picture)."""
    return f"{kind}_{_bare(response_id)}_{index}"


def input_id(kind: str, response_id: str, index: int) -> str:
    """Id of an item of the input; `kind` is msg, fc or fco (a function's output)."""
    return f"{kind}_{_bare(response_id)}_in{index}"


def is_response_id(text: str) -> bool:
    """Whether a text may be the id of a response of ours."""
    return _RESPONSE_ID.fullmatch(text) is not None


def owner_response(item_id: str) -> str | None:
    """Id of the response an item belongs to; None if no item of ours has such an id."""
    found = _ITEM_ID.fullmatch(item_id)
    return None if found is None else f"resp_{found[1]}"


def read_items(items: Iterable[dict[str, Any]]) -> list[ReadableItem]:
    """Items as they were listed or answered, read again."""
    return [
        item
        for item in _ADAPTER.validate_python(list(items))
        if not isinstance(item, ItemReference | ReasoningItem | PaintedItem)
    ]


def listed(items: Sequence[ReadableItem], response_id: str) -> list[dict[str, Any]]:
    """The input as `/input_items` lists it: every item with an id, every text in a part."""
    return [_listed(item, response_id, index) for index, item in enumerate(items)]


def _listed(item: ReadableItem, response_id: str, index: int) -> dict[str, Any]:
    common: dict[str, Any] = {"status": "completed"}
    if isinstance(item, FunctionCall):
        call = item.model_dump(include={"type", "call_id", "name", "arguments"})
        return {"id": input_id("fc", response_id, index), **call, **common}
    if isinstance(item, FunctionCallOutput):
        output = item.model_dump(include={"type", "call_id", "output"}, exclude_none=True)
        return {"id": input_id("fco", response_id, index), **output, **common}
    if not isinstance(item.content, str):
        parts = [_listed_part(part) for part in item.content]
    elif isinstance(item, AssistantMessage):
        parts = [_listed_part(OutputTextPart(type="output_text", text=item.content))]
    else:
        parts = [{"type": "input_text", "text": item.content}]
    return {
        "id": input_id("msg", response_id, index),
        "type": "message",
        "role": item.role,
        "content": parts,
        **common,
    }


def _listed_part(part: BaseModel) -> dict[str, Any]:
    """Citations and log probabilities of earlier answers are not read, and so not listed."""
    if isinstance(part, OutputTextPart):
        return {"type": "output_text", "text": part.text, "annotations": []}
    values = part.model_dump(exclude_none=True)
    if isinstance(part, InputImagePart):
        values.setdefault("detail", "auto")
    return values


def _bare(response_id: str) -> str:
    return response_id.removeprefix("resp_")
