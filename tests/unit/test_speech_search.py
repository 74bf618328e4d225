"""From scores of sounds to words: the list of words, the model of their order, and the search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from localgpt.errors import CheckpointError
from localgpt.media.text.spoken_units import BLANK, NUM_UNITS, english_units, pinyin_units, spelling_of
from localgpt.sampling.speech.greedy import greedy_text, greedy_units
from localgpt.sampling.speech.search import SearchOptions, Sentence, WordSearch, expected_words
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import BEGIN, END, NUM_SIGNS, UNKNOWN, WordList
from recipes.speech_data.word_model import ModelLimits, build_word_model

TEXTS = ["I", "see", "sea", "the", "cat", "cats", "你", "好", "你好", "号", "是", "事"]
SOUNDS = {"你": "ni3", "好": "hao3", "你好": "ni3 hao3", "号": "hao4", "是": "shi4", "事": "shi4"}
SAID = ["I see the cat", "I see the cats", "the sea", "你好 事", "是 好", "是 你", "是 你"]
LIMITS = ModelLimits(min_pair=1, min_triple=1)


def units_of(text: str) -> list[int]:
    """Sounds of a word, or of syllables."""
    told = SOUNDS.get(text, text)
    if told == text:
        return list(english_units(text) or ())
    return [unit for part in told.split() for unit in pinyin_units(part) or ()]


@pytest.fixture(scope="module")
def model() -> WordModel:
    ids = {text: number + NUM_SIGNS for number, text in enumerate(TEXTS)}
    sentences = [[ids[word] for word in said.split()] for said in SAID]
    return build_word_model(sentences, NUM_SIGNS + len(TEXTS), LIMITS)


@pytest.fixture(scope="module")
def words(model: WordModel) -> WordList:
    entries = [(number + NUM_SIGNS, units_of(text)) for number, text in enumerate(TEXTS)]
    return WordList(["", "", "", *TEXTS], entries, model.unigrams)


def spoken(*units: int, sure: float = 0.9, other: int | None = None, gap: int = 1) -> NDArray[np.float32]:
    """Log probabilities of sounds of two frames each, then blanks; `other` is what is nearly heard."""
    rows = []
    for unit in units:
        for _ in range(2):
            row = np.full(NUM_UNITS, 1e-5)
            row[unit] = sure
            if other is not None:
                row[other] = max(row[other], 0.9 * (1 - sure))
            row[BLANK] += 1 - row.sum()
            rows.append(row)
        rows += [np.where(np.arange(NUM_UNITS) == BLANK, 0.999, 1e-5)] * gap
    return np.log(np.array(rows)).astype(np.float32)


def heard(words: WordList, model: WordModel, log_probs: NDArray[np.float32], **more: object) -> Sentence:
    search = WordSearch(words, model, SearchOptions(), **more)  # type: ignore[arg-type]
    search.push(log_probs)
    return search.sentences(1)[0]


def texts(sentence: Sentence) -> list[str]:
    return [word.text for word in sentence.words]


def test_the_model_adds_up_to_one(model: WordModel) -> None:
    every = [END, UNKNOWN, *range(NUM_SIGNS, model.num_words)]
    for context in [(BEGIN, BEGIN), (BEGIN, 3), (3, 4), (4, 6), (6, 7), (9, 3), (2, 2)]:
        total = sum(math.exp(score) for score in model.scores(context, every))
        assert total == pytest.approx(1.0, abs=0.12), context  # bytes are steps of 7 %
    see, sea, the = 4, 5, 6
    assert model.scores((BEGIN, 3), [see])[0] > model.scores((BEGIN, 3), [sea])[0] + 1
    assert model.scores((see, the), [7])[0] > model.scores((9, the), [7])[0] - 1e-6


def test_words_and_model_are_kept_whole(words: WordList, model: WordModel) -> None:
    again = WordModel(model.to_tensors())
    assert again.scores((3, 4), [6, 7, END]) == model.scores((3, 4), [6, 7, END])
    kept = WordList.from_tensors(words.to_tensors(), again.unigrams)
    assert kept.texts == words.texts
    assert kept.common(tuple(units_of("是"))) == words.common(tuple(units_of("是"))) == "是"
    broken = words.to_tensors()
    broken["owners"] = broken["owners"][:-1]
    with pytest.raises(CheckpointError, match="do not belong together"):
        WordList.from_tensors(broken, again.unigrams)
    pairs = model.to_tensors()
    pairs["pair_logprobs"] = pairs["pair_logprobs"][1:]
    with pytest.raises(CheckpointError, match="word model"):
        WordModel(pairs)


def test_greedy_writes_what_was_likeliest(words: WordList) -> None:
    units = [*units_of("see"), *units_of("你好")]
    assert greedy_units(spoken(*units)) == units
    assert greedy_text(units, words) == "see 你好"
    assert greedy_text(units) == "see ni3 hao3" == spelling_of(units)


def test_english_and_chinese_are_found(words: WordList, model: WordModel) -> None:
    said = [*units_of("I"), *units_of("see"), *units_of("the"), *units_of("cats")]
    sentence = heard(words, model, spoken(*said))
    assert texts(sentence) == ["I", "see", "the", "cats"]
    assert texts(heard(words, model, spoken(*units_of("你好"), *units_of("是")))) == ["你好", "事"]
    assert texts(heard(words, model, spoken(*units_of("是"), *units_of("你")))) == ["是", "你"]


def test_words_of_the_two_languages_are_weighed_apart(words: WordList, model: WordModel) -> None:
    said = spoken(*units_of("the"), *units_of("cat"), *units_of("你好"))
    for bonus, expected in ((-1.0, ["你好"]), (6.0, ["你", "好"])):
        search = WordSearch(words, model, SearchOptions(chinese_bonus=bonus))
        search.push(said)
        assert texts(search.sentences(1)[0]) == ["the", "cat", *expected]


def test_times_and_confidence(words: WordList, model: WordModel) -> None:
    sentence = heard(words, model, spoken(*units_of("the"), *units_of("cat"), sure=0.8))
    first, second = sentence.words
    assert (first.begin, first.end) == (0, 10)  # t, h, e: two frames and a blank each; then the word's end
    assert (second.begin, second.end) == (12, 22)
    assert first.confidence == pytest.approx(0.8, abs=0.02)


def test_what_is_known_decides_between_sounds(words: WordList, model: WordModel) -> None:
    """The third letter is as well an a as an e; after I comes see, after the comes sea."""
    e, a = units_of("see")[1], units_of("sea")[2]
    unclear = spoken(*units_of("see")[:2], e, units_of("see")[3], sure=0.52, other=a)
    for before, expected in (("I", "see"), ("the", "sea")):
        log_probs = np.concatenate([spoken(*units_of(before)), unclear])
        assert texts(heard(words, model, log_probs)) == [before, expected]


def test_pieces_give_what_the_whole_gives(words: WordList, model: WordModel) -> None:
    log_probs = spoken(*units_of("I"), *units_of("see"), *units_of("你好"), sure=0.7, gap=3)
    search = WordSearch(words, model, SearchOptions())
    for row in log_probs:
        search.push(row[None])
        aside = search.copy()
        aside.push(spoken(*units_of("cat")))  # must leave the search alone
    assert search.sentences(1) == [heard(words, model, log_probs)]
    assert search.num_frames == len(log_probs)


def test_a_word_on_its_way_counts_when_it_is_one(words: WordList, model: WordModel) -> None:
    search = WordSearch(words, model, SearchOptions())
    search.push(spoken(*units_of("the"), *units_of("cat")[:-1]))
    assert [word.text for word in search.best()] == ["the", "cat"]


def test_words_that_are_not_listed_are_spelled(words: WordList, model: WordModel) -> None:
    log_probs = spoken(*units_of("the"), *(english_units("dog") or ()), sure=0.98)
    assert texts(heard(words, model, log_probs)) == ["the", "dog"]


def test_expected_words_are_preferred(words: WordList, model: WordModel) -> None:
    t, b = units_of("cat")[2], units_of("b")[0]
    log_probs = spoken(*units_of("the"), *units_of("ca")[:2], t, units_of("cat")[3], sure=0.55, other=b)
    assert texts(heard(words, model, log_probs)) == ["the", "cat"]
    assert texts(heard(words, model, log_probs, expected=expected_words("Cab!"))) == ["the", "cab"]
    assert expected_words("Say 你好, Ann's", words.texts) == {"say", "ann's", "你好"}
    assert not expected_words(None)


def test_a_language_leaves_the_other_out(words: WordList, model: WordModel) -> None:
    log_probs = spoken(*units_of("是"), *units_of("the"), sure=0.9)
    assert texts(heard(words, model, log_probs)) == ["是", "the"]
    assert texts(heard(words, model, log_probs, language="en")) == ["the"]
    assert texts(heard(words, model, log_probs, language="zh")) == ["是"]


def test_ways_of_hearing_are_ranked(words: WordList, model: WordModel) -> None:
    search = WordSearch(words, model, SearchOptions())
    search.push(spoken(*units_of("是"), sure=0.9))
    found = search.sentences(3)
    assert [texts(sentence) for sentence in found[:2]] == [["是"], ["事"]]
    assert found[0].score > found[1].score
