"""Prefix search over sounds: the likeliest words, frame by frame, with what is known of their order.

Each hypothesis stands on a node of the tree of words, behind two words; of those that stand alike the better
one stays (Viterbi). Every sound costs its score, every finished word what the word model says, and until it
is finished the likeliest word that could still come of it. A word that is not listed may be spelled, at a
price. A frame that is surely blank moves nobody, and costs no time.

Shape legend: T frames of 20 ms, V units.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localgpt.media.text.spoken_units import BLANK, FIRST_CHINESE, NUM_UNITS, WORD_END
from localgpt.sampling.speech.word_model import Context, WordModel
from localgpt.sampling.speech.words import BEGIN, END, UNKNOWN, SoundNode, SpelledNode, WordList

__all__ = ["FRAME_S", "FoundWord", "SearchOptions", "Sentence", "WordSearch", "expected_words"]

FRAME_S: Final = 0.02
_SURELY_BLANK: Final = math.log(0.995)
_LEAST_SPELLED: Final = math.log(0.3)  # of a letter that may begin a word that is not listed
_CUT_WORD: Final = 4.0  # what a word costs of which only the beginning was said
_MOST_HOMOPHONES: Final = 10
LogProbs = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How the search weighs what it hears against what it knows; natural logarithms."""

    beam: int = 64  # hypotheses that are followed
    width: float = 14.0  # a hypothesis that much worse than the best is given up
    num_units: int = 8  # sounds that are tried at each frame
    unit_width: float = 8.0  # a sound that much worse than the best is not tried
    lm_weight: float = 0.6  # of the word model
    word_bonus: float = 2.0  # for each word: without it the model prefers few
    chinese_bonus: float = 0.0  # likewise; below 0 keeps words of several characters together
    spelling_price: float = 5.0  # of a word that is not listed
    letter_price: float = 2.0  # of each of its letters
    expected_bonus: float = 3.0  # for words that the caller said to expect


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWord:
    """A word, its first and last frame, and the geometric mean of its sounds' probabilities."""

    text: str
    begin: int
    end: int  # the frame behind it
    confidence: float

    @property
    def begin_s(self) -> float:
        """When it begins, in seconds."""
        return self.begin * FRAME_S

    @property
    def end_s(self) -> float:
        """When it ends, in seconds."""
        return self.end * FRAME_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One way of hearing it; `score` is a natural logarithm, and only differences mean something."""

    words: tuple[FoundWord, ...]
    score: float


class _History(NamedTuple):
    before: _History | None
    text: str  # of the word
    begin: int
    end: int
    sounds: float
    num_sounds: int


class _Hypothesis(NamedTuple):
    score: float
    history: _History | None
    begin: int  # of the word that is being heard
    end: int
    sounds: float  # sum of the logarithms of its sounds
    num_sounds: int


_Key = tuple[Context, SoundNode, int, bool]  # behind which words, where, after which sound, and a blank


class WordSearch:
    """The search over one stretch of speech; frames may come in pieces.

    Args:
        words: that may be heard.
        model: of their order.
        options: weights and widths.
        language: "en" or "zh" for words of that language alone; None for both.
        expected: words that are likelier than the model knows, in lower case.
        context: the two words said before.
    """

    def __init__(
        self,
        words: WordList,
        model: WordModel,
        options: SearchOptions,
        *,
        language: str | None = None,
        expected: frozenset[str] = frozenset(),
        context: Context = (BEGIN, BEGIN),
    ) -> None:
        self._words, self._model, self._options = words, model, options
        self._expected = expected
        self._banned = np.zeros(NUM_UNITS, dtype=bool)
        if language == "en":
            self._banned[FIRST_CHINESE:] = True
        elif language == "zh":
            self._banned[BLANK + 1 : FIRST_CHINESE] = True
        price = options.letter_price / max(options.lm_weight, 1e-6)
        start = -options.spelling_price / max(options.lm_weight, 1e-6)
        self._spelled = SpelledNode("", start, price)
        self._endings: dict[tuple[Context, SoundNode], list[tuple[str, Context, float]]] = {}
        start_key: _Key = (context, words.root, BLANK, True)
        self._found: dict[_Key, _Hypothesis] = {start_key: _Hypothesis(0.0, None, 0, 0, 0.0, 0)}
        self._is_waiting = True  # everybody stands behind a blank
        self._least = -math.inf  # score of a hypothesis that is worth following, while a frame is heard
        self.num_frames = 0

    def push(self, log_probs: LogProbs) -> None:
        """Hear (T, V) more frames of log probabilities."""
        log_probs = np.where(self._banned, -np.inf, log_probs) if self._banned.any() else log_probs
        for row in log_probs:
            if row[BLANK] < _SURELY_BLANK:
                self._step(row)
            elif not self._is_waiting:
                self._wait()
            self.num_frames += 1

    def copy(self) -> WordSearch:
        """A search that goes on by itself from here."""
        other = object.__new__(WordSearch)
        other.__dict__.update(self.__dict__)
        other._found = dict(self._found)
        return other

    def best(self) -> tuple[FoundWord, ...]:
        """The likeliest words so far; one that is being said counts where its letters are a word."""
        return self.sentences(1, is_over=False)[0].words

    def sentences(self, num: int, *, is_over: bool = True) -> list[Sentence]:
        """The likeliest ways of hearing it, the best first; at least one, perhaps without words.

        Args:
            num: most of them.
            is_over: nothing follows, so that the model's sign for the end counts.
        """
        found: dict[tuple[str, ...], Sentence] = {}
        for score, context, history in self._ends():
            if is_over:
                score += self._options.lm_weight * self._model.scores(context, [END])[0]
            words = _unrolled(history)
            told = tuple(word.text for word in words)
            if told not in found or found[told].score < score:
                found[told] = Sentence(words=words, score=score)
        return heapq.nlargest(num, found.values(), key=lambda sentence: sentence.score)

    @property
    def context(self) -> Context:
        """The last two words of the best hypothesis."""
        return max(self._ends(), key=lambda end: end[0])[1]

    def _ends(self) -> Iterator[tuple[float, Context, _History | None]]:
        """Every hypothesis as if it were over."""
        self._least = -math.inf
        for (context, node, _, _), one in self._found.items():
            if node is self._words.root:
                yield one.score, context, one.history
                continue
            yield one.score - _CUT_WORD - self._options.word_bonus, context, one.history
            end = node.child(WORD_END)
            if end is not None and end.words:
                weight = self._options.lm_weight
                closed = one._replace(score=one.score + weight * (end.best - node.best))
                for after, ended in self._close(context, end, closed):
                    yield ended.score, after, ended.history

    def _wait(self) -> None:
        """A blank that is sure: everybody stays where he is."""
        found: dict[_Key, _Hypothesis] = {}
        for (context, node, last, _), one in self._found.items():
            _keep(found, (context, node, last, True), one)
        self._found, self._is_waiting = found, True

    def _step(self, row: NDArray[np.float32]) -> None:
        options, root = self._options, self._words.root
        units = self._likely(row)
        blank = float(row[BLANK])
        # The best one may stay where it is, so what is worse than that by the width is given up at once.
        self._least = max(one.score for one in self._found.values()) + blank - options.width
        found: dict[_Key, _Hypothesis] = {}
        for key, one in self._found.items():
            context, node, last, is_blank = key
            score, history, begin, end, sounds, num_sounds = one
            if score + blank >= self._least:
                stays = _Hypothesis(score + blank, history, begin, end, sounds, num_sounds)
                _keep(found, (context, node, last, True), stays)
            if not is_blank and score + row[last] >= self._least:
                again = float(score + row[last])
                stays = _Hypothesis(again, history, begin, self.num_frames + 1, sounds, num_sounds)
                _keep(found, (context, node, last, False), stays)
            for unit, gain in units:
                if (unit == last and not is_blank) or score + gain < self._least:
                    continue
                if (child := node.child(unit)) is not None:
                    self._enter(found, key, one, child, unit, gain)
                if node is root and unit < WORD_END and gain > _LEAST_SPELLED:
                    letter = self._spelled.child(unit)
                    assert letter is not None
                    self._enter(found, key, one, letter, unit, gain)
        self._found = _pruned(found, options.beam, options.width)
        self._is_waiting = False

    def _enter(
        self,
        found: dict[_Key, _Hypothesis],
        key: _Key,
        one: _Hypothesis,
        child: SoundNode,
        unit: int,
        gain: float,
    ) -> None:
        """Go on with one sound, and where that ends a word also behind it."""
        context, node, _, _ = key
        is_first = node is self._words.root
        weight = self._options.lm_weight
        entered = _Hypothesis(
            one.score + gain + weight * (child.best - (0.0 if is_first else node.best)),
            one.history,
            self.num_frames if is_first else one.begin,
            self.num_frames + 1,
            gain if is_first else one.sounds + gain,
            1 if is_first else one.num_sounds + 1,
        )
        if entered.score >= self._least:
            _keep(found, (context, child, unit, False), entered)
        if child.words:
            for after, ended in self._close(context, child, entered):
                _keep(found, (after, self._words.root, unit, False), ended)

    def _close(
        self, context: Context, node: SoundNode, one: _Hypothesis
    ) -> Iterator[tuple[Context, _Hypothesis]]:
        """The words that end at a node, as hypotheses behind them."""
        score, before, begin, end, sounds, num_sounds = one
        for text, after, gain in self._endings_at(context, node):
            if score + gain >= self._least:
                word = _History(before, text, begin, end, sounds, num_sounds)
                yield after, _Hypothesis(score + gain, word, begin, end, sounds, num_sounds)

    def _endings_at(self, context: Context, node: SoundNode) -> list[tuple[str, Context, float]]:
        key = (context, node)
        if key not in self._endings:
            self._endings[key] = self._weighed(context, node)
        return self._endings[key]

    def _weighed(self, context: Context, node: SoundNode) -> list[tuple[str, Context, float]]:
        options = self._options
        if node.spelled is not None:  # its price is paid on the way
            is_expected = node.spelled in self._expected
            gain = options.word_bonus + is_expected * (options.expected_bonus - options.lm_weight * node.best)
            return [(node.spelled, (context[1], UNKNOWN), gain)]
        words = node.words[:_MOST_HOMOPHONES]
        found = []
        for word, score in zip(words, self._model.scores(context, words), strict=True):
            text = self._words.texts[word]
            bonus = options.word_bonus if text.isascii() else options.chinese_bonus
            gain = options.lm_weight * (score - node.best) + bonus
            gain += (text.lower() in self._expected) * options.expected_bonus
            found.append((text, (context[1], word), gain))
        return found

    def _likely(self, row: NDArray[np.float32]) -> list[tuple[int, float]]:
        """The sounds worth trying at a frame."""
        num = min(self._options.num_units + 1, len(row))
        chosen = np.argpartition(-row, num - 1)[:num]
        least = float(row[chosen].max()) - self._options.unit_width
        return [(int(unit), float(row[unit])) for unit in chosen if unit != BLANK and row[unit] >= least]


def _keep(found: dict[_Key, _Hypothesis], key: _Key, one: _Hypothesis) -> None:
    known = found.get(key)
    if known is None or known.score < one.score:
        found[key] = one


def _pruned(found: dict[_Key, _Hypothesis], beam: int, width: float) -> dict[_Key, _Hypothesis]:
    least = max(one.score for one in found.values()) - width
    kept = [(key, one) for key, one in found.items() if one.score >= least]
    if len(kept) > beam:
        kept = heapq.nlargest(beam, kept, key=lambda pair: pair[1].score)
    return dict(kept)


def _unrolled(history: _History | None) -> tuple[FoundWord, ...]:
    words: list[FoundWord] = []
    while history is not None:
        confidence = math.exp(history.sounds / max(1, history.num_sounds))
        words.append(
            FoundWord(text=history.text, begin=history.begin, end=history.end, confidence=confidence)
        )
        history = history.before
    return tuple(reversed(words))


def expected_words(text: str | None, words: Sequence[str] = ()) -> frozenset[str]:
    """The words of a caller's hint, in lower case; of Chinese, all listed words that occur in it."""
    if not text:
        return frozenset()
    told = text.lower()
    english = "".join(char if char.isascii() and (char.isalpha() or char == "'") else " " for char in told)
    chinese = {word for word in words if len(word) > 1 and ord(word[0]) >= 0x2E80 and word in told}
    return frozenset(english.split()) | chinese
