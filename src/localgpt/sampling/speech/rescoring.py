"""Choose among ways of hearing by what a language decoder holds for a likely text.

The search knows three words in a row; the decoder reads whole sentences. It costs a pass of the decoder for
each segment, and is not done unless asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import BOS_ID, PAD_ID
from localgpt.models.decoder import Decoder
from localgpt.sampling.speech.search import Sentence

__all__ = ["Choose", "DecoderScore", "chooser"]

TextScore = Callable[[Sequence[str]], Sequence[float]]
Choose = Callable[[Sequence[Sentence]], Sentence]
"""Ways of hearing one segment, the best first, to the one that is written."""


class DecoderScore:
    """Natural logarithms of how likely a decoder holds texts.

    Args:
        decoder: in eval mode.
        tokenizer: its own.
    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        self._decoder, self._tokenizer = decoder, tokenizer

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> list[float]:
        """One number for each text."""
        rows = [[BOS_ID, *self._tokenizer.encode(text)] for text in texts]
        width = max(map(len, rows))
        inputs = torch.tensor([row + [PAD_ID] * (width - len(row)) for row in rows]).to(self._decoder.device)
        if width < 2:
            return [0.0] * len(texts)
        logits = self._decoder(inputs[:, :-1]).float()
        nats = F.cross_entropy(logits.transpose(1, 2), inputs[:, 1:], reduction="none")
        return [-float(line[: len(row) - 1].sum()) for line, row in zip(nats, rows, strict=True)]


def chooser(score: TextScore, join: Callable[[list[str]], str], *, weight: float = 0.3) -> Choose:
    """Weigh what was heard against what is likely.

    Args:
        score: of texts.
        join: of words to a text.
        weight: of `score`.
    """

    def choose(sentences: Sequence[Sentence]) -> Sentence:
        if len(sentences) < 2:
            return sentences[0]
        told = score([join([word.text for word in sentence.words]) for sentence in sentences])
        ranked = [sentence.score + weight * value for sentence, value in zip(sentences, told, strict=True)]
        return sentences[max(range(len(ranked)), key=ranked.__getitem__)]

    return choose
