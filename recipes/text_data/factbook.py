"""Made questions and statements about every country, in both languages.

Each fact is asked in hundreds of wordings and answered in one usual sentence, alone, in the middle of longer
conversations, and told in short documents, so that a small model ties the fact to the meaning and not to the
wording.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from types import ModuleType

from recipes.text_data import wordings_en, wordings_zh
from recipes.text_data.countries import (
    CONTINENTS_ZH,
    Country,
    load_countries,
    possessive,
    sentence_case,
)
from recipes.text_data.noise import casual
from recipes.text_data.sequences import Parts, Turn, chat, document

__all__ = ["all_wordings", "factbook_sequences", "question_wordings", "slots"]

# Share of the questions each fact gets.
SHARES = {
    "capital": 0.30,
    "currency": 0.16,
    "language": 0.15,
    "continent": 0.13,
    "reverse": 0.11,
    "neighbours": 0.06,
    "population": 0.04,
    "area": 0.03,
    "demonym": 0.02,
}
NUM_SINGLE = 150
NUM_LONG = 34
NUM_DOCUMENTS = 22
# Words in a form that make it a question of yes or no about a fact.
CLAIMS = {
    "continent": {
        "in Europe?": "Europe",
        "European": "Europe",
        "in Asia?": "Asia",
        "Asian": "Asia",
        "in Africa?": "Africa",
        "African": "Africa",
        "是亚洲国家吗": "亚洲",
        "是欧洲国家吗": "欧洲",
        "是非洲国家吗": "非洲",
        "在亚洲吗": "亚洲",
    },
    "currency": {"the euro?": "euro", "use dollars": "dollar", "用欧元吗": "欧元", "用美元吗": "美元"},
    "language": {
        "speak English": "English",
        "speak Spanish": "Spanish",
        "Is French": "French",
        "说英语吗": "英语",
        "说法语吗": "法语",
    },
}


def question_wordings(language: str, fact: str) -> list[str]:
    """Every wording of a fact's question, with slots."""
    words = _words(language)
    forms = list(words.DIRECT.get(fact, ()))
    for phrase in words.NOUN_PHRASES.get(fact, ()):
        start = sentence_case(phrase)
        forms += [carrier.replace("{np}", phrase).replace("{Np}", start) for carrier in words.CARRIERS]
    return forms


def all_wordings() -> list[str]:
    """Every question wording in training, greetings and thanks around them included."""
    forms = []
    for language in ("en", "zh"):
        words = _words(language)
        for fact in SHARES:
            forms += question_wordings(language, fact)
        direct = [form for fact in words.DIRECT for form in words.DIRECT[fact]]
        forms += [greeting + form for greeting in words.GREETINGS for form in direct]
        forms += [form + thanks for thanks in words.THANKS for form in direct]
        forms += list(words.FOLLOW_UPS)
    return forms


def slots(country: Country, language: str, *, name: str | None = None) -> dict[str, str]:
    """What the slots of a wording stand for."""
    by_code = {other.code: other for other in load_countries()}
    if language == "en":
        name = name or country.en
        return {
            "c": name,
            "C": sentence_case(name),
            "poss": possessive(name),
            "Poss": sentence_case(possessive(name)),
            "capital": country.capital_en,
            "city": country.capital_en,
            "currency": country.currency_en,
            "languages": _listing(country.languages_en, " and "),
            "continent": country.continent,
            "neighbours": _listing([by_code[code].en for code in country.neighbours], " and "),
            "population": _round_en(country.population),
            "area": f"{_two_digits(country.area_km2):,}",
            "adjective": country.adjective,
        }
    name = name or country.zh
    return {
        "c": name,
        "capital": country.capital_zh,
        "city": country.capital_zh,
        "currency": country.currency_zh,
        "languages": _listing(country.languages_zh, "和", comma="、"),
        "continent": CONTINENTS_ZH[country.continent],
        "neighbours": _listing([by_code[code].zh for code in country.neighbours], "和", comma="、"),
        "population": _round_zh(country.population),
        "area": _round_zh(country.area_km2),
    }


