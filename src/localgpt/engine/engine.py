"""The engine's step: schedule, run, postprocess, emit. Synchronous; `AsyncEngine` drives it in a thread.

An answer that was given to the same question before is a draft: its next tokens are read together with the
latest one, and each is chosen as ever on the numbers that come out, until one is another than the draft's.
What was read beyond it is overwritten. Since rows do not depend on each other to the last bit (see
`exactness`), and a token takes one draw of randomness whether or not it was drafted, the answer is the one
that would be given without a draft.

What happens when the model fails: a piece of a prompt that fails ends its own sequence. A batch of single
tokens that fails is run again one sequence at a time (writing a cache position twice is harmless), so
only the sequence that cannot run is ended, with an error its caller sees. The engine itself goes on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from collections.abc import Sequence as Many

import torch
from torch import Tensor

from localgpt.engine.answers import AnswerStore
from localgpt.engine.drafts import Draft, is_repeatable
from localgpt.engine.runner import ModelRunner, Rows
from localgpt.engine.scheduler import Scheduler
from localgpt.engine.sequence import GenerationRequest, Output, Sequence, SequenceState, TextStream
from localgpt.errors import BackendError, CapacityError, LocalGPTError, PromptTooLongError
from localgpt.media.text.vocabulary import END_ID

__all__ = ["Engine", "as_localgpt_error"]

logger = logging.getLogger(__name__)


class Engine:
    """Continuous batching over a static cache.

    Args:
        runner: the model and its cache; the cache's slots are the batch size.
        new_text_stream: makes the token-to-text decoder of one answer.
        end_id: the token that ends an answer.
        max_waiting: sequences that may wait for a slot.
        answers: those that were given, for drafts; None for none. The runner must check drafts.
    """

    def __init__(
        self,
        runner: ModelRunner,
        new_text_stream: Callable[[], TextStream],
        *,
        end_id: int = END_ID,
        max_waiting: int = 256,
        answers: AnswerStore | None = None,
    ) -> None:
        self.runner = runner
        self._answers = answers if runner.row_plan is not None else None
        self.scheduler = Scheduler(runner.cache.num_slots, max_waiting=max_waiting)
        self._new_text_stream = new_text_stream
        self._end_id = end_id
        # Prompts that were read, the slots they lie in, and the logits after them.
        self._unkept: list[tuple[Sequence, int, Tensor]] = []

    @property
    def has_work(self) -> bool:
        """Whether another step would do something."""
        return self.scheduler.num_running + self.scheduler.num_waiting > 0

    def submit(self, request: GenerationRequest) -> Sequence:
        """Queue an answer.

        Prompt and answer together fill at most the context: `max_tokens` is cut to what it leaves.

        Raises:
            PromptTooLongError: the prompt leaves no room for even one token.
            CapacityError: too many wait already.
            InputError: the answer's grammar needs more tokens than there are; `param` is "max_tokens".
        """
        room = self.runner.context_len - len(request.token_ids)
        if room < 1:
            raise PromptTooLongError(
                f"the prompt has {len(request.token_ids):,} tokens, expected fewer than "
                f"{self.runner.context_len:,}; shorten it"
            )
        sequence = Sequence(
            request, self._new_text_stream(), end_id=self._end_id, max_tokens=min(request.max_tokens, room)
        )
        self.scheduler.add(sequence)
        if self._answers is not None:
            sequence.draft = Draft(self._answers.find(request), is_certain=is_repeatable(request.options))
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence now and free its slot; one that is over already stays as it is."""
        if sequence.state is SequenceState.FINISHED:
            return
        sequence.finish_reason = "cancelled"
        self.keep_prompts()
        try:
            self.runner.wipe(sequence)  # nobody has looked whether its latest numbers are sound
        except Exception as error:  # noqa: BLE001 - the boundary between the model and the loop
            logger.warning("what a cancelled answer left could not be wiped (%s)", error)
        self.scheduler.finish(sequence)

    def keep_prompts(self) -> None:
        """Keep the prompts that were read to their end, once their first tokens are out; a copy takes time.

        The next step does it where nobody has, before a slot is given to somebody else.
        """
        while self._unkept:
            sequence, slot, logits = self._unkept.pop()
            try:
                self.runner.keep_prompt(sequence, slot, logits)
            except Exception as error:  # noqa: BLE001 - an answer goes on without what it could not keep
                logger.warning("a prompt could not be kept (%s)", error)

    def step(self) -> list[Output]:
        """One piece of one prompt, then one token for every running sequence."""
        self.keep_prompts()
        batch = self.scheduler.schedule()
        outputs: list[Output] = []
        if batch.prefill is not None:
            outputs += self._prefill(batch.prefill)
        if batch.decode:
            outputs += self._decode(batch.decode)
        return outputs

    def _prefill(self, sequence: Sequence) -> list[Output]:
        try:
            logits = self.runner.prefill(sequence)
        except Exception as error:  # noqa: BLE001 - the boundary between the model and the loop
            return [self._fail(sequence, error)]
        if logits is None:
            return []
        sequence.state = SequenceState.DECODE
        assert sequence.slot is not None
        if _is_sound(logits):
            self._unkept.append((sequence, sequence.slot, logits))
        return [self._sample(sequence, logits)]

    def _decode(self, sequences: Many[Sequence]) -> list[Output]:
        drafts = self._drafts(sequences)
        try:
            logits = self.runner.decode(sequences, drafts)
        except Exception as error:  # noqa: BLE001 - the boundary between the model and the loop
            if len(sequences) == 1:
                return [self._fail(sequences[0], error)]
            logger.warning("a batch of %d failed (%s); running it one by one", len(sequences), error)
            return [output for sequence in sequences for output in self._decode([sequence])]
        return [
            output
            for sequence, draft, rows in zip(sequences, drafts, logits, strict=True)
            for output in self._take(sequence, draft, rows)
        ]

    def _drafts(self, sequences: Many[Sequence]) -> list[list[int]]:
        """How much of each sequence's draft is read in this step: as many rows together as pay."""
        if self.runner.row_plan is None:
            return [[] for _ in sequences]
        num_drafted = sum(sequence.draft.is_left for sequence in sequences)
        share = self.runner.row_plan.room_for_draft(len(sequences), num_drafted)
        return [
            sequence.draft.next_tokens(min(share, self.runner.context_len - sequence.num_cached - 1))
            for sequence in sequences
        ]

    def _take(self, sequence: Sequence, draft: list[int], rows: Rows) -> list[Output]:
        """The tokens that rows give: one, and one more for each drafted one that is chosen."""
        outputs = []
        for number, logits in enumerate(rows.logits):
            self.runner.advance(sequence, 1)
            is_sound = None if rows.is_sound is None else rows.is_sound[number]
            likeliest = None if rows.likeliest is None else rows.likeliest[number]
            outputs.append(self._sample(sequence, logits, is_sound=is_sound, likeliest=likeliest))
            is_over = outputs[-1].finish_reason is not None
            if is_over or number == len(draft) or outputs[-1].token_id != draft[number]:
                break
        return outputs

    def _sample(
        self,
        sequence: Sequence,
        logits: Tensor,
        *,
        is_sound: bool | None = None,
        likeliest: int | None = None,
    ) -> Output:
        if not (_is_sound(logits) if is_sound is None else is_sound):
            return self._fail(
                sequence, BackendError("the model gave values that are no numbers; try --fp16 off")
            )
        try:
            token_id, likelihood = sequence.choose(logits, likeliest)
        except Exception as error:  # noqa: BLE001 - the boundary between a grammar and the loop
            return self._fail(sequence, error)
        text = sequence.append(token_id)
        sequence.draft.follow(token_id)
        is_over = sequence.finish_reason is not None
        if is_over:
            self.scheduler.finish(sequence)
            if self._answers is not None:
                self._answers.put(sequence.request, sequence.answer_ids)
        return Output(
            sequence=sequence,
            token_id=token_id,
            text=text,
            finish_reason=sequence.finish_reason,
            likelihood=likelihood,
            is_loop=is_over and sequence.is_loop,
            is_forced=is_over and sequence.is_forced,
        )

    def _fail(self, sequence: Sequence, error: Exception) -> Output:
        logger.error("an answer failed in the model", exc_info=error)
        self.cancel(sequence)
        return Output(sequence=sequence, finish_reason="cancelled", error=as_localgpt_error(error))


def _is_sound(logits: Tensor) -> bool:
    return math.isfinite(logits.sum())  # one pass; float32 has room for the sum of any sound logits


def as_localgpt_error(error: Exception) -> LocalGPTError:
    """An error of the house for whatever a model or its libraries raised."""
    if isinstance(error, LocalGPTError):
        return error
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        wrapped: LocalGPTError = CapacityError(
            "memory ran out while answering; close other programs, or start with a smaller --max-batch-size"
        )
    else:
        first_line = (str(error).splitlines() or [""])[0]
        wrapped = BackendError(f"the model failed while answering: {type(error).__name__}: {first_line}")
    wrapped.__cause__ = error
    return wrapped
