"""JSON schemas and tools as rules of a grammar (Lark, in the dialect of `llguidance`).

Notable:
- Texts are written as `json.dumps(..., ensure_ascii=False)` writes them, as in training: one space after a
  comma and a colon, no other white space, properties in the schema's order. So no model can fill its budget
  with blanks.
- An object whose schema lists its properties gets no others unless the schema says so: what is written still
  fits, and small models end in time. Schemas that put objects together from several parts are left alone,
  since a part does not know the others' properties.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from localgpt.errors import InputError
from localgpt.media.text.vocabulary import TOOL_CALL_ID

__all__ = ["OWN_CALLS", "TAGGED_CALLS", "CallForm", "CallSyntax", "call_rules", "json_rules", "parse_schema"]

_FORM: Final = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
_ANY_OBJECT: Final = '{"type": "object"}'
_COMPOSING: Final = frozenset({"anyOf", "oneOf", "$ref"})
_OF_OBJECTS: Final = frozenset({"properties", "required", "additionalProperties", "patternProperties"})
_LARGEST: Final = 2**53 - 1
_MOST_CHARS: Final = 2**18  # of a schema; no context has room for more


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """A tool as far as a call is written: its name and the JSON schema of its arguments, as JSON text."""

    name: str
    parameters: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSyntax:
    """What stands before, behind and between the calls of a model, as terms of the rules.

    `opening_ids` are the reserved tokens that `before` begins with; a text begins with none.
    """

    before: str
    behind: str = ""
    between: str = ""
    opening_ids: tuple[int, ...] = ()


OWN_CALLS: Final = CallSyntax(before="<|tool_call|>", opening_ids=(TOOL_CALL_ID,))
"""Of the embedded family."""

TAGGED_CALLS: Final = CallSyntax(before='"<tool_call>\\n"', behind='"\\n</tool_call>"', between='"\\n"')
"""Of Hermes, Qwen and many others: each call's JSON on lines of its own between two tags."""


def json_rules(schema: str | None) -> str:
    """The rule `json`: a JSON text that fits a schema (JSON text); any object where it is None.

    Raises:
        InputError: it is no JSON object; `param` is "response_format".
    """
    return f"json: {_fitting(schema or _ANY_OBJECT, param='response_format')}\n"


def call_rules(tools: Sequence[CallForm], *, parallel: bool, syntax: CallSyntax = OWN_CALLS) -> str:
    """The rule `calls`: a call of one of the tools, or several in parallel, written as `syntax` says.

    Raises:
        InputError: the parameters of a tool are no JSON object; `param` is "tools".
    """
    names = " | ".join(f"tool_{number}" for number in range(len(tools)))
    more = f" ({syntax.between} call)*" if parallel else ""
    rules = [f"calls: call{more}", f"call: {syntax.before} ({names}) {syntax.behind}"]
    for number, tool in enumerate(tools):
        head = f'{{"name": {json.dumps(tool.name, ensure_ascii=False)}, "arguments": '
        rules.append(f'tool_{number}: {json.dumps(head, ensure_ascii=False)} arguments_{number} "}}"')
        rules.append(f"arguments_{number}: {_fitting(tool.parameters, param='tools')}")
    return "\n".join(rules) + "\n"


def parse_schema(schema: str, *, param: str) -> dict[str, Any]:
    """The JSON object that a schema's text is.

    Raises:
        InputError: it is none, or far too long for any prompt; `param` is the given one.
    """
    if len(schema) > _MOST_CHARS:
        raise InputError(
            f"the schema has {len(schema):,} characters, expected at most {_MOST_CHARS:,}; use a simpler one",
            param=param,
        )
    try:
        parsed = json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the schema is no JSON ({error}); send a JSON schema", param=param) from None
    if not isinstance(parsed, dict):
        raise InputError(
            f"the schema is a {type(parsed).__name__}, expected an object such as {_ANY_OBJECT}", param=param
        )
    return parsed


def _fitting(schema: str, *, param: str) -> str:
    parsed = parse_schema(schema, param=param)
    try:
        bounded = parsed if _is_composed(parsed) else _bounded(parsed)
        return f"%json {json.dumps(bounded | {'x-guidance': _FORM}, ensure_ascii=False)}"
    except RecursionError:
        raise InputError("the schema is nested too deeply; use a simpler one", param=param) from None


def _is_composed(schema: Any) -> bool:
    """Whether some value is put together from several schemas."""
    if isinstance(schema, list):
        return any(map(_is_composed, schema))
    if not isinstance(schema, dict):
        return False
    keys = schema.keys()
    is_here = "allOf" in keys or (keys & _COMPOSING and keys & _OF_OBJECTS)
    return bool(is_here) or any(map(_is_composed, schema.values()))


def _bounded(schema: Any) -> Any:
    """A schema that is not composed, its objects closed to unlisted properties and its numbers bounded."""
    if not isinstance(schema, dict):
        return schema
    within = {key: _BOUND_WITHIN.get(key, _unchanged)(value) for key, value in schema.items()}
    listed, required = schema.get("properties"), schema.get("required", [])
    is_plain = isinstance(required, list) and "patternProperties" not in schema
    if is_plain and isinstance(listed, dict) and all(name in listed for name in required):
        within.setdefault("additionalProperties", False)
    types = schema.get("type")
    if {"number", "integer"} & set(types if isinstance(types, list) else [types]):
        least = _limit(schema, "minimum", "exclusiveMinimum")
        most = _limit(schema, "maximum", "exclusiveMaximum")
        if least is None and (most is None or most >= -_LARGEST):
            within["minimum"] = -_LARGEST
        if most is None and (least is None or least <= _LARGEST):
            within["maximum"] = _LARGEST
    return within


def _limit(schema: dict[str, Any], *names: str) -> float | None:
    """The first of some limits of a number that is given."""
    return next((schema[name] for name in names if isinstance(schema.get(name), int | float)), None)


def _unchanged(value: Any) -> Any:
    return value


def _bounded_values(schemas: Any) -> Any:
    return {key: _bounded(value) for key, value in schemas.items()} if isinstance(schemas, dict) else schemas


def _bounded_items(schemas: Any) -> Any:
    return [_bounded(schema) for schema in schemas] if isinstance(schemas, list) else schemas


_BOUND_WITHIN: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("properties", "$defs", "definitions", "patternProperties"), _bounded_values),
    **dict.fromkeys(("items", "additionalProperties"), _bounded),
    **dict.fromkeys(("anyOf", "oneOf", "prefixItems"), _bounded_items),
}
