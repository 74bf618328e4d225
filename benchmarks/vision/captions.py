"""Caption scores: CIDEr and BLEU-4 of pycocoevalcap, without its tokeniser (which needs Java).

English: lower case, punctuation removed, split at white space. Chinese: one token a character; Latin words
and numbers stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipes.consensus import tokens_of

__all__ = ["score_captions", "tokens_of"]


def score_captions(
    replies: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> dict[str, float] | None:
    """CIDEr (not times 100, document frequencies from the references) and BLEU-4.

    Returns:
        None where pycocoevalcap is not installed.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        return None
    told = {n: [tokens_of(reply, language)] for n, reply in enumerate(replies)}
    wanted = {n: [tokens_of(text, language) for text in texts] for n, texts in enumerate(references)}
    cider, _ = Cider().compute_score(wanted, told)
    bleu, _ = Bleu(4).compute_score(wanted, told, verbose=0)
    lengths = [len(line[0].split()) for line in told.values()]
    return {
        "cider": float(cider),
        "bleu4": float(bleu[3]),
        "distinct": len(set(replies)) / max(1, len(replies)),
        "mean_tokens": sum(lengths) / max(1, len(lengths)),
    }
