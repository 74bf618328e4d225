"""Captions and questions for pictures with one label: icons, groceries, places and things."""

from __future__ import annotations

import random
from collections.abc import Sequence

from recipes.scenes.captions import article
from recipes.scenes.turns import Turn, no_forms, yes_forms
from recipes.scenes.wordings import draw_wording
from recipes.vision_data.labels import LabelName

__all__ = ["label_captions", "label_turns"]

_YESNO = {
    "en": (
        "Is this {an}?", "Is it {an}?", "Does this picture show {an}?", "Is {an} shown here?", "is this {an}",
        "Does the image show {an}?", "Is the thing in the picture {an}?", "Would you call this {an}?",
        "Can you see {an} here?", "Do you see {an}?", "This is {an}, right?",
    ),
    "zh": (
        "这是{a}吗？", "图中是{a}吗？", "图片里是{a}吗？", "这是不是{a}？", "这个是{a}吗？",
        "图上的是{a}吗？", "这是{a}，对吗？", "你看到的是{a}吗？", "图里的东西是{a}吗？", "这叫{a}吗？",
    ),
}  # fmt: skip
_YESNO_SHOWS = tuple(form for form in _YESNO["en"] if "show" in form.lower() or "see" in form)
_PLACE = {
    "en": (
        "What place is this?", "What kind of place is this?", "Where is this?", "What scene is this?",
        "What does the landscape show?", "Which scene do you see?", "Where was this taken?",
        "What is this a photo of?",
    ),
    "zh": (
        "这是什么地方？", "这是在哪里？", "这是什么场景？", "图中是什么地方？", "照片拍的是什么？",
        "这是哪里？", "你看到了什么风景？",
    ),
}  # fmt: skip
_ENDINGS = {
    "en": (" Answer yes or no.", " Yes or no?", " Reply with yes or no.", " Just yes or no, please."),
    "zh": ("请回答是或不是。", "只回答是或否。", "是还是不是？", "用是或否回答。"),
}


def label_captions(name: LabelName, rng: random.Random, *, kind: str = "photo") -> dict[str, list[str]]:
    """A few captions in both languages; `kind` is "photo" or "icon"."""
    phrase = _phrase(name)
    english = [f"{phrase[0].upper()}{phrase[1:]}."]
    if name.is_counted:
        english.append(f"This is {phrase}.")
    if kind == "icon":
        english += [f"An icon of {phrase}.", f"A picture of {phrase}."]
    else:
        english += [f"A photo of {phrase}.", f"A picture of {phrase}."]
    chinese = (
        [f"{name.zh}。", f"{name.zh}的{'图标' if kind == 'icon' else '照片'}。", f"这是{name.zh}。"]
        if name.zh
        else []
    )
    return {"en": rng.sample(english, 3), "zh": chinese}


def label_turns(
    name: LabelName,
    others: Sequence[LabelName],
    rng: random.Random,
    *,
    is_place: bool = False,
    kind: str = "photo",
) -> list[Turn]:
    """What is this, is this a cat, describe: balanced between yes and no.

    Args:
        name: of the picture.
        others: names that "no" is said to; those of the same group are passed over.
        rng: draws wordings and other names.
        is_place: also ask what place it is.
        kind: "photo" or "icon".
    """
    turns: list[Turn] = []
    for language in ("en", "zh"):
        if language == "zh" and not name.zh:
            continue
        turns += [_what(name, language, rng, is_place=is_place and i > 0) for i in range(2)]
        yes = rng.random() < 0.5
        turns.append(_yesno(name, name if yes else _other(name, others, language, rng), language, rng))
        captions = label_captions(name, rng, kind=kind)[language]
        question, _ = draw_wording(rng, "describe", language)
        turns.append(Turn("describe", language, question, rng.choice(captions)))
    return turns


def _phrase(name: LabelName) -> str:
    return article(name.en) if name.is_counted else name.en


def _what(name: LabelName, language: str, rng: random.Random, *, is_place: bool) -> Turn:
    if is_place:
        question, wants_word = rng.choice(_PLACE[language]), False
    else:
        question, wants_word = draw_wording(rng, "what", language)
    if language == "zh":
        return Turn("what", "zh", question, name.zh if wants_word else f"这是{name.zh}。", (name.zh,))
    sentence = f"This is {_phrase(name)}." if name.is_counted else f"The picture shows {name.en}."
    word = name.en[0].upper() + name.en[1:]
    return Turn("what", "en", question, word if wants_word else sentence, (name.en,))


def _other(name: LabelName, others: Sequence[LabelName], language: str, rng: random.Random) -> LabelName:
    while True:
        other = rng.choice(others)
        if other.group != name.group and (language == "en" or other.zh):
            return other


def _yesno(name: LabelName, asked: LabelName, language: str, rng: random.Random) -> Turn:
    yes = asked is name
    forms = _YESNO[language] if asked.is_counted or language == "zh" else _YESNO_SHOWS
    question = rng.choice(forms).format(an=_phrase(asked), a=asked.zh)
    wants_word = rng.random() < 0.35
    if wants_word:
        question += ("" if question[-1] in ".?。？" else "?") + rng.choice(_ENDINGS[language])
    if language == "zh":
        sentence = f"是的，这是{name.zh}。" if yes else f"不是，这是{name.zh}。"
        word, accepted = ("是", yes_forms("zh")) if yes else ("不是", no_forms("zh"))
    else:
        verb = "it is" if name.is_counted else "it shows"
        sentence = f"{'Yes' if yes else 'No'}, {verb} {_phrase(name)}."
        word, accepted = ("Yes", yes_forms("en")) if yes else ("No", no_forms("en"))
    return Turn("yesno", language, question, word if wants_word else sentence, accepted)
