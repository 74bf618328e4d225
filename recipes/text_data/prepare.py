"""From the data folder to token streams, deterministically and on many processes.

Streams: articles_en, articles_zh, books, bilingual, dialogues_en, dialogues_zh, factbook, made, product,
mixed, knowledge, and the held-out heldout_articles, heldout_books, heldout_dialogues. Each is
`NAME.tokens.npy` (uint16, end to end) and `NAME.offsets.npy` (int64, one more than sequences); held-out
ones have `NAME.bytes.npy` (int64, UTF-8 bytes of the contents of each sequence) beside them.
`manifest.json` records counts, hashes and seeds.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localgpt.errors import ConfigError
from localgpt.media.text.tokenizer import Tokenizer
from recipes.text_data.arithmetic import arithmetic_sequences
from recipes.text_data.bilingual import bilingual_sequences
from recipes.text_data.factbook import factbook_sequences
from recipes.text_data.held_out_sums import shows_held_out_sum
from recipes.text_data.held_out_wordings import held_out_wordings
from recipes.text_data.json_answers import json_sequences
from recipes.text_data.knowledge import knowledge_sequences
from recipes.text_data.measures import measure_sequences
from recipes.text_data.mixed import mixed_sequences
from recipes.text_data.paint import paint_sequences
from recipes.text_data.product import product_sequences
from recipes.text_data.rows import TextRow, drop_near_copies, is_held_out, read_rows, without_labels
from recipes.text_data.sequences import Parts, chat, document, encode_sequences
from recipes.text_data.tools import tool_sequences

__all__ = ["HELD_OUT", "STREAMS", "PrepareOptions", "prepare"]

STREAMS = (
    "articles_en",
    "articles_zh",
    "books",
    "bilingual",
    "dialogues_en",
    "dialogues_zh",
    "factbook",
    "made",
    "product",
    "mixed",
    "knowledge",
)
HELD_OUT = ("heldout_articles", "heldout_books", "heldout_dialogues")
TASKS = (
    "pretrain_en",
    "pretrain_zh",
    "sft_en",
    "sft_zh",
    "bilingual",
    "factbook_en",
    "factbook_zh",
    "arithmetic",
    "measures",
    "product",
    "mixed",
    "paint",
    "tools",
    "json",
)
ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
CHUNK_CHARS = 1_000_000
DEFAULT_TOKENIZER = Path(__file__).parents[2] / "weights" / "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """How to prepare.

    Args:
        data_dir: folder with the text sets, flat or in `text/`.
        out_dir: where the streams go.
        workers: processes.
        tokenizer: `tokenizer.json` to encode with.
        use_noncommercial: keep training rows whose licence says NC; their weights become CC BY-NC-SA 4.0.
        sample: share of rows and made questions to keep, for trials.
        seed: decides all that is made.
    """

    data_dir: Path
    out_dir: Path
    workers: int = 1
    tokenizer: Path = DEFAULT_TOKENIZER
    use_noncommercial: bool = True
    sample: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Sequences of one stream on their way to the tokenizer; `num_bytes` of held-out contents."""

    stream: str
    sequences: tuple[Parts, ...]
    num_bytes: tuple[int, ...]


def prepare(data_dir: Path | str, out_dir: Path | str, *, workers: int = 1, **more: Any) -> dict[str, Any]:
    """Write all streams; see `PrepareOptions` for the rest of the arguments.

    Returns:
        The manifest.

    Raises:
        ConfigError: a set or the tokenizer is missing.
    """
    options = PrepareOptions(data_dir=Path(data_dir), out_dir=Path(out_dir), workers=workers, **more)
    if not options.tokenizer.is_file():
        raise ConfigError(f"no tokenizer at {options.tokenizer}: train it with python -m recipes.tokenizer")
    options.out_dir.mkdir(parents=True, exist_ok=True)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes instead of threads
    collected = _run_all(options)
    manifest: dict[str, Any] = {
        "seed": options.seed,
        "sample": options.sample,
        "use_noncommercial": options.use_noncommercial,
        "tokenizer_sha256": hashlib.sha256(options.tokenizer.read_bytes()).hexdigest(),
        "streams": {
            name: _write(options.out_dir, name, collected.get(name, [])) for name in (*STREAMS, *HELD_OUT)
        },
    }
    (options.out_dir / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


Encoded = tuple[str, NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64], int]


def _run_all(options: PrepareOptions) -> dict[str, list[Encoded]]:
    """Make the chunks task by task and encode them as they come, keeping their order."""
    tasks = [partial(_chunks_of, replace(options), task) for task in TASKS]
    collected: dict[str, list[Encoded]] = {}
    if options.workers <= 1:
        for task in tasks:
            for chunk in task():
                encoded = _encode(options.tokenizer, chunk)
                collected.setdefault(chunk.stream, []).append(encoded)
        return collected
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        making = [pool.submit(_call, task) for task in tasks]
        encoding = [
            [pool.submit(_encode, options.tokenizer, chunk) for chunk in future.result()] for future in making
        ]
        for futures in encoding:
            for future in futures:
                collected.setdefault(future.result()[0], []).append(future.result())
    return collected


def _call(task: partial[list[Chunk]]) -> list[Chunk]:
    return task()


_tokenizers: dict[Path, Tokenizer] = {}


def _encode(tokenizer_file: Path, chunk: Chunk) -> Encoded:
    if tokenizer_file not in _tokenizers:
        _tokenizers[tokenizer_file] = Tokenizer.from_file(tokenizer_file)
    tokens, lengths = encode_sequences(_tokenizers[tokenizer_file], chunk.sequences)
    total = sum(len(part.encode()) for parts in chunk.sequences for part in parts if isinstance(part, str))
    return chunk.stream, tokens, lengths, np.asarray(chunk.num_bytes, dtype=np.int64), total


