"""How conversations and documents become sequences of token ids.

    document      <|bos|>text<|end|>
    conversation  <|bos|> then turns, each  <|role|>content<|end|>
    answer wanted ... <|assistant|>                      (the model goes on from here)

Roles are `system`, `user`, `assistant`, `tool` (written `<|tool_result|>`), `tools` and `json`.

Turns that stand for more than talk:

* A picture in a user turn is its image tokens and `<|image_end|>` before the turn's text:
  `<|user|><|image|> x n <|image_end|>What is this?<|end|>`.
* Tools: one `tools` turn after the system turn (or first) holds a JSON list of definitions
  `[{"name": ..., "description": ..., "parameters": {JSON schema}}]`. A call is
  `<|assistant|><|tool_call|>{"name": ..., "arguments": {...}}<|end|>`, its answer
  `<|tool_result|>text or JSON<|end|>`, and an assistant turn follows. Several calls follow each other in one
  turn, each behind its own `<|tool_call|>`.
* JSON answers: one `json` turn holds a JSON schema of an object (`{"type": "object", "properties": {...},
  "required": [...]}`, on one line, keys in the order of the answer) and stands right before the assistant
  turn, which is then nothing but a fitting JSON text, written as `json.dumps(..., ensure_ascii=False)`
  writes it.
* Painting: `<|assistant|><|paint|>prompt<|end|>`, the prompt in the language of the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from localgpt.errors import InputError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import (
    ASSISTANT_ID,
    BOS_ID,
    END_ID,
    IMAGE_END_ID,
    IMAGE_ID,
    JSON_ID,
    PAINT_ID,
    SYSTEM_ID,
    TOOL_CALL_ID,
    TOOL_RESULT_ID,
    TOOLS_ID,
    USER_ID,
)

__all__ = [
    "DESCRIBE_PROMPTS",
    "PAINT",
    "ROLE_IDS",
    "TOOL_CALL",
    "ImageSlot",
    "Mark",
    "Piece",
    "TurnRole",
    "render_chat",
    "render_document",
    "render_turn",
]

TurnRole = Literal["system", "user", "assistant", "tool", "tools", "json"]

ROLE_IDS: Final[dict[str, int]] = {
    "system": SYSTEM_ID,
    "user": USER_ID,
    "assistant": ASSISTANT_ID,
    "tool": TOOL_RESULT_ID,
    "tools": TOOLS_ID,
    "json": JSON_ID,
}

DESCRIBE_PROMPTS: Final[dict[str, str]] = {"en": "Describe this picture.", "zh": "描述这张图片。"}


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """Room for a picture: `num_tokens` placeholders the embedded picture is written over."""

    num_tokens: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A reserved token inside a turn."""

    token_id: int


TOOL_CALL: Final = Mark(TOOL_CALL_ID)
PAINT: Final = Mark(PAINT_ID)

Piece = str | ImageSlot | Mark


def render_turn(
    tokenizer: Tokenizer, role: str, pieces: Sequence[Piece], *, closed: bool = True
) -> list[int]:
    """Token ids of one turn.

    Args:
        tokenizer: encodes the text.
        role: one of `ROLE_IDS`.
        pieces: texts, pictures and marks in order; neighbouring texts are encoded as one.
        closed: end the turn; False leaves it open for the model to go on.

    Raises:
        InputError: `role` is not known.
    """
    if role not in ROLE_IDS:
        raise InputError(f"got the role {role!r}, expected one of {', '.join(ROLE_IDS)}", param="messages")
    token_ids = [ROLE_IDS[role]]
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        token_ids += tokenizer.encode(text) if text else []
        text = ""
        if isinstance(piece, Mark):
            token_ids.append(piece.token_id)
        else:
            token_ids += [IMAGE_ID] * piece.num_tokens + [IMAGE_END_ID]
    token_ids += tokenizer.encode(text) if text else []
    return [*token_ids, END_ID] if closed else token_ids


def render_chat(
    tokenizer: Tokenizer, turns: Sequence[tuple[str, Sequence[Piece]]], *, add_assistant: bool = True
) -> list[int]:
    """Token ids of a conversation.

    Args:
        tokenizer: encodes the texts.
        turns: (role, pieces) in order.
        add_assistant: open an assistant turn at the end, for the model to answer in.

    Raises:
        InputError: a role is not known.
    """
    token_ids = [BOS_ID]
    for role, pieces in turns:
        token_ids += render_turn(tokenizer, role, pieces)
    return [*token_ids, ASSISTANT_ID] if add_assistant else token_ids


def render_document(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a document."""
    return [BOS_ID, *tokenizer.encode(text), END_ID]
