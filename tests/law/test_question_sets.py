"""The evaluation questions are kept apart from training by wording, and the held-out sums by pair."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recipes.text_data.arithmetic import arithmetic_sequences
from recipes.text_data.bilingual import TO_EN, TO_ZH
from recipes.text_data.factbook import all_wordings, factbook_sequences, question_wordings
from recipes.text_data.held_out_sums import is_held_out_sum, shows_held_out_sum
from recipes.text_data.held_out_wordings import Wordings, held_out_wordings, question_forms
from recipes.text_data.json_answers import json_sequences
from recipes.text_data.knowledge import PERSON_EN, PERSON_ZH, THING_EN, THING_ZH
from recipes.text_data.measures import measure_sequences
from recipes.text_data.paint import paint_sequences
from recipes.text_data.product import product_sequences
from recipes.text_data.sequences import Parts
from recipes.text_data.tools import tool_sequences

QUESTIONS = Path(__file__).parents[2] / "benchmarks" / "questions"


def read(name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (QUESTIONS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_hundred_questions_in_twenty_wordings(language: str) -> None:
    rows = read(f"factbook_{language}")
    assert len(rows) == 100 == len({row["question"] for row in rows})
    assert len({row["form"] for row in rows}) >= 20
    assert all(row["answers"] for row in rows)
    told = [row["question"] for row in rows if any(answer in row["question"] for answer in row["answers"])]
    assert all(
        question.count("Asia") or question.count("亚洲") for question in told
    )  # a choice among continents


def test_no_training_wording_is_an_evaluation_wording() -> None:
    held_out = held_out_wordings()
    others = [*TO_ZH, *TO_EN, *THING_EN, *THING_ZH, *PERSON_EN, *PERSON_ZH]
    clashes = {form: clash for form in [*all_wordings(), *others] if (clash := held_out.clash(form))}
    assert clashes == {}


def test_no_made_question_shares_an_evaluation_wording() -> None:
    held_out = held_out_wordings()
    made = [
        *factbook_sequences("en", scale=0.01), *factbook_sequences("zh", scale=0.01),
        *paint_sequences(scale=0.05),
        *product_sequences(scale=0.01), *tool_sequences(scale=0.05), *json_sequences(scale=0.05),
        *measure_sequences(scale=0.02), *arithmetic_sequences(scale=0.01),
    ]  # fmt: skip
    clashes = {text: clash for parts in made for text in texts(parts) if (clash := held_out.clash(text))}
    assert clashes == {}


def test_everyday_wordings_are_taught() -> None:
    assert "What is {np}?".replace("{np}", "the capital of {c}") in question_wordings("en", "capital")
    assert "{c}的首都是哪里？" in question_wordings("zh", "capital")
    for language in ("en", "zh"):
        for fact in ("capital", "currency", "language", "continent"):
            assert len(set(question_wordings(language, fact))) >= 40


@pytest.mark.parametrize(
    ("question", "clashes"),
    [
        ("Which city does Peru have as its capital?", True),
        ("which city does the Netherlands have as its capital", True),
        ("Please, if I flew to the capital of Oman, then what?", True),
        ("What is the capital of Peru?", False),
        ("秘鲁把首都设在了哪座城市？", True),
        ("秘鲁的首都是哪里？", False),
    ],
)
def test_the_comparison_finds_what_it_should(question: str, clashes: bool) -> None:
    assert (held_out_wordings().clash(question) is not None) == clashes


def test_comparison_counts_five_words_and_eight_characters() -> None:
    wordings = Wordings(["one two three four five six {c}", "一二三四五六七八九{c}"])
    assert wordings.clash("zero two three four five six") == "two three four five six"
    assert wordings.clash("two three four five zero") is None
    assert wordings.clash("零二三四五六七八九") == "二三四五六七八九"
    assert wordings.clash("零二三四五六七八零") is None


def test_sums_are_held_out_of_training() -> None:
    rows = read("sums")
    assert len(rows) == 100
    assert all(shows_held_out_sum(row["question"]) for row in rows)
    made = [*arithmetic_sequences(scale=0.2), *json_sequences(scale=0.5), *tool_sequences(scale=0.2)]
    shown = Counter(shows_held_out_sum(text) for parts in made for text in texts(parts) if "+" in text)
    assert shown[False] > 1000 and shown[True] == 0
    share = sum(is_held_out_sum(a, b) for a in range(10, 100) for b in range(10, 100)) / 8100
    assert 0.07 < share < 0.13


def test_identity_questions_name_the_product() -> None:
    rows = read("identity")
    assert {row["question"] for row in rows} >= {"Who are you?", "你是谁？"}
    assert all(row["answers"] == ["LocalGPT"] for row in rows)


def test_question_forms_are_those_of_the_rows() -> None:
    assert len(question_forms()) == len(
        {row["form"] for name in ("en", "zh") for row in read(f"factbook_{name}")}
    )


def texts(parts: Parts) -> list[str]:
    return [part for part in parts if isinstance(part, str)]
