"""From the events and results of completion tasks to the pieces and replies of `/v1/completions`."""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from localgpt.server.answers import token_text
from localgpt.server.events import Events, news_of
from localgpt.server.schemas.common import Extension, UsageReply
from localgpt.server.schemas.completions import CompletionChoice, CompletionLogprobs, CompletionReply
from localgpt.server.translate import usage_reply
from localgpt.tasks import ChatResult, Event, Finished, FinishReason, TextDelta, TokenLogprob, Usage

__all__ = ["CompletionWriter", "likeliest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionWriter:
    """What all parts of one answer share, and how they are written.

    Results and choices stand prompt by prompt: `num_choices` of the first, then of the second. `heads` are
    what the texts begin with: the prompts where they are echoed, else empty.
    """

    id: str
    model: str
    created: int  # seconds since the epoch
    fingerprint: str
    heads: Sequence[str]
    num_choices: int
    num_alternatives: int | None  # of each token's log probabilities; None writes none
    notices: list[str] = field(default_factory=list)
    with_usage: bool = False

    def whole(
        self, results: Sequence[ChatResult], candidates: Sequence[Sequence[ChatResult]]
    ) -> CompletionReply:
        """The reply.

        Args:
            results: those that are shown.
            candidates: all that were made for each prompt, which is what they cost.
        """
        choices = []
        for index, result in enumerate(results):
            head = self.heads[index // self.num_choices]
            choices.append(
                CompletionChoice(
                    text=head + result.text,
                    index=index,
                    logprobs=_Tokens(self.num_alternatives, len(head)).take(result.logprobs),
                    finish_reason=_finish(result.finish_reason),
                )
            )
        told = dict.fromkeys(text for result in results for text in result.notices)
        reply = self._reply(choices, list(told))
        reply.usage = _sum([[result.usage for result in group] for group in candidates])
        return reply

    async def chunks(self, events: Events) -> AsyncGenerator[str]:
        """The pieces of a stream as JSON: echoed prompts first, the token counts last."""
        num_texts = len(self.heads) * self.num_choices
        lengths = [len(self.heads[index // self.num_choices]) for index in range(num_texts)]
        tokens = [_Tokens(self.num_alternatives, length) for length in lengths]
        usages: dict[int, Usage] = {}
        has_begun = False
        async for index, event, untold in news_of(events, self.notices):
            if not has_begun:
                has_begun = True
                untold = [*self.notices, *untold]
                for echoed in range(num_texts):
                    if head := self.heads[echoed // self.num_choices]:
                        yield self._json([CompletionChoice(text=head, index=echoed, finish_reason=None)])
            if isinstance(event, Finished):
                usages[index] = event.answer.usage
            yield self._json([_piece(index, event, tokens[index])], untold)
        if self.with_usage:
            groups = [usages[index] for index in range(num_texts)]
            steps = range(0, num_texts, self.num_choices)
            yield self._json([], usage=_sum([groups[start : start + self.num_choices] for start in steps]))

    def _json(
        self, choices: list[CompletionChoice], notices: Sequence[str] = (), *, usage: UsageReply | None = None
    ) -> str:
        reply = self._reply(choices, list(notices))
        reply.usage = usage
        data: dict[str, Any] = reply.model_dump()
        if not self.with_usage:
            del data["usage"]
        if not notices:
            del data["localgpt"]
        return json.dumps(data, ensure_ascii=False)

    def _reply(self, choices: list[CompletionChoice], notices: list[str]) -> CompletionReply:
        return CompletionReply(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=self.fingerprint,
            localgpt=Extension(notices=notices),
        )


class _Tokens:
    """Writes log probabilities and keeps count of where in the text the next token begins."""

    def __init__(self, num_alternatives: int | None, offset: int) -> None:
        self._num_alternatives = num_alternatives
        self._offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, tokens: Sequence[TokenLogprob]) -> CompletionLogprobs | None:
        if self._num_alternatives is None:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(token.data))
        alternatives = None
        if self._num_alternatives:
            alternatives = [_by_text((*token.top, token)) for token in tokens]
        return CompletionLogprobs(
            tokens=[token_text(token.data) for token in tokens],
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=alternatives,
            text_offset=offsets,
        )


def likeliest(results: Sequence[ChatResult], number: int) -> list[ChatResult]:
    """The results whose tokens the model held likeliest on the whole, likeliest first."""

    def mean(result: ChatResult) -> float:
        return sum(token.logprob for token in result.logprobs) / max(1, len(result.logprobs))

    return sorted(results, key=mean, reverse=True)[:number]


def _piece(index: int, event: Event, tokens: _Tokens) -> CompletionChoice:
    if isinstance(event, TextDelta):
        logprobs = tokens.take(event.logprobs)
        return CompletionChoice(text=event.text, index=index, logprobs=logprobs, finish_reason=None)
    finish = _finish(event.answer.finish_reason) if isinstance(event, Finished) else None
    return CompletionChoice(text="", index=index, finish_reason=finish)


def _by_text(tokens: Sequence[TokenLogprob]) -> dict[str, float]:
    return {token_text(token.data): token.logprob for token in tokens}


def _finish(reason: FinishReason) -> Any:
    return "length" if reason == "length" else "stop"


def _sum(groups: Sequence[Sequence[Usage]]) -> UsageReply:
    """Token counts of several prompts, each of them read once for all its choices."""
    read = sum(usages[0].prompt_tokens for usages in groups)
    written = sum(usage.completion_tokens for usages in groups for usage in usages)
    cached = sum(min(usage.cached_tokens for usage in usages) for usages in groups)
    return usage_reply([Usage(prompt_tokens=read, completion_tokens=written, cached_tokens=cached)])
