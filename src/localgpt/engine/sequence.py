"""One answer in the making: its prompt, its place in the cache, its tokens and its text."""

from __future__ import annotations

from collections.abc import Sequence as Ids
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import torch
from torch import Tensor

from localgpt.engine.drafts import Draft
from localgpt.engine.stopping import StopFilter, is_going_in_circles
from localgpt.errors import InputError, LocalGPTError
from localgpt.sampling.grammar import Grammar, GrammarState
from localgpt.sampling.tokens import (
    Choice,
    Likelihood,
    is_plain_greedy,
    likelihood,
    new_generator,
    sample_token,
)
from localgpt.tasks.options import FinishReason, SamplingOptions

__all__ = ["GenerationRequest", "Output", "Sequence", "SequenceState", "TextStream"]


class TextStream(Protocol):
    """Token ids to text, whole characters only (`media.text.tokenizer.StreamDecoder`)."""

    def push(self, token_id: int) -> str:
        """Text that became complete with this token."""

    def flush(self) -> str:
        """What is left at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What the engine needs to make one answer."""

    token_ids: Ids[int]  # the whole prompt, `<|image|>` placeholders included
    options: SamplingOptions
    max_tokens: int
    owner: str = ""  # who asks: what is kept of one owner's prompts is never used for another's
    image_tokens: Tensor | None = None  # (N, C), written over the prompt's N placeholders in order
    banned_first: Tensor | None = None  # (V,) bool, True = never the answer's first token
    banned: Tensor | None = None  # (V,) bool, True = never a later token
    ends_loops: bool = False  # end an answer that goes round in circles
    grammar: Grammar | None = None  # what the answer must be
    grammar_opener: int | None = None  # the grammar holds from this token on; None = from the first token
    call_id: int | None = None  # the token behind which there are tool calls, which nothing stops


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one step gave one sequence. The texts of a sequence's outputs concatenate to its answer."""

    sequence: Sequence
    token_id: int | None = None  # None: nothing was sampled (a failure)
    text: str = ""
    finish_reason: FinishReason | None = None  # set on the last output
    error: LocalGPTError | None = None  # set on the last output of a sequence that failed
    likelihood: Likelihood | None = None  # of the token, where it was asked for
    is_loop: bool = False  # set on the last output of a sequence ended for going round in circles
    is_forced: bool = False  # set on the last output of a sequence whose grammar was closed by its budget


class SequenceState(Enum):
    """Where a sequence is on its way."""

    WAITING = auto()  # no slot yet
    PREFILL = auto()  # its prompt is being read, piece by piece
    DECODE = auto()  # one more token each step
    FINISHED = auto()  # holds no slot


