"""Balanced yes/no and counting questions about val photographs, made from their human captions.

Yes/no: of every noun as many pictures that hold it (three captions or more say so) as pictures that do not
(no caption of either language holds a word that makes it doubtful), so knowing the noun is worth nothing.
Counting: dogs and people, one to four, as evenly as the captions allow; the captions that count must agree,
and none may hint at more. All choices follow from hashes of the file names. The wordings are for evaluation
only: training uses others.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from benchmarks.vision.nouns import Noun, load_nouns

__all__ = ["WORDINGS", "PhotoQuestion", "count_of", "photo_questions"]

NUM_YES_NO = 280
NUM_COUNT = 120
MIN_PICTURES = 9  # a noun with fewer pictures that surely hold it is not asked about

WORDINGS = {
    ("yes_no", "en"): (
        "Do you spot {a} anywhere in this shot?",
        "Would you say that {a} appears here?",
        "Is {a} among the things this photo shows?",
        "Does {a} show up in this photograph?",
        "Is {a} something you notice here?",
        "Could one find {a} in here, yes or no?",
    ),
    ("yes_no", "zh"): (
        "照片里能不能找到{n}？",
        "这幅画面中出现{n}了吗？",
        "请判断图中是否存在{n}。",
        "你能在照片里看见{n}吗？",
        "{n}在这张照片上出现了吗？",
        "画面里面是不是有{n}？",
    ),
    ("count", "en"): (
        "What is the number of {ns} in this shot?",
        "Give me the count of {ns} in this photo.",
        "{Ns}: how many of them do you see?",
        "In this photograph, how many {ns} appear?",
    ),
    ("count", "zh"): (
        "请数一数照片里的{n}有几{m}。",
        "这幅画面中一共出现了几{m}{n}？",
        "照片上的{n}总共有多少{m}？",
        "数数看，画面里有几{m}{n}？",
    ),
}
COUNTED = {"dog": ("dogs", "狗", "只"), "person": ("people", "人", "个")}

_SINGULAR_WORDS = {
    "dog": """dog puppy poodle greyhound terrier retriever labrador collie dalmatian bulldog dachshund
        husky pup""",
    "person": """man woman boy girl child kid person guy lady toddler baby teenager male female player
        skateboarder snowboarder surfer biker cyclist skier climber hiker rider swimmer runner performer
        infant adult youth teen""",
}
_PLURALS = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "lady": "ladies",
    "puppy": "puppies", "baby": "babies", "husky": "huskies",
}  # fmt: skip
_SINGULAR = {noun: frozenset(words.split()) for noun, words in _SINGULAR_WORDS.items()}
_PLURAL = {noun: frozenset(_PLURALS.get(w, w + "s") for w in words) for noun, words in _SINGULAR.items()}
_NUMBERS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "pair": 2,
    "couple": 2,
    "2": 2,
    "3": 3,
    "4": 4,
    "5": 5,
}
_MORE_WORDS = """another other others each together group crowd pack both two three four several they their
    team family couple pair friend friends people many some"""
_MORE = frozenset(_MORE_WORDS.split())


@dataclass(frozen=True, slots=True)
class PhotoQuestion:
    """One question of kind "yes_no" or "count"; `answer` is "yes", "no" or a number in digits."""

    picture: int
    kind: str
    topic: str
    topic_zh: str
    texts: dict[str, str]
    answer: str

    def noun(self, language: str) -> str:
        """The topic without its article, in a language."""
        return self.topic_zh if language == "zh" else self.topic.removeprefix("a ").removeprefix("the ")

    def spoken(self, language: str) -> str:
        """The answer as one would say it in a language."""
        return {"yes": "是", "no": "否"}.get(self.answer, self.answer) if language == "zh" else self.answer


def photo_questions(
    rows: Sequence[dict[str, Any]], *, num_yes_no: int = NUM_YES_NO, num_count: int = NUM_COUNT
) -> list[PhotoQuestion]:
    """Questions about pictures given by `file`, `en` and `zh`; fewer where the captions allow no more."""
    return _yes_no_questions(rows, num_yes_no) + _count_questions(rows, num_count)


def _yes_no_questions(rows: Sequence[dict[str, Any]], num: int) -> list[PhotoQuestion]:
    bags = [[set(_words(caption)) for caption in row["en"]] for row in rows]
    chinese = ["".join(row["zh"]) for row in rows]
    used: Counter[int] = Counter()
    pools = []
    for noun in load_nouns():
        held = [n for n, bag in enumerate(bags) if sum(bool(words & noun.words) for words in bag) >= 3]
        absent = [n for n, bag in enumerate(bags) if _is_absent(noun, bag, chinese[n])]
        if len(held) >= min(MIN_PICTURES, len(rows) // 100) and held and absent:
            pools.append((noun, _shuffled(rows, held, noun.name), _shuffled(rows, absent, noun.name)))
    questions: list[PhotoQuestion] = []
    for noun, held, absent in cycle(pools):
        if len(questions) + 2 > num or not any(a and b for _, a, b in pools):
            break
        if held and absent:
            for pool, answer in ((held, "yes"), (absent, "no")):
                picture = min(pool, key=lambda n: used[n])  # the first of those asked about least
                pool.remove(picture)
                used[picture] += 1
                texts = _texts("yes_no", len(questions) // 2, a=noun.name, n=noun.zh)
                questions.append(PhotoQuestion(picture, "yes_no", noun.name, noun.zh, texts, answer))
    return questions


def _is_absent(noun: Noun, bag: Iterable[set[str]], chinese: str) -> bool:
    doubtful = noun.words | noun.hints
    return not any(words & doubtful for words in bag) and not any(hint in chinese for hint in noun.zh_hints)


def _count_questions(rows: Sequence[dict[str, Any]], num: int) -> list[PhotoQuestion]:
    pools: dict[tuple[str, int], list[int]] = {(noun, n): [] for noun in COUNTED for n in (1, 2, 3, 4)}
    for place, row in enumerate(rows):
        for noun in COUNTED:
            if (noun, count_of(row["en"], noun)) in pools:
                pools[noun, count_of(row["en"], noun) or 0].append(place)
    waiting = {
        key: _shuffled(rows, pool, key[0])
        for key, pool in pools.items()
        if len(pool) >= min(5, len(rows) // 100)
    }
    questions: list[PhotoQuestion] = []
    for noun, number in cycle(waiting):
        if len(questions) >= num or not any(waiting.values()):
            break
        if pool := waiting[noun, number]:
            plural, chinese, measure = COUNTED[noun]
            texts = _texts("count", len(questions), ns=plural, Ns=plural.capitalize(), n=chinese, m=measure)
            questions.append(PhotoQuestion(pool.pop(0), "count", noun, chinese, texts, str(number)))
    return questions


def count_of(captions: Sequence[str], noun: str) -> int | None:
    """How many dogs or people the captions agree on; None where they do not count or may leave some out.

    Two or more: at least two captions say the number and none another. One: at least four captions tell of a
    single one and none hints at a second.
    """
    told = [_count_in(caption, noun) for caption in captions]
    numbers = {n for n in told if n}
    if len(numbers) != 1:
        return None
    number = numbers.pop()
    if number == 1:
        return 1 if told.count(1) >= 4 and None not in told else None
    return number if told.count(number) >= 2 else None


def _count_in(caption: str, noun: str) -> int | None:
    """The number one caption tells, 0 where it is silent, None where it is unclear."""
    words = _words(caption)
    num_single = sum(word in _SINGULAR[noun] for word in words)
    plurals = [place for place, word in enumerate(words) if word in _PLURAL[noun]]
    if plurals:
        before = words[max(0, plurals[0] - 4) : plurals[0]]
        numbers = [_NUMBERS[word] for word in before if word in _NUMBERS]
        return numbers[0] if len(numbers) == 1 == len(plurals) and not num_single else None
    if _MORE & set(words) or num_single > 1:
        return None
    return num_single


def _texts(kind: str, number: int, **slots: str) -> dict[str, str]:
    texts = {}
    for language in ("en", "zh"):
        wordings = WORDINGS[kind, language]
        texts[language] = wordings[number % len(wordings)].format(**slots)
    return texts


def _shuffled(rows: Sequence[dict[str, Any]], pool: list[int], salt: str) -> list[int]:
    return sorted(pool, key=lambda n: hashlib.sha256(f"{salt} {rows[n]['file']}".encode()).digest())


def _words(caption: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", caption.lower())
