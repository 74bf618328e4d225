"""Conversations that change their subject: a country, then a sum, then who is asked, in one language.

Exchanges of the other makers, put after each other. Without them a small model answers a new question with
its last answer: what followed a question about a country was always about a country.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from localgpt.media.text.template import ROLE_IDS
from localgpt.media.text.vocabulary import BOS_ID, END_ID
from recipes.text_data.arithmetic import arithmetic_sequences
from recipes.text_data.factbook import factbook_sequences
from recipes.text_data.measures import measure_sequences
from recipes.text_data.product import product_sequences
from recipes.text_data.sequences import Parts

__all__ = ["mixed_sequences"]

NUM_CONVERSATIONS = 16_000  # of both languages together
MOST_TURNS = 4
_HAN = re.compile(r"[\u4e00-\u9fff]")


def mixed_sequences(*, seed: int, scale: float = 1.0) -> Iterator[Parts]:
    """Conversations of two to four exchanges, neighbours from different makers.

    Args:
        seed: decides everything.
        scale: share of the conversations, and of the exchanges they are drawn from, to make.
    """
    pools = {
        "country": _exchanges(
            parts for name in ("en", "zh") for parts in factbook_sequences(name, seed=seed, scale=scale)
        ),
        "sum": _exchanges(arithmetic_sequences(seed=seed, scale=scale)),
        "measure": _exchanges(measure_sequences(seed=seed, scale=scale)),
        "product": _exchanges(product_sequences(seed=seed, scale=scale)),
    }
    rng = random.Random(f"mixed-{seed}")
    for number in range(round(NUM_CONVERSATIONS * scale)):
        language = ("en", "zh")[number % 2]
        there = [name for name, pool in pools.items() if pool[language]]
        if len(there) < 2:
            return
        last, parts = "", [BOS_ID]
        for _ in range(rng.randint(2, MOST_TURNS)):
            last = rng.choice([name for name in there if name != last])
            parts += rng.choice(pools[last][language])
        yield tuple(parts)


def _exchanges(sequences: Iterable[Parts]) -> dict[str, list[Parts]]:
    """What is one question and its answer in words, without the opening mark, by language."""
    found: dict[str, list[Parts]] = {"en": [], "zh": []}
    for parts in sequences:
        match parts:
            case (opening, user, str(question), end, assistant, str(answer), last) if (
                (opening, user, assistant) == (BOS_ID, ROLE_IDS["user"], ROLE_IDS["assistant"])
                and end == last == END_ID
                and bool(_HAN.search(question)) == bool(_HAN.search(answer))
            ):
                found["zh" if _HAN.search(question) else "en"].append(parts[1:])
    return found
