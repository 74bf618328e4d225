"""Conversations in the form an open model was trained on: its tokenizer's chat template.

* What does not fit the context is left out by the rule of the embedded family: the oldest turns first, never
  system turns, tools, a schema, or the last turn with all that belongs to it.
* A special token that a user writes out stays text: it is hidden from the template's own.
* A schema the answer must fit is told to the model at the end of the last turn.
* A template without system turns gets them before the first turn of the user; a tokenizer without template
  gets turns as plain lines. A notice tells of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from localgpt.errors import InputError, PromptTooLongError
from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.runtime.conversation import Conversation, language_of, start_of_tail, text_of
from localgpt.runtime.open.vocabulary import OpenLexicon
from localgpt.tasks import ImagePart, Message, Tool

__all__ = ["OpenPrompt", "PromptWriter"]

NO_TEMPLATE_NOTICE: Final = (
    "This model has no chat template, so it was made to go on with texts; the conversation is given to it as "
    "plain lines."
)
NO_SYSTEM_NOTICE: Final = "This model knows no system turns; theirs stand before the first turn of the user."
_PLAIN_NAMES: Final = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
PLAIN_STOP: Final = "\nUser:"
_SCHEMA_ORDER: Final = "Answer with one JSON text that fits this schema, and with nothing else:\n"
_MOST_BYTES_PER_TOKEN: Final = 256  # no piece is longer, so far longer texts are refused without being read
_HIDDEN: Final = "\ue000{}\ue001"
_HIDDEN_FORM: Final = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPrompt:
    """Token ids of a prompt, and the pictures whose places they hold, in order."""

    token_ids: list[int]
    images: tuple[ImagePart, ...] = ()
    num_left_out: int = 0  # turns
    notices: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()  # where plain lines would begin the next turn
    owner: str = ""  # who asks


class PromptWriter:
    """Writes prompts for one model.

    Args:
        tokenizer: of transformers.
        vocabulary: of it.
        expand: writes an owner's pictures into the places of a text; None for a model that sees none.
    """

    def __init__(
        self,
        tokenizer: Any,
        vocabulary: OpenLexicon,
        *,
        expand: Callable[[str, Sequence[ImagePart], str], str] | None = None,
    ) -> None:
        self._tokenizer, self._vocabulary, self._expand = tokenizer, vocabulary, expand
        self.has_template = bool(tokenizer.chat_template)
        texts = sorted(filter(None, vocabulary.special_texts), key=len, reverse=True)
        self._specials = re.compile("|".join(map(re.escape, texts))) if texts else None

    @property
    def knows_tools(self) -> bool:
        """Whether the template writes tools, in the form whose calls can be read."""
        template = self._tokenizer.chat_template
        text = template if isinstance(template, str) else json.dumps(template or {})
        return "tools" in text and self._vocabulary.token_of("<tool_call>") is not None

    def document(self, text: str, *, max_tokens: int) -> OpenPrompt:
        """A text that is to be gone on with, behind the model's beginning of texts if it has one.

        Special tokens that are written out in it are meant: the whole prompt is the caller's own.

        Raises:
            PromptTooLongError: it has more than `max_tokens` tokens; `param` is "prompt".
        """
        _check_length(len(text), max_tokens, param="prompt")
        before = [i for i in self._tokenizer("").input_ids if i == self._vocabulary.bos_id]
        token_ids = [*before, *self._vocabulary.encode(text)]
        if len(token_ids) > max_tokens:
            raise _too_long(len(token_ids), max_tokens, param="prompt")
        if not token_ids:
            raise InputError("the prompt is empty, and this model begins from no empty one", param="prompt")
        return OpenPrompt(token_ids=token_ids)

    def conversation(self, conversation: Conversation, *, max_tokens: int, owner: str = "") -> OpenPrompt:
        """A checked conversation of an owner, with the assistant's turn opened.

        Raises:
            PromptTooLongError: what always stays is too long; `param` is "messages".
            InputError: the template refuses it; `param` is "messages".
        """
        turns = [
            m for m in conversation.messages if text_of(m).strip() or m.role != "assistant" or m.tool_calls
        ]
        turns = [m for m in turns if text_of(m).strip() or m.role != "system"]
        num_head = next(number for number, turn in enumerate(turns) if turn.role != "system")
        num_before_tail = max(num_head, start_of_tail(turns))
        head, middle, tail = turns[:num_head], turns[num_head:num_before_tail], turns[num_before_tail:]
        starts = [number for number, turn in enumerate(middle) if turn.role == "user"]
        starts = [0, *(number for number in starts if number), len(middle)] if middle else [0]
        always = sum(len(text_of(turn)) for turn in (*head, *tail))
        _check_length(always, max_tokens, param="messages")
        low, high = 0, len(starts) - 1  # the first start from which everything fits
        found: OpenPrompt | None = None
        while low <= high:
            at = (low + high) // 2 if low or found is not None else low
            kept = [*head, *middle[starts[at] :], *tail]
            prompt = self._write(kept, conversation, max_tokens, owner)
            if prompt is not None:
                found, high = replace(prompt, num_left_out=starts[at]), at - 1
            else:
                low = at + 1
        if found is None:
            raise _too_long(None, max_tokens, param="messages")
        return found

    def _write(
        self, turns: Sequence[Message], conversation: Conversation, max_tokens: int, owner: str
    ) -> OpenPrompt | None:
        """The prompt of some turns; None if it is too long."""
        if sum(len(text_of(turn)) for turn in turns) > max_tokens * _MOST_BYTES_PER_TOKEN:
            return None
        hidden: list[str] = []
        messages = [self._message(turn, turns, hidden) for turn in turns]
        if conversation.schema is not None:
            _add_text(messages[-1], f"\n\n{_SCHEMA_ORDER}{conversation.schema}")
        text, notices = self._render(messages, conversation.tools)
        images = tuple(part for turn in turns for part in turn.content if isinstance(part, ImagePart))
        if self._expand is not None:
            text = self._expand(text, images, owner)
        token_ids = self._ids(text, hidden)
        if len(token_ids) > max_tokens:
            return None
        stop = () if self.has_template else (PLAIN_STOP,)
        return OpenPrompt(token_ids=token_ids, images=images, notices=notices, stop=stop, owner=owner)

    def _message(self, turn: Message, turns: Sequence[Message], hidden: list[str]) -> dict[str, Any]:
        """A turn as templates take it."""
        text = text_of(turn)
        num_images = sum(isinstance(part, ImagePart) for part in turn.content)
        if turn.role == "user" and not text.strip():
            text = DESCRIBE_PROMPTS[language_of("".join(map(text_of, turns)))]
        text = self._hide(text, hidden)
        message: dict[str, Any] = {"role": turn.role, "content": text}
        if self._expand is not None:  # templates of models that see take lists
            pictures = [{"type": "image"}] * num_images
            message["content"] = [*pictures, {"type": "text", "text": text}]
        if turn.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": _function(call.name, call.arguments)}
                for call in turn.tool_calls
            ]
        if turn.tool_call_id is not None:
            message["tool_call_id"] = turn.tool_call_id
            message["name"] = next(
                (c.name for one in turns for c in one.tool_calls if c.id == turn.tool_call_id), ""
            )
        return message

    def _hide(self, text: str, hidden: list[str]) -> str:
        """A text with its written-out special tokens replaced by marks, which `_ids` undoes."""
        if self._specials is None:
            return text

        def put_away(found: re.Match[str]) -> str:
            hidden.append(found[0])
            return _HIDDEN.format(len(hidden) - 1)

        return self._specials.sub(put_away, text)

    def _ids(self, text: str, hidden: Sequence[str]) -> list[int]:
        """Token ids of a rendered text."""
        if not hidden:
            return self._vocabulary.encode(text)
        token_ids: list[int] = []
        for number, piece in enumerate(_HIDDEN_FORM.split(text)):  # every second one is a mark's number
            is_mark = number % 2 == 1 and int(piece) < len(hidden)
            token_ids += (
                self._vocabulary.encode_plain(hidden[int(piece)])
                if is_mark
                else self._vocabulary.encode(piece)
            )
        return token_ids

    def _render(self, messages: list[dict[str, Any]], tools: Sequence[Tool]) -> tuple[str, tuple[str, ...]]:
        """The text of a prompt, and what to tell about it."""
        from jinja2 import TemplateError

        if not self.has_template:
            lines = [f"{_PLAIN_NAMES[one['role']]}: {_content_text(one)}\n" for one in messages]
            return "".join([*lines, "Assistant:"]), (NO_TEMPLATE_NOTICE,)
        definitions = [_definition(tool) for tool in tools] or None
        try:
            return self._apply(messages, definitions), ()
        except (TemplateError, TypeError) as error:
            first_error = error
        if messages[0]["role"] == "system":
            try:
                return self._apply(_without_system(messages), definitions), (NO_SYSTEM_NOTICE,)
            except (TemplateError, TypeError):
                pass
        raise InputError(
            f"the model's chat template refuses this conversation: {first_error}; give turns of user and "
            "assistant in turn",
            param="messages",
        ) from first_error

    def _apply(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, tokenize=False
        )
        return text


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns whose system turns became the beginning of the first other one."""
    texts = [_content_text(one) for one in messages if one["role"] == "system"]
    rest = [dict(one) for one in messages if one["role"] != "system"]
    _add_text(rest[0], "\n\n".join([*texts, ""]), first=True)
    return rest


