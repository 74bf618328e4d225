"""Greedy answers of a given length through the engine, for whoever measures how fast they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from localgpt.engine.engine import Engine
from localgpt.engine.sequence import GenerationRequest
from localgpt.media.text.tokenizer import StreamDecoder
from localgpt.media.text.vocabulary import FIRST_SPECIAL_ID
from localgpt.tasks import SamplingOptions

if TYPE_CHECKING:
    from localgpt.engine.runner import ModelRunner
    from localgpt.media.text.tokenizer import Tokenizer

__all__ = ["Generate", "through_engine"]

Generate = Callable[[Sequence[int], int], int]  # prompt, tokens wanted -> tokens made


def through_engine(runner: ModelRunner, tokenizer: Tokenizer | None = None) -> Generate:
    """One sequence at a time, with the bans of a chat and without an end.

    Args:
        runner: the decoder and its cache.
        tokenizer: writes the texts; None where weights are random.
    """
    engine = Engine(runner, lambda: StreamDecoder(tokenizer) if tokenizer else _NoText())
    config, device = runner.decoder.config, runner.device
    banned = torch.zeros(config.vocab_size, dtype=torch.bool, device=device)
    banned[FIRST_SPECIAL_ID:] = True  # never the end

    def generate(prompt: Sequence[int], num_tokens: int) -> int:
        request = GenerationRequest(
            token_ids=list(prompt),
            options=SamplingOptions(temperature=0.0),
            max_tokens=num_tokens,
            banned_first=banned,
            banned=banned,
        )
        sequence = engine.submit(request)
        made = 0
        with torch.inference_mode():
            while sequence.finish_reason is None:
                made += sum(output.token_id is not None for output in engine.step())
        return made

    return generate


class _NoText:
    """In place of a tokenizer."""

    def push(self, token_id: int) -> str:
        """Nothing."""
        return ""

    def flush(self) -> str:
        """Nothing."""
        return ""
