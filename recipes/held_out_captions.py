"""Held-out captions while a run goes on: greedy, scored as `benchmarks/quality_vision.py` scores them."""

from __future__ import annotations

from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.media.text.tokenizer import Tokenizer
from recipes.augment import plain_pixels
from recipes.consensus import CiderScorer
from recipes.joint_model import JointModel
from recipes.pictures import PictureSet

__all__ = ["HeldOutCaptions"]

_MOST_TOKENS = 40


class HeldOutCaptions:
    """Describes some held-out pictures of a set and scores the captions.

    Args:
        pictures: with held-out pictures and their captions.
        tokenizer: of the model.
        num: pictures described; the document frequencies are those of all held-out pictures.
    """

    def __init__(self, pictures: PictureSet, tokenizer: Tokenizer, *, num: int = 200) -> None:
        self.pictures, self.tokenizer = pictures, tokenizer
        val = pictures.val.tolist()
        self.numbers = val[:num]
        self.captions = {language: pictures.captions(language) for language in ("en", "zh")}
        self.scorers = {
            language: CiderScorer([groups[n] for n in val], language)
            for language, groups in self.captions.items()
        }

    def measure(self, model: JointModel) -> dict[str, float]:
        """CIDEr by language, not times 100; the decoder learns on as before."""
        from benchmarks.vision.generate import (
            Answerer,
            Ask,
        )  # recipes run without the benchmarks, but for this

        was_training = model.decoder.training
        model.decoder.eval()
        answerer = Answerer(model.as_family(self.tokenizer), batch=100)
        asks = [Ask(n, DESCRIBE_PROMPTS[lang], _MOST_TOKENS) for lang in self.captions for n in self.numbers]

        def load(number: int):  # type: ignore[no-untyped-def]
            return plain_pixels(self.pictures.images[number][None], answerer.image_size)[0].cpu().numpy()

        replies = iter(answerer.answers(asks, load))
        model.decoder.train(was_training)
        figures = {}
        for language, groups in self.captions.items():
            scorer = self.scorers[language]
            scores = [scorer.score(next(replies), groups[number]) for number in self.numbers]
            figures[f"cider_{language}"] = round(sum(scores) / max(1, len(scores)), 4)
        return figures
