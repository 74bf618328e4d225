"""Facts that several captions of a photograph agree on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from recipes.vision_data.photo_words import (
    ACTIVITIES,
    ANIMALS,
    COLOUR_WORDS,
    HUMAN_COUNTED,
    NOUNS,
    NUMBER_WORDS,
    PLACES,
)

__all__ = ["Doing", "PhotoFacts", "caption_facts", "clean_caption"]

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z]+)?")
_PAIRS = re.compile(r"\b(dirt|motor|hot)[ -](bikes?|dogs?)\b")  # a dirt bike is no bicycle, a hot dog no dog
_ARTICLES = frozenset({
    "a", "an", "one", "another", "the",
})  # fmt: skip
_BREAKS = frozenset({
    "with", "and", "in", "on", "at", "of", "is", "are", "while", "as", "to", "by", "near", "from",
    "holding", "wearing", "has", "his", "her",
})  # fmt: skip
_MANY = frozenset({
    "group", "crowd", "several", "many", "people", "family", "team", "bunch", "couple", "children", "kids",
    "others", "lot",
})  # fmt: skip
_COLOURED = {
    "dog": "dog", "shirt": "shirt", "jacket": "jacket", "ball": "ball", "bike": "bicycle",
    "bicycle": "bicycle", "car": "car", "dress": "dress", "hat": "hat", "helmet": "helmet", "coat": "coat",
    "horse": "horse", "cat": "cat", "bird": "bird", "truck": "truck", "frisbee": "frisbee", "boat": "boat",
    "kayak": "kayak", "umbrella": "umbrella", "sweater": "sweater", "swimsuit": "swimsuit",
    "shorts": "shorts", "t-shirt": "shirt", "motorcycle": "motorcycle", "couch": "couch", "skirt": "skirt",
    "vest": "vest", "uniform": "uniform",
}  # fmt: skip
_NO_COLOURS = frozenset({
    "tan", "beige", "golden", "multicolored", "colorful", "striped", "spotted", "gold", "silver", "cream",
})  # fmt: skip
_SUBJECTS = {
    "man": "man", "woman": "woman", "boy": "boy", "girl": "girl", "dog": "dog", "child": "child",
    "person": "person", "baby": "baby", "lady": "woman", "kid": "child", "toddler": "child", "guy": "man",
    "puppy": "dog", "horse": "horse",
}  # fmt: skip
_SUBJECTS_ZH = {
    "男人": "man", "男子": "man", "女人": "woman", "女子": "woman", "男孩": "boy", "小男孩": "boy",
    "女孩": "girl", "小女孩": "girl", "狗": "dog", "小狗": "dog", "狗狗": "dog", "小孩": "child",
    "孩子": "child", "人": "person",
}  # fmt: skip
_GERUND = {
    "runs": "running", "jumps": "jumping", "sits": "sitting", "stands": "standing", "walks": "walking",
    "rides": "riding", "plays": "playing", "climbs": "climbing", "swims": "swimming", "leaps": "leaping",
    "holds": "holding", "looks": "looking", "lies": "lying", "catches": "catching", "throws": "throwing",
    "carries": "carrying", "chases": "chasing", "dances": "dancing", "skateboards": "skateboarding",
    "eats": "eating", "drinks": "drinking", "sleeps": "sleeping", "surfs": "surfing", "skis": "skiing",
    "kicks": "kicking", "hits": "hitting", "pulls": "pulling", "watches": "watching", "hangs": "hanging",
    "slides": "sliding", "swings": "swinging", "reads": "reading", "poses": "posing", "smiles": "smiling",
    "performs": "performing", "races": "racing", "leans": "leaning", "wears": "wearing", "digs": "digging",
}  # fmt: skip
_DOING = re.compile(
    rf"^(?:a|an|the|one) (?:[a-z-]+ ){{0,3}}?({'|'.join(_SUBJECTS)}) "
    rf"(?:is )?({'|'.join(_GERUND)}|[a-z]+ing)( .*)?$"
)
_DOING_ZH = re.compile(rf"^(?:有?一[个只名位条])?({'|'.join(_SUBJECTS_ZH)})正?在([^，]{{2,}})$")
_DOING_ZH_BACK = re.compile(rf"^(?:一[个只名位条])?正在([^，的]{{2,}})的({'|'.join(_SUBJECTS_ZH)})$")


@dataclass(frozen=True, slots=True)
class Doing:
    """What one subject does: `subject` a noun, `phrase` "riding a bike down a hill" or "骑车"."""

    subject: str
    lang: str
    phrase: str


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What captions agree on; nouns are keys of `NOUNS` but for `colours`, which has clothes too.

    Args:
        present: nouns that two captions name.
        absent: nouns that none names and none leaves open.
        counts: how many there are, where two captions agree and none contradicts.
        colours: thing to colour, where all that say one say the same.
        active: (subject, activity) that two captions give.
        inactive: (subject, activity) that clash with one of `active` and that none gives.
        doings: what a single subject does, in a caption's own words.
        place: a key of `PLACES` that two captions name, where only one is named.
        animal: the only kind of animal.
    """

    present: tuple[str, ...]
    absent: tuple[str, ...]
    counts: dict[str, int]
    colours: dict[str, str]
    active: tuple[tuple[str, str], ...]
    inactive: tuple[tuple[str, str], ...]
    doings: tuple[Doing, ...]
    place: str | None
    animal: str | None


