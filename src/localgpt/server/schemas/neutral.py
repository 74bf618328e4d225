"""Parameters of the chat wire that the model cannot follow, and the values that ask for nothing.

Anything else is refused with the parameter's name and the reason: a client that asked for a spoken answer
and got text was lied to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from localgpt.errors import InputError
from localgpt.server.schemas.chat import ChatBody
from localgpt.server.schemas.sampling import SamplingBody

__all__ = ["NEUTRAL", "refuse_stream_options", "refuse_unsupported"]


class _Rule(NamedTuple):
    reason: str
    neutral: tuple[object, ...] = ()


NEUTRAL: dict[str, _Rule] = {
    "modalities": _Rule(
        "answers are text and, where image is among them, pictures; no voice is installed",
        (["text"], ["text", "image"], ["image", "text"]),
    ),
    "audio": _Rule("answers are text; no voice is installed"),
    "prediction": _Rule("predicted answers are not used"),
    "reasoning_effort": _Rule("the model answers without a reasoning phase", ("none",)),
    "verbosity": _Rule("ask for shorter or longer answers in the messages", ("medium",)),
    "service_tier": _Rule("there is one tier", ("auto", "default")),
    "store": _Rule("answers are not kept by this route", (False,)),
    "web_search_options": _Rule("this server does not use the network"),
    "moderation": _Rule("no moderation model is installed"),
    "prompt_cache_options": _Rule("what is cached cannot be chosen by requests"),
    "prompt_cache_retention": _Rule("prompts are not kept beyond this process", ("in_memory",)),
}


def refuse_unsupported(body: ChatBody) -> None:
    """Check every parameter of `NEUTRAL`, and the stream's options.

    Raises:
        InputError: one of them asks for something the model cannot do; `param` names it.
    """
    for param, rule in NEUTRAL.items():
        got: Any = getattr(body, param)
        if got is not None and got not in rule.neutral:
            expected = " or ".join(repr(value) for value in rule.neutral) or "nothing"
            raise InputError(f"{param} is not supported: {rule.reason}; expected {expected}", param=param)
    refuse_stream_options(body)


def refuse_stream_options(body: SamplingBody) -> None:
    """Check `stream_options`.

    Raises:
        InputError: it is given without `stream`, or asks for padding; `param` names it.
    """
    if body.stream_options is None:
        return
    if not body.stream:
        raise InputError("stream_options needs stream: true", param="stream_options")
    if body.stream_options.include_obfuscation:
        raise InputError(
            "stream_options.include_obfuscation is not supported: events are not padded, use TLS; "
            "expected false",
            param="stream_options.include_obfuscation",
        )