def _content_text(message: dict[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def _add_text(message: dict[str, Any], text: str, *, first: bool = False) -> None:
    """Put a text behind what a turn says, or before it."""
    content = message["content"]
    if isinstance(content, str):
        message["content"] = text + content if first else content + text
        return
    message["content"] = [
        {**part, "text": text + part["text"] if first else part["text"] + text}
        if part["type"] == "text"
        else part
        for part in content
    ]


def _function(name: str, arguments: str) -> dict[str, Any]:
    try:
        values = json.loads(arguments)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(
            f"the arguments of the tool call {name!r} are {arguments[:40]!r}, expected a JSON object",
            param="messages",
        )
    return {"name": name, "arguments": values}


def _definition(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": json.loads(tool.parameters),
    }
    return {"type": "function", "function": function}


def _check_length(num_chars: int, max_tokens: int, *, param: str) -> None:
    if num_chars > max_tokens * _MOST_BYTES_PER_TOKEN:
        raise _too_long(None, max_tokens, param=param)


def _too_long(num_tokens: int | None, max_tokens: int, *, param: str) -> PromptTooLongError:
    got = "far more tokens than" if num_tokens is None else f"{num_tokens:,} tokens, expected at most"
    what = "prompt" if param == "prompt" else "last turn, with what always stays,"
    return PromptTooLongError(
        f"the {what} has {got} the {max_tokens:,} that the context leaves; shorten it", param=param
    )
