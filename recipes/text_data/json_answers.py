"""Made questions whose answer shall be JSON after a schema, and answers that fit it.

The form is described in `localgpt.media.text.template`: a `json` turn with the schema right before the
answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from recipes.text_data.countries import CONTINENTS_ZH, load_countries
from recipes.text_data.held_out_sums import is_held_out_sum
from recipes.text_data.sequences import Parts, chat

__all__ = ["json_sequences"]

Case = tuple[str, dict[str, Any], dict[str, Any]]  # question, properties of the schema, answer
TEXT, INTEGER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
TEXTS = {"type": "array", "items": {"type": "string"}}
PEOPLE = ("Anna", "Tom", "Maria", "Ben", "Sara", "Peter", "Lucy", "Omar", "Emma", "Jack")
PEOPLE_ZH = ("小明", "小红", "李雷", "韩梅梅", "王芳", "张伟", "刘洋", "陈静")
JOBS = (
    ("teacher", "老师"),
    ("doctor", "医生"),
    ("cook", "厨师"),
    ("farmer", "农民"),
    ("driver", "司机"),
    ("nurse", "护士"),
)
GOOD = (
    ("I love this phone, it works perfectly.", "这部手机太好用了，我很喜欢。"),
    ("The food was wonderful.", "菜很好吃。"),
    ("Great service and friendly people!", "服务很好，人也热情！"),
    ("Best book I have read this year.", "这是我今年读过最好的书。"),
)
BAD = (
    ("The screen broke after one day.", "屏幕一天就坏了。"),
    ("The soup was cold and the waiter rude.", "汤是凉的，服务员态度差。"),
    ("A boring film, I fell asleep.", "电影太无聊，我睡着了。"),
    ("It arrived late and damaged.", "送来晚了，还是坏的。"),
)
GOODS = (
    ("apples", "苹果"),
    ("bread", "面包"),
    ("milk", "牛奶"),
    ("eggs", "鸡蛋"),
    ("rice", "米"),
    ("tea", "茶"),
    ("fish", "鱼"),
)
COLOURS = (("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("yellow", "黄色"), ("black", "黑色"))


def json_sequences(*, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All made sequences; `scale` shrinks the number for tests."""
    rng = random.Random(f"json-{seed}")
    makers: tuple[Callable[[random.Random, int], Case], ...] = (
        _person,
        _country,
        _mood,
        _shopping,
        _sum,
        _object,
    )
    for _ in range(round(2200 * scale)):
        question, properties, answer = rng.choice(makers)(rng, rng.randrange(2))
        names = list(properties)
        if rng.random() < 0.3:  # schemas ask for less, or in another order
            rng.shuffle(names)
            names = names[: max(1, len(names) - rng.randint(0, 1))]
        schema = {
            "type": "object",
            "properties": {name: properties[name] for name in names},
            "required": names,
        }
        yield chat(
            [
                ("user", question),
                ("json", json.dumps(schema, ensure_ascii=False)),
                ("assistant", json.dumps({name: answer[name] for name in names}, ensure_ascii=False)),
            ]
        )


def _person(rng: random.Random, zh: int) -> Case:
    name, age = rng.choice(PEOPLE_ZH if zh else PEOPLE), rng.randint(5, 90)
    country, job = rng.choice(load_countries()), rng.choice(JOBS)[zh]
    city = country.capital_zh if zh else country.capital_en
    text = (
        f"{name}今年{age}岁，住在{city}，是一名{job}。"
        if zh
        else f"{name} is {age} years old, lives in {city} and is a {job}."
    )
    ask = rng.choice(
        ("提取信息：", "请整理成JSON：", "") if zh else ("Extract the data: ", "Give me this as JSON: ", "")
    )
    properties = {"name": TEXT, "age": INTEGER, "city": TEXT, "job": TEXT}
    return ask + text, properties, {"name": name, "age": age, "city": city, "job": job}


def _country(rng: random.Random, zh: int) -> Case:
    country = rng.choice(load_countries())
    if zh:
        question = rng.choice(("介绍{c}。", "给出{c}的基本信息。", "{c}")).format(c=country.zh)
        continent = CONTINENTS_ZH[country.continent]
        values = (country.zh, country.capital_zh, continent, country.currency_zh, list(country.languages_zh))
    else:
        question = rng.choice(("Give me the facts about {c}.", "Describe the country {c}.", "{c}")).format(
            c=country.en
        )
        values = (
            country.en,
            country.capital_en,
            country.continent,
            country.currency_en,
            list(country.languages_en),
        )
    names = ("country", "capital", "continent", "currency", "languages")
    properties = dict(zip(names, (TEXT, TEXT, TEXT, TEXT, TEXTS), strict=True))
    return question, properties, dict(zip(names, values, strict=True))


def _mood(rng: random.Random, zh: int) -> Case:
    is_good = rng.random() < 0.5
    review = rng.choice(GOOD if is_good else BAD)[zh]
    ask = "这条评论是好评吗？" if zh else "Is this review positive or negative? "
    properties = {"sentiment": {"type": "string", "enum": ["positive", "negative"]}, "recommended": BOOLEAN}
    return (
        ask + review,
        properties,
        {"sentiment": "positive" if is_good else "negative", "recommended": is_good},
    )


def _shopping(rng: random.Random, zh: int) -> Case:
    items = [item[zh] for item in rng.sample(GOODS, rng.randint(2, 5))]
    listing = ("、" if zh else ", ").join(items)
    question = f"我要买{listing}，请列成清单。" if zh else f"I need to buy {listing}. Make a list."
    return question, {"items": TEXTS, "count": INTEGER}, {"items": items, "count": len(items)}


def _sum(rng: random.Random, zh: int) -> Case:
    while True:
        a, b = rng.randint(1, 99), rng.randint(1, 99)
        if not is_held_out_sum(a, b):
            break
    question = f"{a}加{b}等于多少？" if zh else f"What is {a} + {b}?"
    return question, {"a": INTEGER, "b": INTEGER, "sum": INTEGER}, {"a": a, "b": b, "sum": a + b}


def _object(rng: random.Random, zh: int) -> Case:
    thing, colour, price = rng.choice(GOODS)[zh], rng.choice(COLOURS)[zh], rng.randint(1, 500)
    brand_new = rng.random() < 0.5
    if zh:
        text = f"出售：{colour}盒装{thing}，价格{price}元，{'全新' if brand_new else '二手'}。"
    else:
        text = f"For sale: {thing} in a {colour} box, {price} dollars, {'new' if brand_new else 'used'}."
    properties = {"product": TEXT, "colour": TEXT, "price": INTEGER, "is_new": BOOLEAN}
    return text, properties, {"product": thing, "colour": colour, "price": price, "is_new": brand_new}
