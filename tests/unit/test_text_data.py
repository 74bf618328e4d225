"""Preparation of the text: the held-out rule, near copies, the template's form, the same bytes twice."""

from __future__ import annotations

import json
import lzma
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localgpt.errors import ConfigError
from localgpt.media.text.template import PAINT, ROLE_IDS, TOOL_CALL, render_chat, render_document
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import BOS_ID, END_ID
from recipes.text_data.countries import load_countries, possessive
from recipes.text_data.factbook import factbook_sequences
from recipes.text_data.mixed import NUM_CONVERSATIONS, mixed_sequences
from recipes.text_data.prepare import HELD_OUT, STREAMS, prepare
from recipes.text_data.rows import TextRow, drop_near_copies, is_held_out, read_rows, without_labels
from recipes.text_data.sequences import Turn, chat, document, encode_sequences
from recipes.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(iter(["hello world 你好，世界 {} 12"] * 3))


def held_out_key(prefix: str) -> str:
    return next(f"{prefix} {n}" for n in range(100_000) if is_held_out(f"{prefix} {n}"))


def write_set(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    wiki = "Fox\n\nA fox is a small animal with red fur that lives in the forest. It hunts mice."
    free, nc = "CC BY-SA 3.0", "CC BY-NC 4.0"
    documents = [{"src": "enwiki", "text": wiki, "licence": free}]
    documents += [{"src": "enwiki", "text": held_out_key("an article"), "licence": free}]
    documents += [{"src": "books", "text": held_out_key("a book"), "licence": free, "title": "B"}]
    documents += [{"src": "books", "text": "Once upon a time.", "licence": free, "title": "A"}]
    write_set(folder, "pretrain_en", documents)
    write_set(
        folder,
        "pretrain_zh",
        [{"src": "zhwiki", "text": "狐狸\n狐狸是一种犬科动物，生活在森林里。", "licence": free}],
    )

    def dialogue(src: str, question: str, answer: str, licence: str) -> dict[str, Any]:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"src": src, "messages": turns, "licence": licence}

    english = next(
        row
        for n in range(100_000)
        if is_held_out(json.dumps((row := dialogue("xdailydialog", f"Hi {n}", "Hello", free))["messages"]))
    )
    dialogues = [
        english,
        dialogue("xdailydialog", "Good day", "Hello", free),
        dialogue("alpaca", "Tea?", "Yes", nc),
    ]
    dialogues += [dialogue("alpaca", "Which city does Peru have as its capital?", "Lima", free)]
    write_set(folder, "sft_en", dialogues)
    write_set(folder, "sft_zh", [dialogue("xdailydialog", q, "好", free) for q in ("你好", "日安")])
    pairs = [{"en": "A dog.", "zh": "一只狗。"}, {"en": held_out_key("A cat"), "zh": "一只猫。"}]
    write_set(folder, "bilingual_en_zh", pairs)
    return folder


