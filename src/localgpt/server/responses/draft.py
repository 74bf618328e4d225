"""The response object, from its first state to its last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from localgpt.server.answers import logprob_replies
from localgpt.server.responses.items import output_id
from localgpt.server.responses.painting import picture_items
from localgpt.server.schemas.chat import TokenLogprobReply
from localgpt.server.schemas.common import Extension
from localgpt.server.schemas.response_replies import (
    IncompleteDetails,
    InputTokensDetails,
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputPicture,
    OutputText,
    ResponseFailure,
    ResponseReply,
    ResponseStatus,
    ResponseUsage,
)
from localgpt.server.schemas.responses import ResponsesBody
from localgpt.tasks import ChatResult, Painting, SamplingOptions, ToolCall, Usage

__all__ = ["Draft", "mark_end"]


@dataclass(slots=True)
class Draft:
    """What all states of one response share: what was asked for, as it was understood."""

    id: str
    body: ResponsesBody
    model: str
    options: SamplingOptions
    is_kept: bool
    notices: list[str]
    painting: Painting | None = None  # how pictures are painted that are answers
    created_at: int = field(default_factory=lambda: int(time.time()))

    def tell(self, notices: Sequence[str]) -> None:
        """Add what the caller was not told yet."""
        self.notices.extend(text for text in notices if text not in self.notices)

    def begun(self) -> ResponseReply:
        """Nothing was written yet."""
        return self._reply("in_progress", [])

    def finished(self, result: ChatResult, output: Sequence[OutputItem]) -> ResponseReply:
        """The model has ended: done, or stopped by the limit of tokens."""
        self.tell(result.notices)
        reply = self._reply("incomplete" if result.finish_reason == "length" else "completed", output)
        reply.usage = _usage(result.usage)
        if reply.status == "incomplete":
            reply.incomplete_details = IncompleteDetails()
        else:
            reply.completed_at = int(time.time())
        return reply

    def failed(self, failure: ResponseFailure, output: Sequence[OutputItem]) -> ResponseReply:
        """The model has failed after some output."""
        reply = self._reply("failed", output)
        reply.error = failure
        return reply

    def output_of(self, result: ChatResult) -> list[OutputItem]:
        """The items of a whole answer: what is said, then the functions asked for; never none."""
        items: list[OutputItem] = []
        if result.text or not (result.tool_calls or result.images):
            items.append(self.message(0, result.text, logprob_replies(result.logprobs)))
        items.extend(self.call(len(items) + number, call) for number, call in enumerate(result.tool_calls))
        items.extend(self.pictures(result, len(items)))
        return mark_end(items, result)

    def pictures(self, result: ChatResult, index: int) -> list[OutputPicture]:
        """The pictures of an answer, as items from that index on."""
        return picture_items(result, self.painting, self.id, index)

    def message(
        self,
        index: int,
        text: str,
        logprobs: list[TokenLogprobReply],
        status: ItemStatus = "completed",
    ) -> OutputMessage:
        """What is said, as the item of that index."""
        part = OutputText(text=text, annotations=[], logprobs=logprobs)
        return OutputMessage(id=output_id("msg", self.id, index), status=status, content=[part])

    def call(self, index: int, call: ToolCall, status: ItemStatus = "completed") -> OutputCall:
        """A function that is asked for, as the item of that index."""
        return OutputCall(
            id=output_id("fc", self.id, index),
            status=status,
            call_id=call.id,
            name=call.name,
            arguments=call.arguments,
        )

    def _reply(self, status: ResponseStatus, output: Sequence[OutputItem]) -> ResponseReply:
        body = self.body
        return ResponseReply(
            id=self.id,
            created_at=self.created_at,
            status=status,
            model=self.model,
            output=list(output),
            instructions=body.instructions,
            previous_response_id=body.previous_response_id,
            store=self.is_kept,
            metadata=body.metadata or {},
            temperature=self.options.temperature,
            top_p=self.options.top_p,
            max_output_tokens=body.max_output_tokens,
            max_tool_calls=body.max_tool_calls,
            top_logprobs=body.top_logprobs or 0,
            text=_text(body),
            tools=[_without_none(tool.model_dump(by_alias=True)) for tool in body.tools or ()],
            tool_choice=_choice(body),
            parallel_tool_calls=body.parallel_tool_calls is not False,
            truncation=body.truncation or "disabled",
            reasoning={"effort": body.reasoning and body.reasoning.effort, "summary": None},
            user=body.user,
            safety_identifier=body.safety_identifier,
            prompt_cache_key=body.prompt_cache_key,
            prompt_cache_retention=body.prompt_cache_retention,
            localgpt=Extension(notices=list(self.notices)),
        )


def mark_end(items: list[OutputItem], result: ChatResult) -> list[OutputItem]:
    """Mark the last item as cut off, where the limit of tokens did that."""
    if result.finish_reason == "length" and not isinstance(last := items[-1], OutputPicture):
        last.status = "incomplete"
    return items


def _usage(usage: Usage) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _text(body: ResponsesBody) -> dict[str, Any]:
    wanted = None if body.text is None else body.text.format
    shape = {"type": "text"} if wanted is None else _without_none(wanted.model_dump(by_alias=True))
    return {"format": shape, "verbosity": (body.text and body.text.verbosity) or "medium"}


def _choice(body: ResponsesBody) -> str | dict[str, Any]:
    choice = body.tool_choice
    return choice if isinstance(choice, str) else "auto" if choice is None else choice.model_dump()


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
