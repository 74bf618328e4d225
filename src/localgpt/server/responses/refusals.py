"""Parameters of the responses wire that mean nothing here, and what is accepted of each.

Those that the chat wire has too are checked there, once for both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from localgpt.errors import InputError
from localgpt.server.schemas.responses import (
    LOGPROBS,
    ItemsQuery,
    ReasoningOptions,
    ResponsesBody,
    RetrieveQuery,
)

__all__ = ["REFUSED", "check_echo", "refuse_logprobs", "refuse_unknown_wishes"]


class _Rule(NamedTuple):
    is_neutral: Callable[[Any], bool]
    reason: str


def _never(got: Any) -> bool:
    return False


REFUSED: dict[str, _Rule] = {
    "background": _Rule(
        lambda got: got is False, "nothing runs in the background here; wait for the answer, or stream it"
    ),
    "background_options": _Rule(_never, "nothing runs in the background here; leave it out"),
    "conversation": _Rule(
        _never,
        "this server has no conversation objects; send previous_response_id, or the whole conversation as "
        "input",
    ),
    "prompt": _Rule(_never, "this server keeps no prompt templates; send the text as instructions and input"),
    "context_management": _Rule(
        lambda got: got == [],
        "conversations are not compacted; with truncation: auto the oldest turns are left out",
    ),
    "access_programs": _Rule(_never, "this server has no access programs; leave it out"),
    "image": _Rule(
        lambda got: got in ({}, {"context_compression": "auto"}, {"context_compression": "disabled"}),
        "pictures are not compressed; expected context_compression to be auto or disabled",
    ),
}
_ECHOED = (
    "instructions", "metadata", "user", "safety_identifier", "prompt_cache_key", "tools", "tool_choice",
    "text",
)  # fmt: skip
_THOUGHTLESS: dict[str, tuple[str, ...]] = {  # effort is the chat wire's reasoning_effort
    "summary": (),
    "generate_summary": (),
    "context": ("auto",),
    "mode": ("standard",),
}


def check_echo(body: ResponsesBody) -> None:
    """Make sure that what is sent back with the response can be written.

    Raises:
        InputError: a field holds half of a character, or NaN; `param` names it.
    """
    for param in _ECHOED:
        try:
            value = body.model_dump(include={param}, by_alias=True)
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except UnicodeEncodeError:
            raise InputError(f"{param} holds half of a character (a lone surrogate)", param=param) from None
        except ValueError:
            raise InputError(f"{param} holds NaN or Infinity, which are no JSON", param=param) from None


def refuse_unknown_wishes(body: ResponsesBody) -> None:
    """Check every parameter that this wire alone has.

    Raises:
        InputError: one of them asks for something that is not done here; `param` names it.
    """
    for param, rule in REFUSED.items():
        got = getattr(body, param)
        if got is not None and not rule.is_neutral(got):
            raise InputError(f"{param}: {rule.reason}", param=param)
    _refuse_reasoning(body.reasoning or ReasoningOptions())


def refuse_logprobs(query: RetrieveQuery | ItemsQuery, reason: str) -> None:
    """Check that log probabilities are not asked for where there are none.

    Raises:
        InputError: they are; `param` names the spelling of `include`.
    """
    for param, wanted in (("include", query.include), ("include[]", query.include_brackets)):
        if LOGPROBS in (wanted or ()):
            raise InputError(f"there are no {LOGPROBS}: {reason}", param=param)


def _refuse_reasoning(reasoning: ReasoningOptions) -> None:
    for name, accepted in _THOUGHTLESS.items():
        got = getattr(reasoning, name)
        if got is not None and got not in accepted:
            expected = " or ".join(map(repr, accepted)) or "nothing (leave it out)"
            raise InputError(
                f"reasoning.{name} is {got!r}, but this model does not reason; expected {expected}",
                param=f"reasoning.{name}",
            )