def run(data_dir: Path, out: Path, tokenizer: Tokenizer, **more: Any) -> dict[str, Any]:
    out.mkdir()
    (out / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    manifest = prepare(data_dir, out, workers=1, tokenizer=out / "tokenizer.json", sample=0.002, **more)
    return {name: counts["rows"] for name, counts in manifest["streams"].items()} | {"manifest": manifest}


def decoded(out: Path, name: str, tokenizer: Tokenizer) -> list[str]:
    tokens, offsets = np.load(out / f"{name}.tokens.npy"), np.load(out / f"{name}.offsets.npy")
    pieces = [tokens[a:b].tolist() for a, b in pairwise(offsets)]
    return [tokenizer.decode(piece, keep_special=True) for piece in pieces]


def test_prepare_keeps_held_out_rows_apart(
    data_dir: Path, tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipes.text_data.prepare._sampled", lambda items, options, name: iter(items))
    rows = run(data_dir, tmp_path / "a", tokenizer)
    assert rows["heldout_articles"] == 1 and rows["heldout_books"] == 1
    assert rows["articles_en"] == 1 and rows["books"] == 1 and rows["articles_zh"] == 1
    assert rows["heldout_dialogues"] == 2  # the Chinese row follows its English one
    assert rows["dialogues_en"] == 2  # the evaluation's wording is gone
    assert rows["dialogues_zh"] == 1 and rows["bilingual"] == 2 and rows["knowledge"] == 4
    text = decoded(tmp_path / "a", "heldout_articles", tokenizer)
    assert text == [f"<|bos|>{held_out_key('an article')}<|end|>"]
    assert np.load(tmp_path / "a" / "heldout_articles.bytes.npy").tolist() == [
        len(held_out_key("an article"))
    ]
    assert any("A fox is a small animal" in line for line in decoded(tmp_path / "a", "knowledge", tokenizer))
    free = run(data_dir, tmp_path / "b", tokenizer, use_noncommercial=False)
    assert free["dialogues_en"] == 1


def test_prepare_is_deterministic_and_complete(data_dir: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    first = run(data_dir, tmp_path / "a", tokenizer)["manifest"]
    again = run(data_dir, tmp_path / "b", tokenizer)["manifest"]
    assert first == again
    for name in (*STREAMS, *HELD_OUT):
        tokens, offsets = (
            np.load(tmp_path / f"a/{name}.tokens.npy"),
            np.load(tmp_path / f"a/{name}.offsets.npy"),
        )
        assert tokens.dtype == np.uint16 and offsets.dtype == np.int64
        assert offsets[0] == 0 and offsets[-1] == len(tokens)
        assert all(tokens[start] == BOS_ID for start in offsets[:-1])
        assert all(tokens[end - 1] == END_ID for end in offsets[1:])


def test_missing_set_and_tokenizer_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokenizer"):
        prepare(tmp_path, tmp_path / "out", tokenizer=tmp_path / "none.json")
    with pytest.raises(ConfigError, match="no sft_en"):
        read_rows(tmp_path, "sft_en")


def test_near_copies_of_held_out_rows_are_dropped() -> None:
    passage = "long passage " * 30
    held = TextRow(src="cmrc2018", key="k", messages=(("user", f"{passage}\n\nWho?"), ("assistant", "He")))
    same = TextRow(
        src="cmrc2018", key="m", messages=(("user", f"{passage}\n\nWhere?"), ("assistant", "There"))
    )
    other = TextRow(src="cmrc2018", key="n", messages=(("user", "Another question"), ("assistant", "Yes")))
    tools = [
        TextRow(src="gpteacher_toolformer", key=key, messages=(("user", passage), ("assistant", key)))
        for key in ("tool held out", "tool kept")
    ]
    kept = drop_near_copies([same, other, tools[1]], [held, tools[0]])
    assert kept == [other, tools[1]]


def test_turns_of_annotation_figures_are_cut() -> None:
    messages = (("user", "你好"), ("assistant", "好"), ("user", "再见"), ("assistant", "1 2 1 0"))
    row = TextRow(src="xdailydialog", key="k", messages=messages)
    assert without_labels(row).messages == messages[:2]
    assert without_labels(TextRow(src="gsm8k", key="k", messages=messages)).messages == messages


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "hello"), ("assistant", "world")],
        [("system", "hello"), ("user", "你好"), ("assistant", PAINT, "12"), ("user", "hello")],
        [
            ("tools", "[]"),
            ("user", "hello"),
            ("assistant", TOOL_CALL, "{}"),
            ("tool", "12"),
            ("assistant", "world"),
        ],
        [("user", "hello"), ("json", "{}"), ("assistant", "{}")],
    ],
)
def test_sequences_have_the_form_of_the_template(tokenizer: Tokenizer, turns: list[Turn]) -> None:
    tokens, lengths = encode_sequences(tokenizer, [chat(turns), document("hello world")])
    expected = render_chat(tokenizer, [(role, pieces) for role, *pieces in turns], add_assistant=False)
    assert tokens[: lengths[0]].tolist() == expected
    assert tokens[lengths[0] :].tolist() == render_document(tokenizer, "hello world")


def test_country_table() -> None:
    countries = {country.code: country for country in load_countries()}
    assert len(countries) == 194
    assert (countries["FR"].capital_en, countries["FR"].capital_zh) == ("Paris", "巴黎")
    assert countries["JP"].currency_zh == "日元" and countries["BR"].languages_en == ("Portuguese",)
    assert "ES" in countries["FR"].neighbours and "FR" in countries["ES"].neighbours
    assert possessive("the Netherlands") == "the Netherlands'" and possessive("France") == "France's"


def test_factbook_answers_hold_the_facts() -> None:
    for language, needle in (("en", "The capital of France is Paris."), ("zh", "法国的首都是巴黎。")):
        said = [
            part
            for parts in factbook_sequences(language, scale=0.5)
            for part in parts
            if isinstance(part, str)
        ]
        assert needle in said
        assert not any("{" in text or "}" in text for text in said)


def test_mixed_conversations_change_their_subject() -> None:
    rows = list(mixed_sequences(seed=0, scale=0.02))
    assert len(rows) == round(0.02 * NUM_CONVERSATIONS) and rows == list(mixed_sequences(seed=0, scale=0.02))
    for parts in rows:
        assert parts[0] == BOS_ID and parts[-1] == END_ID and parts.count(BOS_ID) == 1
        questions = [
            text for role, text in pairwise(parts) if role == ROLE_IDS["user"] and isinstance(text, str)
        ]
        assert 2 <= len(questions) <= 4
        assert len({any("\u4e00" <= char <= "\u9fff" for char in text) for text in questions}) == 1
    about = [[str(part) for part in parts if isinstance(part, str)] for parts in rows]
    assert any("capital" in texts[0] and "capital" not in texts[2] for texts in about)
