"""Requests made ready for one open model: checked, as its prompt, with the form their answer must have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from localgpt.errors import ImageFormatError, InputError, PromptTooLongError
from localgpt.runtime.conversation import Conversation
from localgpt.runtime.open.prompts import OpenPrompt, PromptWriter
from localgpt.runtime.open.vocabulary import OpenLexicon
from localgpt.runtime.paint_tool import with_paint_tool
from localgpt.runtime.questions import AnswerRequest, AnswerRules, Question, TaskName, question_of, rules_of
from localgpt.sampling.grammar import GrammarCompiler
from localgpt.sampling.schemas import TAGGED_CALLS
from localgpt.sampling.tokens import check_logit_bias
from localgpt.tasks import (
    AnswerFormat,
    AskRequest,
    ChatRequest,
    DescribeRequest,
    ImagePart,
    Request,
)

__all__ = ["MAX_TOKENS", "Asking", "Job"]

MAX_TOKENS: Final[dict[TaskName, int]] = {"chat": 4096, "ask": 1024, "describe": 512, "complete": 16}
_ANSWER_ROOM: Final = 1024  # tokens of the context a prompt leaves for the answer, if that many are wanted
_ANY_OBJECT: Final = '{"type": "object"}'
_SEEING: Final = "use one that does, such as qwen2.5-vl-3b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request made ready."""

    question: Question
    prompt: OpenPrompt
    rules: AnswerRules
    max_tokens: int  # what was asked for, or what the context leaves
    has_paint_tool: bool = False


class Asking:
    """Makes requests ready for one model.

    Args:
        model_id: as errors name it.
        vocabulary: of the model.
        prompts: writes its prompts.
        context_len: tokens of prompt and answer together.
        sees: whether it takes pictures.
    """

    def __init__(
        self,
        model_id: str,
        vocabulary: OpenLexicon,
        prompts: PromptWriter,
        *,
        context_len: int,
        sees: bool = False,
    ) -> None:
        self._id = model_id
        self._vocabulary, self._prompts = vocabulary, prompts
        self._context_len, self._sees = context_len, sees
        self._grammars = GrammarCompiler(vocabulary, syntax=TAGGED_CALLS)

    def prepare(self, request: Request) -> Job:
        """Everything that can be known before the model works.

        Raises:
            InputError: the request cannot be answered; `param` names the field.
        """
        self._check_task(request)
        assert isinstance(request, AnswerRequest)
        check_logit_bias(request.options.logit_bias, self._vocabulary.vocab_size)
        num_tools = len(request.tools) if isinstance(request, ChatRequest) else 0
        request = self._with_paint_tool(request)
        has_paint_tool = isinstance(request, ChatRequest) and len(request.tools) > num_tools
        question = question_of(request, MAX_TOKENS)
        self._check_form(request, question)
        rules = rules_of(request, self._grammars)
        question = _with_schema(request, question)
        room = min(question.max_tokens, max(rules.num_needed, min(_ANSWER_ROOM, self._context_len // 4)))
        prompt = self._write(question, self._context_len - room, request.owner)
        if prompt.num_left_out and not question.may_leave_out:
            raise PromptTooLongError(
                f"the conversation is longer than the model's context ({self._context_len:,} tokens) and no "
                "turn may be left out; shorten it, or let the oldest turns be left out",
                param="messages",
            )
        max_tokens = min(question.max_tokens, self._context_len - len(prompt.token_ids))
        prompt = replace(prompt, owner=request.owner)
        return Job(
            question=question,
            prompt=prompt,
            rules=rules,
            max_tokens=max_tokens,
            has_paint_tool=has_paint_tool,
        )

    def notices_about(self, job: Job) -> Iterator[str]:
        """What was left out, or cannot be done."""
        yield from job.prompt.notices
        if job.prompt.num_left_out:
            yield (
                f"The conversation is longer than the model's context ({self._context_len:,} tokens); "
                f"the oldest turns were left out: {job.prompt.num_left_out}."
            )
        if job.rules.is_for_calls_only and job.rules.num_needed > job.max_tokens:
            yield (
                f"No tool can be called within {job.max_tokens:,} tokens; the shortest call takes "
                f"{job.rules.num_needed:,}."
            )

    def _write(self, question: Question, max_tokens: int, owner: str) -> OpenPrompt:
        if isinstance(question.said, str):
            return self._prompts.document(question.said, max_tokens=max_tokens)
        try:
            return self._prompts.conversation(question.said, max_tokens=max_tokens, owner=owner)
        except ImageFormatError as error:
            error.param = question.image_param
            raise
        except PromptTooLongError as error:
            error.param = question.param
            raise

    def _with_paint_tool(self, request: AnswerRequest) -> AnswerRequest:
        """A request with the tool to paint, where a picture may be the answer and the model can call."""
        can_call = self._prompts.knows_tools and self._vocabulary.has_all_bytes
        return with_paint_tool(request) if can_call and isinstance(request, ChatRequest) else request

    def _check_task(self, request: Request) -> None:
        """Refuse what this model cannot do."""
        if isinstance(request, DescribeRequest | AskRequest) and not self._sees:
            raise InputError(f"the model {self._id} sees no pictures; {_SEEING}", param="model")
        if not isinstance(request, AnswerRequest):
            raise InputError(f"the model {self._id} answers in words only", param="model")

    def _check_form(self, request: AnswerRequest, question: Question) -> None:
        """Refuse pictures that are not seen, and answers whose form could not be kept."""
        if not isinstance(request, ChatRequest):
            return
        parts = [part for message in request.messages for part in message.content]
        if not self._sees and any(isinstance(part, ImagePart) for part in parts):
            raise InputError(
                f"the model {self._id} sees no pictures; leave them out, or {_SEEING}", param="messages"
            )
        wants_json = request.answer_format.kind == "json"
        if question.has_tools and not self._prompts.knows_tools:
            raise InputError(
                f"the model {self._id} was not taught to call tools in a form that is read here "
                "(<tool_call>); leave tools out, or use one that was, such as qwen3-4b",
                param="tools",
            )
        if (wants_json or question.has_tools) and not self._vocabulary.has_all_bytes:
            raise InputError(
                f"the tokenizer of {self._id} has no tokens for single bytes, so that its answers cannot be "
                "held to a form; leave the form out, or use another model",
                param="response_format" if wants_json else "tools",
            )


def _with_schema(request: AnswerRequest, question: Question) -> Question:
    """A question whose model is told the form of any JSON object, where that was asked for."""
    is_any = isinstance(request, ChatRequest) and request.answer_format == AnswerFormat(kind="json")
    if not is_any:
        return question
    assert isinstance(question.said, Conversation)
    return replace(question, said=replace(question.said, schema=_ANY_OBJECT))
