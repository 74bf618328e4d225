"""Reading the text sets, and the one rule of what is held out.

A row is held out when `int(sha256(key).hexdigest()[:8], 16) % 250 == 0`; the key is its text, the JSON of its
messages, or the English side of a pair. `xdailydialog` is parallel by order in both languages, so its
Chinese rows take the key of the English row at the same place. Training drops rows that share the first 100
characters or the passage with a held-out row.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from localgpt.errors import ConfigError

__all__ = [
    "TextRow",
    "drop_near_copies",
    "find_set",
    "is_held_out",
    "read_json_rows",
    "read_rows",
    "without_labels",
]

MODULUS = 250
HEAD_CHARS = 100
PASSAGE_CHARS = 200
SHARED_HEADER = frozenset({"gpteacher_toolformer"})


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row: a document (`text`) or a conversation (`messages`: (role, content) pairs)."""

    src: str
    key: str
    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    is_noncommercial: bool = False
    title: str = field(default="", compare=False)

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the contents alone."""
        return len(self.text.encode()) + sum(len(content.encode()) for _, content in self.messages)

    @property
    def contents(self) -> tuple[str, ...]:
        """The texts of the row in order."""
        return (self.text,) if self.text else tuple(content for _, content in self.messages)


def is_held_out(key: str, *, modulus: int = MODULUS) -> bool:
    """Whether the row with this key is kept from training."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % modulus == 0


def find_set(data_dir: Path, name: str) -> Path:
    """The file of a text set, in `data_dir/text` or in `data_dir` itself.

    Raises:
        ConfigError: it is in neither.
    """
    for folder in (data_dir / "text", data_dir):
        if (file := folder / f"{name}.jsonl.xz").is_file():
            return file
    raise ConfigError(
        f"no {name}.jsonl.xz in {data_dir} or {data_dir / 'text'}: pass the data folder as --data"
    )


def read_json_rows(data_dir: Path, name: str) -> list[dict[str, Any]]:
    """All rows of a set as they are."""
    with lzma.open(find_set(data_dir, name), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_rows(data_dir: Path, name: str, *, english_keys: list[str] | None = None) -> list[TextRow]:
    """The rows of a document or dialogue set.

    Args:
        data_dir: the data folder.
        name: `pretrain_en`, `pretrain_zh`, `sft_en` or `sft_zh`.
        english_keys: keys of the English `xdailydialog` rows in order; needed for `sft_zh`.
    """
    rows, parallel = [], 0
    for raw in read_json_rows(data_dir, name):
        key = raw["text"] if "text" in raw else json.dumps(raw["messages"], ensure_ascii=False)
        if raw["src"] == "xdailydialog" and english_keys is not None:
            key = english_keys[parallel]
            parallel += 1
        rows.append(
            TextRow(
                src=raw["src"],
                key=key,
                text=raw.get("text", ""),
                messages=tuple((turn["role"], turn["content"]) for turn in raw.get("messages", ())),
                is_noncommercial="NC" in raw.get("licence", ""),
                title=raw.get("title", ""),
            )
        )
    return rows


def drop_near_copies(rows: Iterable[TextRow], held_out: Iterable[TextRow]) -> list[TextRow]:
    """The training rows that share neither head nor passage with a held-out row."""
    heads: set[str] = set()
    passages: dict[str, set[str]] = defaultdict(set)
    for row in held_out:
        if row.src not in SHARED_HEADER:
            heads |= _heads(row)
            passages[row.src] |= _passages(row)
    kept = []
    for row in rows:
        is_copy = row.src not in SHARED_HEADER and (
            not heads.isdisjoint(_heads(row)) or not passages[row.src].isdisjoint(_passages(row))
        )
        if not is_copy and not is_held_out(row.key):
            kept.append(row)
    return kept


def without_labels(row: TextRow) -> TextRow:
    """The dialogue up to a turn that holds annotation figures (`1 2 1 0 4`) in place of an answer.

    A quarter of the Chinese `xdailydialog` rows end so; held-out rows are measured as they are.
    """
    if row.src != "xdailydialog":
        return row
    for place, (_, content) in enumerate(row.messages):
        if len(content) > 2 and not content.replace(" ", "").strip("0123456789"):
            return replace(row, messages=row.messages[: place - place % 2])
    return row


def _heads(row: TextRow) -> set[str]:
    """First 100 characters, of the key and of the contents."""
    return {row.key[:HEAD_CHARS], "\n".join(row.contents)[:HEAD_CHARS]}


def _passages(row: TextRow) -> set[str]:
    """The paragraphs a user turn is long enough to be asked about."""
    if not row.messages:
        return set()
    first = row.messages[0][1]
    return {part[:PASSAGE_CHARS] for part in first.split("\n\n") if len(part) >= PASSAGE_CHARS}