def factbook_sequences(language: str, *, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All made sequences of one language; `scale` shrinks their number for tests."""
    countries = load_countries()
    for country in countries:
        rng = random.Random(f"factbook-{seed}-{language}-{country.code}")
        writer = _Writer(language, rng)
        for _ in range(max(1, round(NUM_SINGLE * scale))):
            yield chat(writer.question(country))
        for _ in range(max(1, round(NUM_LONG * scale))):
            yield chat(writer.conversation(country, countries))
        for _ in range(max(1, round(NUM_DOCUMENTS * scale))):
            yield document(writer.statements([country, *rng.sample(countries, rng.randrange(3))]))
    yield from _lists(language)


class _Writer:
    """Writes questions, answers and statements of one language."""

    def __init__(self, language: str, rng: random.Random) -> None:
        self.language, self.rng, self.words = language, rng, _words(language)
        self.forms = {fact: question_wordings(language, fact) for fact in SHARES}
        self.facts = [fact for fact in SHARES if self.forms[fact]]
        self.weights = [SHARES[fact] for fact in self.facts]

    def question(self, country: Country, *, fact: str | None = None, is_first: bool = True) -> list[Turn]:
        """One question and its answer."""
        rng = self.rng
        fact = fact or rng.choices(self.facts, self.weights)[0]
        if fact == "demonym" and country.adjective in ("", "none"):
            fact = "capital"
        direct = self.words.DIRECT[fact]
        form = rng.choice(direct if rng.random() < 0.55 or fact == "demonym" else self.forms[fact])
        aliases = country.aliases_en if self.language == "en" else country.aliases_zh
        name = rng.choice(aliases) if aliases and rng.random() < 0.2 else None
        asked = slots(country, self.language, name=name)
        answer = self.answer(country, fact, form, asked)
        if is_first and rng.random() < 0.12:
            form = rng.choice(self.words.GREETINGS) + form
        elif rng.random() < 0.08:
            form += rng.choice(self.words.THANKS)
        text = casual(form, rng).format(**asked)
        draw = rng.random()
        text = text.lower() if draw < 0.18 else sentence_case(text) if draw < 0.85 else text
        return [("user", text), ("assistant", answer)]

    def answer(self, country: Country, fact: str, form: str, asked: dict[str, str]) -> str:
        """The answer to a form; may change `asked["city"]` to a wrong one to be corrected."""
        told = slots(country, self.language)
        usual, *others = self.words.ANSWERS[fact]
        if fact == "language" and self.language == "en" and len(country.languages_en) > 1:
            usual, others = "The official languages of {c} are {languages}.", []
        if fact == "neighbours" and not country.neighbours:
            return (
                f"{told['C']} has no land borders." if self.language == "en" else f"{told['c']}没有陆地邻国。"
            )
        if fact == "capital" and "{city}" in form:
            return self._judge_city(country, asked, usual.format(**told))
        for words, value in CLAIMS.get(fact, {}).items():
            if words in form:
                values = {
                    "continent": told["continent"],
                    "currency": told["currency"],
                    "language": told["languages"],
                }
                return self._yes_no(value in values[fact]) + usual.format(**told)
        if others and self.rng.random() < 0.1:
            return str(self.rng.choice(others)).format(**told)
        return str(usual.format(**told))

    def _judge_city(self, country: Country, asked: dict[str, str], told: str) -> str:
        if self.rng.random() < 0.5:
            return self._yes_no(True) + told
        other = self.rng.choice([c for c in load_countries() if c.continent == country.continent])
        asked["city"] = other.capital_en if self.language == "en" else other.capital_zh
        return self._yes_no(other.code == country.code) + told

    def _yes_no(self, is_true: bool) -> str:
        if self.language == "en":
            return "Yes. " if is_true else "No. "
        return "是的，" if is_true else "不是，"

    def conversation(self, country: Country, countries: tuple[Country, ...]) -> list[Turn]:
        """Several questions about one country, or one question about several."""
        rng = self.rng
        if rng.random() < 0.5:
            facts = rng.sample(self.facts[:7], rng.randint(2, 4))
            return [
                turn
                for number, fact in enumerate(facts)
                for turn in self.question(country, fact=fact, is_first=number == 0)
            ]
        fact = rng.choices(self.facts[:4], self.weights[:4])[0]
        turns = self.question(country, fact=fact)
        for other in rng.sample(countries, rng.randint(1, 3)):
            told = slots(other, self.language)
            follow_up = rng.choice(self.words.FOLLOW_UPS).format(**told)
            turns += [("user", follow_up), ("assistant", self.answer(other, fact, "", told))]
        return turns

    def statements(self, countries: list[Country]) -> str:
        """A short document that tells facts."""
        paragraphs = []
        for country in countries:
            told = slots(country, self.language)
            fitting = [
                form for form in self.words.STATEMENTS if country.neighbours or "{neighbours}" not in form
            ]
            chosen = self.rng.sample(fitting, self.rng.randint(4, 7))
            sentences = [sentence_case(form.format(**told)) for form in chosen]
            paragraphs.append((" " if self.language == "en" else "").join(sentences))
        return "\n\n".join(paragraphs)


def _lists(language: str) -> Iterator[Parts]:
    """Lists of the capitals, currencies and languages of a continent."""
    for continent, continent_zh in CONTINENTS_ZH.items():
        for fact in ("capital", "currency", "languages"):
            members = [c for c in load_countries() if c.continent == continent]
            lines = []
            for country in members:
                told = slots(country, language)
                lines.append(
                    f"{told['c']}: {told[fact]}" if language == "en" else f"{told['c']}：{told[fact]}"
                )
            title = {
                "en": {"capital": "Capitals", "currency": "Currencies", "languages": "Official languages"}[
                    fact
                ]
                + f" of {continent}",
                "zh": continent_zh
                + {"capital": "各国首都", "currency": "各国货币", "languages": "各国官方语言"}[fact],
            }[language]
            yield document(title + "\n" + "\n".join(lines))


def _words(language: str) -> ModuleType:
    return wordings_en if language == "en" else wordings_zh


def _listing(items: tuple[str, ...] | list[str], last: str, *, comma: str = ", ") -> str:
    if len(items) < 2:
        return "".join(items)
    return comma.join(items[:-1]) + last + items[-1]


def _two_digits(value: int) -> int:
    scale = 10 ** max(0, len(str(value)) - 2)
    return round(value / scale) * scale


def _round_en(value: int) -> str:
    value = _two_digits(value)
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if value >= size:
            return f"{value / size:g} {name}"
    return f"{value:,}"


def _round_zh(value: int) -> str:
    value = _two_digits(value)
    for size, name in ((10**8, "亿"), (10**4, "万")):
        if value >= size:
            return f"{value / size:g}{name}"
    return str(value)
