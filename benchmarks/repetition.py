"""What a repetition penalty costs and gives: right answers of the question sets, and answers in circles.

    python benchmarks/repetition.py [--penalties 1.0 1.15] [--limit N] [--model FOLDER]

Greedy answers (temperature 0) through the local service on a CPU, as served. The questions and the rule of
what is right are those of `quality_language.py`, with at most 64 tokens; the open requests below, with at
most 256, are where greedy small models begin to go in circles.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.quality_language import QUESTIONS, SETS, is_right  # noqa: E402
from localgpt.runtime.answers import LOOP_NOTICE  # noqa: E402
from localgpt.runtime.loading import LoadOptions, load_service  # noqa: E402
from localgpt.runtime.local import LocalService  # noqa: E402
from localgpt.tasks import ChatRequest, ChatResult, Message, SamplingOptions  # noqa: E402

OPEN = (
    "Tell me a story about a fox.", "Write a poem about the sea.", "List ten things I can cook with eggs.",
    "How do I learn to play the piano?", "Explain how a car engine works.", "What should I see in Italy?",
    "Write a letter to my landlord about a broken heater.", "Why is the sky blue?",
    "讲一个关于狐狸的故事。", "写一首关于大海的诗。", "列出十种可以用鸡蛋做的菜。", "怎样学习弹钢琴？",
    "解释一下汽车发动机的工作原理。", "去意大利应该看什么？", "写一封信给房东，说暖气坏了。",
    "天空为什么是蓝色的？",
)  # fmt: skip


async def answers(
    service: LocalService, questions: Sequence[str], penalty: float, max_tokens: int
) -> list[ChatResult]:
    """Greedy answers, in order."""
    options = SamplingOptions(temperature=0.0, max_tokens=max_tokens, repetition_penalty=penalty)

    async def answer(question: str) -> ChatResult:
        request = ChatRequest(id="-", messages=(Message.of("user", question),), options=options)
        result = await service.run(request)
        assert isinstance(result, ChatResult)
        return result

    return list(await asyncio.gather(*map(answer, questions)))


async def measure(service: LocalService, penalty: float, limit: int | None) -> None:
    """Print one penalty's figures."""
    for name in SETS:
        lines = (QUESTIONS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
        rows = [json.loads(line) for line in lines]
        results = await answers(service, [row["question"] for row in rows], penalty, 64)
        num_right = sum(is_right(r.text, row["answers"]) for r, row in zip(results, rows, strict=True))
        print(f"penalty {penalty:<5} {name:12} {num_right}/{len(rows)} right", flush=True)
    results = await answers(service, OPEN[:limit], penalty, 256)
    num_loops = sum(LOOP_NOTICE in result.notices for result in results)
    num_tokens = sum(result.usage.completion_tokens for result in results)
    print(f"penalty {penalty:<5} {'open':12} {num_loops}/{len(results)} went in circles, {num_tokens} tokens")


async def main() -> None:
    """Measure every penalty on one loaded service."""
    parser = argparse.ArgumentParser(description="Right answers and circles by repetition penalty.")
    parser.add_argument("--penalties", type=float, nargs="+", default=[1.0, 1.15])
    parser.add_argument("--limit", type=int, help="at most so many questions of each set")
    parser.add_argument("--model", help="family folder; absent means the embedded one")
    args = parser.parse_args()
    service = load_service(LoadOptions(model=args.model, device="cpu", max_batch_size=8))
    for penalty in args.penalties:
        await measure(service, penalty, args.limit)
    await service.close()


if __name__ == "__main__":
    asyncio.run(main())
