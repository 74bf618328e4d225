"""Descriptions by consensus: of several drafts, the one that the others and the picture agree with is told.

A small model's likeliest description holds an odd detail as often as not; what most of its drafts say, and
what lies near the picture in the joint space, is more often there to be seen (figures: the encoder's
card). The drafts share the picture's place in the prefix cache, so they cost some dozens of tokens.

Rules told to the caller:

* Half of the drafts are drawn at 0.5 and half at 0.7, or at the request's temperature where that is higher.
  At temperature 0 their seeds are fixed, so that one picture is always described in the same words; otherwise
  they follow from the request's seed, and without one each draft is drawn anew.
* The description comes in one piece, and its tokens are those that are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from localgpt.engine.async_engine import AsyncEngine
from localgpt.engine.sequence import GenerationRequest, Output
from localgpt.runtime.answers import AnswerWriter
from localgpt.sampling.consensus import most_agreed
from localgpt.tasks import Event, SamplingOptions

__all__ = ["NUM_DRAFTS", "Draft", "draft_options", "make_drafts", "most_told"]

NUM_DRAFTS: Final = 24
_LEAST_TEMPERATURES: Final = (0.5, 0.7)


@dataclass(slots=True)
class Draft:
    """One text: its events, and what they add up to."""

    writer: AnswerWriter
    events: list[Event] = field(default_factory=list)
    last: Output | None = None


def draft_options(options: SamplingOptions) -> list[SamplingOptions]:
    """The options of each draft, of which only temperatures and seeds differ."""
    temperatures = [
        max(options.temperature, least)
        for least in _LEAST_TEMPERATURES
        for _ in range(NUM_DRAFTS // len(_LEAST_TEMPERATURES))
    ]
    if options.seed is None and options.temperature > 0:  # no seeds of ours: answers are kept by them
        return [replace(options, temperature=temperature) for temperature in temperatures]
    seed = options.seed or 0
    return [replace(options, temperature=t, seed=seed + n) for n, t in enumerate(temperatures)]


async def make_drafts(
    engine: AsyncEngine,
    generation: GenerationRequest,
    new_writer: Callable[[], AnswerWriter],
    *,
    deadline: float | None = None,
) -> list[Draft]:
    """Make the drafts of one description.

    Args:
        engine: makes them, as many at once as it has slots; the rest do not stand in its queue, where
            whoever asks meanwhile would come behind them all.
        generation: the description's prompt and options.
        new_writer: of each draft's events.
        deadline: time of the running event loop after which to give up; None = never.

    Raises:
        LocalGPTError: a draft failed, or the deadline passed.
    """
    free = asyncio.Semaphore(engine.num_slots)

    async def draft(options: SamplingOptions) -> Draft:
        made = Draft(new_writer())
        outputs = engine.generate(replace(generation, options=options), deadline=deadline)
        async with free, aclosing(outputs):
            async for output in outputs:
                made.events += made.writer.take(output)
                made.last = output
        return made

    first, *others = draft_options(generation.options)
    drafts = [await draft(first)]  # by itself, so that the others find its prompt read
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(draft(options)) for options in others]
    except* Exception as failed:  # noqa: BLE001 - told as it would be of a single answer
        raise failed.exceptions[0] from None
    return [*drafts, *(task.result() for task in tasks)]


def most_told(drafts: Sequence[Draft], likeness: Mapping[str, float]) -> Draft:
    """The draft that is told; `likeness` is that of each text to the picture."""
    texts = [draft.writer.text for draft in drafts]
    return drafts[most_agreed(texts, [likeness[text] for text in texts])]
