"""Models that care for nothing they are asked, and schemas made by chance: what grammars must stand up to."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import END_ID, FIRST_SPECIAL_ID, VOCAB_SIZE

Babbler = Callable[[], Tensor]  # gives the next (V,) logits
KINDS = ("anything", "never closes", "opens all", "digits", "never ends")

_WORDS = ("name", "age", "城市", "a b", 'q"uote', "tags", "x", "the_longest_of_all_names")
_PATTERNS = (r"^[a-z]+@[a-z]+\.com$", r"^\d{3}-\d{4}$", r"^[A-Z]{2,5}$", "^[\u4e00-\u9fff]{1,3}$")


def make_babbler(tokenizer: Tokenizer, kind: str, seed: int) -> Babbler:
    """A model of one kind."""
    generator = torch.Generator().manual_seed(seed)
    wish = torch.zeros(VOCAB_SIZE)
    pieces = [tokenizer.piece(token_id) for token_id in range(FIRST_SPECIAL_ID)]

    def favour(marks: bytes, amount: float) -> None:
        wish[[i for i, piece in enumerate(pieces) if set(piece) & set(marks)]] += amount

    if kind == "never closes":
        favour(b'"}]', -50.0)
    elif kind == "opens all":
        favour(b"[{", 50.0)
        favour(b'"', 20.0)
    elif kind == "digits":
        favour(b"0123456789.", 50.0)
    elif kind == "never ends":
        wish[END_ID] = -50.0
    return lambda: torch.randn(VOCAB_SIZE, generator=generator) * 3 + wish


def make_schema(seed: int) -> dict[str, Any]:
    """An object of up to four properties, nested up to four deep."""
    rng = random.Random(f"schema-{seed}")
    return _object(rng, 4)


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = rng.sample(_WORDS, rng.randint(1, 4))
    properties = {name: _any(rng, depth - 1) for name in names}
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in names if rng.random() < 0.7],
    }


def _any(rng: random.Random, depth: int) -> dict[str, Any]:
    makers = [_text, _number, _choice]
    if depth > 0:
        makers += [
            lambda rng: _object(rng, depth),
            lambda rng: _list(rng, depth),
            lambda rng: {"anyOf": [_any(rng, depth - 1), {"type": "null"}]},
        ]
    return rng.choice(makers)(rng)


def _text(rng: random.Random) -> dict[str, Any]:
    kind = rng.random()
    if kind < 0.3:
        return {"type": "string", "pattern": rng.choice(_PATTERNS)}
    if kind < 0.6:
        least = rng.choice((0, 1, 7, 40))
        return {"type": "string", "minLength": least, "maxLength": least + rng.choice((0, 3, 60))}
    return {"type": "string"}


def _number(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            {"type": "integer"},
            {"type": "integer", "minimum": rng.choice((0, 18, 99_999)), "maximum": 100_000},
            {"type": "number"},
            {"type": "number", "minimum": -1.5, "maximum": 2.25},
            {"type": "integer", "multipleOf": 7},
        )
    )


def _choice(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        (
            {"enum": ["red", "blue", "a rather long way to say green"]},
            {"enum": ["红色", "蓝色"]},
            {"type": "boolean"},
            {"const": "fixed"},
            {"enum": [1, "1", None]},
        )
    )


def _list(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.choice((0, 0, 2, 5))
    return {"type": "array", "items": _any(rng, depth - 1), "minItems": least, "maxItems": least + 3}
