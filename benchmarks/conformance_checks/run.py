"""Running checks one after another, and writing down what came of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx2
import openai

from benchmarks.conformance_checks import (
    chat,
    completions,
    coverage,
    models,
    others,
    pictures,
    refusals,
    responses,
    responses_refusals,
    tools,
    voice,
)
from benchmarks.conformance_checks.target import CHECKS, Check, Target

__all__ = ["Outcome", "all_checks", "as_json", "run_check", "run_checks", "table"]

_MODULES = (
    models, chat, tools, completions, responses, refusals, responses_refusals, others, voice, pictures,
    coverage,
)  # fmt: skip


_FAILURES = (
    AssertionError, AttributeError, LookupError, TypeError, ValueError, openai.OpenAIError, httpx2.HTTPError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check and what it said; `reason` is None where it passed."""

    area: str
    name: str
    reason: str | None
    seconds: float


def all_checks(areas: Sequence[str] = ()) -> list[Check]:
    """The checks of some areas, or of all."""
    order = {module.__name__: number for number, module in enumerate(_MODULES)}
    in_order = sorted(CHECKS, key=lambda check: order[check.run.__module__])
    return [check for check in in_order if not areas or check.area in areas]


async def run_check(check: Check, target: Target) -> Outcome:
    """Run one check; whatever it raises is its reason."""
    started = time.perf_counter()
    reason = None
    try:
        await check.run(target)
    except _FAILURES as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return Outcome(check.area, check.name, reason, round(time.perf_counter() - started, 2))


async def run_checks(checks: Iterable[Check], target: Target) -> list[Outcome]:
    """Run checks in order."""
    return [await run_check(check, target) for check in checks]


def table(outcomes: Sequence[Outcome]) -> str:
    """Passed and failed by area, the failures with their reasons, and the total."""
    lines = []
    for area in dict.fromkeys(outcome.area for outcome in outcomes):
        of_area = [outcome for outcome in outcomes if outcome.area == area]
        passed = sum(outcome.reason is None for outcome in of_area)
        lines.append(f"{area:<12} {passed:>3} of {len(of_area):>3} pass")
        lines += [f"  FAIL {one.name}: {one.reason}" for one in of_area if one.reason is not None]
    passed = sum(outcome.reason is None for outcome in outcomes)
    lines.append(f"{'total':<12} {passed:>3} of {len(outcomes):>3} pass")
    return "\n".join(lines)


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "passed": sum(outcome.reason is None for outcome in outcomes),
        "total": len(outcomes),
        "checks": [asdict(outcome) for outcome in outcomes],
    }
