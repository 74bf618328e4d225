"""The speaking part of the speech figures: are made sentences understood, whole, unclipped and in time?

    python -m benchmarks.speech.spoken --data DATA [--sets SETS] [--model FOLDER] [--device cuda] [--limit N]

DATA holds `voice/heldout.jsonl.xz` of `python -m recipes.voice_data`: 100 English and 100 Chinese sentences
that the voice never learned from. English is read by PocketSphinx, where that is installed, which had no
part in the training, and by the family's listener, where it has one; Chinese by our listener alone. Beside
each error stands the same recogniser's on the synthesiser that taught English, saying the same sentences
(where it is installed), and on real recordings (SETS: held-out words of hsk_words_zh, sentences of
philipp_en). Without a recogniser that could read them the sentences are still checked for clipping and cut
ends, and timed. `--save FOLDER` keeps them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import lzma
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.speech.waveforms import bandwidth_hz, is_clipped, is_cut_off  # noqa: E402
from localgpt.media.audio import decode_audio_bytes, resample  # noqa: E402
from localgpt.media.audio_files import encode_audio  # noqa: E402
from localgpt.media.text.speech.chinese import is_ideograph  # noqa: E402
from localgpt.media.text.speech.normalize import normalize  # noqa: E402
from localgpt.runtime.loading import LoadOptions, load_service  # noqa: E402
from localgpt.tasks import (  # noqa: E402
    EMBEDDED_MODEL_ID,
    AudioPart,
    ListenRequest,
    ListenResult,
    SpeakChunk,
    SpeakRequest,
    SpeakResult,
    TaskService,
)
from recipes.voice_data.teacher import find_teacher, speak_with  # noqa: E402

__all__ = ["Measured", "error_rate", "measure_spoken", "units_of"]

HEARD_HZ = 16_000
TEN_WORDS = "The little cat was sleeping on the warm kitchen floor."
_NUM_TIMED = 10
Sound = NDArray[np.float32]
Recogniser = Callable[[Sound, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is measured, and where."""

    data: Path  # with `voice/`
    sets: Path | None = None  # with `speech/`
    model: str | None = None
    device: str = "cpu"
    limit: int | None = None  # sentences of each language
    save: Path | None = None


def measure_spoken(measured: Measured) -> dict[str, Any]:
    """All figures; see the module docstring.

    Raises:
        LocalGPTError: the family has no voice, or cannot be loaded.
    """
    return asyncio.run(_measure(measured))


async def _measure(measured: Measured) -> dict[str, Any]:
    options = LoadOptions(model=measured.model, device=measured.device, max_batch_size=1)
    service = await asyncio.to_thread(load_service, options)
    try:
        tasks = (await service.status()).models[0].tasks
        recognisers: dict[str, Recogniser] = {}
        if (sphinx := _sphinx()) is not None:
            recognisers["pocketsphinx"] = sphinx
        figures: dict[str, Any] = {"recognisers": [*recognisers, *(["ours"] if "listen" in tasks else [])]}
        for language in ("en", "zh"):
            texts = _held_out(measured.data, language)[: measured.limit]
            made = [await _say(service, text, language) for text in texts]
            figures[language] = _checked(made) | {"sentences": len(texts)}
            figures[language]["errors"] = await _errors(service, recognisers, texts, made, language, tasks)
            beside = _beside(measured, texts, language)
            for name, (said, sounds) in beside.items():
                found = await _errors(service, recognisers, said, sounds, language, tasks)
                figures[language][f"errors_{name}"] = found
            if measured.save is not None:
                _save(measured.save / language, made)
        figures["first_piece_ms"] = await _first_piece(service)
        figures["threads"] = torch.get_num_threads()
        return figures
    finally:
        await service.close()


@dataclass(slots=True)
class _Made:
    """A spoken sentence."""

    sound: Sound
    rate: int
    seconds: float  # that making it took


async def _say(service: TaskService, text: str, language: str) -> _Made:
    started = time.perf_counter()
    request = SpeakRequest(id="spoken", model=EMBEDDED_MODEL_ID, text=text, language=language, seed=1)
    result = await service.run(request)
    seconds = time.perf_counter() - started
    assert isinstance(result, SpeakResult)
    return _Made(decode_audio_bytes(result.data, result.sample_rate), result.sample_rate, seconds)


def _checked(made: Sequence[_Made]) -> dict[str, Any]:
    """Counts of what must not be, how high the sound goes, and the real-time factor without the first one."""
    timed = made[1:] or made  # the first one loads the voice
    length = sum(len(one.sound) / one.rate for one in timed)
    everything = np.concatenate([one.sound for one in made]) if made else np.zeros(0, dtype=np.float32)
    return {
        "clipped": sum(is_clipped(one.sound) for one in made),
        "cut_off": sum(is_cut_off(one.sound, one.rate) for one in made),
        "bandwidth_hz": bandwidth_hz(everything, made[0].rate) if made else 0,
        "seconds": round(length, 1),
        "real_time_factor": round(sum(one.seconds for one in timed) / max(length, 1e-9), 4),
    }


