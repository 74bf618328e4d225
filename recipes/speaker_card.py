"""The card of the voice, from what its run and its data tell; figures of `benchmarks` are added by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["write_card"]

_DATA = {
    "en": (
        "festival's voice cmu_us_slt_arctic_hts, made by us: sentences of Tatoeba",
        "EST-2003 and BSD; texts CC BY",
    ),
    "zh": ("one woman's recordings of the HSK vocabulary, put together to sentences", "CC BY-SA"),
    "en_recorded": ("one man reads English sentences; not shipped as a voice", "Apache-2.0 repository"),
    "zh_syllables": ("another woman's tonal syllables; not shipped as a voice", "CC BY-SA"),
}


def write_card(
    description: Mapping[str, Any],
    record: Mapping[str, Any],
    seconds: Mapping[str, float],
    *,
    sizes: tuple[int, int],
) -> str:
    """The card in Markdown.

    Args:
        description: `speaker.json` of the run.
        record: its `record.json`.
        seconds: of each speaker's recordings, from the data's manifest.
        sizes: parameters, and bytes as shipped.
    """
    voices = "\n".join(
        f"| `{voice['name']}` | {voice['language']} | up to {voice['bandwidth_hz'] / 1000:g} kHz |"
        for voice in description["voices"]
    )
    data = "\n".join(
        f"| {_DATA[name][0]} | {seconds.get(name, 0) / 60:.0f} min | {_DATA[name][1]} |" for name in _DATA
    )
    losses = "\n".join(
        f"| {name.removesuffix('_loss')} | {value:.4f} |"
        for name, value in record.items()
        if name.endswith("_loss")
    )
    return f"""# Voice

A small VITS: transformers' `VitsModel`, {sizes[0]:,} parameters, {sizes[1]:,} bytes; text encoder and
coupling layers int8 with one scale per output channel, durations and waveform decoder in half precision. It
writes {description["vits"]["sampling_rate"]:,} samples a second; its sound does not reach as high as that
allows:

| voice | language | sound |
|---|---|---|
{voices}

## Data

Prepared by `python -m recipes.voice_data`. Held-out sentences took no part.

| what | how much | licence |
|---|---|---|
{data}

Sounds come from `media/text/speech`: the CMU Pronouncing Dictionary (BSD) and rules learned from it, and
pypinyin (MIT).

## Licence

[CC BY-NC-SA 4.0](../LICENSE), as the whole family.

## Recipe

`recipes.speaker` at commit {record["commit"]}, seed {record["seed"]}, {record["date"]}:
{record["steps"]:,} steps in {record["minutes"]} minutes on {record["device"]}, then `speaker_export`.

## Figures

Losses at the end of training. `python -m benchmarks.speech.spoken --data DATA` measures how well it is
understood.

| loss | |
|---|---|
{losses}

## Limits

English is as understandable as its teacher at best, a synthesiser of 2010, and sounds like it. Chinese was
learned from words that were read one by one: clear, slow and even. Each word is said by the voice of its
language, so a mixed sentence changes the speaker. Other scripts are left out, and a notice says so. No claim
of naturalness is made: that takes listeners.
"""
