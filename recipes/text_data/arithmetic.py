"""Made sums, differences, products and quotients, in figures and in words, in both languages.

Held-out sums (`held_out_sums`) never occur, in no order and no wording.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from recipes.text_data.held_out_sums import is_held_out_sum
from recipes.text_data.noise import casual
from recipes.text_data.sequences import Parts, Turn, chat, document

__all__ = ["arithmetic_sequences"]

WORDS = {
    "+": {
        "en": ("{a} plus {b}", "{a} + {b}", "{a}+{b}", "the sum of {a} and {b}", "adding {a} and {b}"),
        "zh": ("{a}加{b}", "{a} + {b}", "{a}+{b}", "{a}与{b}的和", "{a}和{b}相加", "{a}加上{b}"),
    },
    "-": {
        "en": ("{a} minus {b}", "{a} - {b}", "{a}-{b}", "{a} take away {b}", "the difference of {a} and {b}"),
        "zh": ("{a}减{b}", "{a} - {b}", "{a}-{b}", "{a}减去{b}", "{a}与{b}的差"),
    },
    "*": {
        "en": ("{a} times {b}", "{a} * {b}", "{a} x {b}", "{a} × {b}", "the product of {a} and {b}"),
        "zh": ("{a}乘{b}", "{a} × {b}", "{a}×{b}", "{a}乘以{b}", "{a}与{b}的积"),
    },
    "/": {
        "en": ("{a} divided by {b}", "{a} / {b}", "{a} ÷ {b}", "{a}/{b}"),
        "zh": ("{a}除以{b}", "{a} ÷ {b}", "{a}÷{b}", "{a} / {b}"),
    },
}
FORMS = {
    "en": (
        "{q}",
        "{q} = ?",
        "{q}=",
        "{q}=?",
        "{q} =",
        "What is {q}?",
        "What's {q}?",
        "what is {q}",
        "How much is {q}?",
        "Calculate {q}.",
        "Compute {q}",
        "Can you work out {q}?",
        "Please solve {q}.",
        "Tell me {q}.",
        "Solve: {q}",
        "What does {q} make?",
        "{q} equals what?",
        "I need {q}.",
        "Quick: {q}?",
        "What do you get for {q}?",
    ),
    "zh": (
        "{q}",
        "{q}=？",
        "{q} = ?",
        "{q}=",
        "{q}等于多少？",
        "{q}等于几？",
        "{q}是多少？",
        "请计算{q}。",
        "算一下{q}。",
        "帮我算{q}",
        "{q}得多少？",
        "请问{q}等于多少？",
        "{q}的结果是多少？",
        "计算：{q}",
        "{q}？",
    ),
}
STORIES = (
    (
        "+",
        "en",
        "Anna has {a} marbles and finds {b} more. How many does she have now?",
        "She has {a} + {b} = {r} marbles.",
    ),
    (
        "+",
        "en",
        "There are {a} red cars and {b} blue cars. How many cars are there?",
        "There are {a} + {b} = {r} cars.",
    ),
    (
        "-",
        "en",
        "Tom had {a} apples and ate {b}. How many are left?",
        "{a} - {b} = {r}, so {r} apples are left.",
    ),
    (
        "*",
        "en",
        "A box holds {a} pens. How many pens are in {b} boxes?",
        "{a} × {b} = {r}, so there are {r} pens.",
    ),
    ("+", "zh", "小明有{a}颗糖，又买了{b}颗，现在有多少颗？", "{a} + {b} = {r}，现在有{r}颗糖。"),
    ("+", "zh", "停车场有{a}辆红车和{b}辆蓝车，一共有多少辆？", "{a} + {b} = {r}，一共有{r}辆车。"),
    ("-", "zh", "树上有{a}只鸟，飞走了{b}只，还剩几只？", "{a} - {b} = {r}，还剩{r}只鸟。"),
    ("*", "zh", "一盒有{a}支笔，{b}盒一共有多少支？", "{a} × {b} = {r}，一共有{r}支笔。"),
)
SIGNS = {"+": "+", "-": "-", "*": "×", "/": "÷"}


def arithmetic_sequences(*, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All made arithmetic; `scale` shrinks the number for tests."""
    rng = random.Random(f"arithmetic-{seed}")
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100) if not is_held_out_sum(a, b)]
    for a, b in rng.sample(pairs, round(len(pairs) * min(1.0, scale))):
        for _ in range(3):
            yield chat(_question(rng, "+", a, b))
    for operation, count in (("+", 7000), ("-", 8000), ("*", 4000), ("/", 2000)):
        for _ in range(round(count * scale)):
            yield chat(_question(rng, operation, *_operands(rng, operation)))
    for _ in range(round(1500 * scale)):
        turns: list[Turn] = []
        for _ in range(rng.randint(2, 4)):
            operation = rng.choice("++--*")
            turns += _question(rng, operation, *_operands(rng, operation))
        yield chat(turns)
    for _ in range(round(2500 * scale)):
        operation, _language, question, answer = rng.choice(STORIES)
        a, b = _operands(rng, operation)
        values = {"a": a, "b": b, "r": _result(operation, a, b)}
        yield chat([("user", question.format(**values)), ("assistant", answer.format(**values))])
    for _ in range(round(700 * scale)):
        lines = []
        for _ in range(rng.randint(5, 12)):
            a, b = _operands(rng, "+")
            lines.append(f"{a} + {b} = {a + b}")
        yield document("\n".join(lines))


def _question(rng: random.Random, operation: str, a: int, b: int) -> list[Turn]:
    """One question in a random language and wording; the answer repeats the sum."""
    language = rng.choice(("en", "zh"))
    phrase = rng.choice(WORDS[operation][language]).format(a=a, b=b)
    question = casual(rng.choice(FORMS[language]), rng, typo=0.02).format(q=phrase)
    end = "." if language == "en" else "。"
    return [
        ("user", question),
        ("assistant", f"{a} {SIGNS[operation]} {b} = {_result(operation, a, b)}{end}"),
    ]


def _operands(rng: random.Random, operation: str) -> tuple[int, int]:
    """Numbers a small model can learn to handle, never a held-out sum."""
    if operation == "+":
        while True:
            low, high = rng.choice(((0, 9), (0, 20), (10, 99), (10, 99), (1, 150), (100, 999)))
            a, b = rng.randint(low, high), rng.randint(0 if low == 0 else 1, high)
            if not is_held_out_sum(a, b):
                return a, b
    if operation == "-":
        a, b = sorted((rng.randint(0, 99), rng.randint(0, 99)), reverse=True)
        return (a + 100 * rng.randint(1, 8), b) if rng.random() < 0.15 else (a, b)
    if operation == "*":
        return (
            (rng.randint(0, 12), rng.randint(0, 12))
            if rng.random() < 0.7
            else (rng.randint(10, 99), rng.randint(2, 9))
        )
    b = rng.randint(1, 12)
    return b * rng.randint(1, 12), b


def _result(operation: str, a: int, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[operation]
