"""Caption scores: CIDEr and BLEU-4 of pycocoevalcap, without its tokeniser (which needs Java).

English: lower case, punctuation removed, split at white space. Chinese: one token a character; Latin words
and numbers stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipes.consensus import CiderScorer, tokens_of

__all__ = ["score_captions", "tokens_of"]


def score_captions(
    replies: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> dict[str, float]:
    """CIDEr (not times 100, document frequencies from the references) and BLEU-4.

    Where pycocoevalcap is not installed, CIDEr is that of `recipes.consensus`, which a test holds equal, and
    there is no BLEU-4.
    """
    lengths = [len(tokens_of(reply, language).split()) for reply in replies]
    scores = {
        "distinct": len(set(replies)) / max(1, len(replies)),
        "mean_tokens": sum(lengths) / max(1, len(lengths)),
    }
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        scorer = CiderScorer(references, language)
        told = [scorer.score(reply, texts) for reply, texts in zip(replies, references, strict=True)]
        return {"cider": sum(told) / max(1, len(told)), **scores}
    told_by = {n: [tokens_of(reply, language)] for n, reply in enumerate(replies)}
    wanted = {n: [tokens_of(text, language) for text in texts] for n, texts in enumerate(references)}
    cider, _ = Cider().compute_score(wanted, told_by)
    bleu, _ = Bleu(4).compute_score(wanted, told_by, verbose=0)
    return {"cider": float(cider), "bleu4": float(bleu[3]), **scores}
