"""One answer in the making: its prompt, its place in the cache, its tokens and its text."""

from __future__ import annotations

from collections.abc import Sequence as Ids
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import torch
from torch import Tensor

from localgpt.engine.stopping import StopFilter, is_going_in_circles
from localgpt.errors import LocalGPTError
from localgpt.sampling.tokens import Choice, new_generator
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
    image_tokens: Tensor | None = None  # (N, C), written over the prompt's N placeholders in order
    banned_first: Tensor | None = None  # (V,) bool, True = never the answer's first token
    banned: Tensor | None = None  # (V,) bool, True = never a later token
    ends_loops: bool = False  # end an answer that goes round in circles


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one step gave one sequence. The texts of a sequence's outputs concatenate to its answer."""

    sequence: Sequence
    token_id: int | None = None  # None: nothing was sampled (a failure)
    text: str = ""
    finish_reason: FinishReason | None = None  # set on the last output
    error: LocalGPTError | None = None  # set on the last output of a sequence that failed
    is_loop: bool = False  # set on the last output of a sequence ended for going round in circles


class SequenceState(Enum):
    """Where a sequence is on its way."""

    WAITING = auto()  # no slot yet
    PREFILL = auto()  # its prompt is being read, piece by piece
    DECODE = auto()  # one more token each step
    FINISHED = auto()  # holds no slot


class Sequence:
    """State of one answer; changed by the scheduler and the engine, in the engine's thread only."""

    def __init__(self, request: GenerationRequest, text: TextStream, *, end_id: int, max_tokens: int) -> None:
        self.request = request
        self.state = SequenceState.WAITING
        self.slot: int | None = None
        self.num_cached = 0  # positions of the slot that are filled
        self.answer_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.is_loop = False
        self._text = text
        self._stop = StopFilter(request.options.stop)
        self._end_id = end_id
        self._max_tokens = max_tokens
        self._generator: torch.Generator = new_generator(request.options.seed)

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.request.token_ids)

    @property
    def last_token_id(self) -> int:
        """The token the next decode step reads."""
        return self.answer_ids[-1]

    def choice(self) -> Choice:
        """How the next token is to be chosen."""
        banned = self.request.banned if self.answer_ids else self.request.banned_first
        return Choice(
            options=self.request.options, generator=self._generator, seen=self.answer_ids, banned=banned
        )

    def append(self, token_id: int) -> str:
        """Take the next token; sets `finish_reason` when the answer is over.

        Returns:
            The text that can be let out now.
        """
        if token_id == self._end_id:
            self.finish_reason = "stop"
            return self._rest()
        self.answer_ids.append(token_id)
        text = self._stop.push(self._text.push(token_id))
        if self._stop.is_stopped:
            self.finish_reason = "stop"
        elif len(self.answer_ids) >= self._max_tokens:
            self.finish_reason = "length"
            text += self._rest()
        elif self.request.ends_loops and is_going_in_circles(self.answer_ids):
            self.finish_reason, self.is_loop = "stop", True
            text += self._rest()
        return text

    def _rest(self) -> str:
        text = self._stop.push(self._text.flush())
        return text if self._stop.is_stopped else text + self._stop.flush()
