"""`benchmarks/cache.py` runs, and its answers are the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import cache
from localgpt.runtime.loading import LoadOptions, plan_load
from localgpt.tasks import ChatResult, Usage


def test_all_cases_and_arms_with_the_same_answers(
    family_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_load(LoadOptions(model=str(family_folder), device="cpu"))
    monkeypatch.setattr(cache, "RULES", "Be brief.")
    figures, notices = asyncio.run(cache.measure(plan, rounds=1, max_tokens=6))
    found = cache.report(figures)
    assert tuple(found["cases"]) == cache.CASES and not notices
    assert all(set(cache.ARMS) < set(values) for values in found["cases"].values())
    assert found["repeats_identical"] == found["repeats"] == 2 * 3 * len(cache.ARMS)
    assert found["questions"] == 2 * 8


def test_a_difference_is_counted() -> None:
    def answer(text: str) -> cache.Answer:
        usage = Usage(prompt_tokens=1, completion_tokens=1)
        return cache.Answer(1.0, 1.0, ChatResult(text=text, finish_reason="stop", usage=usage, model="m"))

    figures = cache.Figures()
    figures.compare({"a": answer("x"), "b": answer("y")}, None)
    figures.compare({"a": answer("x"), "b": answer("x")}, {"a": answer("x"), "b": answer("y")})
    assert (figures.agreements, figures.repeats) == ([False, True], [True, False])