def clean_caption(text: str, language: str) -> str:
    """A caption as an answer: one space between words, none before signs, a capital, a full stop."""
    if language == "zh":
        return re.sub(r"[\s.。！!]+$", "", re.sub(r"\s+", "", text)) + "。"
    text = re.sub(r'["`]|\'\'', "", text)
    text = re.sub(r"\s+([,.;:!?')])", r"\1", re.sub(r"\s+", " ", text)).replace("( ", "(")
    text = re.sub(r"[\s.,;]+$", "", text.strip())
    text = re.sub(r"\bi\b", "I", text)
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ("!", "?") else ".")


def caption_facts(captions_en: Sequence[str], captions_zh: Sequence[str] = ()) -> PhotoFacts:
    """Read the facts out of the captions of one photograph."""
    tokens = [_WORD.findall(_PAIRS.sub(r"\1\2", text.lower())) for text in captions_en]
    chinese = [re.sub(r"\s+", "", text) for text in captions_zh]
    words = Counter(word for caption in tokens for word in set(caption))
    mentions = {name: _mentions(noun.words, noun.words_zh, tokens, chinese) for name, noun in NOUNS.items()}
    if mentions["motorcycle"] != (0, 0) and mentions["bicycle"] != (0, 0):
        mentions["bicycle"] = (1, 0)  # "bike" may mean either: neither said to be there nor denied
    present = tuple(name for name, (english, zh) in mentions.items() if english >= 2 or (english and zh))
    places = _places(tokens, chinese)
    absent = tuple(
        name
        for name, noun in NOUNS.items()
        if mentions[name] == (0, 0)
        and not any(word in words for word in noun.open_words)
        and (not noun.ruled_out_in or noun.ruled_out_in & _kinds_of_place(places, words))
    )
    active, inactive = _activities(tokens, chinese, words)
    animals = [name for name in ANIMALS if mentions[name] != (0, 0)]
    named = [name for name, count in places.items() if count >= 2]
    return PhotoFacts(
        present=present,
        absent=absent,
        counts=_counts(tokens),
        colours=_colours(tokens),
        active=active,
        inactive=inactive,
        doings=_doings(captions_en, chinese),
        place=named[0] if len(named) == 1 and len(places) == 1 else None,
        animal=animals[0] if len(animals) == 1 and animals[0] in present else None,
    )


def _mentions(
    words: frozenset[str], words_zh: tuple[str, ...], tokens: list[list[str]], chinese: list[str]
) -> tuple[int, int]:
    """How many English and Chinese captions have one of the words."""
    return (
        sum(not words.isdisjoint(caption) for caption in tokens),
        sum(any(word in caption for word in words_zh) for caption in chinese),
    )


def _places(tokens: list[list[str]], chinese: list[str]) -> dict[str, int]:
    """Places with the number of captions that name them."""
    counts = {name: sum(_mentions(p.words, p.words_zh, tokens, chinese)) for name, p in PLACES.items()}
    return {name: count for name, count in counts.items() if count}


def _kinds_of_place(places: dict[str, int], words: Counter[str]) -> set[str]:
    kinds = {name for name, count in places.items() if count >= 2}
    if words["dog"] + words["dogs"] >= 3 and not any(
        w in words for w in ("man", "woman", "person", "people")
    ):
        kinds.add("dogs")
    return kinds


def _numbers(caption: list[str], one: frozenset[str], several: frozenset[str]) -> int | None:
    """How many of a kind a caption tells of: 0 for none, None where it does not say."""
    total = 0
    for place, word in enumerate(caption):
        if word not in one and word not in several:
            continue
        before = []
        for other in reversed(caption[max(0, place - 4) : place]):
            if other in _BREAKS and other != "and":
                break
            before.append(other)
            if other in _ARTICLES or other in NUMBER_WORDS:
                break
        first = before[-1] if before else ""
        if word in one:
            if first not in _ARTICLES and place != len(before):
                return None
            total += 1
        elif first in NUMBER_WORDS:
            total += NUMBER_WORDS[first]
        else:
            return None
    return total


