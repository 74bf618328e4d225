"""From a responses request to the chat request that asks the same, and from the one's errors to the other's.

The chat wire knows how messages, tools, formats and options become a task; this wire only renames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from localgpt.errors import InputError
from localgpt.server.errors import WireError, param_path
from localgpt.server.responses.items import PlacedItem
from localgpt.server.schemas.chat import ChatBody
from localgpt.server.schemas.formats import JsonObjectFormat
from localgpt.server.schemas.response_items import (
    AssistantMessage,
    FunctionCall,
    FunctionCallOutput,
    HeardPart,
    InputImagePart,
    InputMessage,
    InputTextPart,
)
from localgpt.server.schemas.responses import (
    LOGPROBS,
    AllowedFunctions,
    FunctionChoice,
    FunctionTool,
    JsonSchemaFormat,
    PaintChoice,
    PaintTool,
    ResponsesBody,
)

__all__ = ["AsChat"]

_SAME = (
    "temperature", "top_p", "seed", "parallel_tool_calls", "service_tier", "safety_identifier", "moderation",
    "user", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "stream",
)  # fmt: skip
_RENAMED = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",  # as the model names it
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "response_format": "text.format",
    "response_format.json_schema": "text.format",
    "logprobs": "include",
    "tool_choice.function": "tool_choice",
    "tool_choice.allowed_tools": "tool_choice",
    "messages": "input",
}


@dataclass(slots=True)
class AsChat:
    """One responses request in the words of the chat wire."""

    _names: dict[str, str] = field(default_factory=lambda: dict(_RENAMED))  # path there to path here
    _whole: set[str] = field(default_factory=set)  # paths here of which no part is named

    def body(self, body: ResponsesBody, items: Sequence[PlacedItem]) -> ChatBody:
        """The chat request.

        Args:
            body: what was asked for.
            items: the conversation, oldest first, without what the model does not read.

        Raises:
            InputError: a part of the input is of no use; `param` says which.
            RequestValidationError: the chat wire refuses a field; it is named as it is here.
        """
        data: dict[str, Any] = {name: getattr(body, name) for name in _SAME}
        data |= {
            "model": body.model,
            "messages": self._messages(body.instructions, items),
            "max_completion_tokens": body.max_output_tokens,
            "reasoning_effort": body.reasoning and body.reasoning.effort,
            "verbosity": body.text and body.text.verbosity,
            "response_format": _format(body),
            "tools": self._tools(body.tools or ()) or None,
            "tool_choice": _choice(body.tool_choice),
            "stream_options": body.stream_options and body.stream_options.model_dump(exclude_none=True),
        }
        if body.top_logprobs or LOGPROBS in (body.include or ()):
            data |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
        try:
            return ChatBody.model_validate({name: value for name, value in data.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            where = self.rename(param_path(first["loc"]))
            raise RequestValidationError([{**first, "loc": ("body", where)}]) from None

    @contextmanager
    def renamed(self) -> Iterator[None]:
        """Name the parameters of errors as this wire does."""
        try:
            yield
        except InputError as error:
            error.args = (self._reworded(str(error), error.param),)
            error.param = self.rename(error.param)
            raise
        except WireError as error:
            detail = error.detail
            detail.message = self._reworded(detail.message, detail.param)
            detail.param = self.rename(detail.param)
            raise

    def rename(self, param: str | None) -> str | None:
        """The path of a parameter here, of its path on the chat wire."""
        if param is None:
            return None
        known = [name for name in self._names if param == name or param.startswith((f"{name}.", f"{name}["))]
        if not known:
            return param
        name = max(known, key=len)
        here, rest = self._names[name], param[len(name) :]
        return here if here in self._whole else here + rest.replace(".image_url.url", ".image_url")

    def _reworded(self, message: str, param: str | None) -> str:
        """A message that may speak of its parameter, with that one's name here."""
        here = self.rename(param)
        if param is None or here is None:
            return message
        return re.sub(rf"(?<![\w.]){re.escape(param)}(?![\w\[])", lambda _: here, message)

    def _messages(self, instructions: str | None, items: Sequence[PlacedItem]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if instructions:
            self._place("messages[0]", "instructions", is_whole=True)
            messages.append({"role": "system", "content": instructions})
        for item, param in items:
            if isinstance(item, FunctionCall):
                self._add_call(messages, item, param)
                continue
            path = f"messages[{len(messages)}]"
            self._place(path, param, is_whole=not param.startswith("input["))
            if isinstance(item, FunctionCallOutput):
                self._place(f"{path}.content", f"{param}.output")
                self._place(f"{path}.tool_call_id", f"{param}.call_id")
                content = item.output if isinstance(item.output, str) else _texts(item.output)
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
            elif isinstance(item, AssistantMessage):
                messages.append({"role": "assistant", "content": _said(item)})
            else:
                messages.append({"role": item.role, "content": _shown(item)})
        return messages

    def _add_call(self, messages: list[dict[str, Any]], item: FunctionCall, param: str) -> None:
        """Put a call into the assistant's turn: calls of one turn follow one another and what was said."""
        if not messages or messages[-1]["role"] != "assistant":
            self._place(f"messages[{len(messages)}]", param, is_whole=not param.startswith("input["))
            messages.append({"role": "assistant", "content": None})
        calls: list[dict[str, Any]] = messages[-1].setdefault("tool_calls", [])
        path = f"messages[{len(messages) - 1}].tool_calls[{len(calls)}]"
        for name, here in (("", ""), (".id", ".call_id"), (".function", "")):
            self._place(path + name, param + here)
        function = {"name": item.name, "arguments": item.arguments}
        calls.append({"id": item.call_id, "type": "function", "function": function})

    def _tools(self, tools: Sequence[FunctionTool | PaintTool]) -> list[dict[str, Any]]:
        functions = [(index, tool) for index, tool in enumerate(tools) if isinstance(tool, FunctionTool)]
        for there, (here, _) in enumerate(functions):
            self._place(f"tools[{there}].function", f"tools[{here}]")
        wanted = {"name", "description", "parameters", "strict"}
        return [
            {"type": "function", "function": tool.model_dump(include=wanted, exclude_none=True)}
            for _, tool in functions
        ]

    def _place(self, there: str, here: str, *, is_whole: bool = False) -> None:
        if here.startswith("previous_response_id"):
            here, is_whole = "previous_response_id", True
        self._names[there] = here
        if is_whole:
            self._whole.add(here)


def _shown(item: InputMessage) -> str | list[dict[str, Any]]:
    if isinstance(item.content, str):
        return item.content
    return [_shown_part(part) for part in item.content]


def _shown_part(part: InputTextPart | InputImagePart | HeardPart) -> dict[str, Any]:
    if isinstance(part, HeardPart):
        raise AssertionError("recordings are written down before a conversation is read")
    if isinstance(part, InputTextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": _image(part)}


def _image(part: InputImagePart) -> dict[str, Any]:
    return {"url": part.image_url} | ({} if part.detail is None else {"detail": part.detail})


def _said(item: AssistantMessage) -> str:
    if isinstance(item.content, str):
        return item.content
    return "".join(part.refusal if part.type == "refusal" else part.text for part in item.content)


def _texts(parts: Sequence[InputTextPart]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": part.text} for part in parts]


def _format(body: ResponsesBody) -> dict[str, Any] | None:
    wanted = None if body.text is None else body.text.format
    if isinstance(wanted, JsonSchemaFormat):
        schema = wanted.model_dump(by_alias=True, exclude={"type"}, exclude_none=True)
        return {"type": "json_schema", "json_schema": schema}
    return {"type": "json_object"} if isinstance(wanted, JsonObjectFormat) else None


def _choice(
    choice: str | FunctionChoice | PaintChoice | AllowedFunctions | None,
) -> str | dict[str, Any] | None:
    if isinstance(choice, FunctionChoice):
        return _named(choice)
    if isinstance(choice, AllowedFunctions):
        allowed = {"mode": choice.mode, "tools": [_named(tool) for tool in choice.tools]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    if isinstance(choice, PaintChoice):
        return None
    return choice


def _named(function: FunctionChoice) -> dict[str, Any]:
    return {"type": "function", "function": {"name": function.name}}