async def _errors(
    service: TaskService,
    recognisers: dict[str, Recogniser],
    texts: Sequence[str],
    made: Sequence[_Made],
    language: str,
    tasks: Sequence[str],
) -> dict[str, float]:
    """Word errors of English, character errors of Chinese, by recogniser."""
    sounds = [resample(one.sound, one.rate, HEARD_HZ) for one in made]
    wanted = [units_of(text, language) for text in texts]
    found = {}
    if language == "en":  # PocketSphinx's model is of English alone
        for name, recognise in recognisers.items():
            heard = [units_of(recognise(sound, language), language) for sound in sounds]
            found[name] = round(error_rate(wanted, heard), 4)
    if "listen" in tasks:
        heard = [units_of(await _listen(service, sound, language), language) for sound in sounds]
        found["ours"] = round(error_rate(wanted, heard), 4)
    return found


def _beside(
    measured: Measured, texts: Sequence[str], language: str
) -> dict[str, tuple[Sequence[str], list[_Made]]]:
    """What the same recognisers are asked to read for comparison: texts and sounds by name."""
    found: dict[str, tuple[Sequence[str], list[_Made]]] = {}
    teacher = find_teacher()
    if language == "en" and teacher is not None:
        spoken = speak_with(teacher, [normalize(text, "en") for text in texts])
        sounds = [_Made(samples.astype(np.float32) / 2**15, rate, 0.0) for samples, rate in spoken]
        found[f"teacher_{teacher}"] = (texts, sounds)
    if measured.sets is not None:
        name = "philipp_en" if language == "en" else "hsk_words_zh"
        rows = list(_recordings(measured.sets, name))[: measured.limit or len(texts)]
        found["recordings"] = ([text for text, _ in rows], [sound for _, sound in rows])
    return found


def _recordings(sets: Path, name: str) -> Iterator[tuple[str, _Made]]:
    """Real recordings that nothing learned from."""
    blob = (sets / "speech" / f"{name}.bin").read_bytes()
    with lzma.open(sets / "speech" / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        if row["split"] in ("dev", "val", "test"):
            data = blob[row["offset"] : row["offset"] + row["bytes"]]
            yield row["text"], _Made(decode_audio_bytes(data, 48_000), 48_000, 0.0)


async def _listen(service: TaskService, sound: Sound, language: str) -> str:
    audio = AudioPart(data=encode_audio(sound, HEARD_HZ), media_type="audio/wav")
    request = ListenRequest(id="heard", model=EMBEDDED_MODEL_ID, audio=audio, language=language)
    result = await service.run(request)
    assert isinstance(result, ListenResult)
    return result.text


def _sphinx() -> Recogniser | None:
    """PocketSphinx with the model that its package carries; None where it is not installed."""
    try:
        from pocketsphinx import Decoder
    except ImportError:
        return None
    decoder = Decoder(samprate=float(HEARD_HZ), loglevel="FATAL")

    def recognise(sound: Sound, language: str) -> str:
        decoder.start_utt()
        samples = (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
        decoder.process_raw(samples, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return "" if hypothesis is None else str(hypothesis.hypstr)

    return recognise


async def _first_piece(service: TaskService) -> dict[str, float]:
    """Milliseconds from the request to the first bytes of ten words."""
    waits = []
    for number in range(_NUM_TIMED + 1):
        request = SpeakRequest(id="timed", model=EMBEDDED_MODEL_ID, text=TEN_WORDS, seed=number, format="pcm")
        started, first = time.perf_counter(), 0.0
        async for event in service.stream(request):
            if isinstance(event, SpeakChunk) and not first:
                first = time.perf_counter() - started
        waits.append(1000 * first)
    waits = waits[1:]  # the first one loads
    return {"p50": round(float(np.median(waits)), 1), "max": round(max(waits), 1)}


def units_of(text: str, language: str) -> list[str]:
    """Words in lower case without marks, or ideographs; numbers as they are said."""
    said = normalize(text, "zh" if language == "zh" else "en")
    if language == "zh":
        return [char for char in said if is_ideograph(char)]
    return re.findall(r"[a-z]+(?:'[a-z]+)*", said.lower())


def error_rate(wanted: Sequence[Sequence[str]], heard: Sequence[Sequence[str]]) -> float:
    """Changed, missing and added units over all sentences, by the number of units that were wanted."""
    errors = sum(_distance(one, other) for one, other in zip(wanted, heard, strict=True))
    return errors / max(1, sum(map(len, wanted)))


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    row = list(range(len(other) + 1))
    for at, left in enumerate(one, 1):
        before, row[0] = row[0], at
        for place, right in enumerate(other, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (left != right))
    return row[-1]


def _held_out(data: Path, language: str) -> list[str]:
    text = lzma.decompress((data / "voice" / "heldout.jsonl.xz").read_bytes()).decode("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [row["text"] for row in rows if row["language"] == language]


def _save(folder: Path, made: Sequence[_Made]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(made):
        (folder / f"{number:03d}.wav").write_bytes(encode_audio(one.sound, one.rate))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the family's voice.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--save", type=Path)
    figures = measure_spoken(Measured(**vars(parser.parse_args())))
    print(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
