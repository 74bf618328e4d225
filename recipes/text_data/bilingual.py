"""Translation requests in both directions from sentence pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from recipes.text_data.noise import casual
from recipes.text_data.rows import is_held_out, read_json_rows
from recipes.text_data.sequences import Parts, Turn, chat

__all__ = ["bilingual_sequences"]

TO_ZH = (
    "Translate into Chinese: {s}",
    "Translate to Chinese: {s}",
    "How do you say this in Chinese? {s}",
    "Please translate into Chinese: {s}",
    "{s}\n\nTranslate this into Chinese.",
    "In Chinese, please: {s}",
    'What is "{s}" in Chinese?',
    "Chinese translation of: {s}",
    "翻译成中文：{s}",
    "把这句话翻译成中文：{s}",
    "请把下面的英文翻译成中文。\n{s}",
    "“{s}”用中文怎么说？",
    "英译中：{s}",
    "{s}\n这句话是什么意思？",
)
TO_EN = (
    "Translate into English: {s}",
    "Translate to English: {s}",
    "How do you say this in English? {s}",
    "Please translate into English: {s}",
    "{s}\n\nTranslate this into English.",
    "In English, please: {s}",
    "What does this mean in English: {s}",
    "English translation of: {s}",
    "翻译成英文：{s}",
    "把这句话翻译成英语：{s}",
    "请把下面的中文翻译成英文。\n{s}",
    "“{s}”用英语怎么说？",
    "中译英：{s}",
    "“{s}”英文怎么说",
)


def bilingual_sequences(data_dir: Path, *, seed: int = 0) -> Iterator[Parts]:
    """Every training pair in both directions; now and then two requests in one conversation."""
    rng = random.Random(f"bilingual-{seed}")
    pairs = [row for row in read_json_rows(data_dir, "bilingual_en_zh") if not is_held_out(row["en"])]
    rng.shuffle(pairs)
    for row in pairs:
        exchanges = [_exchange(row["en"], row["zh"], TO_ZH, rng), _exchange(row["zh"], row["en"], TO_EN, rng)]
        rng.shuffle(exchanges)
        if rng.random() < 0.15:
            other = rng.choice(pairs)
            yield chat([*exchanges[0], *_exchange(other["en"], other["zh"], TO_ZH, rng)])
            yield chat(exchanges[1])
        else:
            yield from (chat(turns) for turns in exchanges)


def _exchange(source: str, target: str, forms: tuple[str, ...], rng: random.Random) -> list[Turn]:
    form = rng.choice(forms)
    if not form.endswith("{s}"):
        form = casual(form, rng, typo=0.0)
    return [("user", form.replace("{s}", source)), ("assistant", target)]
