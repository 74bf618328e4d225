"""Painting as a tool, for models that have no mark of their own for it but can call tools.

The tool is added to what the model is told, and its calls are taken out of what the caller is told: to the
caller a wish to paint is the same whatever model has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from localgpt.tasks import ChatRequest, Event, Tool, ToolCall, ToolCallDelta

__all__ = ["PaintCalls", "with_paint_tool"]

_NAME: Final = "paint_picture"
_TOOL: Final = Tool(
    name=_NAME,
    description="Paint a picture and show it to the user. Call it only when the user wants a picture made.",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {"prompt": {"type": "string", "description": "What the picture shows."}},
            "required": ["prompt"],
        }
    ),
)


def with_paint_tool(request: ChatRequest) -> ChatRequest:
    """A request whose model may call the tool to paint, where it may paint and nothing stands against it."""
    is_free = request.tool_choice.mode == "auto" and request.answer_format.kind == "text"
    if request.painting is None or not is_free or any(tool.name == _NAME for tool in request.tools):
        return request
    return replace(request, tools=(*request.tools, _TOOL))


class PaintCalls:
    """Takes the calls of the tool out of an answer's events."""

    def __init__(self) -> None:
        self._painting: set[int] = set()  # indices of calls

    def left_of(self, events: Iterable[Event]) -> list[Event]:
        """The events that are not of the tool; further calls are counted as if there were none of it."""
        left: list[Event] = []
        for event in events:
            if not isinstance(event, ToolCallDelta):
                left.append(event)
                continue
            if event.name == _NAME:
                self._painting.add(event.index)
            if event.index not in self._painting:
                num_before = sum(index < event.index for index in self._painting)
                left.append(replace(event, index=event.index - num_before))
        return left

    @staticmethod
    def split(calls: Sequence[ToolCall]) -> tuple[tuple[ToolCall, ...], str | None]:
        """The other calls, and what the first one of the tool wants painted."""
        others = tuple(call for call in calls if call.name != _NAME)
        prompts = [_prompt_of(call.arguments) for call in calls if call.name == _NAME]
        return others, next(filter(None, prompts), None)


def _prompt_of(arguments: str) -> str:
    """The prompt of a call; empty where the model wrote something else, as some do without a grammar."""
    try:
        found = json.loads(arguments)
    except (ValueError, RecursionError):
        return ""
    prompt = found.get("prompt") if isinstance(found, dict) else None
    return prompt.strip() if isinstance(prompt, str) else ""
