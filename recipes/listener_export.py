"""Turn a trained recogniser into the member "listener": int8 matrices, its words, its search, a model card.

`init` is the `latest/` of `listener` or `listener_prune`; `data` holds `words.safetensors` as
`python -m recipes.speech_data texts` wrote it, and, where packed speech is there too, the record tells how
many sounds int8 gets wrong. Writes `out/listener/`, and names the member in `out/family.json` where that is
a family.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from localgpt.checkpoints import write_sharded
from localgpt.checkpoints.family import build_recognizer, tensors_under
from localgpt.checkpoints.store import write_text
from localgpt.errors import ConfigError
from localgpt.media.text.spoken_units import NUM_UNITS
from localgpt.models.recognizer import Recognizer
from localgpt.sampling.speech.hearing import Knowledge
from localgpt.sampling.speech.word_model import WordModel
from localgpt.sampling.speech.words import WordList
from recipes.common import RunLog, RunOptions
from recipes.export import pack_int8
from recipes.listener import load_listener
from recipes.listener_scores import unit_errors
from recipes.listener_tuning import tune_search
from recipes.speech_data.sound_sets import SoundSet

__all__ = ["export_listener"]

_DEV_SETS = ("speechocean_en_dev", "hsk_words_zh_dev", "keywords_zh_en_dev")
_NUM_DEV = 100
_NUM_TUNED = 48
CARD = """# Listener

A conformer of {n_layer} blocks of width {n_embd} that tells {num_units} sounds apart every 20 ms (letters,
and initials and toned finals of pinyin), with {num_words:,} words and their trigrams; {num_params:,}
parameters, int8 with one scale per output channel, {network_mb} MB, and {words_mb} MB of words. Hears
English and Chinese, mixed too; writes neither figures nor punctuation. Network:
`src/localgpt/models/recognizer.py`.

## Data

{hours} hours by the recipe's draw: read English by Mandarin speakers (speechocean762, CC BY 4.0), Chinese
words and syllables of two speakers (CC BY-SA), keywords (MIT), one English reader (Apache-2.0), put together
to sentences, and sentences of our own texts spoken by flite and espeak-ng. Words were counted in the text
sets of the [decoder](../decoder/README.md). Held-out recordings, speakers and noises took no part.

## Licence

[CC BY-NC-SA 4.0](../LICENSE): some of the counted texts are for non-commercial use only.

## Recipe

`recipes.speech_data`, then {recipe} at commit {commit}, seed {seed}, {date}: {minutes} minutes on {device}.

## Figures

Printed by `python benchmarks/quality_speech.py --data DATA --model weights`: not filled in yet.

Int8 moves no matrix by more than {worst:.1%} of its norm (printed by `listener_export`).

## Limits

Trained on few voices, mostly read or synthetic speech: expect many errors with other accents, far
microphones and music. Names that are not among its words are spelled by ear. For real work pull an open
recogniser: `localgpt models` lists them.
"""


def export_listener(options: RunOptions) -> dict[str, Any]:
    """Write the member; see the module docstring.

    Raises:
        ConfigError: `init` or the words are missing.
    """
    words_file = options.data / "words.safetensors"
    if options.init is None or not (options.init / "listener.json").is_file() or not words_file.is_file():
        raise ConfigError(
            "listener_export needs a trained listener as --init and words.safetensors in --data; run "
            "listener, and python -m recipes.speech_data texts"
        )
    log = RunLog(options, "listener_export")
    network = load_listener(options.init, "cpu").eval()
    packed, worst = pack_int8(network.state_dict())
    words = load_file(words_file)
    small = build_recognizer(network.config.to_dict(), dict(packed))
    sets = {
        name: SoundSet.load(options.data, name)
        for name in _DEV_SETS
        if (options.data / f"{name}.index.npz").exists()
    }
    tuned, tried = tune_search(_knowledge(small, words), sets, num=_NUM_TUNED)
    config = {
        "network": network.config.to_dict(),
        "num_units": NUM_UNITS,
        "search": asdict(tuned.options),
        "pause_s": tuned.pause_s,
        "min_confidence": tuned.min_confidence,
    }
    folder = options.out / "listener"
    write_sharded({f"network.{name}": t for name, t in packed.items()} | words, folder, config=config)
    figures: dict[str, Any] = {
        "num_params": sum(parameter.numel() for parameter in network.parameters()),
        "network_bytes": sum(tensor.nbytes for tensor in packed.values()),
        "words_bytes": sum(tensor.nbytes for tensor in words.values()),
        "worst_relative_error": round(worst, 5),
        "search": {"tried": tried, "min_confidence": tuned.min_confidence},
    }
    for name, sounds in sets.items():
        figures[f"{name}_float"] = round(unit_errors(network, sounds, num=_NUM_DEV), 4)
        figures[f"{name}_int8"] = round(unit_errors(small, sounds, num=_NUM_DEV), 4)
    write_text(folder / "README.md", _card(options, figures, config, len(words["model.unigram_logprobs"])))
    _name_member(options.out / "family.json")
    log.finish(**figures)
    return figures


def _knowledge(network: Recognizer, tensors: dict[str, Tensor]) -> Knowledge:
    model = WordModel(tensors_under("model.", tensors))
    words = WordList.from_tensors(tensors_under("words.", tensors), model.unigrams)
    return Knowledge(network=network, words=words, model=model)


def _card(options: RunOptions, figures: dict[str, Any], config: dict[str, Any], num_words: int) -> str:
    assert options.init is not None
    path = options.init.parent / "record.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    hours = record.get("hours", {})
    return CARD.format(
        **{key: config["network"][key] for key in ("n_layer", "n_embd")},
        num_units=NUM_UNITS,
        num_words=num_words,
        num_params=figures["num_params"],
        network_mb=round(figures["network_bytes"] / 1e6, 1),
        words_mb=round(figures["words_bytes"] / 1e6, 1),
        hours=round(sum(hours.values()), 1) if hours else "?",
        recipe=f"`{record.get('recipe', 'listener')}`",
        commit=record.get("commit", "?"),
        seed=record.get("seed", "?"),
        date=record.get("date", "?"),
        minutes=record.get("minutes", "?"),
        device=record.get("device", "?"),
        worst=figures["worst_relative_error"],
    )


def _name_member(path: Path) -> None:
    """Add the member to a family's description, where there is one."""
    if not path.is_file():
        return
    family = json.loads(path.read_text(encoding="utf-8"))
    if "listener" not in family["members"]:
        family["members"].append("listener")
        write_text(path, json.dumps(family, indent=1) + "\n")
