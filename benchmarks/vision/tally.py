"""Right answers counted by kind, beside the best constant answer and other runs of the same questions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

__all__ = ["accuracy_by", "majority_by"]


def accuracy_by(kinds: Sequence[str], rights: Sequence[bool]) -> dict[str, float]:
    """Share of right answers of each kind, and of "all"."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for kind, right in zip(kinds, rights, strict=True):
        groups[kind].append(right)
        groups["all"].append(right)
    return {kind: sum(values) / len(values) for kind, values in sorted(groups.items())}


def majority_by(kinds: Sequence[str], answers: Iterable[str]) -> dict[str, float]:
    """Share of right answers of someone who knows the kind and always gives its most frequent answer."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, answer in zip(kinds, answers, strict=True):
        counts[kind][answer] += 1
    best = {kind: counter.most_common(1)[0][1] for kind, counter in counts.items()}
    shares = {kind: best[kind] / counts[kind].total() for kind in sorted(counts)}
    return {"all": sum(best.values()) / max(1, len(kinds)), **shares}
