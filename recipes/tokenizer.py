"""Training of the tokenizer: byte-level BPE over a balanced sample of the English and Chinese training rows.

    python -m recipes.tokenizer --data DATA --out weights/tokenizer.json

The pre-tokenizer is the pattern of GPT-4 with three changes: every digit alone, Han runs apart from other
scripts, and no piece longer than 18 bytes (six Han characters).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import FIRST_SPECIAL_ID, SPECIAL_TOKENS
from recipes.text_data.rows import is_held_out, read_json_rows, read_rows

__all__ = ["PATTERN", "sample_texts", "train_tokenizer"]

PATTERN = (
    r"'(?:[sdmtSDMT]|ll|ve|re|LL|VE|RE)"
    r"|\p{Han}+"
    r"|[^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[\p{L}\p{M}])+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MAX_PIECE_BYTES = 18
PIECE_CHARS = 2_000  # long documents are sampled in pieces, so that one book does not fill the sample


def new_backend() -> Backend:
    """An untrained tokenizer with the family's pre-tokenizer."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def train_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """Learn the pieces of the family's vocabulary; the reserved ids follow them."""
    backend = new_backend()
    trainer = trainers.BpeTrainer(
        vocab_size=FIRST_SPECIAL_ID,
        min_frequency=2,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=MAX_PIECE_BYTES,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend = _fill_up(backend)
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return Tokenizer(backend)


def _fill_up(backend: Backend) -> Backend:
    """Give a vocabulary learnt from a tiny sample its full size with pieces that are never produced."""
    content = json.loads(backend.to_str())
    vocab = content["model"]["vocab"]
    vocab.update({f"<|unused_{number}|>": number for number in range(len(vocab), FIRST_SPECIAL_ID)})
    return Backend.from_str(json.dumps(content))


def sample_texts(data_dir: Path, *, language: str, max_bytes: int, seed: int = 0) -> list[str]:
    """Training rows of one language in pieces: 60 % documents, 40 % dialogues by bytes."""
    rng = random.Random(f"{seed}{language}")
    english_keys = None
    if language == "zh":
        english = read_rows(data_dir, "sft_en")
        english_keys = [row.key for row in english if row.src == "xdailydialog"]
    pairs = [row for row in read_json_rows(data_dir, "bilingual_en_zh") if not is_held_out(row["en"])]
    chosen: list[str] = []
    for name, share in ((f"pretrain_{language}", 0.6), (f"sft_{language}", 0.4)):
        pieces = []
        for row in read_rows(data_dir, name, english_keys=english_keys if name == "sft_zh" else None):
            if not is_held_out(row.key):
                for text in row.contents:
                    pieces += [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]
        rng.shuffle(pieces)
        num_bytes = 0
        for piece in pieces:
            chosen.append(piece)
            num_bytes += len(piece.encode())
            if num_bytes >= max_bytes * share:
                break
    chosen += [row[language] for row in pairs]
    rng.shuffle(chosen)
    return chosen


def bytes_per_token(tokenizer: Tokenizer, texts: list[str]) -> float:
    """UTF-8 bytes over tokens."""
    num_tokens = sum(len(ids) for ids in tokenizer.encode_batch(texts))
    return sum(len(text.encode()) for text in texts) / num_tokens


def main() -> None:
    """Train and write the tokenizer; print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("weights/tokenizer.json"))
    parser.add_argument("--megabytes", type=float, default=40.0, help="sample size per language")
    args = parser.parse_args()
    samples = {
        language: sample_texts(args.data, language=language, max_bytes=int(args.megabytes * 1e6))
        for language in ("en", "zh")
    }
    tokenizer = train_tokenizer(text for texts in samples.values() for text in texts)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(tokenizer.to_str(), encoding="utf-8")
    for language, texts in samples.items():
        sys.stdout.write(f"{language}: {bytes_per_token(tokenizer, texts[:4000]):.3f} bytes/token\n")


if __name__ == "__main__":
    main()
