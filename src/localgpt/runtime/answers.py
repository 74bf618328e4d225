"""What the model may say, and what becomes of a wish to paint."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from localgpt.engine.sequence import Output
from localgpt.media.text.vocabulary import END_ID, FIRST_SPECIAL_ID, PAINT_ID
from localgpt.tasks.requests import Language

__all__ = ["AnswerWriter", "TokenRules"]

# The painter comes with a later version; until then the answer says so and gives the prompt it would paint.
_CANNOT_PAINT: dict[Language, str] = {
    "en": "I cannot paint pictures yet: the painter is not installed. This is what I would paint: ",
    "zh": "我还不能画画：绘画功能尚未安装。我会画的是：",
}
LOOP_NOTICE = "The answer began to repeat itself and was ended; ask in other words or raise the temperature."
PAINT_NOTICE = "A picture was asked for, but painting is not installed; the answer is the painting prompt."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """Which tokens an answer may hold: text, its end (never first), and a wish to paint (only first)."""

    banned_first: Tensor  # (V,) bool
    banned: Tensor  # (V,) bool

    @classmethod
    def new(cls, vocab_size: int, *, may_paint: bool, device: torch.device) -> TokenRules:
        """Rules for one kind of answer."""
        reserved = torch.zeros(vocab_size, dtype=torch.bool)
        reserved[FIRST_SPECIAL_ID:] = True
        first, later = reserved.clone(), reserved.clone()
        first[PAINT_ID] = not may_paint
        later[END_ID] = False
        return cls(banned_first=first.to(device), banned=later.to(device))


@dataclass(slots=True)
class AnswerWriter:
    """Turns engine outputs into the answer's text and notices."""

    language: Language
    text: str = ""
    num_tokens: int = 0
    notices: list[str] = field(default_factory=list)

    def take(self, output: Output) -> str:
        """The next piece of the answer's text."""
        piece = output.text
        if output.token_id == PAINT_ID:
            self.notices.append(PAINT_NOTICE)
            piece = _CANNOT_PAINT[self.language] + piece
        if output.token_id not in (None, END_ID):
            self.num_tokens += 1
        if output.is_loop:
            self.notices.append(LOOP_NOTICE)
        self.text += piece
        return piece