class Sequence:
    """State of one answer; changed by the scheduler and the engine, in the engine's thread only.

    Raises:
        InputError: the grammar's shortest text is longer than `max_tokens`; `param` is "max_tokens".
    """

    def __init__(self, request: GenerationRequest, text: TextStream, *, end_id: int, max_tokens: int) -> None:
        self.request = request
        self.state = SequenceState.WAITING
        self.slot: int | None = None
        self.num_cached = 0  # positions of the slot that are filled
        self.num_reused = 0  # of these, how many were known from an earlier prompt
        self.prefill_s = 0.0  # what reading the others took
        self.answer_ids: list[int] = []
        self.draft = Draft()
        self.finish_reason: FinishReason | None = None
        self.is_loop = False
        self._is_call = False
        self._text = text
        self._stop = StopFilter(request.options.stop)
        self._end_id = end_id
        self._max_tokens = max_tokens
        self._generator: torch.Generator = new_generator(request.options.seed)
        self._grammar = _started(request, max_tokens)
        self._is_plain = request.grammar is None and is_plain_greedy(request.options)

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.request.token_ids)

    @property
    def last_token_id(self) -> int:
        """The token the next decode step reads."""
        return self.answer_ids[-1]

    @property
    def is_forced(self) -> bool:
        """Whether the budget decided about tokens, so that the grammar's text is whole."""
        return self._grammar is not None and self._grammar.is_forced

    @property
    def is_chain(self) -> bool:
        """Whether the next token is the likeliest, nobody asks how likely it is, and more may follow it."""
        is_plain = self._is_plain and self.request.options.top_logprobs is None
        return is_plain and 0 < len(self.answer_ids) < self._max_tokens - 1

    def choose(self, logits: Tensor, likeliest: int | None = None) -> tuple[int, Likelihood | None]:
        """Choose the next token from (V,) logits, and tell how likely it was if that was asked for.

        Args:
            logits: raw.
            likeliest: of the tokens that `request.banned` leaves, where that is known already.
        """
        if likeliest is not None and self._is_plain and self.answer_ids:
            return likeliest, self._likelihood(logits, likeliest)
        num_left = self._max_tokens - len(self.answer_ids)
        choice = Choice(
            options=self.request.options,
            generator=self._generator,
            seen=self.answer_ids,
            banned=self._banned(logits, num_left),
        )
        if self._grammar is not None:
            token_id = self._grammar.choose(logits, choice, num_left=num_left)
        else:
            token_id = sample_token(logits, choice)
            if token_id == self.request.grammar_opener:
                assert self.request.grammar is not None
                self._grammar = self.request.grammar.start()
                self._grammar.open(token_id)
        return token_id, self._likelihood(logits, token_id)

    def append(self, token_id: int) -> str:
        """Take the next token; sets `finish_reason` when the answer is over.

        Returns:
            The text that can be let out now.
        """
        if token_id == self._end_id:
            self.finish_reason = "stop"
            return self._rest()
        self.answer_ids.append(token_id)
        text = self._filtered(self._text.push(token_id))
        if self._stop.is_stopped:
            self.finish_reason = "stop"
        elif self._grammar is not None and self._is_over(self._grammar):
            self.finish_reason = "stop"
            text += self._rest()
        elif len(self.answer_ids) >= self._max_tokens:
            self.finish_reason = "length"
            text += self._rest()
        elif self.request.ends_loops and not self.is_loop and is_going_in_circles(self.answer_ids):
            self.is_loop = True
            if self._grammar is not None:
                self._grammar.close()
            else:
                self.finish_reason = "stop"
                text += self._rest()
        return text

    def _likelihood(self, logits: Tensor, token_id: int) -> Likelihood | None:
        num_top = self.request.options.top_logprobs
        return None if num_top is None else likelihood(logits, token_id, num_top=num_top)

    def _banned(self, logits: Tensor, num_left: int) -> Tensor | None:
        """What must not come next (V,); a grammar is not opened where its shortest text no longer fits."""
        request = self.request
        banned = request.banned if self.answer_ids else request.banned_first
        opener, grammar = request.grammar_opener, request.grammar
        if opener is None or grammar is None or self._grammar is not None or grammar.num_needed <= num_left:
            return banned
        banned = torch.zeros_like(logits, dtype=torch.bool) if banned is None else banned.clone()
        banned[opener] = True
        return banned

    def _is_over(self, grammar: GrammarState) -> bool:
        """Whether a grammar's text is whole; with the last token of the budget it always is."""
        return grammar.is_over or len(self.answer_ids) >= self._max_tokens

    def _filtered(self, text: str) -> str:
        """`text` up to a stop string; tool calls are no text a caller reads, so nothing stops them."""
        if self.answer_ids[-1] == self.request.call_id:
            self._is_call = True
        return text if self._is_call else self._stop.push(text)

    def _rest(self) -> str:
        text = self._stop.push(self._text.flush())
        return text if self._stop.is_stopped else text + self._stop.flush()


def _started(request: GenerationRequest, max_tokens: int) -> GrammarState | None:
    """The state of a grammar that holds from the first token on."""
    grammar = request.grammar
    if grammar is None or request.grammar_opener is not None:
        return None
    if grammar.num_needed > max_tokens:
        raise InputError(
            f"the answer may have {max_tokens:,} tokens (max_tokens, or what the context leaves), "
            f"expected at least {grammar.num_needed:,}, which the shortest text that fits takes",
            param="max_tokens",
        )
    return grammar.start()
