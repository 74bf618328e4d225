"""Requests made one kind: which task, what is said, what the answer must be, and what was left open.

Rules told to the caller:

* `max_tokens` left open means 512 for chat, 128 for ask, 64 for describe and 16 for complete.
* `repetition_penalty` left open means 1.15 for chat, which keeps small models from going round in circles
  and changes no fact they know; the other tasks have none, and neither has an answer that a grammar decides.
* A tool is called, or not, as `tool_choice` says; with "none" the prompt does not even hold the tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from localgpt.errors import InputError
from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.runtime.conversation import Conversation, check_messages, language_of, text_of
from localgpt.sampling.grammar import Grammar, GrammarCompiler
from localgpt.sampling.schemas import CallForm, parse_schema
from localgpt.tasks import (
    AskRequest,
    ChatRequest,
    CompleteRequest,
    DescribeRequest,
    Language,
    Message,
    SamplingOptions,
    TextPart,
)

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "AnswerRequest",
    "AnswerRules",
    "Question",
    "TaskName",
    "options_of",
    "question_of",
    "rules_of",
]

AnswerRequest = ChatRequest | CompleteRequest | DescribeRequest | AskRequest
TaskName = Literal["chat", "complete", "describe", "ask"]

DEFAULT_MAX_TOKENS: Final[Mapping[TaskName, int]] = {"chat": 512, "ask": 128, "describe": 64, "complete": 16}
_MOST_TOOL_CHARS: Final = 2**18  # of all definitions; no context has room for more
_DEFAULT_REPETITION_PENALTY: Final[Mapping[TaskName, float]] = {"chat": 1.15}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request as a conversation or a text, and the fields that errors about it name."""

    task: TaskName
    said: Conversation | str
    max_tokens: int
    param: str
    image_param: str = ""
    may_leave_out: bool = True  # the oldest turns

    @property
    def has_tools(self) -> bool:
        """Whether tools may be called."""
        return isinstance(self.said, Conversation) and bool(self.said.tools)

    @property
    def language(self) -> Language:
        """The language of what the user said last."""
        if isinstance(self.said, str):
            return language_of(self.said)
        words = [text_of(message) for message in self.said.messages if message.role == "user"]
        return language_of(words[-1] if words else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRules:
    """What an answer must be: which grammar, whether only once a call is opened, and whether it may paint."""

    grammar: Grammar | None = None
    is_for_calls_only: bool = False  # text is free, and a tool call follows the grammar
    may_paint: bool = False

    @property
    def num_needed(self) -> int:
        """Tokens of the shortest text that follows the grammar."""
        return self.grammar.num_needed if self.grammar is not None else 0


def question_of(request: AnswerRequest, most_tokens: Mapping[TaskName, int] = DEFAULT_MAX_TOKENS) -> Question:
    """What a request asks.

    Args:
        request: for an answer.
        most_tokens: of an answer, by task, where the request does not say.

    Raises:
        InputError: there is nothing to answer, or it contradicts itself; `param` names the field.
    """
    max_tokens = request.options.max_tokens
    if isinstance(request, CompleteRequest):
        return Question(
            task="complete",
            said=request.prompt,
            max_tokens=max_tokens or most_tokens["complete"],
            param="prompt",
        )
    if isinstance(request, ChatRequest):
        check_messages(request.messages)
        _check_tools(request)
        is_json = request.answer_format.kind == "json"
        return Question(
            task="chat",
            said=Conversation(
                messages=request.messages,
                tools=request.tools if request.tool_choice.mode != "none" else (),
                schema=request.answer_format.schema if is_json else None,
            ),
            max_tokens=max_tokens or most_tokens["chat"],
            param="messages",
            image_param="messages",
            may_leave_out=request.leave_out_turns,
        )
    task: TaskName
    if isinstance(request, DescribeRequest):
        task, text = "describe", DESCRIBE_PROMPTS[request.language]
    else:
        task, text = "ask", request.question
        if not text.strip():
            raise InputError("got an empty question, expected some words", param="question")
    message = Message(role="user", content=(request.image, TextPart(text=text)))
    return Question(
        task=task,
        said=Conversation(messages=(message,)),
        max_tokens=max_tokens or most_tokens[task],
        param="question",
        image_param="image",
    )


def options_of(
    request: AnswerRequest,
    task: TaskName,
    rules: AnswerRules,
    penalties: Mapping[TaskName, float] = _DEFAULT_REPETITION_PENALTY,
) -> SamplingOptions:
    """The request's options with what was left open filled in; `penalties` are those of repetition."""
    options = request.options
    if options.repetition_penalty is not None:
        return options
    default = penalties.get(task, 1.0)
    is_free = rules.grammar is None or rules.is_for_calls_only
    return replace(options, repetition_penalty=default if is_free else 1.0)


def rules_of(request: AnswerRequest, compiler: GrammarCompiler) -> AnswerRules:
    """What the answer to a request must be; takes up to a second for a large schema that is new.

    Raises:
        InputError: a schema cannot be followed; `param` names its field.
    """
    if not isinstance(request, ChatRequest):
        return AnswerRules()
    form = request.answer_format
    is_json = form.kind == "json"
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if not request.tools or choice.mode == "none":
        return AnswerRules(grammar=compiler.json(form.schema)) if is_json else AnswerRules(may_paint=True)
    tools = [tool for tool in request.tools if choice.mode != "named" or tool.name == choice.name]
    forms = [CallForm(name=tool.name, parameters=tool.parameters) for tool in tools]
    if choice.mode != "auto":
        return AnswerRules(grammar=compiler.calls(forms, parallel=parallel))
    if is_json:
        return AnswerRules(grammar=compiler.calls_or_json(forms, form.schema, parallel=parallel))
    return AnswerRules(
        grammar=compiler.calls(forms, parallel=parallel), is_for_calls_only=True, may_paint=True
    )


def _check_tools(request: ChatRequest) -> None:
    names = [tool.name for tool in request.tools]
    num_chars = sum(len(tool.parameters) + len(tool.description) for tool in request.tools)
    if num_chars > _MOST_TOOL_CHARS:
        raise InputError(
            f"tools has {num_chars:,} characters, expected at most {_MOST_TOOL_CHARS:,}; send fewer",
            param="tools",
        )
    for tool in request.tools:
        parse_schema(tool.parameters, param="tools")
    choice = request.tool_choice
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"tools defines {twice[0]!r} twice, expected each name once", param="tools")
    if choice.mode in ("required", "named") and not names:
        raise InputError(
            f"tool_choice is {choice.mode} but there are no tools; send some, or leave tool_choice out",
            param="tool_choice",
        )
    if choice.mode == "named" and choice.name not in names:
        raise InputError(
            f"tool_choice names {choice.name!r}, expected one of {', '.join(names)}", param="tool_choice"
        )
