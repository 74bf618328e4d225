"""Right answers counted by kind, beside the best constant answer and other runs of the same questions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

__all__ = ["accuracy_by", "majority_by"]


def accuracy_by(kinds: Sequence[str], rights: Sequence[bool]) -> dict[str, float]:
    """Share of right answers of each kind, and of "all"."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for kind, right in zip(kinds, rights, strict=True):
        groups[kind].append(right)
        groups["all"].append(right)
    return {kind: sum(values) / len(values) for kind, values in sorted(groups.items())}


def majority_by(
    kinds: Sequence[str], answers: Sequence[str], forms: Sequence[str] | None = None
) -> dict[str, float]:
    """Share of right answers of someone who always gives the most frequent answer.

    Args:
        kinds: of the questions.
        answers: the right ones.
        forms: what is known of each question beside its kind; the most frequent answer is taken within it.
    """
    known = list(zip(kinds, forms or kinds, strict=True))
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for key, answer in zip(known, answers, strict=True):
        counts[key][answer] += 1
    best: Counter[str] = Counter()
    for (kind, _), counter in counts.items():
        best[kind] += counter.most_common(1)[0][1]
    shares = {kind: best[kind] / kinds.count(kind) for kind in sorted(best)}
    return {"all": best.total() / max(1, len(kinds)), **shares}