def _counts(tokens: list[list[str]]) -> dict[str, int]:
    counts = {}
    kinds = {"dog": (frozenset({"dog", "puppy"}), frozenset({"dogs", "puppies"}))}
    kinds |= {
        name: (frozenset(one.split()), frozenset(many.split())) for name, (one, many) in HUMAN_COUNTED.items()
    }
    everyone = frozenset().union(*(one for name, (one, _) in kinds.items() if name != "dog"))
    crowds = frozenset().union(*(many for name, (_, many) in kinds.items() if name != "dog"))
    kinds["person"] = (everyone, crowds)
    for name, (one, several) in kinds.items():
        others = NOUNS[name].words - one - several
        told = [
            None
            if name in ("person", "dog") and not others.isdisjoint(caption)
            else _numbers(caption, one, several)
            for caption in tokens
        ]
        if name not in ("person", "dog") and any(_MANY & set(caption) - several for caption in tokens):
            continue
        sure = Counter(number for number in told if number)
        unsure = sum(number is None for number in told)
        if len(sure) == 1:
            number, times = next(iter(sure.items()))
            if unsure > (2 if number > 1 else 0):
                continue
            silent = sum(number == 0 for number in told)
            if times >= 2 and (number > 1 or times >= 3) and (name in ("dog", "person") or silent <= 1):
                counts[name] = number
    return counts


def _colours(tokens: list[list[str]]) -> dict[str, str]:
    """Colours said right before a thing; "black and white dog" has none."""
    told: dict[str, set[str]] = {}
    for caption in tokens:
        for place, word in enumerate(caption):
            thing = _COLOURED.get(word)
            if thing is None:
                continue
            before = caption[max(0, place - 3) : place]
            colours = {COLOUR_WORDS.get(w, "other") for w in before if w in COLOUR_WORDS or w in _NO_COLOURS}
            if "and" in before and colours:
                colours |= {"other"}
            told.setdefault(thing, set()).update(colours)
        for plural in (
            "dogs",
            "shirts",
            "bikes",
            "cars",
            "balls",
            "hats",
            "horses",
            "jackets",
            "helmets",
            "boats",
        ):
            if plural in caption:
                told.setdefault(_COLOURED.get(plural[:-1], plural[:-1]), set()).add("other")
    for caption in tokens:
        if {"another", "two", "other"} & set(caption):
            told.pop("dog", None)
            told.pop("horse", None)
    return {thing: next(iter(c)) for thing, c in told.items() if len(c) == 1 and "other" not in c}


def _activities(
    tokens: list[list[str]], chinese: list[str], words: Counter[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Activities of the only subject that the captions have, and ones it does not do."""
    named = {s for word, s in _SUBJECTS.items() if word in words}
    narrow = named - {"person", "child"} or named
    plural = {
        "men",
        "women",
        "boys",
        "girls",
        "dogs",
        "children",
        "people",
        "kids",
        "horses",
        "group",
        "others",
    }
    if len(narrow) != 1 or plural & set(words) or words["two"] or words["another"] or words["three"]:
        return (), ()
    subject = next(iter(narrow))
    given = {a: _mentions(v.words, v.words_zh, tokens, chinese) for a, v in ACTIVITIES.items()}
    active = [a for a, (english, zh) in given.items() if english >= 2 or (english and zh)]
    never = [a for a, counts in given.items() if counts == (0, 0)]
    inactive = [a for a in never if active and all(a in ACTIVITIES[b].clashes for b in active)]
    return tuple((subject, a) for a in active), tuple((subject, a) for a in inactive)


def _doings(captions_en: Sequence[str], chinese: list[str]) -> tuple[Doing, ...]:
    found = []
    for text in captions_en:
        match = _DOING.match(clean_caption(text, "en")[:-1].lower())
        if match is None or match[2] in ("wearing", "holding", "including", "building", "clothing"):
            continue
        verb = _GERUND.get(match[2], match[2])
        found.append(Doing(_SUBJECTS[match[1]], "en", (verb + (match[3] or "")).strip()))
    for text in chinese:
        bare = text.rstrip("。.")
        match = _DOING_ZH.match(bare)
        if match:
            found.append(Doing(_SUBJECTS_ZH[match[1]], "zh", match[2]))
        elif match := _DOING_ZH_BACK.match(bare):
            found.append(Doing(_SUBJECTS_ZH[match[2]], "zh", match[1]))
    return tuple(found)
