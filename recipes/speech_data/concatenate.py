"""Chinese sentences put together of recorded words and syllables, and strings of words at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localgpt.media.text.spoken_units import pinyin_units
from recipes.speech_data.sound_sets import RATE, Recording

__all__ = ["Clips", "random_string", "said_sentence"]

_LONGEST_WORD = 5
_THRESHOLD = 400  # of a sample that is no silence


class Clips:
    """Recorded words of one voice and syllables of another, by text and by sounds.

    Args:
        words: recordings of words, by their texts.
        syllables: recordings of single syllables.
    """

    def __init__(self, words: Sequence[Recording], syllables: Sequence[Recording]) -> None:
        self.words: dict[str, list[Recording]] = {}
        for recording in words:
            self.words.setdefault(recording.text, []).append(_tight(recording))
        self.syllables: dict[tuple[int, ...], list[Recording]] = {}
        for recording in syllables:
            self.syllables.setdefault(recording.units, []).append(_tight(recording))

    def cover(self, text: str, pinyin: str, draw: random.Random, *, by_words: bool) -> list[Recording] | None:
        """Clips that together say a text, longest words first; None where a syllable was never recorded."""
        told = pinyin.split()
        if len(told) != len(text):
            return None
        clips, at = [], 0
        while at < len(text):
            clip = self._word_at(text, at, draw) if by_words else None
            clip = (
                clip
                or self._syllable(told[at], draw)
                or (None if by_words else self._word_at(text, at, draw))
            )
            if clip is None:
                return None
            clips.append(clip)
            at += len(clip.text) if clip.text in self.words else 1
        return clips

    def _word_at(self, text: str, at: int, draw: random.Random) -> Recording | None:
        for length in range(min(_LONGEST_WORD, len(text) - at), 0, -1):
            if (found := self.words.get(text[at : at + length])) is not None:
                return draw.choice(found)
        return None

    def _syllable(self, told: str, draw: random.Random) -> Recording | None:
        found = self.syllables.get(pinyin_units(told) or ())
        return draw.choice(found) if found else None


def said_sentence(clips: Clips, text: str, pinyin: str, seed: int) -> Recording | None:
    """A sentence of clips, mostly of words; one in four is of the other voice's syllables."""
    draw = random.Random(seed)
    chosen = clips.cover(text, pinyin, draw, by_words=draw.random() < 0.75)
    if chosen is None:
        return None
    return _joined(chosen, text, draw, gaps=(-0.03, 0.06), key=f"said {seed}")


def random_string(
    recordings: Sequence[Recording], seed: int, *, lengths: tuple[int, int] = (2, 8)
) -> Recording:
    """Recordings of words in a row with pauses between, as nobody says them."""
    draw = random.Random(seed)
    chosen = [_tight(draw.choice(recordings)) for _ in range(draw.randint(*lengths))]
    separator = "" if all(ord(one.text[0]) >= 0x2E80 for one in chosen) else " "
    text = separator.join(one.text for one in chosen)
    return _joined(chosen, text, draw, gaps=(0.02, 0.3), key=f"string {seed}")


def _joined(
    clips: Sequence[Recording], text: str, draw: random.Random, *, gaps: tuple[float, float], key: str
) -> Recording:
    """Clips one after the other; a negative gap lets them overlap. Each is as loud as the others."""
    whole = np.zeros(RATE // 10, dtype=np.float32)
    for clip in clips:
        waveform = clip.samples.astype(np.float32)
        waveform *= draw.uniform(0.8, 1.2) * 3000.0 / max(1.0, float(np.sqrt(np.square(waveform).mean())))
        gap = round(draw.uniform(*gaps) * RATE)
        if gap < 0:
            whole, waveform = _overlapped(whole, waveform, -gap)
        else:
            whole = np.concatenate([whole, np.zeros(gap, dtype=np.float32)])
        whole = np.concatenate([whole, waveform])
    whole = np.concatenate([whole, np.zeros(RATE // 10, dtype=np.float32)])
    samples: NDArray[np.int16] = np.clip(whole, -32768, 32767).astype(np.int16)
    units = tuple(unit for clip in clips for unit in clip.units)
    return Recording(samples=samples, text=text, units=units, key=key)


def _overlapped(
    before: NDArray[np.float32], after: NDArray[np.float32], num: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fade one into the other over their last and first samples."""
    num = min(num, len(before), len(after))
    fade = np.linspace(0.0, 1.0, num, dtype=np.float32)
    mixed = before[len(before) - num :] * (1 - fade) + after[:num] * fade
    return np.concatenate([before[: len(before) - num], mixed]), after[num:]


def _tight(recording: Recording) -> Recording:
    """Without the silence around."""
    loud = np.flatnonzero(np.abs(recording.samples.astype(np.int32)) > _THRESHOLD)
    if not len(loud):
        return recording
    samples = recording.samples[max(0, loud[0] - 160) : loud[-1] + 320]
    return Recording(samples=samples, text=recording.text, units=recording.units, key=recording.key)
