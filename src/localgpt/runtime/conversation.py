"""From messages to one prompt that fits the context.

What is left out when a conversation is too long: the oldest turns after the leading system turns go
first, and what is left begins with something the user said. System turns and the last turn always stay;
when those alone are too long, the request is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localgpt.errors import InputError, PromptTooLongError
from localgpt.media.text.template import DESCRIBE_PROMPTS, ImageSlot, Piece, render_turn
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import ASSISTANT_ID, BOS_ID
from localgpt.tasks.messages import ImagePart, Message, TextPart
from localgpt.tasks.requests import Language

__all__ = ["Prompt", "check_messages", "fit_conversation", "language_of", "text_of"]

# No piece of the vocabulary is longer, so a text of more bytes is refused without being tokenised.
_MOST_BYTES_PER_TOKEN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Token ids that end with an open assistant turn, and the pictures whose places they hold, in order."""

    token_ids: list[int]
    images: tuple[ImagePart, ...]
    num_left_out: int  # turns


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse a conversation that cannot be answered.

    Raises:
        InputError: no messages, a turn of the user or a tool without content, a picture elsewhere than in a
            user turn, or an assistant turn at the end; `param` is "messages".
    """
    if not messages:
        raise InputError("got no messages, expected at least one from the user", param="messages")
    for number, message in enumerate(messages):
        has_image = any(isinstance(part, ImagePart) for part in message.content)
        if has_image and message.role != "user":
            raise InputError(
                f"message {number} ({message.role}) holds a picture, expected pictures in user messages only",
                param="messages",
            )
        if message.role in ("user", "tool") and not has_image and not text_of(message).strip():
            raise InputError(
                f"message {number} ({message.role}) is empty, expected some text or a picture",
                param="messages",
            )
    if messages[-1].role not in ("user", "tool"):
        raise InputError(
            f"the last message is from {messages[-1].role}, expected one from user or tool to be answered",
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


def fit_conversation(
    tokenizer: Tokenizer, messages: Sequence[Message], *, num_image_tokens: int, max_tokens: int
) -> Prompt:
    """Write the prompt of a checked conversation.

    A picture without words is asked about with the describe prompt, in the conversation's language; blank
    system and assistant turns are left out.

    Args:
        tokenizer: encodes the texts.
        messages: passed `check_messages`.
        num_image_tokens: tokens each picture takes.
        max_tokens: most tokens the prompt may have.

    Raises:
        PromptTooLongError: system turns and the last turn alone are too long; `param` is "messages".
    """
    turns = [m for m in messages if text_of(m).strip() or m.role in ("user", "tool")]
    num_head = next(number for number, turn in enumerate(turns) if turn.role != "system")
    head, middle, last = turns[:num_head], turns[num_head:-1], turns[-1]
    describe = DESCRIBE_PROMPTS[language_of("".join(map(text_of, turns)))]
    writer = _TurnWriter(tokenizer, num_image_tokens, max_tokens, describe)
    fixed = [writer.ids(turn) for turn in (*head, last)]
    room = max_tokens - 2 - sum(map(len, fixed))  # <|bos|> and the open assistant turn
    if room < 0:
        raise _too_long(max_tokens - room, max_tokens)
    kept: list[tuple[Message, list[int]]] = []
    for turn in reversed(middle):
        if writer.is_too_long(turn) or len(ids := writer.ids(turn)) > room:
            break
        room -= len(ids)
        kept.insert(0, (turn, ids))
    if len(kept) < len(middle):
        while kept and kept[0][0].role != "user":
            del kept[0]
    body = [BOS_ID, *(i for ids in fixed[:-1] for i in ids), *(i for _, ids in kept for i in ids), *fixed[-1]]
    images = (part for turn in (*(turn for turn, _ in kept), last) for part in turn.content)
    return Prompt(
        token_ids=[*body, ASSISTANT_ID],
        images=tuple(part for part in images if isinstance(part, ImagePart)),
        num_left_out=len(middle) - len(kept),
    )


@dataclass(frozen=True, slots=True)
class _TurnWriter:
    tokenizer: Tokenizer
    num_image_tokens: int
    max_tokens: int
    describe_prompt: str

    def is_too_long(self, message: Message) -> bool:
        """Whether a turn cannot fit, told from its length in bytes alone."""
        return len(text_of(message)) > self.max_tokens * _MOST_BYTES_PER_TOKEN

    def ids(self, message: Message) -> list[int]:
        """Token ids of one turn: pictures first, then the text.

        Raises:
            PromptTooLongError: it is far too long for the context.
        """
        if self.is_too_long(message):
            raise _too_long(None, self.max_tokens)
        slot = ImageSlot(self.num_image_tokens)
        pieces: list[Piece] = [slot for part in message.content if isinstance(part, ImagePart)]
        text = text_of(message)
        pieces.append(text if text.strip() else self.describe_prompt)
        return render_turn(self.tokenizer, message.role, pieces)


def _too_long(num_tokens: int | None, max_tokens: int) -> PromptTooLongError:
    got = "far more" if num_tokens is None else f"{num_tokens:,}"
    return PromptTooLongError(
        f"the prompt has {got} tokens, expected at most {max_tokens:,}, so that the answer has room in the "
        "model's context; shorten it",
        param="messages",
    )
