"""Functions the model may ask for, and how the caller steers that; the legacy spelling stands beside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from localgpt.server.schemas.common import Body

__all__ = [
    "AllowedToolChoice",
    "FunctionCallChoice",
    "FunctionDefinition",
    "FunctionName",
    "FunctionTool",
    "LegacyFunction",
    "NamedFunction",
    "NamedToolChoice",
    "ToolChoiceField",
    "ToolField",
]

FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class LegacyFunction(Body):
    """A function as `functions` lists it."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON schema of an object; left out: no arguments


class FunctionDefinition(LegacyFunction):
    """A function as `tools` lists it. Arguments follow the schema whether `strict` is asked for or not."""

    strict: bool | None = None


class FunctionTool(Body):
    """A function the model may ask its caller to run."""

    type: Literal["function"]
    function: FunctionDefinition


def _refuse_custom(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") != "function":
        raise PydanticCustomError(
            "tool", "only tools of type function are supported; give a custom tool a JSON schema instead"
        )
    return value


ToolField = Annotated[FunctionTool, BeforeValidator(_refuse_custom)]


class NamedFunction(Body):
    """A function by its name."""

    name: FunctionName


class NamedToolChoice(Body):
    """This function has to be asked for."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Body):
    """Those of the listed tools that may be asked for now."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedToolChoice], Field(min_length=1, max_length=128, fail_fast=True)]


class AllowedToolChoice(Body):
    """Some of the tools, as the model likes or at least one."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _choice_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:mode"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"tag:{kind}" if kind in ("function", "allowed_tools") else None


ToolChoiceField = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("tag:mode")]
    | Annotated[NamedToolChoice, Tag("tag:function")]
    | Annotated[AllowedToolChoice, Tag("tag:allowed_tools")],
    Discriminator(
        _choice_tag,
        custom_error_type="tool_choice",
        custom_error_message="expected none, auto, required, or an object whose type is function or "
        "allowed_tools",
    ),
]


def _call_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "tag:mode"
    return "tag:name" if isinstance(value, dict | NamedFunction) else None


FunctionCallChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("tag:mode")] | Annotated[NamedFunction, Tag("tag:name")],
    Discriminator(
        _call_tag,
        custom_error_type="function_call",
        custom_error_message="expected none, auto or an object with a function's name",
    ),
]
