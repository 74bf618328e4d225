"""The tokenizer: lossless, digits alone, reserved ids out of reach of text, streams in whole characters."""

from __future__ import annotations

import pytest

from localgpt.errors import CheckpointError
from localgpt.media.text.tokenizer import StreamDecoder, Tokenizer
from localgpt.media.text.vocabulary import (
    BOS_ID,
    END_ID,
    FIRST_SPECIAL_ID,
    NUM_SPECIAL,
    PAD_ID,
    SPECIAL_IDS,
    SPECIAL_TOKENS,
    VOCAB_SIZE,
)
from recipes.tokenizer import train_tokenizer

TEXTS = [
    "The capital of France is Paris. It's 2024, and 12 + 34 = 46.",
    "法国的首都是巴黎。我今天很高兴，你呢？",
    "mixed 中文abc and emoji 🦊\n\n\ttabs  and   spaces ",
    "<|end|><|bos|> <|spare_7|> typed by a user",
    "",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(iter(TEXTS * 5))


def test_vocabulary_layout() -> None:
    assert (VOCAB_SIZE, NUM_SPECIAL, FIRST_SPECIAL_ID) == (24_576, 160, 24_416)
    assert (END_ID, BOS_ID, PAD_ID) == (24_416, 24_417, 24_418)
    assert len(SPECIAL_TOKENS) == len(SPECIAL_IDS) == NUM_SPECIAL
    assert SPECIAL_IDS["<|spare_139|>"] == VOCAB_SIZE - 1


@pytest.mark.parametrize("text", TEXTS)
def test_encoding_is_lossless_and_never_reserved(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text)
    assert tokenizer.decode(token_ids) == text
    assert all(token_id < FIRST_SPECIAL_ID for token_id in token_ids)
    assert tokenizer.encode_batch([text, "x"])[0] == token_ids


def test_every_digit_is_its_own_token(tokenizer: Tokenizer) -> None:
    assert [tokenizer.decode([i]) for i in tokenizer.encode("2024")] == ["2", "0", "2", "4"]


def test_han_is_not_joined_to_other_scripts(tokenizer: Tokenizer) -> None:
    pieces = [tokenizer.piece(i) for i in tokenizer.encode("中文abc")]
    assert b"".join(pieces[:-1]).decode().rstrip("abc") == "中文"
    assert not any(b"a" in piece and any(byte > 127 for byte in piece) for piece in pieces)


def test_special_ids_decode_only_on_request(tokenizer: Tokenizer) -> None:
    token_ids = [BOS_ID, *tokenizer.encode("hi"), END_ID]
    assert tokenizer.decode(token_ids) == "hi"
    assert tokenizer.decode(token_ids, keep_special=True) == "<|bos|>hi<|end|>"


def test_broken_utf8_becomes_replacement_character(tokenizer: Tokenizer) -> None:
    fox = tokenizer.encode("🦊🦊🦊🦊")
    cut = next(i for i in fox if not tokenizer.piece(i).decode("utf-8", errors="ignore"))
    assert tokenizer.decode([cut]) == "\ufffd"


@pytest.mark.parametrize("text", TEXTS)
def test_stream_gives_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    decoder = StreamDecoder(tokenizer)
    parts = [decoder.push(token_id) for token_id in [*tokenizer.encode(text), END_ID]]
    assert "".join(parts) + decoder.flush() == text
    assert not any("\ufffd" in part for part in parts)


def test_stream_flushes_unfinished_character(tokenizer: Tokenizer) -> None:
    decoder = StreamDecoder(tokenizer)
    first = next(i for i in range(256) if tokenizer.piece(i) == b"\xe4")
    assert decoder.push(first) == ""
    assert decoder.flush() == "\ufffd"


def test_file_round_trip_and_errors(tokenizer: Tokenizer, tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    again = Tokenizer.from_file(folder / "tokenizer.json")
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    with pytest.raises(CheckpointError, match=r"no tokenizer at"):
        Tokenizer.from_file(folder / "missing.json")
    (folder / "bad.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        Tokenizer.from_file(folder / "bad.json")


def test_embedded_tokenizer_has_the_vocabulary() -> None:
    from pathlib import Path

    tokenizer = Tokenizer.from_file(Path(__file__).parents[2] / "weights" / "tokenizer.json")
    assert tokenizer.decode(tokenizer.encode(TEXTS[3])) == TEXTS[3]
    assert len(tokenizer.encode("The capital of France is Paris.")) <= 8
    assert len(tokenizer.encode("法国的首都是巴黎。")) <= 8
    assert all(tokenizer.piece(i) for i in range(FIRST_SPECIAL_ID))
