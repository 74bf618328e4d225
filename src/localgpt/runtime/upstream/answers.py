"""What an upstream streams, read with suspicion, as events and one result."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from localgpt.errors import InputError, LocalGPTError
from localgpt.runtime.upstream.address import Upstream
from localgpt.runtime.upstream.refusals import broken, error_of_event
from localgpt.tasks import (
    ChatResult,
    Event,
    FinishReason,
    Notice,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

__all__ = ["AnswerReader", "read_vectors"]

_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_MAX_CALLS: Final = 128
_MAX_TOKENS: Final = 2**53


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)


class AnswerReader:
    """Turns chunks of one answer into events, and in the end into its result.

    Args:
        upstream: who answers.
        model: what the result calls the model.
        is_chat: chunks of a conversation rather than of a text that goes on.
        with_logprobs: log probabilities were asked for.
    """

    def __init__(self, upstream: Upstream, model: str, *, is_chat: bool, with_logprobs: bool) -> None:
        self._upstream = upstream
        self._model = model
        self._is_chat = is_chat
        self._with_logprobs = with_logprobs
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._calls: list[_Call] = []
        self._places: dict[int, int] = {}  # the upstream's index of a call to ours
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._notices: list[str] = []

    def take(self, chunk: dict[str, Any]) -> Iterator[Event]:
        """The events of one chunk.

        Raises:
            LocalGPTError: the chunk is an error, or none of this wire.
        """
        if chunk.get("error"):
            raise error_of_event(self._upstream, chunk["error"])
        if chunk.get("usage") is not None:
            self._usage = self._read_usage(chunk["usage"])
        for choice in self._list(chunk.get("choices"), "choices"):
            if not isinstance(choice, dict) or choice.get("index", 0) != 0:
                raise self._broken("sends another choice than the one that was asked for")
            yield from self._choice(choice)

    def result(self) -> ChatResult:
        """The whole answer, once its stream has ended.

        Raises:
            LocalGPTError: the answer has no end, or lacks what was asked for.
        """
        if self._reason is None:
            raise self._broken("ended its stream without finishing its answer")
        text = "".join(self._texts)
        if self._with_logprobs and text and not self._logprobs:
            raise InputError(
                f"upstream {self._upstream.name} sends no log probabilities; leave logprobs out",
                param="logprobs",
            )
        if self._usage is None:
            self._notices.append(
                f"Upstream {self._upstream.name} tells no token counts; 0 stands for unknown."
            )
        return ChatResult(
            text=text,
            finish_reason="tool_calls" if self._calls and self._reason == "stop" else self._reason,
            usage=self._usage or Usage(prompt_tokens=0, completion_tokens=0),
            model=self._model,
            notices=tuple(self._notices),
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.pieces)) for call in self._calls
            ),
            logprobs=tuple(self._logprobs),
        )

    def _choice(self, choice: dict[str, Any]) -> Iterator[Event]:
        delta = choice.get("delta") or {} if self._is_chat else {"content": choice.get("text")}
        if not isinstance(delta, dict):
            raise self._broken("sends a delta that is no object")
        if delta.get("reasoning_content") or delta.get("reasoning"):
            yield from self._notice("The model thinks before it answers; its thoughts are left out.")
        logprobs = self._read_logprobs(choice.get("logprobs")) if self._with_logprobs else ()
        if text := self._text(delta.get("content"), "content"):
            self._texts.append(text)
        self._logprobs += logprobs
        if text or logprobs:
            yield TextDelta(text=text, logprobs=tuple(logprobs))
        for call in self._list(delta.get("tool_calls"), "tool_calls"):
            yield self._call(call)
        reason = choice.get("finish_reason")
        if reason is not None:
            self._reason = _REASONS.get(reason) if isinstance(reason, str) else None
            if self._reason is None:
                self._reason = "stop"
                yield from self._notice("The upstream ended the answer for a reason of its own.")

    def _notice(self, text: str) -> Iterator[Notice]:
        if text not in self._notices:
            self._notices.append(text)
            yield Notice(text=text)

    def _call(self, call: Any) -> ToolCallDelta:
        function = call.get("function") if isinstance(call, dict) else None
        index = call.get("index", 0) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(index, int):
            raise self._broken("sends a tool call that is none")
        name, id = self._text(function.get("name"), "name"), self._text(call.get("id"), "id")
        arguments = self._text(function.get("arguments"), "arguments")
        place = self._places.get(index)
        # Some servers give every call the index 0: a further id with a name is a further call.
        if place is None or (name and id and id != self._calls[place].id):
            if not name:
                raise self._broken("sends a tool call without a name")
            if len(self._calls) >= _MAX_CALLS:
                raise self._broken(f"calls more than {_MAX_CALLS} tools")
            place = self._places[index] = len(self._calls)
            self._calls.append(_Call(id or f"call_{uuid.uuid4().hex}", name, [arguments]))
            return ToolCallDelta(index=place, id=self._calls[place].id, name=name, arguments=arguments)
        self._calls[place].pieces.append(arguments)
        return ToolCallDelta(index=place, arguments=arguments)

    def _read_usage(self, usage: Any) -> Usage:
        known = usage if isinstance(usage, dict) else {}
        read, written = _count(known.get("prompt_tokens")), _count(known.get("completion_tokens"))
        if read is None or written is None:
            raise self._broken("sends token counts that are none")
        details = known.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        return Usage(prompt_tokens=read, completion_tokens=written, cached_tokens=min(cached or 0, read))

    def _read_logprobs(self, logprobs: Any) -> list[TokenLogprob]:
        if logprobs is None:
            return []
        if not isinstance(logprobs, dict):
            raise self._broken("sends log probabilities that are none")
        if self._is_chat:
            return [self._token(token) for token in self._list(logprobs.get("content"), "logprobs")]
        tokens = self._list(logprobs.get("tokens"), "logprobs")
        values = self._list(logprobs.get("token_logprobs"), "logprobs")
        tops = self._list(logprobs.get("top_logprobs"), "logprobs") or [None] * len(tokens)
        is_whole = len(tokens) == len(values) == len(tops)
        if not is_whole or not all(top is None or isinstance(top, dict) for top in tops):
            raise self._broken("sends log probabilities that are none")
        return [
            self._token(
                {
                    "token": token,
                    "logprob": value,
                    "top_logprobs": [
                        {"token": one, "logprob": number} for one, number in (top or {}).items()
                    ],
                }
            )
            for token, value, top in zip(tokens, values, tops, strict=True)
        ]

    def _token(self, token: Any) -> TokenLogprob:
        try:
            logprob = float(token["logprob"])
            data = token.get("bytes")
            data = token["token"].encode("utf-8", "surrogatepass") if data is None else bytes(data)
            top = tuple(self._token(one) for one in token.get("top_logprobs") or ())
        except (TypeError, KeyError, ValueError, AttributeError, RecursionError):
            raise self._broken("sends log probabilities that are none") from None
        if math.isnan(logprob):
            raise self._broken("sends log probabilities that are none")
        return TokenLogprob(data=data, logprob=logprob, top=top)

    def _list(self, value: Any, name: str) -> list[Any]:
        if value is not None and not isinstance(value, list):
            raise self._broken(f"sends {name} that are no list")
        return value or []

    def _text(self, value: Any, name: str) -> str:
        if value is not None and not isinstance(value, str):
            raise self._broken(f"sends {name} that is no text")
        return value or ""

    def _broken(self, what: str) -> LocalGPTError:
        return broken(self._upstream, what)


def read_vectors(
    upstream: Upstream, reply: dict[str, Any], num_inputs: int
) -> tuple[tuple[tuple[float, ...], ...], Usage]:
    """Unit vectors in the order of the inputs, and what was read for them.

    Raises:
        BackendError: the reply is none of this wire.
    """
    data = reply.get("data")
    if not isinstance(data, list) or len(data) != num_inputs:
        raise broken(upstream, f"sends another number of vectors than {num_inputs}")
    vectors: dict[int, tuple[float, ...]] = {}
    for place, entry in enumerate(data):
        index = entry.get("index", place) if isinstance(entry, dict) else None
        if type(index) is not int or not 0 <= index < num_inputs:
            raise broken(upstream, "sends a vector of no input")
        vectors[index] = _unit(upstream, entry.get("embedding"))
    if len(vectors) != num_inputs or len({len(vector) for vector in vectors.values()}) != 1:
        raise broken(upstream, "sends vectors that do not belong together")
    usage = reply.get("usage")
    read = _count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    ordered = tuple(vectors[index] for index in range(num_inputs))
    return ordered, Usage(prompt_tokens=read or 0, completion_tokens=0)


def _count(value: Any) -> int | None:
    """A number of tokens; None for anything else."""
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else None


def _unit(upstream: Upstream, values: Any) -> tuple[float, ...]:
    length = _length(values) if isinstance(values, list) else 0.0
    if not math.isfinite(length) or length <= 0.0:
        raise broken(upstream, "sends a vector that is none")
    return tuple(value / length for value in values)


def _length(values: Sequence[Any]) -> float:
    """Of a vector; 0 for what holds anything but numbers."""
    if not all(type(value) in (int, float) for value in values):
        return 0.0
    try:
        return math.hypot(*values)
    except OverflowError:
        return math.inf
