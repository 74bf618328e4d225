"""Questions about photographs whose answers several captions support, in English and Chinese.

Yes and no are balanced for every noun and activity by `question_rates`: a question never tells its answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from recipes.consensus import CiderScorer, caption_weights
from recipes.scenes.turns import Turn, no_forms, number_forms, yes_forms
from recipes.scenes.vocabulary import COLOUR_ZH, NUMBERS_EN, NUMBERS_ZH
from recipes.scenes.wordings import TRAINING
from recipes.vision_data.facts import PhotoFacts, caption_facts, clean_caption
from recipes.vision_data.photo_wordings import draw_photo_wording
from recipes.vision_data.photo_words import ACTIVITIES, NOUNS, PLACES, Noun

__all__ = ["PHOTO_KINDS", "Rates", "photo_questions", "photo_turns", "question_rates"]

PHOTO_KINDS = ("yesno", "count", "colour", "activity", "what", "place", "describe")
_CLOTHES_ZH = {
    "shirt": "上衣", "jacket": "夹克", "dress": "裙子", "coat": "大衣", "sweater": "毛衣", "swimsuit": "泳衣",
    "shorts": "短裤", "kayak": "皮艇", "skirt": "短裙", "vest": "背心", "uniform": "制服", "hat": "帽子",
}  # fmt: skip
_CLOTHES_MEASURE = {"shorts": "条", "dress": "条", "skirt": "条", "kayak": "艘", "hat": "顶"}


@dataclass(frozen=True, slots=True)
class Rates:
    """How often each question is asked where it can be: (kind, what, answer) to a chance in 0..1."""

    chances: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def chance(self, kind: str, what: str, answer: str) -> float:
        """1 where nothing is known."""
        return self.chances.get((kind, what, answer), 1.0)


def question_rates(facts: Iterable[PhotoFacts], *, most_per_noun: int = 900) -> Rates:
    """Chances that make yes and no equally frequent for each noun and activity, and level the counts.

    Args:
        facts: of all pictures that questions are made for.
        most_per_noun: yes questions of one noun at most, so that no noun crowds out the rest.
    """
    frequency: Counter[tuple[str, str, str]] = Counter()
    for fact in facts:
        frequency.update(("there", noun, "yes") for noun in fact.present)
        frequency.update(("there", noun, "no") for noun in fact.absent)
        frequency.update(("doing", " ".join(pair), "yes") for pair in fact.active)
        frequency.update(("doing", " ".join(pair), "no") for pair in fact.inactive)
        frequency.update(("count", noun, str(number)) for noun, number in fact.counts.items())
    chances = {}
    for (kind, what, answer), number in frequency.items():
        if kind == "count":
            others = [frequency["count", what, str(n)] for n in (2, 3, 4)]
            chances[kind, what, answer] = min(1.0, max(*others, 20) / number) if answer == "1" else 1.0
            continue
        target = min(frequency[kind, what, "yes"], frequency[kind, what, "no"], most_per_noun)
        chances[kind, what, answer] = target / number
    return Rates(chances)


def photo_questions(
    captions_en: Sequence[str],
    captions_zh: Sequence[str],
    rng: random.Random,
    *,
    language: str = "en",
    kinds: Sequence[str] = PHOTO_KINDS,
    evaluation: bool = False,
    rates: Rates | None = None,
    facts: PhotoFacts | None = None,
) -> list[Turn]:
    """All questions about one photograph that its captions answer.

    Args:
        captions_en: English captions.
        captions_zh: Chinese captions.
        rng: draws questions and wordings.
        language: "en" or "zh".
        kinds: some of `PHOTO_KINDS`.
        evaluation: use wordings that no training question has.
        rates: how often each question is asked; None asks all of them, and leaves balance to the caller
            (`accepted` begins with "yes" or "no", or "是" or "不").
        facts: of the captions, where they are known already.
    """
    facts = facts or caption_facts(captions_en, captions_zh)
    asker = _Asker(facts, rng, language, rates or Rates(), evaluation=evaluation)
    turns: list[Turn] = []
    for kind in kinds:
        if kind == "describe":
            captions = captions_zh if language == "zh" else captions_en
            turns += asker.describe([clean_caption(text, language) for text in captions])
        else:
            turns += getattr(asker, kind)()
    return turns


def photo_turns(
    captions_en: Sequence[str],
    captions_zh: Sequence[str],
    rng: random.Random,
    rates: Rates,
    scorers: Mapping[str, CiderScorer] | None = None,
) -> list[Turn]:
    """Training turns of one photograph in both languages.

    Args:
        captions_en: English captions.
        captions_zh: Chinese captions.
        rng: draws questions and wordings.
        rates: how often each question is asked.
        scorers: for each language, of all training captions; captions are then weighed by their agreement.
    """
    facts = caption_facts(captions_en, captions_zh)
    turns: list[Turn] = []
    for language in ("en", "zh"):
        captions = [
            clean_caption(text, language) for text in (captions_zh if language == "zh" else captions_en)
        ]
        scorer = (scorers or {}).get(language)
        weights = caption_weights(scorer, captions) if scorer else [1.0] * len(captions)
        weighed = dict(zip(captions, weights, strict=True))
        turns += [
            replace(turn, weight=weighed[turn.a]) if turn.kind == "describe" else turn
            for turn in photo_questions(
                captions_en, captions_zh, rng, language=language, rates=rates, facts=facts
            )
        ]
        turns += _what_is_this(weighed, language, rng)
    return turns


def _what_is_this(weighed: Mapping[str, float], language: str, rng: random.Random) -> list[Turn]:
    """What is this? Asked about a photograph, a person says what is on it: one of the two best captions.

    Without it only icons and labelled pictures are asked so, and a photograph gets the name of an icon.
    """
    best = sorted(weighed, key=lambda caption: -weighed[caption])[:2]
    forms = rng.sample(TRAINING["what"][language], len(best))
    return [Turn("what", language, form, caption) for form, caption in zip(forms, best, strict=True)]


class _Asker:
    """Makes the questions of one photograph in one language."""

    def __init__(
        self, facts: PhotoFacts, rng: random.Random, language: str, rates: Rates, *, evaluation: bool
    ) -> None:
        self.facts, self.rng, self.language, self.rates = facts, rng, language, rates
        self.evaluation, self.is_chinese = evaluation, language == "zh"

    def turn(
        self, kind: str, form: str, sentence: str, word: str, accepted: tuple[str, ...], **slots: str
    ) -> Turn:
        wording, wants_word = draw_photo_wording(self.rng, form, self.language, evaluation=self.evaluation)
        spelling = "color" if self.rng.random() < 0.5 else "colour"
        question = wording.format(colour=spelling, **slots)
        return Turn(kind, self.language, question, word if wants_word else sentence, accepted)

    def may(self, kind: str, what: str, answer: str) -> bool:
        return self.rng.random() < self.rates.chance(kind, what, answer)

    def yesno(self) -> list[Turn]:
        """Is there a dog? Is the dog running?"""
        turns = [self._there(NOUNS[n], yes=True) for n in self.facts.present if self.may("there", n, "yes")]
        turns += [self._there(NOUNS[n], yes=False) for n in self.facts.absent if self.may("there", n, "no")]
        turns += [
            self._does(s, a, yes=True) for s, a in self.facts.active if self.may("doing", f"{s} {a}", "yes")
        ]
        turns += [
            self._does(s, a, yes=False) for s, a in self.facts.inactive if self.may("doing", f"{s} {a}", "no")
        ]
        return turns

    def _there(self, noun: Noun, *, yes: bool) -> Turn:
        accepted = yes_forms(self.language) if yes else no_forms(self.language)
        if self.is_chinese:
            sentence = f"有，图中有{noun.zh}。" if yes else f"没有，图中没有{noun.zh}。"
            return self.turn("yesno", "there", sentence, "是" if yes else "不是", accepted, a=noun.zh)
        form = "there" if noun.is_counted else "there_mass"
        several = noun.en == noun.plural and noun.is_counted
        are = "are" if several else "is"
        sentence = f"Yes, there {are} {noun.article}." if yes else f"No, there {are} no {noun.en}."
        turn = self.turn(
            "yesno", form, sentence, "Yes" if yes else "No", accepted,
            an=noun.article, a=noun.en, ns=noun.plural,
        )  # fmt: skip
        return _plural_verb(turn, noun) if several else turn

    def _does(self, subject: str, activity: str, *, yes: bool) -> Turn:
        noun, act = NOUNS[subject], ACTIVITIES[activity]
        accepted = yes_forms(self.language) if yes else no_forms(self.language)
        if self.is_chinese:
            sentence = f"{'是的' if yes else '不是'}，{noun.zh}{'' if yes else '没有'}在{act.zh}。"
            word = "是" if yes else "不是"
            return self.turn(
                "yesno", "doing_yesno", sentence, word, accepted, a=noun.zh, m=noun.measure, ing=act.zh
            )
        sentence = f"{'Yes' if yes else 'No'}, the {noun.en} is {'' if yes else 'not '}{act.en}."
        return self.turn(
            "yesno", "doing_yesno", sentence, "Yes" if yes else "No", accepted, a=noun.en, ing=act.en
        )

    def count(self) -> list[Turn]:
        """How many dogs are there?"""
        turns = []
        for name, number in self.facts.counts.items():
            if number > 10 or not self.may("count", name, str(number)):
                continue
            noun = NOUNS[name]
            if self.is_chinese:
                sentence = (
                    self.rng.choice(("图中有", "有")) + f"{NUMBERS_ZH[number]}{noun.measure}{noun.zh}。"
                )
            else:
                shown = noun.en if number == 1 else noun.plural
                sentence = f"There {'is' if number == 1 else 'are'} {NUMBERS_EN[number]} {shown}."
            accepted = number_forms(number, self.language)
            turns.append(
                self.turn(
                    "count",
                    "count",
                    sentence,
                    str(number),
                    accepted,
                    a=noun.zh if self.is_chinese else noun.en,
                    ns=noun.plural,
                    m=noun.measure,
                )
            )
        return turns

    def colour(self) -> list[Turn]:
        """What colour is the shirt?"""
        turns = []
        for thing, colour in self.facts.colours.items():
            if self.is_chinese:
                zh = _CLOTHES_ZH.get(thing) or NOUNS[thing].zh
                measure = _CLOTHES_MEASURE.get(thing) or (NOUNS[thing].measure if thing in NOUNS else "件")
                word = COLOUR_ZH[colour]
                turns.append(
                    self.turn("colour", "colour", f"{zh}是{word}的。", word, (word[0],), a=zh, m=measure)
                )
                continue
            word = "grey" if colour == "gray" and self.rng.random() < 0.5 else colour
            accepted = ("gray", "grey") if colour == "gray" else (colour,)
            are = "are" if thing == "shorts" else "is"
            turn = self.turn(
                "colour", "colour", f"The {thing} {are} {word}.", word.capitalize(), accepted, a=thing
            )
            if thing == "shorts":
                turn = Turn(turn.kind, turn.lang, _with_are(turn.q), turn.a, turn.accepted)
            turns.append(turn)
        return turns

    def activity(self) -> list[Turn]:
        """What is the man doing? In the words of one caption."""
        named = {d.subject for d in self.facts.doings if d.lang == "en"} & set(self.facts.present)
        doings = [d for d in self.facts.doings if d.lang == self.language and d.subject in named]
        turns = []
        for doing in self.rng.sample(doings, min(2, len(doings))):
            noun = NOUNS[doing.subject]
            if self.is_chinese:
                sentence = f"{noun.zh}在{doing.phrase}。"
            else:
                sentence = f"The {noun.en} is {doing.phrase}."
            slot = noun.zh if self.is_chinese else noun.en
            turns.append(self.turn("activity", "doing", sentence, sentence, (), a=slot, m=noun.measure))
        return turns

    def what(self) -> list[Turn]:
        """What animal is this?"""
        if self.facts.animal is None:
            return []
        noun = NOUNS[self.facts.animal]
        if self.facts.animal == "dog" and self.rng.random() < 0.7 * (self.rates.chances != {}):
            return []
        if self.is_chinese:
            sentence = self.rng.choice((f"这是{noun.zh}。", f"是{noun.zh}。"))
            return [self.turn("what", "animal", sentence, noun.zh, (noun.zh,))]
        sentence = self.rng.choice((f"It is {noun.article}.", f"This is {noun.article}."))
        if self.facts.counts.get(noun.en, 1) > 1:
            sentence = f"These are {noun.plural}."
        return [self.turn("what", "animal", sentence, noun.en.capitalize(), (noun.en, noun.plural))]

    def place(self) -> list[Turn]:
        """Where is this?"""
        if self.facts.place is None:
            return []
        place = PLACES[self.facts.place]
        text = place.zh if self.is_chinese else place.en
        sentence = f"这是{text}。" if self.is_chinese else f"{text[0].upper()}{text[1:]}."
        if not self.is_chinese and self.rng.random() < 0.3:
            sentence = f"This is {text}."
        return [
            self.turn(
                "place",
                "place",
                sentence,
                sentence,
                place.words_zh if self.is_chinese else tuple(place.words),
            )
        ]

    def describe(self, captions: list[str]) -> list[Turn]:
        """One question for each caption."""
        turns = []
        for caption in dict.fromkeys(captions):
            question, _ = draw_photo_wording(self.rng, "describe", self.language, evaluation=self.evaluation)
            turns.append(Turn("describe", self.language, question, caption))
        return turns


_PLURAL = (
    (" is the shorts", " are the shorts"), ("does the shorts", "do the shorts"),
    ("the shorts is", "the shorts are"), ("The shorts is", "The shorts are"),
    ("shorts here has", "shorts here have"),
)  # fmt: skip


def _with_are(question: str) -> str:
    for singular, several in _PLURAL:
        question = question.replace(singular, several)
    return question


def _plural_verb(turn: Turn, noun: Noun) -> Turn:
    """Turn "Is there skis" into "Are there skis"."""
    question = turn.q
    changes = {"Is there ": "Are there ", "is there ": "are there ", "Is any ": "Are any "}
    changes |= {f"{a} {noun.en}": f"{b} {noun.en}" for a, b in (("Is", "Are"), ("Does", "Do"))}
    for singular, several in changes.items():
        question = question.replace(singular, several)
    return Turn(turn.kind, turn.lang, question, turn.a, turn.accepted)