def _chunks_of(options: PrepareOptions, task: str) -> list[Chunk]:
    """All chunks of one task."""
    seed, scale = options.seed, options.sample
    if task.startswith(("pretrain", "sft")):
        return list(_row_chunks(options, task))
    makers = {
        "bilingual": (
            "bilingual",
            lambda: _sampled(bilingual_sequences(options.data_dir, seed=seed), options, task),
        ),
        "factbook_en": ("factbook", lambda: factbook_sequences("en", seed=seed, scale=scale)),
        "factbook_zh": ("factbook", lambda: factbook_sequences("zh", seed=seed, scale=scale)),
        "arithmetic": ("made", lambda: arithmetic_sequences(seed=seed, scale=scale)),
        "measures": ("made", lambda: measure_sequences(seed=seed, scale=scale)),
        "product": ("product", lambda: product_sequences(seed=seed, scale=scale)),
        "mixed": ("mixed", lambda: mixed_sequences(seed=seed, scale=scale)),
        "paint": ("product", lambda: paint_sequences(seed=seed, scale=scale)),
        "tools": ("product", lambda: tool_sequences(seed=seed, scale=scale)),
        "json": ("product", lambda: json_sequences(seed=seed, scale=scale)),
    }
    stream, make = makers[task]
    return list(_chunked(stream, ((parts, 0) for parts in make())))


def _row_chunks(options: PrepareOptions, name: str) -> Iterator[Chunk]:
    """Documents or dialogues of one set: training and held-out streams, questions made of articles."""
    language = name[-2:]
    english_keys = None
    if name == "sft_zh":
        english = read_rows(options.data_dir, "sft_en")
        english_keys = [row.key for row in english if row.src == "xdailydialog"]
    rows = read_rows(options.data_dir, name, english_keys=english_keys)
    held_out = [row for row in rows if is_held_out(row.key)]
    kept = drop_near_copies(rows, held_out)
    if not options.use_noncommercial:
        kept = [row for row in kept if not row.is_noncommercial]
    kept = list(_sampled(kept, options, name))
    if name.startswith("sft"):
        kept = [without_labels(row) for row in kept if not _spoils_questions(row)]
        kept = [row for row in kept if row.messages]
        yield from _chunked(f"dialogues_{language}", ((_dialogue(row), 0) for row in kept))
        yield from _chunked("heldout_dialogues", ((_dialogue(row), row.num_bytes) for row in held_out))
        return
    for stream, is_book in ((f"articles_{language}", False), ("books", True)):
        chosen = (row for row in kept if (row.src == "books") == is_book)
        yield from _chunked(stream, ((document(row.text), 0) for row in chosen))
        tested = (row for row in held_out if (row.src == "books") == is_book)
        name_out = "heldout_books" if is_book else "heldout_articles"
        yield from _chunked(name_out, ((document(row.text), row.num_bytes) for row in tested))
    made = knowledge_sequences(kept, language, seed=options.seed)
    unspoilt = (parts for parts in made if not _clashes(str(parts[2])))
    yield from _chunked("knowledge", ((parts, 0) for parts in unspoilt))


def _dialogue(row: TextRow) -> Parts:
    return chat((ROLES[role], content) for role, content in row.messages)


def _spoils_questions(row: TextRow) -> bool:
    """Whether a dialogue shows a wording or a sum of the evaluation."""
    return any(
        shows_held_out_sum(content) or (role == "user" and _clashes(content))
        for role, content in row.messages
    )


def _clashes(question: str) -> bool:
    return held_out_wordings().clash(question) is not None


def _sampled(items: Iterable[Any], options: PrepareOptions, name: str) -> Iterator[Any]:
    """A deterministic share of the items."""
    rng = random.Random(f"sample-{options.seed}-{name}")
    return (item for item in items if options.sample >= 1.0 or rng.random() < options.sample)


def _chunked(stream: str, items: Iterable[tuple[Parts, int]]) -> Iterator[Chunk]:
    """Group sequences to about a million characters, so that all processes have work."""
    sequences: list[Parts] = []
    num_bytes: list[int] = []
    size = 0
    for parts, count in items:
        sequences.append(parts)
        num_bytes.append(count)
        size += sum(len(part) for part in parts if isinstance(part, str)) + 20
        if size >= CHUNK_CHARS:
            yield Chunk(stream, tuple(sequences), tuple(num_bytes))
            sequences, num_bytes, size = [], [], 0
    if sequences:
        yield Chunk(stream, tuple(sequences), tuple(num_bytes))


def _write(folder: Path, name: str, chunks: list[Encoded]) -> dict[str, Any]:
    """Write one stream; gives its line of the manifest."""
    tokens = np.concatenate([np.zeros(0, np.uint16), *[chunk[1] for chunk in chunks]])
    lengths = np.concatenate([np.zeros(0, np.int64), *[chunk[2] for chunk in chunks]])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    np.save(folder / f"{name}.tokens.npy", tokens)
    np.save(folder / f"{name}.offsets.npy", offsets)
    if name in HELD_OUT:
        counts = np.concatenate([np.zeros(0, np.int64), *[chunk[3] for chunk in chunks]])
        np.save(folder / f"{name}.bytes.npy", counts)
    return {
        "rows": len(lengths),
        "tokens": len(tokens),
        "bytes": sum(chunk[4] for chunk in chunks),
        "sha256": hashlib.sha256(tokens.tobytes()).hexdigest(),
    }
