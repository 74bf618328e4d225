"""The vocabulary every text model of the family shares: its size and its reserved ids.

Ordinary pieces (byte-level BPE) take the ids below `FIRST_SPECIAL_ID`; the reserved ids are the last 160 and
can never come out of encoding text. Later work takes a `<|spare_N|>`; the vocabulary itself never changes.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ANSWER_ID",
    "ASSISTANT_ID",
    "AUDIO_END_ID",
    "AUDIO_ID",
    "BOS_ID",
    "END_ID",
    "EN_ID",
    "FIRST_SPECIAL_ID",
    "IMAGE_END_ID",
    "IMAGE_ID",
    "JSON_ID",
    "NUM_SPECIAL",
    "PAD_ID",
    "PAINT_ID",
    "SPEAK_ID",
    "SPECIAL_IDS",
    "SPECIAL_TOKENS",
    "SYSTEM_ID",
    "THINK_ID",
    "TOOLS_ID",
    "TOOL_CALL_ID",
    "TOOL_RESULT_ID",
    "USER_ID",
    "VOCAB_SIZE",
    "ZH_ID",
]

VOCAB_SIZE: Final = 24_576
NUM_SPECIAL: Final = 160
FIRST_SPECIAL_ID: Final = VOCAB_SIZE - NUM_SPECIAL

_NAMED: Final = (
    "end",  # end of a document and of every turn
    "bos",  # starts every sequence
    "pad",
    "system",
    "user",
    "assistant",
    "tools",  # a turn of tool definitions (JSON)
    "tool_call",
    "tool_result",
    "image",  # placeholder, one per image token
    "image_end",
    "audio",
    "audio_end",
    "paint",  # the rest of the turn is a painting prompt
    "speak",
    "en",
    "zh",
    "json",  # the answer shall be JSON; a schema follows
    "think",
    "answer",
)

SPECIAL_TOKENS: Final[tuple[str, ...]] = tuple(f"<|{name}|>" for name in _NAMED) + tuple(
    f"<|spare_{number}|>" for number in range(NUM_SPECIAL - len(_NAMED))
)
SPECIAL_IDS: Final[dict[str, int]] = {
    token: FIRST_SPECIAL_ID + place for place, token in enumerate(SPECIAL_TOKENS)
}

END_ID: Final = SPECIAL_IDS["<|end|>"]
BOS_ID: Final = SPECIAL_IDS["<|bos|>"]
PAD_ID: Final = SPECIAL_IDS["<|pad|>"]
SYSTEM_ID: Final = SPECIAL_IDS["<|system|>"]
USER_ID: Final = SPECIAL_IDS["<|user|>"]
ASSISTANT_ID: Final = SPECIAL_IDS["<|assistant|>"]
TOOLS_ID: Final = SPECIAL_IDS["<|tools|>"]
TOOL_CALL_ID: Final = SPECIAL_IDS["<|tool_call|>"]
TOOL_RESULT_ID: Final = SPECIAL_IDS["<|tool_result|>"]
IMAGE_ID: Final = SPECIAL_IDS["<|image|>"]
IMAGE_END_ID: Final = SPECIAL_IDS["<|image_end|>"]
AUDIO_ID: Final = SPECIAL_IDS["<|audio|>"]
AUDIO_END_ID: Final = SPECIAL_IDS["<|audio_end|>"]
PAINT_ID: Final = SPECIAL_IDS["<|paint|>"]
SPEAK_ID: Final = SPECIAL_IDS["<|speak|>"]
EN_ID: Final = SPECIAL_IDS["<|en|>"]
ZH_ID: Final = SPECIAL_IDS["<|zh|>"]
JSON_ID: Final = SPECIAL_IDS["<|json|>"]
THINK_ID: Final = SPECIAL_IDS["<|think|>"]
ANSWER_ID: Final = SPECIAL_IDS["<|answer|>"]
