"""Conversations about LocalGPT itself, small talk, and what it declines or does not know.

The dialogues are written by hand in `recipes/data/product_*.json`; here they are varied as people type and
joined into longer conversations.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.text_data.noise import casual
from recipes.text_data.sequences import Parts, Turn, chat

__all__ = ["product_sequences"]

SYSTEM = {
    "en": (
        "You are a helpful assistant.",
        "You are LocalGPT, a helpful assistant.",
        "Answer briefly.",
        "Be kind.",
    ),
    "zh": ("你是一个有用的助手。", "你是LocalGPT，一个乐于助人的助手。", "请简短回答。", "请友好地回答。"),
}
NUM_SINGLE = 9  # per question
NUM_JOINED = 2_500
OPENERS = ("hello", "how_are_you")
CLOSERS = ("thanks", "bye", "praise")
IMPORTANT = ("who", "not_chatgpt", "abilities", "privacy", "own_model")


def product_sequences(*, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All conversations; `scale` shrinks the number for tests."""
    for language in ("en", "zh"):
        file = Path(__file__).parents[1] / "data" / f"product_{language}.json"
        topics: dict[str, Any] = {row["topic"]: row for row in json.loads(file.read_text(encoding="utf-8"))}
        rng = random.Random(f"product-{seed}-{language}")
        for name, topic in topics.items():
            repeats = NUM_SINGLE * (3 if name in IMPORTANT else 1)
            for question in topic["q"]:
                for _ in range(max(1, round(repeats * scale))):
                    turns = _exchange(topic, rng, question=question)
                    if rng.random() < 0.15:
                        turns = [("system", rng.choice(SYSTEM[language])), *turns]
                    yield chat(turns)
        for _ in range(round(NUM_JOINED * scale)):
            yield chat(_joined(topics, rng))


def _exchange(topic: dict[str, Any], rng: random.Random, *, question: str | None = None) -> list[Turn]:
    """One question and one answer of a topic; the first answer is the usual one."""
    question = casual(question or rng.choice(topic["q"]), rng, typo=0.06)
    if rng.random() < 0.15:
        question = question.lower()
    weights = [3, *[1] * (len(topic["a"]) - 1)]
    return [("user", question), ("assistant", rng.choices(topic["a"], weights)[0])]


def _joined(topics: dict[str, Any], rng: random.Random) -> list[Turn]:
    """Several topics after each other, greeted and closed as people do."""
    middle = [name for name in topics if name not in (*OPENERS, *CLOSERS)]
    names = rng.sample(middle, rng.randint(1, 4))
    if rng.random() < 0.5:
        names.insert(0, rng.choice(OPENERS))
    if rng.random() < 0.4:
        names.append(rng.choice(CLOSERS))
    return [turn for name in names for turn in _exchange(topics[name], rng)]
