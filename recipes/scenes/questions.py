"""Questions about scenes with true answers, in English and Chinese.

Yes and no are balanced, and absent things are drawn as present ones are, so that the words of a question
never tell its answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from recipes.scenes.captions import (
    OPPOSITE,
    RELATION_EN,
    RELATION_ZH,
    Group,
    article,
    list_caption,
    noun_phrase,
    number_zh,
    scene_captions,
    shown_colour,
)
from recipes.scenes.render import SIZE, Scene, SceneObject, relation_of
from recipes.scenes.stock import is_held_out_colour, is_held_out_relation
from recipes.scenes.turns import DIRECTIONS, Turn, is_right, no_forms, number_forms, yes_forms
from recipes.scenes.vocabulary import COLOUR_ZH, COLOURS, NUMBERS_EN, IconName, icon_names
from recipes.scenes.wordings import TRAINING, draw_wording

__all__ = [
    "QUESTION_KINDS",
    "Turn",
    "is_right",
    "no_forms",
    "number_forms",
    "scene_questions",
    "yes_forms",
]

QUESTION_KINDS = (
    "colour",
    "count",
    "relation",
    "place",
    "yesno",
    "what",
    "background",
    "extreme",
    "describe",
)


def scene_questions(
    scene: Scene,
    rng: random.Random,
    *,
    kinds: Sequence[str] = QUESTION_KINDS,
    language: str = "en",
    evaluation: bool = False,
    per_kind: int | Mapping[str, int] = 2,
    split: str = "train",
) -> list[Turn]:
    """Questions about a scene that have one answer.

    Args:
        scene: from `render_scene`.
        rng: draws questions and wordings.
        kinds: some of `QUESTION_KINDS`; a scene may have no question of a kind.
        language: "en" or "zh".
        evaluation: use wordings that no training question has.
        per_kind: turns of each kind at most; a mapping gives 2 to the kinds it does not name.
        split: "train" names no held-out colour or relation, not even in a question answered with no.
    """
    asker = _Asker(scene, rng, language, evaluation=evaluation, split="val" if evaluation else split)
    turns: list[Turn] = []
    for kind in kinds:
        found: dict[str, Turn] = {}
        makers = asker.makers(kind)
        number = per_kind if isinstance(per_kind, int) else per_kind.get(kind, 2)
        for _ in range(number * 4):
            if len(found) == number or not makers:
                break
            turn = rng.choice(makers)()
            if turn is not None:
                found.setdefault(turn.q, turn)
        turns += found.values()
    return turns


class _Asker:
    """Makes questions about one scene in one language."""

    def __init__(
        self, scene: Scene, rng: random.Random, language: str, *, evaluation: bool, split: str
    ) -> None:
        self.scene, self.rng, self.language = scene, rng, language
        self.evaluation, self.split = evaluation, split
        self.is_chinese = language == "zh"
        self.is_photograph = scene.background.kind == "photograph"

    def makers(self, kind: str) -> list[Callable[[], Turn | None]]:
        """The ways to ask one kind; some fail for some scenes."""
        table: dict[str, list[Callable[[], Turn | None]]] = {
            "colour": [self.colour],
            "count": [self.count, self.count, self.count, self.count_colour, self.total],
            "relation": [self.relation_yesno, self.where, self.which],
            "place": [self.place],
            "yesno": [self.presence, self.presence, self.presence_colour],
            "what": [self.what],
            "background": [self.background],
            "extreme": [self.extreme],
            "describe": [self.describe],
        }
        return table[kind] + ([] if self.evaluation else self.easier_makers().get(kind, []))

    def easier_makers(self) -> dict[str, list[Callable[[], Turn | None]]]:
        """Ways to ask that only training has: one axis at a time, and what is there in one sentence."""
        return {
            "relation": [self.where, self.side, self.side, self.further],
            "place": [self.half],
            "what": [self.what_all],
        }

    # Helpers

    def turn(
        self, kind: str, form: str, sentence: str, word: str, accepted: tuple[str, ...], **slots: str
    ) -> Turn:
        """Fill a wording; `kind` is that of the turn, `form` that of the wording."""
        wording, wants_word = draw_wording(self.rng, form, self.language, evaluation=self.evaluation)
        spelling = "color" if self.rng.random() < 0.5 else "colour"
        question = wording.format(colour=spelling, **slots)
        if not self.is_chinese and (question[0] in "Cc") and question.startswith(("color of", "colour of")):
            question = question[0].upper() + question[1:]
        if not wants_word and self.rng.random() < 0.15:
            wants_word = word not in ("Yes", "No", "是", "不是", "有", "没有")
        return Turn(kind, self.language, question, word if wants_word else sentence, accepted)

    def noun(self, name: IconName) -> str:
        return name.zh if self.is_chinese else name.en

    def colour_word(self, colour: str) -> str:
        return COLOUR_ZH[colour] if self.is_chinese else str(shown_colour(colour, self.rng))

    def colour_forms(self, colour: str) -> tuple[str, ...]:
        if self.is_chinese:
            return (COLOUR_ZH[colour][0],)
        return ("gray", "grey") if colour == "gray" else (colour,)

    def singles(self) -> list[SceneObject]:
        """Objects whose noun stands for nothing else in the scene."""
        return [thing for thing in self.scene.objects if len(self.scene.of(thing.name.en)) == 1]

    def absent(self) -> IconName:
        """A noun that cannot be seen, from no group that can."""
        groups = {thing.name.group for thing in self.scene.objects}
        while True:
            name = self.rng.choice(_NAMES)
            if name.group not in groups and not (self.is_photograph and name.is_common):
                return name

    # Colours

    def colour(self) -> Turn | None:
        things = [thing for thing in self.scene.objects if thing.colour]
        if not things:
            return None
        thing = self.rng.choice(things)
        same = self.scene.of(thing.name.en)
        if len({other.colour for other in same}) != 1:
            return None
        assert thing.colour is not None
        word, noun, many = self.colour_word(thing.colour), self.noun(thing.name), len(same) > 1
        if self.is_chinese:
            sentence = f"{'这些' if many else ''}{noun}是{word}的。"
            slots = {"a": noun, "m": thing.name.measure}
        else:
            sentence = f"The {thing.name.en_plural if many else noun} {'are' if many else 'is'} {word}."
            slots = {"a": noun, "ns": thing.name.en_plural}
        short = word if self.is_chinese else word.capitalize()
        form = "colour_many" if many else "colour"
        return self.turn("colour", form, sentence, short, self.colour_forms(thing.colour), **slots)

    def background(self) -> Turn | None:
        colour = self.scene.background.colour
        if colour is None:
            return None
        word = self.colour_word(colour)
        sentence = f"背景是{word}的。" if self.is_chinese else f"The background is {word}."
        short = word if self.is_chinese else word.capitalize()
        return self.turn("background", "background", sentence, short, self.colour_forms(colour))

    # Counts

    def count(self) -> Turn | None:
        """How many of a kind; one and none are asked less often than they are true."""
        name = self.absent() if self.rng.random() < 0.1 else self.rng.choice(self.scene.objects).name
        count = len(self.scene.of(name.en))
        if (count == 0 and self.is_photograph) or (count == 1 and self.rng.random() < 0.85):
            return None
        sentence = self.count_sentence(Group(name, None, count))
        slots = {"a": name.zh, "m": name.measure} if self.is_chinese else {"ns": name.en_plural}
        return self.turn("count", "count", sentence, str(count), number_forms(count, self.language), **slots)

    def count_sentence(self, group: Group) -> str:
        name, rng = group.name, self.rng
        if self.is_chinese:
            colour = f"{COLOUR_ZH[group.colour]}的" if group.colour else ""
            if group.count == 0:
                return f"图中没有{colour}{name.zh}。"
            return rng.choice(("图中有", "有")) + noun_phrase(group, "zh", rng) + "。"
        colour = f"{shown_colour(group.colour, rng)} " if group.colour else ""
        if group.count == 0:
            return f"There are no {colour}{name.en_plural}."
        if group.count == 1:
            return f"There is one {colour}{name.en}."
        return f"There are {NUMBERS_EN[group.count]} {colour}{name.en_plural}."

    def count_colour(self) -> Turn | None:
        """How many of a kind have one colour, where some have another."""
        things = [thing for thing in self.scene.objects if thing.colour]
        if not things:
            return None
        thing = self.rng.choice(things)
        same = self.scene.of(thing.name.en)
        if any(other.colour is None for other in same) or thing.colour is None:
            return None
        if len({other.colour for other in same}) == 1 and self.rng.random() < 0.6:
            return None
        count = sum(other.colour == thing.colour for other in same)
        sentence = self.count_sentence(Group(thing.name, thing.colour, count))
        slots = {"c": self.colour_word(thing.colour)}
        slots |= (
            {"a": thing.name.zh, "m": thing.name.measure} if self.is_chinese else {"ns": thing.name.en_plural}
        )
        return self.turn(
            "count", "count_colour", sentence, str(count), number_forms(count, self.language), **slots
        )

    def total(self) -> Turn | None:
        if self.is_photograph:
            return None
        count = len(self.scene.objects)
        if self.is_chinese:
            sentence = f"图中有{number_zh(count, '个')}物体。"
        else:
            sentence = (
                f"There {'is' if count == 1 else 'are'} {NUMBERS_EN[count]} object{'s' * (count != 1)}."
            )
        return self.turn("count", "total", sentence, str(count), number_forms(count, self.language))

    # Yes and no

    def yesno(self, yes: bool) -> tuple[str, ...]:
        return yes_forms(self.language) if yes else no_forms(self.language)

    def presence(self) -> Turn | None:
        yes = self.rng.random() < 0.5
        name = self.rng.choice(self.scene.objects).name if yes else self.absent()
        return self._presence("presence", name, None, yes=yes)

    def presence_colour(self) -> Turn | None:
        """Is there a red car? Where the answer is no, there most often is a car of another colour."""
        things = [thing for thing in self.scene.objects if thing.colour]
        if not things:
            return None
        thing, yes = self.rng.choice(things), self.rng.random() < 0.5
        name, colour = thing.name, thing.colour
        assert colour is not None
        if not yes and self.rng.random() < 0.75:
            if any(other.colour is None for other in self.scene.of(name.en)):
                return None
            shown = {other.colour for other in self.scene.of(name.en)}
            colour = self.rng.choice([c for c in COLOURS if c not in shown])
        elif not yes:
            name = self.absent()
        if self.split == "train" and is_held_out_colour(name.en, colour):
            return None
        return self._presence("presence_colour", name, colour, yes=yes)

    def _presence(self, form: str, name: IconName, colour: str | None, *, yes: bool) -> Turn:
        if self.is_chinese:
            thing = (COLOUR_ZH[colour] + "的" if colour else "") + name.zh
            sentence = f"有，图中有{thing}。" if yes else f"没有，图中没有{thing}。"
            slots = {"a": name.zh, "c": COLOUR_ZH[colour] if colour else ""}
            turn = self.turn("yesno", form, sentence, "有" if yes else "没有", self.yesno(yes), **slots)
            if turn.a in ("有", "没有") and "是" in turn.q[-9:]:
                return Turn(turn.kind, turn.lang, turn.q, "是" if yes else "不是", turn.accepted)
            return turn
        word = str(shown_colour(colour, self.rng)) if colour else ""
        thing = f"{word} {name.en}".strip()
        sentence = f"Yes, there is {article(thing)}." if yes else f"No, there is no {thing}."
        slots = {"an": article(name.en), "acn": article(thing), "ns": name.en_plural, "c": word}
        return self.turn("yesno", form, sentence, "Yes" if yes else "No", self.yesno(yes), **slots)

    # Relations

    def pairs(self) -> Iterator[tuple[SceneObject, SceneObject, str]]:
        """Pairs of nameable objects with one clear relation each, in random order."""
        singles = self.singles()
        pairs = [(a, b, r) for a in singles for b in singles if a is not b for r in sorted(relation_of(a, b))]
        yield from self.rng.sample(pairs, len(pairs))

    def relation_words(self, relation: str) -> str:
        return self.rng.choice((RELATION_ZH if self.is_chinese else RELATION_EN)[relation])

    def relation_yesno(self) -> Turn | None:
        for first, second, relation in self.pairs():
            yes = self.rng.random() < 0.5
            asked = relation if yes else OPPOSITE[relation]
            if self.split == "train" and is_held_out_relation(first.name.en, second.name.en, asked):
                continue
            a, b, r = self.noun(first.name), self.noun(second.name), self.relation_words(asked)
            true = r if yes else self.relation_words(relation)
            if self.is_chinese:
                sentence = f"{'是的' if yes else '不是'}，{a}在{b}的{true}。"
                word = "是" if yes else "不是"
            else:
                sentence = f"{'Yes' if yes else 'No'}, the {a} is {true} the {b}."
                word = "Yes" if yes else "No"
            return self.turn("relation", "relation_yesno", sentence, word, self.yesno(yes), a=a, b=b, r=r)
        return None

    def where(self) -> Turn | None:
        for first, second, relation in self.pairs():
            (x1, y1), (x2, y2) = first.middle, second.middle
            main, other = abs(x1 - x2), abs(y1 - y2)
            if relation in ("above", "below"):
                main, other = other, main
            if main < 1.7 * other:
                continue
            a, b = self.noun(first.name), self.noun(second.name)
            if self.is_chinese:
                words = RELATION_ZH[relation][0]
                sentence, word = f"{a}在{b}的{words}。", words
            else:
                sentence, word = f"The {a} is {RELATION_EN[relation][0]} the {b}.", relation.capitalize()
            accepted = DIRECTIONS[self.language][relation]
            return self.turn("relation", "where", sentence, word, accepted, a=a, b=b)
        return None

    def side(self) -> Turn | None:
        """Is the cat left or right of the dog? One axis, and both answers in the question."""
        for first, second, relation in self.pairs():
            a, b = self.noun(first.name), self.noun(second.name)
            form = "side_level" if relation in ("left", "right") else "side_upright"
            if self.is_chinese:
                word = RELATION_ZH[relation][0]
                sentence = f"{a}在{b}的{word}。"
            else:
                word = relation.capitalize()
                sentence = f"The {a} is {RELATION_EN[relation][0]} the {b}."
            accepted = DIRECTIONS[self.language][relation]
            return self.turn("relation", form, sentence, word, accepted, a=a, b=b)
        return None

    def further(self) -> Turn | None:
        """Which is further to the left, the cat or the dog?"""
        for first, second, relation in self.pairs():
            words = _FURTHER[self.language][relation]
            name, noun = first.name, self.noun(first.name)
            a, b = self.rng.sample((noun, self.noun(second.name)), 2)
            sentence = f"{noun}更{words}。" if self.is_chinese else f"The {noun} is further {words}."
            word = noun if self.is_chinese else _capital(name.en)
            return self.turn("relation", "further", sentence, word, (noun,), a=a, b=b, e=words)
        return None

    def which(self) -> Turn | None:
        """What is left of the dog? Asked where only one thing is, and all others clearly are not."""
        if self.is_photograph and len(self.scene.objects) > 2:
            return None
        for first, second, relation in self.pairs():
            others = [t for t in self.scene.objects if t is not first and t is not second]
            if any(OPPOSITE[relation] not in relation_of(t, second) for t in others):
                continue
            b, r = self.noun(second.name), self.relation_words(relation)
            name = first.name
            if self.is_chinese:
                sentence, word = f"{b}的{r}是{number_zh(1, name.measure)}{name.zh}。", name.zh
            else:
                thing = article(name.en)
                sentence, word = f"{thing[0].upper()}{thing[1:]} is {r} the {b}.", _capital(name.en)
            return self.turn("relation", "which", sentence, word, (self.noun(name),), b=b, r=r)
        return None

    # Things

    def place(self) -> Turn | None:
        """In which ninth of the picture something lies, where that is clear."""
        things = self.singles()
        if not things:
            return None
        thing = self.rng.choice(things)
        column, row = (_third(edge) for edge in thing.middle)
        if column is None or row is None:
            return None
        word = _PLACES[self.language][row][column]
        noun = self.noun(thing.name)
        sentence = f"{noun}在图片的{word}。" if self.is_chinese else f"The {noun} is {word}."
        short = word if self.is_chinese else _capital(word)
        return self.turn("place", "place", sentence, short, (word,), a=noun)

    def half(self) -> Turn | None:
        """Is it in the left or the right half of the picture? Where that is clear."""
        things = self.singles()
        if not things:
            return None
        thing, axis = self.rng.choice(things), self.rng.randrange(2)
        offset = thing.middle[axis] / SIZE - 0.5
        if abs(offset) < _CLEAR_OF_MIDDLE:
            return None
        word = _HALVES[self.language][axis][int(offset > 0)]
        noun = self.noun(thing.name)
        sentence = f"{noun}在图片的{word}。" if self.is_chinese else f"The {noun} is in the {word} half."
        short = word if self.is_chinese else _capital(word)
        form = "half_upright" if axis else "half_level"
        return self.turn("place", form, sentence, short, (word,), a=noun)

    def what_all(self) -> Turn | None:
        """What is this? Where several things are, all of them are the answer."""
        if len(self.scene.objects) == 1 or self.is_photograph:
            return None
        form = self.rng.choice(TRAINING["what"][self.language])
        return Turn("what", self.language, form, list_caption(self.scene, self.language, self.rng))

    def what(self) -> Turn | None:
        names = {thing.name for thing in self.scene.objects}
        if len(names) != 1 or len(self.scene.objects) != 1:
            return None
        thing = self.scene.objects[0]
        group = Group(thing.name, thing.colour if self.rng.random() < 0.4 else None, 1)
        phrase = noun_phrase(group, self.language, self.rng)
        if self.is_chinese:
            return self.turn("what", "what", f"这是{phrase}。", thing.name.zh, (thing.name.zh,))
        return self.turn("what", "what", f"This is {phrase}.", _capital(thing.name.en), (thing.name.en,))

    def extreme(self) -> Turn | None:
        """Which is largest, smallest, or furthest to a side, where that is clear by a margin."""
        objects = list(self.scene.objects)
        if len(objects) < 2 or self.is_photograph:
            return None
        key, english, chinese = self.rng.choice(_EXTREMES)
        first, second = sorted(objects, key=key, reverse=True)[:2]
        margin = 0.4 * key(second) if "larg" in english else _MARGIN
        if "small" in english:
            margin = -0.4 * key(second)
        if key(first) - key(second) < margin or len(self.scene.of(first.name.en)) > 1:
            return None
        name = first.name
        if self.is_chinese:
            sentence, word = f"{chinese}的是{number_zh(1, name.measure)}{name.zh}。", name.zh
        else:
            sentence, word = f"The {name.en} is {english}.", _capital(name.en)
        e = chinese if self.is_chinese else english
        return self.turn("extreme", "extreme", sentence, word, (self.noun(name),), e=e)

    def describe(self) -> Turn | None:
        wording, _ = draw_wording(self.rng, "describe", self.language, evaluation=self.evaluation)
        caption = scene_captions(self.scene, self.language, self.rng, number=1)[0]
        return Turn("describe", self.language, wording, caption)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _third(middle: float) -> int | None:
    """0, 1 or 2 for the left, middle and right third of a side; None too near to a border between them."""
    place = middle / SIZE
    borders = ((0.0, 0.3), (0.38, 0.62), (0.7, 1.0))
    return next((number for number, (low, high) in enumerate(borders) if low <= place <= high), None)


_NAMES = icon_names()
_PLACES = {
    "en": (
        ("in the upper left", "at the top", "in the upper right"),
        ("on the left", "in the middle", "on the right"),
        ("in the lower left", "at the bottom", "in the lower right"),
    ),
    "zh": (("左上角", "上方", "右上角"), ("左边", "中间", "右边"), ("左下角", "下方", "右下角")),
}
_HALVES = {
    "en": (("left", "right"), ("upper", "lower")),
    "zh": (("左半边", "右半边"), ("上半部", "下半部")),
}
_CLEAR_OF_MIDDLE = 0.08  # of the side
_FURTHER = {
    "en": {"left": "to the left", "right": "to the right", "above": "up", "below": "down"},
    "zh": {"left": "靠左", "right": "靠右", "above": "靠上", "below": "靠下"},
}
_MARGIN = 16.0  # pixels between the outermost object and the next
_EXTREMES: tuple[tuple[Callable[[SceneObject], float], str, str], ...] = (
    (lambda thing: float(thing.area), "the largest", "最大"),
    (lambda thing: -float(thing.area), "the smallest", "最小"),
    (lambda thing: -thing.middle[0], "furthest to the left", "最左边"),
    (lambda thing: thing.middle[0], "furthest to the right", "最右边"),
    (lambda thing: -thing.middle[1], "at the top", "最上面"),
    (lambda thing: thing.middle[1], "at the bottom", "最下面"),
)
