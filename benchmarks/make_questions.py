"""Writes the committed evaluation questions: factbook (en, zh), held-out sums, identity.

    python benchmarks/make_questions.py

The wordings here are kept out of training: no training question equals one of them or shares five words
(English) or eight Chinese characters in a row with it, the country left out
(`tests/law/test_question_sets.py`). The facts themselves are in training. Sums are held out by pair
(`recipes.text_data.held_out_sums`).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from recipes.text_data.countries import CONTINENTS_ZH, Country, load_countries, possessive, sentence_case
from recipes.text_data.held_out_sums import is_held_out_sum

FOLDER = Path(__file__).parent / "questions"

FORMS_EN = {
    "capital": (
        "Which city does {c} have as its capital?",
        "If I flew to the capital of {c}, where would I land?",
        "Give me the name of {poss} capital.",
        "{C} has its capital in which city?",
        "I am planning a trip to the capital of {c}. Which city is that?",
        "Fill in the blank: {poss} capital city is ____.",
        "For a crossword puzzle: the capital of {c}?",
        "Which capital city belongs to {c}?",
        "Where would I find the capital of {c}?",
        "My geography homework asks for the capital of {c}.",
    ),
    "currency": (
        "How do people in {c} pay, in which currency?",
        "What kind of money circulates in {c}?",
        "Shops in {c} accept which currency?",
        "Salaries in {c} are paid in what money?",
        "Name the legal tender of {c}.",
    ),
    "language": (
        "If I move to {c}, which language should I learn?",
        "Laws in {c} are written in which language?",
        "People in {c} officially speak what?",
        "Which tongue has official status in {c}?",
        "A visitor to {c} should know which official language?",
    ),
    "continent": (
        "On a world map, on which continent do I look for {c}?",
        "{C} lies in which part of the world?",
        "Geographically speaking, {c} belongs to which continent?",
        "Travelling to {c} takes me to which continent?",
        "Is {c} in Africa, Asia, Europe or somewhere else?",
    ),
    "reverse": (
        "Standing in {city}, I am in the capital of which nation?",
        "Which nation is governed from {city}?",
        "{city} serves as the capital for which country?",
        "Which country has chosen {city} as its capital?",
    ),
}
FORMS_ZH = {
    "capital": (
        "请说出{c}首都的名称。",
        "{c}把首都设在了哪座城市？",
        "我打算去{c}的首都旅游，应该去哪个城市？",
        "地理作业问：{c}首都叫啥名字？",
        "哪座城市被定为{c}的首都？",
        "填空：{c}的首都是____。",
        "{c}定都于哪里？",
        "飞往{c}的首都，会降落在哪座城市？",
        "考考你，{c}的首府城市是哪个？",
        "若问{c}首都何在，该怎么回答？",
    ),
    "currency": (
        "在{c}买东西要付哪种钱？",
        "{c}的商店收什么货币？",
        "去{c}旅行，需要兑换哪种货币？",
        "{c}人的工资用什么货币发放？",
        "{c}的法币叫什么？",
    ),
    "language": (
        "搬到{c}生活，应该学哪种语言？",
        "{c}的法律用哪种语言书写？",
        "{c}政府办公使用何种语言？",
        "{c}人正式场合讲什么话？",
        "去{c}留学要先学会哪种官方语言？",
    ),
    "continent": (
        "在世界地图上，{c}要到哪个大洲去找？",
        "{c}地处哪一洲？",
        "从地理上看，{c}归入哪个大洲？",
        "到{c}旅行就是到了哪个洲？",
        "{c}在非洲、亚洲、欧洲还是别的洲？",
    ),
    "reverse": (
        "身处{city}，我是在哪国的首都？",
        "哪个国家选定{city}作为首都？",
        "{city}是哪一国的都城？",
        "以{city}为首都的是哪一个国家？",
    ),
}
COUNTS = {"capital": 40, "currency": 20, "language": 15, "continent": 15, "reverse": 10}
# Seats of government that differ from the capital, cities named like their country, two continents.
UNCLEAR = {
    "capital": "BO ZA SZ LK NR CI TZ NL IL MC SM SG DJ VA BJ KI PW MY",
    "currency": "ZW PA HT BT LS NA TV KI NR FM PW MH EC SV TL BA VA",
    "language": "KM ER ET ZA ZW PG VU TZ UG SG PH FJ NR TV KI PW MH BI MA TL ME BA VA BO PE AF NZ GQ",
    "continent": "RU TR EG KZ AZ GE AM CY ID PA TT",
    "reverse": "BO ZA SZ LK NR CI TZ NL IL MC SM SG DJ VA BJ KI PW MY VC JM SC",
}
ACCEPTED = {
    "North America": ["North America", "Central America", "Caribbean"],
    "South America": ["South America"],
    "Oceania": ["Oceania", "Australia", "Pacific"],
    "北美洲": ["北美", "中美洲", "加勒比"],
    "南美洲": ["南美"],
    "大洋洲": ["大洋洲", "太平洋"],
    "圣多明各": ["圣多明各"],
}


def accepted(fact: str, country: Country, language: str) -> list[str]:
    """Answers that count as right (found anywhere in the reply, case ignored)."""
    if language == "en":
        values = {
            "capital": [country.capital_en],
            "currency": [country.currency_en, country.currency_en.split(" ")[-1]],
            "language": list(country.languages_en),
            "continent": ACCEPTED.get(country.continent, [country.continent]),
            "reverse": [country.en.removeprefix("the "), *country.aliases_en],
        }
        extra = {"CN": ["yuan", "renminbi"], "GB": ["pound"], "US": ["Washington"], "UA": ["Kyiv", "Kiev"]}
        wanted = values[fact]
        if fact == "currency" and country.code in ("CN", "GB"):
            wanted = [*wanted, *extra[country.code]]
        if fact == "capital" and country.code in ("US", "UA"):
            wanted = extra[country.code]
    else:
        continent = CONTINENTS_ZH[country.continent]
        values = {
            "capital": [country.capital_zh, country.capital_zh.removesuffix("市")],
            "currency": [country.currency_zh],
            "language": list(country.languages_zh),
            "continent": ACCEPTED.get(continent, [continent]),
            "reverse": [country.zh, *country.aliases_zh],
        }
        extra_zh = {
            "AU": ["澳元"],
            "CA": ["加元"],
            "CN": ["汉语", "普通话"],
            "MN": ["蒙古"],
            "RU": ["卢布"],
            "KP": ["朝鲜语"],
        }
        wanted = [
            *values[fact],
            *(extra_zh.get(country.code, []) if fact in ("currency", "language") else []),
        ]
    return list(dict.fromkeys(wanted))


def gives_away(fact: str, country: Country, language: str) -> bool:
    """Whether the name in the question already holds the answer (Kazakhstan speaks Kazakh)."""
    name, city = (country.en, country.capital_en) if language == "en" else (country.zh, country.capital_zh)
    shown = city if fact == "reverse" else name
    return any(answer in shown for answer in accepted(fact, country, language))


def factbook_questions(language: str) -> list[dict[str, Any]]:
    """100 questions of one language; every country at most twice."""
    rng = random.Random(f"questions-{language}")
    rows: list[dict[str, Any]] = []
    used: dict[str, int] = {}
    for fact, count in COUNTS.items():
        forms = (FORMS_EN if language == "en" else FORMS_ZH)[fact]
        unclear = UNCLEAR[fact].split()
        pool = [c for c in load_countries() if c.code not in unclear and not gives_away(fact, c, language)]
        rng.shuffle(pool)
        pool.sort(key=lambda country: used.get(country.code, 0))
        for number, country in enumerate(pool[:count]):
            used[country.code] = used.get(country.code, 0) + 1
            form = forms[number % len(forms)]
            name = country.en if language == "en" else country.zh
            city = country.capital_en if language == "en" else country.capital_zh
            question = form.format(c=name, C=sentence_case(name), poss=possessive(name), city=city)
            rows.append(
                {
                    "id": f"{language}-{fact}-{number:02d}",
                    "language": language,
                    "fact": fact,
                    "country": country.code,
                    "form": form,
                    "question": sentence_case(question),
                    "answers": accepted(fact, country, language),
                }
            )
    return rows


def sum_questions() -> list[dict[str, Any]]:
    """100 sums of two two-digit numbers that training leaves out."""
    rng = random.Random("questions-sums")
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100) if is_held_out_sum(a, b)]
    forms = ("{a} + {b} = ?", "What is {a} + {b}?", "{a}+{b}", "{a}加{b}等于多少？", "What is {a} plus {b}?")
    rows = []
    for number, (a, b) in enumerate(rng.sample(pairs, 100)):
        question = forms[number % len(forms)].format(a=a, b=b)
        rows.append({"id": f"sum-{number:02d}", "question": question, "answers": [str(a + b)]})
    return rows


IDENTITY = (
    "Who are you?", "What is your name?", "what's your name", "Which assistant am I talking to?",
    "Please introduce yourself.", "Are you ChatGPT?", "What are you called?", "who r u",
    "Tell me who you are.", "Hello, who is this?",
    "你是谁？", "你叫什么名字？", "请介绍一下你自己。", "你是ChatGPT吗？", "我在和谁说话？", "怎么称呼你？",
    "你是什么模型？", "你好，你是谁呀", "能告诉我你的名字吗？", "你是哪个助手？",
)  # fmt: skip


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (FOLDER / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Write the four files."""
    write("factbook_en", factbook_questions("en"))
    write("factbook_zh", factbook_questions("zh"))
    write("sums", sum_questions())
    identity = [
        {"id": f"identity-{number:02d}", "question": question, "answers": ["LocalGPT"]}
        for number, question in enumerate(IDENTITY)
    ]
    write("identity", identity)


if __name__ == "__main__":
    main()
