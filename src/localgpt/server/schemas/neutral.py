"""Parameters of the chat wire that the model cannot follow, and the values that ask for nothing.

Anything else is refused with the parameter's name: a client that asked for tools and got prose was lied to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from localgpt.errors import InputError
from localgpt.server.schemas.chat import ChatBody

__all__ = ["NEUTRAL", "refuse_unsupported"]


class _Rule(NamedTuple):
    is_neutral: Callable[[Any], bool]
    expected: str


def _one_of(*values: object) -> _Rule:
    shown = " or ".join(repr(value) for value in values)
    # type() too: True == 1 in Python, and n=true is not n=1.
    return _Rule(lambda got: any(got == value and type(got) is type(value) for value in values), shown)


def _number(value: float) -> _Rule:
    return _Rule(lambda got: not isinstance(got, bool) and got == value, repr(value))


_ABSENT = _Rule(lambda got: False, "nothing (leave it out)")
_EMPTY = _Rule(lambda got: len(got) == 0, "nothing or an empty value")
_ANY = _Rule(lambda got: True, "anything")

NEUTRAL: dict[str, _Rule] = {
    "n": _number(1),
    "frequency_penalty": _number(0),
    "presence_penalty": _number(0),
    "logit_bias": _EMPTY,
    "logprobs": _one_of(False),
    "top_logprobs": _number(0),
    "response_format": _one_of({"type": "text"}),
    "tools": _EMPTY,
    "tool_choice": _one_of("none", "auto"),
    "parallel_tool_calls": _ANY,  # says something about tools only, and there are none
    "functions": _EMPTY,
    "function_call": _one_of("none", "auto"),
    "modalities": _one_of(["text"]),
    "audio": _ABSENT,
    "prediction": _ABSENT,
    "reasoning_effort": _one_of("none"),
    "verbosity": _one_of("medium"),
    "service_tier": _one_of("auto", "default"),
    "store": _one_of(False),
    "metadata": _EMPTY,
    "web_search_options": _ABSENT,
    "moderation": _ABSENT,
    "safety_identifier": _ANY,  # like `user`: a label for abuse reports, which never leave this machine
    "prompt_cache_key": _ANY,  # a hint for routing between machines; there is one
    "prompt_cache_options": _ABSENT,
    "prompt_cache_retention": _one_of("in_memory"),
}


def refuse_unsupported(body: ChatBody) -> None:
    """Check every parameter of `NEUTRAL`.

    Raises:
        InputError: one of them asks for something the model cannot do; `param` names it.
    """
    for param, rule in NEUTRAL.items():
        got = getattr(body, param)
        if got is not None and not rule.is_neutral(got):
            raise InputError(f"{param} is not supported yet; expected {rule.expected}", param=param)
    if body.stream_options is not None:
        if not body.stream:
            raise InputError("stream_options needs stream: true", param="stream_options")
        if body.stream_options.include_obfuscation:
            raise InputError(
                "stream_options.include_obfuscation is not supported yet; expected false",
                param="stream_options.include_obfuscation",
            )
