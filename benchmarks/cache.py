"""What it gives to keep prompts and answers: total time and time to the first text, with and without.

    python benchmarks/cache.py [--rounds 5] [--max-tokens 96] [--device cpu] [--model FOLDER] [--json]

Three services share one set of weights: one keeps nothing, one keeps prompts (the default), one keeps prompts
and answers (`--use-cache`). In each round all of them are asked the same, in turning order:

* new: a system turn of some hundred tokens that was never seen, and a question;
* same prefix: another question behind that system turn;
* exact repeat: that question again, greedy; and once more of one with a temperature and a seed;
* picture again: the same question about the same picture by the same owner (its first time is not counted).
  Who keeps prompts remembers pictures with them; who keeps nothing looks at the picture again, too, so that
  this row is about looking and reading. Until 2026-11-28, 12:34 UTC, all three remembered the picture;
* picture, new question: another question about it, whose prompt begins the same up to the picture's end.

Medians over the rounds. Log probabilities are asked for all along, so that every answer tells its numbers: a
repeat must be what the same service answered before, with the same text, tokens and numbers to the last bit,
or else the exit status is 1. Whether the services agree among each other is printed too; where weights are
floating point they need not, since they compute in batches of other sizes.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import io
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.repetition import OPEN  # noqa: E402
from localgpt.runtime.loading import LoadOptions, LoadPlan, load_models, plan_load  # noqa: E402
from localgpt.runtime.local import LocalService  # noqa: E402
from localgpt.runtime.remembering import CacheOptions  # noqa: E402
from localgpt.tasks import (  # noqa: E402
    AskRequest,
    ChatRequest,
    ChatResult,
    Finished,
    ImagePart,
    Message,
    SamplingOptions,
    TextDelta,
)

ARMS = {
    "nothing kept": CacheOptions(prompt_mib=0),
    "prompts (default)": CacheOptions(),
    "--use-cache": CacheOptions(keeps_answers=True),
}
CASES = (
    "new",
    "same prefix",
    "exact repeat",
    "exact repeat, seeded",
    "picture again",
    "picture, new question",
)
RULES = (
    "You help people who use this computer. Answer in the language of the question. Be brief where the "
    "question is short and thorough where it is not. Say so when you do not know something. Never invent "
    "names, numbers, places or sources. If a question can be read in two ways, say which one you answer. "
)
Asked = ChatRequest | AskRequest


@dataclass
class Answer:
    """One answer, and its times in seconds."""

    total_s: float
    first_s: float
    result: ChatResult


@dataclass
class Figures:
    """Times by case and arm, and how many answers were the same."""

    total_s: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    first_s: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    num_tokens: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    repeats: list[bool] = field(default_factory=list)  # each: the same as the first time
    agreements: list[bool] = field(default_factory=list)  # each: the same from all services

    def add(self, case: str, answers: dict[str, Answer]) -> None:
        """Take the times of one case of one round."""
        for arm, answer in answers.items():
            self.total_s[case, arm].append(answer.total_s)
            self.first_s[case, arm].append(answer.first_s)
            self.num_tokens[case].append(answer.result.usage.completion_tokens)

    def compare(self, answers: dict[str, Answer], before: dict[str, Answer] | None) -> None:
        """Compare answers with each other, and with those to the same question."""
        told = {arm: _told(answer) for arm, answer in answers.items()}
        self.agreements.append(len(set(told.values())) == 1)
        if before is not None:
            self.repeats += [_told(before[arm]) == told[arm] for arm in answers]


def _told(answer: Answer) -> tuple[object, ...]:
    result = answer.result
    return result.text, result.finish_reason, result.logprobs


async def ask(service: LocalService, request: Asked) -> Answer:
    """Ask once and watch the clock."""
    start, first_s = time.perf_counter(), None
    async for event in service.stream(request):
        if isinstance(event, TextDelta) and first_s is None:
            first_s = time.perf_counter() - start
        if isinstance(event, Finished):
            assert isinstance(event.result, ChatResult)
            total_s = time.perf_counter() - start
            return Answer(total_s, total_s if first_s is None else first_s, event.result)
    raise AssertionError("an answer ended without its last event")


async def ask_all(services: dict[str, LocalService], request: Asked, first: int) -> dict[str, Answer]:
    """Ask every service, one after another, beginning with another one each time."""
    names = list(services)
    order = [names[(first + number) % len(names)] for number in range(len(names))]
    answers = {name: await ask(services[name], request) for name in order}
    return {name: answers[name] for name in names}


def chat(number: int, question: str, options: SamplingOptions) -> ChatRequest:
    """A question behind the system turn of one round."""
    system = f"This is conversation {number}. {RULES * 3}"
    messages = (Message.of("system", system), Message.of("user", question))
    return ChatRequest(id="-", messages=messages, options=options)


def photo(number: int) -> ImagePart:
    """A picture that no other round has."""
    pixels = np.random.default_rng(number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return ImagePart(data=buffer.getvalue())


async def one_round(
    services: dict[str, LocalService], number: int, max_tokens: int, figures: Figures, *, is_timed: bool
) -> None:
    """All cases once; the first round only warms up."""
    greedy = SamplingOptions(temperature=0.0, max_tokens=max_tokens, top_logprobs=2)
    seeded = SamplingOptions(seed=number, max_tokens=max_tokens, top_logprobs=2)
    first, second, third = (OPEN[(3 * number + step) % len(OPEN)] for step in range(3))
    picture = AskRequest(
        id="-", image=photo(number), question="Describe all that can be seen.", options=greedy
    )
    sees = (await next(iter(services.values())).status()).models[0].num_image_tokens > 0
    plan: list[tuple[str | None, Asked]] = [
        ("new", chat(number, first, greedy)),
        ("same prefix", chat(number, second, greedy)),
        ("exact repeat", chat(number, second, greedy)),
        (None, chat(number, third, seeded)),
        ("exact repeat, seeded", chat(number, third, seeded)),
    ]
    if sees:
        other = replace(picture, question="Which colours are in it?")
        plan += [(None, picture), ("picture again", picture), ("picture, new question", other)]
    asked: dict[Asked, dict[str, Answer]] = {}
    for step, (case, request) in enumerate(plan):
        answers = await ask_all(services, request, number + step)
        figures.compare(answers, asked.get(request))
        asked[request] = answers
        if case is not None and is_timed:
            figures.add(case, answers)


async def measure(plan: LoadPlan, rounds: int, max_tokens: int) -> tuple[Figures, list[str]]:
    """All rounds, after one that warms up."""
    family = load_models(plan)
    services = {
        name: LocalService(family, max_batch_size=1, device=plan.device, cache=options)
        for name, options in ARMS.items()
    }
    figures = Figures()
    for number in range(rounds + 1):
        await one_round(services, number, max_tokens, figures, is_timed=number > 0)
    notices = list(services["--use-cache"].notices)
    for service in services.values():
        await service.close()
    return figures, notices


def report(figures: Figures) -> dict[str, Any]:
    """Medians, and how many times as quick as with nothing kept."""
    cases: dict[str, Any] = {}
    plain = next(iter(ARMS))
    for case in CASES:
        if case not in figures.num_tokens:
            continue
        arms = {}
        for arm in ARMS:
            total, first = (statistics.median(t[case, arm]) for t in (figures.total_s, figures.first_s))
            plain_total = statistics.median(figures.total_s[case, plain])
            arms[arm] = {
                "total_s": round(total, 4),
                "first_s": round(first, 4),
                "speedup": round(plain_total / total, 2),
            }
        cases[case] = {"tokens": statistics.median(figures.num_tokens[case]), **arms}
    return {
        "cases": cases,
        "repeats": len(figures.repeats),
        "repeats_identical": sum(figures.repeats),
        "questions": len(figures.agreements),
        "services_agree": sum(figures.agreements),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What is kept between questions gives.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", help="family folder; absent means the embedded one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    plan = plan_load(LoadOptions(model=args.model, device=args.device))
    load = os.getloadavg()[0]
    figures, notices = asyncio.run(measure(plan, args.rounds, args.max_tokens))
    found = report(figures)
    found |= {"device": plan.device, "rounds": args.rounds, "notices": notices}
    found |= {"load_average": [round(load, 2), round(os.getloadavg()[0], 2)]}
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {plan.device}, {args.rounds} rounds"
        )
        print("load average {} before, {} after".format(*found["load_average"]))
        for case, values in found["cases"].items():
            print(f"\n{case} (answers of {values['tokens']:.0f} tokens)")
            for arm in ARMS:
                one = values[arm]
                print(
                    f"  {arm:18} total {one['total_s'] * 1000:7.0f} ms   first text "
                    f"{one['first_s'] * 1000:6.0f} ms   {one['speedup']:5.2f}x"
                )
        print(f"\n{found['repeats_identical']} of {found['repeats']} repeats are identical to the last bit")
        print(f"{found['services_agree']} of {found['questions']} times all services agree to the last bit")
        for notice in notices:
            print(notice)
    return 0 if all(figures.repeats) else 1


if __name__ == "__main__":
    sys.exit(main())
