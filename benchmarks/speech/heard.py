"""The listening part of the speech figures: what the family's recogniser understands, and what it costs.

    python -m benchmarks.speech.heard --data DATA [--model FOLDER] [--real FOLDER] [--unpruned FOLDER]
        [--rescore] [--limit N] [--threads 2]

DATA holds the raw speech sets (`speech/`). All figures are of recordings that took no part in the training:

* English sentences of speechocean's dev speakers: word error as shipped (the search over words included), and
  beside it greedy, with `--rescore` after the family's decoder has chosen among ten ways of hearing, and of
  a recogniser that learned from recorded speech alone (`--real`). How many sentences some training speaker
  read too is told.
* Keywords of both languages by unseen speakers, the language not given and no list of them: exact, marks and
  case apart.
* 100 strings of four to eight Chinese words, each a held-out recording: character error; apart from it,
  sentences never trained on, put together of recordings that were.
* 20 clips of silence and 30 of the two noises kept for testing: words written, of which none is right.
* Size and English word error before pruning (`--unpruned`) and as shipped; seconds of work for each second of
  sound, on as many threads as are given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.speech.spoken import error_rate, units_of  # noqa: E402
from localgpt.checkpoints import load_family, resolve_family  # noqa: E402
from localgpt.checkpoints.layout import describe_family, read_layout  # noqa: E402
from localgpt.errors import ConfigError  # noqa: E402
from localgpt.nn.log_mel import LogMel  # noqa: E402
from localgpt.runtime.embedded_listener import read_knowledge  # noqa: E402
from localgpt.sampling.speech.greedy import greedy_text, greedy_units  # noqa: E402
from localgpt.sampling.speech.hearing import (  # noqa: E402
    SAMPLE_RATE,
    Knowledge,
    Writer,
    hear_windows,
    join_words,
    score_window,
)
from localgpt.sampling.speech.rescoring import Choose, DecoderScore, chooser  # noqa: E402
from recipes.speech_data.concatenate import Clips, random_string, said_sentence  # noqa: E402
from recipes.speech_data.lexicon import pinyin_of  # noqa: E402
from recipes.speech_data.recordings import read_rows, read_set, split_of  # noqa: E402
from recipes.speech_data.sentences import chinese_runs  # noqa: E402
from recipes.speech_data.sound_sets import Recording  # noqa: E402
from recipes.text_data.rows import is_held_out, read_json_rows  # noqa: E402

__all__ = ["Listened", "Listening", "measure_heard"]

Sound = NDArray[np.float32]
NUM_STRINGS: Final = 100
STRING_WORDS: Final = (4, 8)
NUM_SILENT, NUM_NOISY, CLIP_S = 20, 30, 4.0
_SILENCES_DB: Final = (None, -90.0, -75.0, -65.0)  # of faint noise; none for zeros
_SEED: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """What is measured, and how."""

    data: Path
    model: str | None = None  # a family; None for the embedded one
    real: Path | None = None  # a family whose listener learned from recorded speech alone
    unpruned: Path | None = None  # a family with the listener before it was pruned
    rescore: bool = False
    limit: int | None = None  # recordings of each kind
    threads: int = 2
    device: str = "cpu"


class Listening:
    """One recogniser over recordings.

    Args:
        knowledge: network and words.
        choose: among ways of hearing; None for the likeliest.
    """

    def __init__(self, knowledge: Knowledge, choose: Choose | None = None) -> None:
        self._knowledge, self._choose = knowledge, choose
        self._mel = LogMel(knowledge.network.config.num_mel_bins)
        self.worked_s = self.heard_s = 0.0

    def text(self, sound: Sound) -> str:
        """As shipped: what the service writes of a recording whose language is not told."""
        started = time.perf_counter()
        writer = Writer(self._knowledge, choose=self._choose)
        self.heard_s += hear_windows(self._knowledge, iter([sound]), writer)
        writer.finish()
        self.worked_s += time.perf_counter() - started
        return join_words([word.text for segment in writer.segments for word in segment.words])

    @torch.inference_mode()
    def greedy(self, sound: Sound) -> str:
        """The likeliest sounds alone."""
        log_probs = score_window(self._knowledge.network, self._mel, sound)
        return greedy_text(greedy_units(log_probs), self._knowledge.words)


def measure_heard(asked: Listened) -> dict[str, Any]:
    """All figures; see the module docstring.

    Raises:
        ConfigError: the family has no listener.
        LocalGPTError: it cannot be loaded.
    """
    torch.set_num_threads(asked.threads)
    path = resolve_family(asked.model)
    knowledge = _knowledge_of(path, asked.device)
    listening = Listening(knowledge)
    figures: dict[str, Any] = {"words": len(knowledge.words.ids), "size": _size_of(path)}
    sentences = _limited(_recordings(asked.data, "speechocean_en", "dev"), asked.limit)
    figures["english"] = _english(asked, listening, sentences)
    if asked.rescore:
        family = load_family(path, device=asked.device)
        choose = chooser(DecoderScore(family.decoder, family.tokenizer), join_words)
        figures["english"]["wer_rescored"] = _word_error(Listening(knowledge, choose), sentences)
    figures["keywords"] = _keywords(asked, listening)
    figures["chinese"] = _chinese(asked, listening)
    figures["no_speech"] = _no_speech(asked, listening)
    figures["real_time_factor"] = round(listening.worked_s / max(listening.heard_s, 1e-9), 4)
    figures["threads"] = asked.threads
    if asked.real is not None:
        other = Listening(_knowledge_of(asked.real, asked.device))
        figures["english"]["wer_real_speech_alone"] = _word_error(other, sentences)
    if asked.unpruned is not None:
        other = Listening(_knowledge_of(asked.unpruned, asked.device))
        wer = _word_error(other, sentences)
        before = _size_of(asked.unpruned) | {"wer": wer}
        figures["pruning"] = {"before": before, "after": figures["size"] | {"wer": figures["english"]["wer"]}}
    return figures


def _knowledge_of(path: Path, device: str) -> Knowledge:
    layout = read_layout(path)
    if "listener" not in layout.configs:
        raise ConfigError(
            f"{path} has no listener; train one (recipes listener, listener_prune, listener_export), or name "
            "a family that has one as --model"
        )
    return read_knowledge(layout, device=device)


def _size_of(path: Path) -> dict[str, float]:
    member = next(member for member in describe_family(path).members if member.name == "listener")
    return {"num_params": member.num_params, "megabytes": round(member.num_bytes / 1e6, 2)}


def _recordings(data: Path, name: str, split: str) -> list[Recording]:
    """Recordings of a set; Chinese texts are read as pypinyin reads them."""
    _, rows = read_rows(data, name)
    pinyin = {row["text"]: pinyin_of(row["text"]) for row in rows if row["language"] == "zh"}
    return list(read_set(data, name, split, pinyin, workers=os.cpu_count() or 1))


def _limited(found: Sequence[Recording], limit: int | None) -> list[Recording]:
    """Evenly spaced ones, so that a few are of many speakers."""
    if limit is None or len(found) <= limit:
        return list(found)
    return [found[place] for place in np.linspace(0, len(found) - 1, limit).astype(int)]


def _sound(recording: Recording) -> Sound:
    return recording.samples.astype(np.float32) / 32768.0


def _english(asked: Listened, listening: Listening, sentences: Sequence[Recording]) -> dict[str, Any]:
    wanted = [units_of(one.text, "en") for one in sentences]
    greedy = [units_of(listening.greedy(_sound(one)), "en") for one in sentences]
    _, rows = read_rows(asked.data, "speechocean_en")
    trained = {row["text"] for row in rows if split_of("speechocean_en", row) == "train"}
    return {
        "sentences": len(sentences),
        "also_read_by_training_speakers": sum(one.text in trained for one in sentences),
        "wer": _word_error(listening, sentences),
        "wer_greedy": round(error_rate(wanted, greedy), 4),
    }


def _word_error(listening: Listening, sentences: Sequence[Recording]) -> float:
    wanted = [units_of(one.text, "en") for one in sentences]
    return round(error_rate(wanted, [units_of(listening.text(_sound(one)), "en") for one in sentences]), 4)


def _keywords(asked: Listened, listening: Listening) -> dict[str, Any]:
    found = _limited(_recordings(asked.data, "keywords_zh_en", "dev"), asked.limit)
    right = [_bare(listening.text(_sound(one))) == _bare(one.text) for one in found]
    is_chinese = [not one.text.isascii() for one in found]
    told: dict[str, Any] = {"recordings": len(found), "exact": _share(right)}
    for language, wants in (("en", False), ("zh", True)):
        chosen = [one for one, other in zip(right, is_chinese, strict=True) if other is wants]
        told[f"exact_{language}"] = _share(chosen)
    return told


def _bare(text: str) -> str:
    """Letters and characters alone, in lower case."""
    return "".join(char for char in text.lower() if char.isalnum())


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / max(1, len(right)), 4)


def _chinese(asked: Listened, listening: Listening) -> dict[str, Any]:
    held_out = _recordings(asked.data, "hsk_words_zh", "dev")
    num = min(NUM_STRINGS, asked.limit or NUM_STRINGS)
    strings = [random_string(held_out, _SEED + number, lengths=STRING_WORDS) for number in range(num)]
    words = _recordings(asked.data, "hsk_words_zh", "train")
    clips = Clips(words, _recordings(asked.data, "syllables_zh", "train"))
    said = _unseen_sentences(asked.data, clips, num)
    return {
        "strings": len(strings),
        "cer_strings_of_held_out_words": _character_error(listening, strings),
        "cer_greedy": _character_error(listening, strings, is_greedy=True),
        "sentences": len(said),
        "cer_unseen_sentences_of_training_recordings": _character_error(listening, said),
    }


def _unseen_sentences(data: Path, clips: Clips, num: int) -> list[Recording]:
    """Held-out sentences that recordings cover."""
    found: list[Recording] = []
    for row in read_json_rows(data, "bilingual_en_zh"):
        runs = [run for run in chinese_runs(row["zh"]) if 4 <= len(run) <= 18]
        if is_held_out(row["en"]) and runs and len(found) < num:
            said = said_sentence(clips, runs[0], pinyin_of(runs[0]), _SEED + len(found))
            found += [] if said is None else [said]
    return found


def _character_error(
    listening: Listening, recordings: Sequence[Recording], *, is_greedy: bool = False
) -> float:
    hear = listening.greedy if is_greedy else listening.text
    heard = [units_of(hear(_sound(one)), "zh") for one in recordings]
    return round(error_rate([units_of(one.text, "zh") for one in recordings], heard), 4)


def _no_speech(asked: Listened, listening: Listening) -> dict[str, Any]:
    silent = [listening.text(sound) for sound in silences(min(NUM_SILENT, asked.limit or NUM_SILENT))]
    noises = _recordings(asked.data, "noise", "dev")
    noisy = [listening.text(sound) for sound in noise_clips(noises, min(NUM_NOISY, asked.limit or NUM_NOISY))]
    return {
        "silent_clips": len(silent),
        "words_in_silence": sum(len(text.split()) for text in silent),
        "noise_clips": len(noisy),
        "words_in_noise": sum(len(text.split()) for text in noisy),
        "noises": sorted({one.text for one in noises}),
        "written": [text for text in (*silent, *noisy) if text],
    }


def silences(num: int) -> Iterator[Sound]:
    """Clips of nothing: zeros, and noise as faint as a microphone's own."""
    generator = np.random.default_rng(_SEED)
    length = round(CLIP_S * SAMPLE_RATE)
    for number in range(num):
        level = _SILENCES_DB[number % len(_SILENCES_DB)]
        loudness = 0.0 if level is None else 10.0 ** (level / 20)
        yield (loudness * generator.standard_normal(length)).astype(np.float32)


def noise_clips(noises: Sequence[Recording], num: int) -> Iterator[Sound]:
    """Stretches of each noise in turn, evenly spaced."""
    length = round(CLIP_S * SAMPLE_RATE)
    each = -(-num // max(1, len(noises)))
    for number in range(num):
        sound = _sound(noises[number % len(noises)])
        begin = round((len(sound) - length) * (number // len(noises)) / max(1, each - 1))
        yield sound[begin : begin + length]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the family's recogniser.")
    add_options(parser)
    figures = measure_heard(Listened(**vars(parser.parse_args())))
    print(json.dumps(figures, indent=1, ensure_ascii=False))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `Listened`."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw sets")
    parser.add_argument("--model", help="a family's folder")
    parser.add_argument(
        "--real", type=Path, help="a family whose listener learned from recorded speech alone"
    )
    parser.add_argument("--unpruned", type=Path, help="a family with the listener before it was pruned")
    parser.add_argument("--rescore", action="store_true", help="let the decoder choose among ways of hearing")
    parser.add_argument("--limit", type=int, help="recordings of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")


if __name__ == "__main__":
    main()
