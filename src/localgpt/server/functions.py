"""From the wire's tools, tool choices and answer formats to the tasks'; the legacy spelling is mapped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from localgpt.errors import InputError
from localgpt.server.schemas.chat import ChatBody
from localgpt.server.schemas.formats import JsonObjectFormat, JsonSchema, JsonSchemaFormat
from localgpt.server.schemas.tools import AllowedToolChoice, LegacyFunction, NamedFunction
from localgpt.server.translate import checked_text
from localgpt.tasks import AnswerFormat, Tool, ToolChoice

__all__ = [
    "ToolUse",
    "allowed_tools",
    "answer_format_of",
    "json_answer",
    "named_tool",
    "tool_of",
    "tool_use_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """Which functions may be asked for, and whether the caller speaks the legacy spelling."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = field(default_factory=ToolChoice)
    parallel: bool = True
    is_legacy: bool = False


def tool_use_of(body: ChatBody) -> ToolUse:
    """The functions of a chat request.

    Raises:
        InputError: both spellings are mixed, a name stands twice, or a choice names no tool.
    """
    if body.functions or body.function_call is not None:
        return _legacy_use(body)
    tools = tools_of(
        [(tool.function, f"tools[{index}].function") for index, tool in enumerate(body.tools or ())]
    )
    choice, wire = ToolChoice(), body.tool_choice
    if isinstance(wire, AllowedToolChoice):
        names = [tool.function.name for tool in wire.allowed_tools.tools]
        tools = allowed_tools(tools, names, param="tool_choice.allowed_tools.tools")
        choice = ToolChoice(mode=wire.allowed_tools.mode)
    elif isinstance(wire, str):
        if wire == "required" and not tools:
            raise InputError("tool_choice is 'required', but there are no tools", param="tool_choice")
        choice = ToolChoice(mode=wire)
    elif wire is not None:
        choice = named_tool(tools, wire.function.name, param="tool_choice.function.name")
    return ToolUse(tools=tools, choice=choice, parallel=body.parallel_tool_calls is not False)


def _legacy_use(body: ChatBody) -> ToolUse:
    if body.tools or body.tool_choice is not None:
        raise InputError(
            "functions and tools are two spellings of the same; send tools alone", param="functions"
        )
    tools = tools_of(
        [(function, f"functions[{index}]") for index, function in enumerate(body.functions or ())]
    )
    choice = ToolChoice()
    if isinstance(body.function_call, NamedFunction):
        choice = named_tool(tools, body.function_call.name, param="function_call.name")
    elif body.function_call is not None:
        choice = ToolChoice(mode=body.function_call)
    return ToolUse(tools=tools, choice=choice, parallel=False, is_legacy=True)


def tools_of(functions: Iterable[tuple[LegacyFunction, str]]) -> tuple[Tool, ...]:
    """Tools of functions and the paths they stand at.

    Raises:
        InputError: a name stands twice, or a schema is no JSON.
    """
    tools: dict[str, Tool] = {}
    for function, param in functions:
        if function.name in tools:
            raise InputError(f"the name {function.name!r} stands twice", param=f"{param}.name")
        tools[function.name] = tool_of(function, param)
    return tuple(tools.values())


def tool_of(function: LegacyFunction, param: str) -> Tool:
    """One tool.

    Raises:
        InputError: its schema is no JSON; `param` is the path it stands at.
    """
    description = checked_text(function.description or "", f"{param}.description")
    if function.parameters is None:
        return Tool(name=function.name, description=description)
    schema = _json_text(function.parameters, f"{param}.parameters")
    return Tool(name=function.name, description=description, parameters=schema)


def named_tool(tools: Sequence[Tool], name: str, *, param: str) -> ToolChoice:
    """The choice of one tool.

    Raises:
        InputError: there is none of that name.
    """
    allowed_tools(tools, [name], param=param)
    return ToolChoice(mode="named", name=name)


def allowed_tools(tools: Sequence[Tool], names: Sequence[str], *, param: str) -> tuple[Tool, ...]:
    """Those of the tools that are named.

    Raises:
        InputError: a name is none of the tools'.
    """
    known = [tool.name for tool in tools]
    if unknown := [name for name in names if name not in known]:
        expected = ", ".join(known) or "no choice, since there are no tools"
        raise InputError(f"no tool is called {unknown[0]!r}; expected {expected}", param=param)
    return tuple(tool for tool in tools if tool.name in names)


def answer_format_of(body: ChatBody) -> AnswerFormat:
    """What the answer's text must be.

    Raises:
        InputError: the schema is no JSON.
    """
    if isinstance(body.response_format, JsonObjectFormat):
        return AnswerFormat(kind="json")
    if isinstance(body.response_format, JsonSchemaFormat):
        return json_answer(body.response_format.json_schema, param="response_format.json_schema")
    return AnswerFormat()


def json_answer(wire: JsonSchema, *, param: str) -> AnswerFormat:
    """An answer that follows a schema; the description becomes the schema's, where it has none.

    Raises:
        InputError: the schema is no JSON.
    """
    schema = dict(wire.json_schema or {"type": "object"})
    if wire.description:
        schema.setdefault("description", wire.description)
    return AnswerFormat(kind="json", schema=_json_text(schema, f"{param}.schema"))


def _json_text(value: dict[str, Any], param: str) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise InputError("the schema holds NaN or Infinity, which are no JSON", param=param) from None
    except RecursionError:
        raise InputError("the schema is nested too deeply", param=param) from None
    return checked_text(text, param)
