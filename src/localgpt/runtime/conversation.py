"""From messages to one prompt that fits the context.

What is left out when a conversation is too long: the oldest turns after the leading system turns go
first, and what is left begins with something the user said. System turns, tools, a schema and the last turn
always stay, and so does the user's turn that the last tool results belong to with all that followed it; when
those alone are too long, the request is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from localgpt.errors import InputError, PromptTooLongError
from localgpt.media.text.template import DESCRIBE_PROMPTS, TOOL_CALL, ImageSlot, Piece, render_turn
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID
from localgpt.tasks import ImagePart, Language, Message, TextPart, Tool, ToolCall

__all__ = [
    "Conversation",
    "Prompt",
    "check_messages",
    "fit_conversation",
    "fit_document",
    "language_of",
    "start_of_tail",
    "text_of",
]

# No piece of the vocabulary is longer, so a text of more bytes is refused without being tokenised.
_MOST_BYTES_PER_TOKEN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids of a prompt, and the pictures whose places they hold, in order."""

    token_ids: list[int]
    images: tuple[ImagePart, ...] = ()
    num_left_out: int = 0  # turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What is to be answered: turns, the tools that may be called, the schema the answer shall fit."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    schema: str | None = None


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse a conversation that cannot be answered.

    Raises:
        InputError: no messages, a turn of the user without content, a picture elsewhere than in a user turn,
            a tool turn that answers a call nobody made, or an assistant turn at the end; `param` is
            "messages".
    """
    if not messages:
        raise InputError("got no messages, expected at least one from the user", param="messages")
    known_calls: set[str] = set()
    for number, message in enumerate(messages):
        _check_message(number, message, known_calls)
        known_calls |= {call.id for call in message.tool_calls}
    if messages[-1].role not in ("user", "tool"):
        raise InputError(
            f"the last message is from {messages[-1].role}, expected one from user or tool to be answered",
            param="messages",
        )


def _check_message(number: int, message: Message, known_calls: set[str]) -> None:
    has_image = any(isinstance(part, ImagePart) for part in message.content)
    where = f"message {number} ({message.role})"
    if has_image and message.role != "user":
        raise InputError(
            f"{where} holds a picture, expected pictures in user messages only", param="messages"
        )
    if message.role == "user" and not has_image and not text_of(message).strip():
        raise InputError(f"{where} is empty, expected some text or a picture", param="messages")
    if message.tool_calls and message.role != "assistant":
        raise InputError(f"{where} holds tool calls, expected them in assistant messages", param="messages")
    if message.tool_call_id is not None and message.tool_call_id not in known_calls:
        raise InputError(
            f"{where} answers the tool call {message.tool_call_id!r}, expected one of an assistant message "
            "before it",
            param="messages",
        )


def text_of(message: Message) -> str:
    """The texts of a message, one below the other."""
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def language_of(text: str) -> Language:
    """Chinese when a good part of the letters is Chinese, else English."""
    num_han = sum("\u4e00" <= char <= "\u9fff" for char in text)
    num_latin = sum(char.isascii() and char.isalpha() for char in text)
    return "zh" if num_han * 4 > num_latin else "en"


def fit_document(tokenizer: Tokenizer, text: str, *, max_tokens: int) -> Prompt:
    """Write the prompt of a text that is to be gone on with.

    Raises:
        PromptTooLongError: it has more than `max_tokens` tokens; `param` is "prompt".
    """
    if len(text) > max_tokens * _MOST_BYTES_PER_TOKEN:
        raise _too_long(None, max_tokens, param="prompt")
    token_ids = [BOS_ID, *tokenizer.encode(text)]
    if len(token_ids) > max_tokens:
        raise _too_long(len(token_ids), max_tokens, param="prompt")
    return Prompt(token_ids=token_ids)


def fit_conversation(
    tokenizer: Tokenizer, conversation: Conversation, *, num_image_tokens: int, max_tokens: int
) -> Prompt:
    """Write the prompt of a checked conversation; it ends with an open assistant turn.

    A picture without words is asked about with the describe prompt, in the conversation's language; blank
    system and assistant turns are left out.

    Args:
        tokenizer: encodes the texts.
        conversation: its messages passed `check_messages`.
        num_image_tokens: tokens each picture takes.
        max_tokens: most tokens the prompt may have.

    Raises:
        PromptTooLongError: what always stays is too long; `param` is "messages".
        InputError: the arguments of a tool call are no JSON object; `param` is "messages".
    """
    turns = [
        m for m in conversation.messages if text_of(m).strip() or m.role in ("user", "tool") or m.tool_calls
    ]
    num_head = next(number for number, turn in enumerate(turns) if turn.role != "system")
    num_before_tail = max(num_head, start_of_tail(turns))
    head, middle, tail = turns[:num_head], turns[num_head:num_before_tail], turns[num_before_tail:]
    describe = DESCRIBE_PROMPTS[language_of("".join(map(text_of, turns)))]
    writer = _TurnWriter(tokenizer, num_image_tokens, max_tokens, describe)
    before = [i for turn in head for i in writer.ids(turn)] + writer.tools_ids(conversation.tools)
    after = [i for turn in tail for i in writer.ids(turn)] + writer.schema_ids(conversation.schema)
    room = max_tokens - 2 - len(before) - len(after)  # <|bos|> and the open assistant turn
    if room < 0:
        raise _too_long(max_tokens - room, max_tokens)
    kept = _newest_that_fit(writer, middle, room)
    body = [BOS_ID, *before, *(i for _, ids in kept for i in ids), *after]
    images = (part for turn in (*(turn for turn, _ in kept), *tail) for part in turn.content)
    return Prompt(
        token_ids=[*body, ASSISTANT_ID],
        images=tuple(part for part in images if isinstance(part, ImagePart)),
        num_left_out=len(middle) - len(kept),
    )


def start_of_tail(turns: Sequence[Message]) -> int:
    """Where the turns begin that are of one piece with the last: itself, or all since the user spoke."""
    last = len(turns) - 1
    if turns[last].role != "tool":
        return last
    return max((number for number, turn in enumerate(turns) if turn.role == "user"), default=last)


def _newest_that_fit(
    writer: _TurnWriter, turns: Sequence[Message], room: int
) -> list[tuple[Message, list[int]]]:
    kept: list[tuple[Message, list[int]]] = []
    for turn in reversed(turns):
        if writer.is_too_long(turn) or len(ids := writer.ids(turn)) > room:
            break
        room -= len(ids)
        kept.insert(0, (turn, ids))
    if len(kept) < len(turns):
        while kept and kept[0][0].role != "user":
            del kept[0]
    return kept


@dataclass(frozen=True, slots=True)
class _TurnWriter:
    tokenizer: Tokenizer
    num_image_tokens: int
    max_tokens: int
    describe_prompt: str

    def is_too_long(self, message: Message) -> bool:
        """Whether a turn cannot fit, told from its length in bytes alone."""
        num_chars = len(text_of(message)) + sum(len(call.arguments) for call in message.tool_calls)
        return num_chars > self.max_tokens * _MOST_BYTES_PER_TOKEN

    def ids(self, message: Message) -> list[int]:
        """Token ids of one turn: pictures first, then the text, then tool calls.

        Raises:
            PromptTooLongError: it is far too long for the context.
        """
        if self.is_too_long(message):
            raise _too_long(None, self.max_tokens)
        slot = ImageSlot(self.num_image_tokens)
        pieces: list[Piece] = [slot for part in message.content if isinstance(part, ImagePart)]
        text = text_of(message)
        if text.strip() or message.role == "tool":
            pieces.append(text)
        elif message.role == "user":
            pieces.append(self.describe_prompt)
        for call in message.tool_calls:
            pieces += [TOOL_CALL, _written(call)]
        return render_turn(self.tokenizer, message.role, pieces)

    def tools_ids(self, tools: Sequence[Tool]) -> list[int]:
        """Token ids of the turn that defines tools; none without tools."""
        if not tools:
            return []
        text = json.dumps([_definition(tool) for tool in tools], ensure_ascii=False)
        return render_turn(self.tokenizer, "tools", [text])

    def schema_ids(self, schema: str | None) -> list[int]:
        """Token ids of the turn that asks for JSON; none without a schema."""
        if schema is None:
            return []
        text = json.dumps(json.loads(schema), ensure_ascii=False)
        return render_turn(self.tokenizer, "json", [text])


def _definition(tool: Tool) -> dict[str, object]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": json.loads(tool.parameters),
    }


def _written(call: ToolCall) -> str:
    """A call as the model writes it.

    Raises:
        InputError: its arguments are no JSON object.
    """
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InputError(
            f"the tool call {call.id!r} has arguments that are no JSON object, expected one such as "
            '{"name": "value"}',
            param="messages",
        )
    return json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)


def _too_long(num_tokens: int | None, max_tokens: int, *, param: str = "messages") -> PromptTooLongError:
    got = "far more" if num_tokens is None else f"{num_tokens:,}"
    return PromptTooLongError(
        f"the prompt has {got} tokens, expected at most {max_tokens:,}, so that the answer has room in the "
        "model's context; shorten it",
        param=param,
    )
