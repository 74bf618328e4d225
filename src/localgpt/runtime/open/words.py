"""Models that answer in words, token by token: what is the same whatever runs their network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.compute.memory.state import Size
from localgpt.engine.sequence import GenerationRequest, Output, Sequence
from localgpt.errors import BackendError, CancelledRequestError
from localgpt.runtime.open.asking import Asking, Job
from localgpt.runtime.open.base import Emit
from localgpt.runtime.open.calls import OPENER, OpenAnswerWriter
from localgpt.runtime.open.prepared import Prepared
from localgpt.runtime.open.prompts import OpenPrompt
from localgpt.runtime.open.vocabulary import OpenLexicon, TextStream
from localgpt.runtime.paint_tool import PaintCalls
from localgpt.runtime.questions import AnswerRequest, options_of
from localgpt.tasks import ChatResult, Notice, Request, Result, Usage

__all__ = ["WordModel", "check_is_wanted"]

_LEAST_ANSWER: Final = 256  # tokens; where memory is short an answer is not cut below this
_FIRST_SHAPE: Final = 256


class WordModel(ABC):
    """Makes answers of a network's logits; the half of an `OpenModel` that needs no network.

    Args:
        id: what requests name it.
        notices: told with the first answer's beginning.
    """

    vocabulary: OpenLexicon
    _asking: Asking

    def __init__(self, id: str, notices: tuple[str, ...]) -> None:
        self.id = id
        self.notices = notices
        self._has_answered = False
        self.num_reused = 0  # tokens of the last prompt that were known from the one before
        self._ready: Prepared[Job] = Prepared(lambda request: self._asking.prepare(request))

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What an answer takes as it was asked for, then of half as many tokens, and so on.

        Raises:
            InputError: it cannot be answered.
        """
        return tuple(self._sizes(self._ready.look(request)))

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Make one answer.

        Raises:
            LocalGPTError: it was refused, failed or was cancelled.
        """
        job = self._ready.take(request)
        max_tokens = self._lengths(job)[size.shape]
        assert isinstance(request, AnswerRequest)
        options = options_of(request, job.question.task, job.rules, penalties={})
        generation = GenerationRequest(
            token_ids=job.prompt.token_ids,
            options=replace(options, stop=(*options.stop, *job.prompt.stop)),
            max_tokens=max_tokens,
            grammar=job.rules.grammar,
            grammar_opener=self.vocabulary.token_of(OPENER) if job.rules.is_for_calls_only else None,
            call_id=self.vocabulary.token_of(OPENER) if job.question.has_tools else None,
        )
        sequence = Sequence(
            generation, TextStream(self.vocabulary), end_id=self.vocabulary.end_id, max_tokens=max_tokens
        )
        writer = OpenAnswerWriter(self.vocabulary, job.question.language, has_tools=job.question.has_tools)
        notices = [*(() if self._has_answered else self.notices), *self._asking.notices_about(job)]
        self._has_answered = True
        if size.notice:
            notices.append(size.notice)
        for text in notices:
            emit(Notice(text=text))
        painting = PaintCalls()
        for output in self._outputs(sequence, job, is_cancelled):
            events = writer.take(output)
            for event in painting.left_of(events) if job.has_paint_tool else events:
                emit(event)
        assert sequence.finish_reason is not None
        calls, paints = painting.split(writer.tool_calls) if job.has_paint_tool else (writer.tool_calls, None)
        finish_reason = writer.finish_reason(sequence.finish_reason)
        return ChatResult(
            text=writer.text,
            finish_reason="stop" if finish_reason == "tool_calls" and not calls else finish_reason,
            usage=Usage(
                prompt_tokens=len(job.prompt.token_ids),
                completion_tokens=writer.num_tokens,
                cached_tokens=self.num_reused,
            ),
            model=self.id,
            notices=(*notices, *writer.notices),
            tool_calls=calls,
            logprobs=tuple(writer.logprobs),
            paints=paints,
        )

    def _forget_prepared(self) -> None:
        self._ready.clear()

    # What the network does.

    @abstractmethod
    def _piece_len(self, prompt: OpenPrompt) -> int:
        """How many tokens of a prompt are read in one go."""

    @abstractmethod
    def _answer_bytes(self, num_prompt: int, num_answer: int, piece_len: int) -> int:
        """Upper estimate of what reading and answering take besides the weights."""

    @abstractmethod
    def _read_prompt(self, prompt: OpenPrompt, is_cancelled: Callable[[], bool]) -> tuple[Any, Tensor]:
        """What was read of a prompt, for `_step`, and the logits (V,) after it."""

    @abstractmethod
    def _step(self, made: Any, token_id: int) -> Tensor:
        """Logits (V,) float32 after one more token."""

    @abstractmethod
    def _keep(self, prompt: OpenPrompt, made: Any) -> None:
        """Remember what was read, for the next prompt that begins the same."""

    # Memory.

    def _sizes(self, job: Job) -> Iterator[Size]:
        length = _bucket(len(job.prompt.token_ids))
        for shape, num in self._lengths(job).items():
            is_less = num < job.max_tokens
            told = f"Memory is short: the answer may have {num:,} tokens instead of {job.max_tokens:,}."
            nbytes = self._answer_bytes(length, _bucket(num), self._piece_len(job.prompt))
            yield Size(shape=shape, nbytes=nbytes, notice=told if is_less else "")

    def _lengths(self, job: Job) -> dict[str, int]:
        """Tokens of an answer that are worth making, the most first, by the shape of that work."""
        least = max(job.rules.num_needed, min(_LEAST_ANSWER, job.max_tokens))
        lengths, num = {}, job.max_tokens
        prompt_len = _bucket(len(job.prompt.token_ids))
        while True:
            lengths[f"answer of {_bucket(num)} to {prompt_len} tokens"] = num
            if num <= least:
                return lengths
            num = max(least, num // 2)

    # Decoding.

    def _outputs(self, sequence: Sequence, job: Job, is_cancelled: Callable[[], bool]) -> Iterator[Output]:
        """One output a token, as the engine of the embedded family makes them."""
        with torch.inference_mode():
            made, logits = self._read_prompt(job.prompt, is_cancelled)
            while True:
                if not bool(torch.isfinite(logits).all()):
                    raise BackendError("the model gave values that are no numbers; try it without --fp16")
                token_id, likelihood = sequence.choose(logits)
                if token_id in self.vocabulary.end_ids:
                    token_id = self.vocabulary.end_id
                text = sequence.append(token_id)
                is_over = sequence.finish_reason is not None
                yield Output(
                    sequence=sequence,
                    token_id=token_id,
                    text=text,
                    finish_reason=sequence.finish_reason,
                    likelihood=likelihood,
                    is_forced=is_over and sequence.is_forced,
                )
                if is_over:
                    break
                check_is_wanted(is_cancelled)
                logits = self._step(made, token_id)
        self._keep(job.prompt, made)


def _bucket(num: int) -> int:
    shape = _FIRST_SHAPE
    while shape < num:
        shape *= 2
    return shape


def check_is_wanted(is_cancelled: Callable[[], bool]) -> None:
    """Stop where nobody waits any more.

    Raises:
        CancelledRequestError: nobody does.
    """
    if is_cancelled():
        raise CancelledRequestError("nobody waits for the answer any more; it was not finished")
