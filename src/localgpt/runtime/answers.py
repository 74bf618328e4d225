"""What the model may say, and how its tokens become events: text, tool calls, notices, a wish to paint."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from localgpt.engine.sequence import Output
from localgpt.media.text.lexicon import Lexicon
from localgpt.media.text.vocabulary import END_ID, FIRST_SPECIAL_ID, PAINT_ID, TOOL_CALL_ID
from localgpt.runtime.tool_calls import ToolCallReader
from localgpt.sampling.tokens import Likelihood
from localgpt.tasks import Event, FinishReason, Language, Notice, TextDelta, TokenLogprob, ToolCall

__all__ = ["AnswerWriter", "TokenRules"]

# Where nobody paints what the model wishes, the answer says so and gives the prompt it would paint.
_CANNOT_PAINT: dict[Language, str] = {
    "en": "I cannot paint a picture here. This is what I would paint: ",
    "zh": "我在这里不能画画。我会画的是：",
}
_WHAT_TO_PAINT: dict[Language, str] = {"en": "What shall I paint?", "zh": "要我画什么呢？"}
LOOP_NOTICE = "The answer began to repeat itself and was ended; ask in other words or raise the temperature."
PAINT_NOTICE = (
    "A picture was asked for, but no painter is installed, or the request does not allow pictures; the "
    "answer is the painting prompt."
)
FORCED_NOTICE = "The answer came near its most tokens and was completed in the shortest way that fits."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """Which tokens an answer may hold: text, its end (never first), and what may open an answer."""

    banned_first: Tensor  # (V,) bool
    banned: Tensor  # (V,) bool

    @classmethod
    def new(
        cls, vocab_size: int, *, device: torch.device, openers: frozenset[int] = frozenset()
    ) -> TokenRules:
        """Rules for one kind of answer.

        Args:
            vocab_size: V.
            device: where the logits are.
            openers: reserved tokens that may stand first.
        """
        reserved = torch.zeros(vocab_size, dtype=torch.bool)
        reserved[FIRST_SPECIAL_ID:] = True
        first, later = reserved.clone(), reserved.clone()
        first[sorted(openers)] = False
        later[END_ID] = False
        return cls(banned_first=first.to(device), banned=later.to(device))


class AnswerWriter:
    """Turns engine outputs into events and keeps what they add up to.

    Args:
        tokenizer: tells the bytes of tokens.
        language: of notes to the reader that stand in the text.
        may_paint: what stands behind the mark to paint is no text, but a prompt that somebody paints.
    """

    paint_id: int | None = PAINT_ID  # of the model's marks, those it has
    call_id: int | None = TOOL_CALL_ID

    def __init__(self, tokenizer: Lexicon, language: Language, *, may_paint: bool = False) -> None:
        self.text = ""
        self._may_paint = may_paint
        self._painting: str | None = None  # the prompt, as far as it was written
        self.num_tokens = 0
        self.notices: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self._tokenizer, self._end_id = tokenizer, tokenizer.end_id
        self._language = language
        self._calls: ToolCallReader | None = None
        self._held: deque[TokenLogprob] = deque()  # of tokens whose text is held back
        self._num_ahead = 0  # bytes of text that were let out before the first held token

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls of an answer that is over."""
        return self._calls.calls if self._calls is not None else ()

    @property
    def paints(self) -> str | None:
        """What an answer that is over wants painted."""
        return (self._painting or "").strip() or None

    def finish_reason(self, engine_reason: FinishReason) -> FinishReason:
        """Why the answer ended, as its caller sees it."""
        return "tool_calls" if engine_reason == "stop" and self.tool_calls else engine_reason

    def take(self, output: Output) -> list[Event]:
        """The events of one output."""
        token_id = output.token_id
        if token_id is not None and token_id != self._end_id:
            self.num_tokens += 1
        events: list[Event] = []
        if token_id is not None and token_id == self.paint_id and self._may_paint:
            self._painting = ""
        elif token_id is not None and token_id == self.paint_id:
            events.append(self._notice(PAINT_NOTICE))
            events.append(TextDelta(text=_CANNOT_PAINT[self._language]))
        if token_id is not None and token_id == self.call_id:
            self._calls = self._calls or ToolCallReader()
            self._calls.open()
        if self._calls is not None:
            events += self._calls.push(output.text)
        elif self._painting is not None:
            events += self._paint_events(output)
        else:
            events += self._text_events(output)
        if output.finish_reason is not None and self._calls is not None:
            self._calls.close()
        if output.is_loop:
            events.append(self._notice(LOOP_NOTICE))
        if output.is_forced:
            events.append(self._notice(FORCED_NOTICE))
        self.text += "".join(event.text for event in events if isinstance(event, TextDelta))
        return events

    def _paint_events(self, output: Output) -> list[Event]:
        assert self._painting is not None
        self._painting += output.text
        if output.finish_reason is None or self._painting.strip():
            return []
        return [TextDelta(text=_WHAT_TO_PAINT[self._language])]

    def _text_events(self, output: Output) -> list[Event]:
        if output.likelihood is not None and output.token_id not in (self._end_id, self.paint_id):
            self._held.append(self._logprob(output.likelihood))
        logprobs = self._released(output)
        self.logprobs += logprobs
        return [TextDelta(text=output.text, logprobs=logprobs)] if output.text or logprobs else []

    def _released(self, output: Output) -> tuple[TokenLogprob, ...]:
        """Those of the held tokens that begin before the end of the text let out so far.

        What a stop string cut off is never let out, and so are its tokens.
        """
        released = []
        self._num_ahead += len(output.text.encode("utf-8", "surrogatepass"))
        is_whole = output.token_id == self._end_id or output.finish_reason == "length"
        while self._held and (self._num_ahead > 0 or is_whole):
            self._num_ahead -= len(self._held[0].data)
            released.append(self._held.popleft())
        if not self._held:
            self._num_ahead = min(self._num_ahead, 0)  # U+FFFD is longer than the bytes it stands for
        return tuple(released)

    def _logprob(self, found: Likelihood) -> TokenLogprob:
        piece = self._tokenizer.piece
        top = tuple(TokenLogprob(data=piece(token_id), logprob=value) for token_id, value in found.top)
        return TokenLogprob(data=piece(found.token_id), logprob=found.logprob, top=top)

    def _notice(self, text: str) -> Notice:
        self.notices.append(text)
        return Notice(text=text)
