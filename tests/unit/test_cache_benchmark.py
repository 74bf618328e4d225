"""`benchmarks/cache.py` runs, and its answers are the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import cache
from localgpt.runtime.loading import LoadOptions, plan_load


def test_all_cases_and_arms_with_the_same_answers(
    family_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_load(LoadOptions(model=str(family_folder), device="cpu"))
    monkeypatch.setattr(cache, "RULES", "Be brief.")
    figures, notices = asyncio.run(cache.measure(plan, rounds=1, max_tokens=6))
    found = cache.report(figures)
    assert tuple(found["cases"]) == cache.CASES and not notices
    assert all(set(cache.ARMS) < set(values) for values in found["cases"].values())
    assert found["answers_identical"] == found["answers_compared"] == len(cache.CASES) + 2


def test_a_difference_is_counted() -> None:
    figures = cache.Figures()
    figures.compare(True)
    figures.compare(False)
    assert (figures.num_same, figures.num_compared) == (1, 2)
