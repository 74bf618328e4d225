"""Listening with the embedded recogniser: to a recording that is still coming in, or window by window.

`SpeechStream` is the object that voice is built on: feed samples, read what was heard so far, finish. It
runs the network on chunks, with the numbers that the whole recording would give under the chunks' mask.
`hear_windows` lets the network see a whole window at once, which is more exact, and cuts long recordings
where they are quiet.

Both hand scores to a `Writer`, which cuts speech into segments at pauses and leaves out what is no speech:
frames below -60 dB are blank whatever the network says, and words whose sounds are improbable are not
written.

Shape legend: N samples at 16 kHz, M mel bins, F frames of 10 ms, T frames of 20 ms, V units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.media.audio import Waveform
from localgpt.media.text.spoken_units import BLANK, NUM_UNITS
from localgpt.models.recognizer import Recognizer
from localgpt.nn.log_mel import LogMel, LogMelStream, fixed_scale
from localgpt.sampling.speech.rescoring import Choose
from localgpt.sampling.speech.search import FRAME_S, FoundWord, SearchOptions, WordSearch
from localgpt.sampling.speech.word_model import Context, WordModel
from localgpt.sampling.speech.words import BEGIN, WordList

__all__ = [
    "FRAME_S",
    "SAMPLE_RATE",
    "HeardSegment",
    "Knowledge",
    "SpeechStream",
    "Writer",
    "hear_windows",
    "join_words",
    "language_of",
    "score_window",
]

SAMPLE_RATE: Final = 16_000
_QUIET: Final = -6.0  # power of ten of the loudest mel bin: what a sound of -60 dB has
_WINDOW_S, _LEAST_WINDOW_S = 10.0, 6.0  # of a window of a long recording; training saw ten seconds
_QUIET_S: Final = 0.2  # of the stretch that is looked for to cut at
_NOTHING: Final = 1e-6
_NUM_WAYS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """A recogniser with all it knows.

    `pause_s` of blank end a segment; one with less `min_confidence` is no speech.
    """

    network: Recognizer
    words: WordList
    model: WordModel
    options: SearchOptions = field(default_factory=SearchOptions)
    pause_s: float = 0.8
    min_confidence: float = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSegment:
    """A stretch of speech, its words with their frames counted from the recording's begin."""

    words: tuple[FoundWord, ...]

    @property
    def text(self) -> str:
        """What is said in it."""
        return join_words([word.text for word in self.words])

    @property
    def begin_s(self) -> float:
        """When it begins, in seconds."""
        return self.words[0].begin_s

    @property
    def end_s(self) -> float:
        """When it ends, in seconds."""
        return self.words[-1].end_s

    @property
    def confidence(self) -> float:
        """Geometric mean of its words' confidences, each by its length."""
        lengths = [max(1, word.end - word.begin) for word in self.words]
        total = sum(
            length * math.log(max(word.confidence, _NOTHING))
            for length, word in zip(lengths, self.words, strict=True)
        )
        return math.exp(total / sum(lengths))


class Writer:
    """Scores of frames to segments of words.

    Args:
        knowledge: what may be heard.
        language: "en" or "zh"; None for both.
        expected: words that are likelier than the model knows.
        choose: among the ten likeliest ways of hearing a segment; None for the likeliest.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        *,
        language: str | None = None,
        expected: frozenset[str] = frozenset(),
        choose: Choose | None = None,
    ) -> None:
        self._knowledge, self._language, self._expected = knowledge, language, expected
        self._choose = choose
        self._pause = round(knowledge.pause_s / FRAME_S)
        self.segments: list[HeardSegment] = []
        self.num_frames = 0
        self._num_blank = 0  # at the end
        self._search = self._new_search((BEGIN, BEGIN))
        self._offset = 0  # of the search's first frame

    def push(self, log_probs: NDArray[np.float32]) -> None:
        """Take (T, V) log probabilities."""
        while len(log_probs):
            cut, is_pause = self._cut(log_probs)
            self._search.push(log_probs[:cut])
            self.num_frames += cut
            if is_pause:
                self._end_segment()
            log_probs = log_probs[cut:]

    def finish(self) -> None:
        """Nothing follows."""
        self._end_segment()

    def copy(self) -> Writer:
        """A writer that goes on by itself from here."""
        other = object.__new__(Writer)
        other.__dict__.update(self.__dict__)
        other.segments, other._search = list(self.segments), self._search.copy()
        return other

    @property
    def is_pausing(self) -> bool:
        """Whether the latest frame is blank: nobody is in the middle of a sound."""
        return self._num_blank > 0

    @property
    def text(self) -> str:
        """What was said so far, what is still being said included; the latter may change."""
        words = [word.text for segment in self.segments for word in segment.words]
        current = HeardSegment(words=self._search.best())
        if self._is_speech(current):
            words += [word.text for word in current.words]
        return join_words(words)

    def _cut(self, log_probs: NDArray[np.float32]) -> tuple[int, bool]:
        """How many frames to take before a pause has its length, once, and whether it has; counts blanks."""
        is_blank = log_probs.argmax(axis=1) == BLANK
        for number, blank in enumerate(is_blank.tolist()):
            self._num_blank = self._num_blank + 1 if blank else 0
            if self._num_blank == self._pause:
                return number + 1, True
        return len(log_probs), False

    def _end_segment(self) -> None:
        if self._choose is None:
            sentence = self._search.sentences(1)[0]
        else:
            sentence = self._choose(self._search.sentences(_NUM_WAYS))
        words = tuple(
            FoundWord(
                text=word.text,
                begin=word.begin + self._offset,
                end=word.end + self._offset,
                confidence=word.confidence,
            )
            for word in sentence.words
        )
        segment, context = HeardSegment(words=words), self._search.context
        if self._is_speech(segment):
            self.segments.append(segment)
        self._search, self._offset = self._new_search(context), self.num_frames

    def _is_speech(self, segment: HeardSegment) -> bool:
        return bool(segment.words) and segment.confidence >= self._knowledge.min_confidence

    def _new_search(self, context: Context) -> WordSearch:
        known = self._knowledge
        return WordSearch(
            known.words,
            known.model,
            known.options,
            language=self._language,
            expected=self._expected,
            context=context,
        )


class SpeechStream:
    """A recording that is still coming in. Its methods block for as long as the network takes.

    Args:
        knowledge: the recogniser.
        language: "en" or "zh"; None to hear both.
        expected: words that are likelier than the model knows.
    """

    def __init__(
        self, knowledge: Knowledge, *, language: str | None = None, expected: frozenset[str] = frozenset()
    ) -> None:
        self._network = knowledge.network
        self._frames = LogMelStream(LogMel(self._network.config.num_mel_bins))
        self._state = self._network.new_state()
        self._waiting = torch.zeros(self._network.config.num_mel_bins, 0)
        self._writer = Writer(knowledge, language=language, expected=expected)

    @property
    def segments(self) -> list[HeardSegment]:
        """What is settled."""
        return self._writer.segments

    @property
    def text(self) -> str:
        """What was heard so far; its end may still change."""
        return self._writer.text

    @property
    def duration_s(self) -> float:
        """Seconds that were fed."""
        return self._frames.num_samples / SAMPLE_RATE

    @property
    def is_pausing(self) -> bool:
        """Whether the latest chunk ended in no sound of speech."""
        return self._writer.is_pausing

    @torch.inference_mode()
    def feed(self, waveform: Waveform) -> None:
        """Hear (N,) more samples, float32 in [-1, 1] at 16 kHz; the network runs when a chunk is whole."""
        self._take(self._frames.feed(torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))))
        length = 2 * self._network.config.chunk
        while self._waiting.shape[1] >= length:
            chunk, self._waiting = self._waiting[:, :length], self._waiting[:, length:]
            logits, self._state = self._network.step(self._input(chunk), self._state)
            self._writer.push(_log_probs(logits, chunk))

    @torch.inference_mode()
    def preview(self) -> str:
        """What was said if nothing followed: what is no whole chunk yet is heard, and forgotten again."""
        writer = self._writer.copy()
        self._hear_rest(self._waiting, writer)
        writer.finish()
        return join_words([word.text for segment in writer.segments for word in segment.words])

    @torch.inference_mode()
    def finish(self) -> str:
        """Hear what is left; gives the whole text. Nothing may be fed afterwards."""
        self._take(self._frames.finish())
        self._hear_rest(self._waiting, self._writer)
        self._waiting = self._waiting[:, :0]
        self._writer.finish()
        return join_words([word.text for segment in self.segments for word in segment.words])

    def _take(self, mel: Tensor) -> None:
        self._waiting = torch.cat([self._waiting, mel], dim=1)

    def _hear_rest(self, mel: Tensor, writer: Writer) -> None:
        even = mel[:, : mel.shape[1] // 2 * 2]
        if even.shape[1]:
            logits, _ = self._network.step(self._input(even), self._state)
            writer.push(_log_probs(logits, even))

    def _input(self, mel: Tensor) -> Tensor:
        return fixed_scale(mel)[None].to(self._network.device, self._network.dtype)


def score_window(network: Recognizer, mel: LogMel, waveform: Waveform) -> NDArray[np.float32]:
    """Log probabilities (T, V) of a window (N,) that the network sees at once."""
    frames = mel(torch.from_numpy(waveform)[None])
    if frames.shape[2] < 2:
        return np.zeros((0, NUM_UNITS), dtype=np.float32)
    logits, _ = network(fixed_scale(frames).to(network.device, network.dtype))
    return _log_probs(logits, frames[0])


@torch.inference_mode()
def hear_windows(
    knowledge: Knowledge,
    blocks: Iterator[Waveform],
    writer: Writer,
    *,
    on_window: Callable[[float], None] = lambda seconds: None,
) -> float:
    """Hear a recording of any length, cut where it is quiet.

    Args:
        knowledge: the recogniser.
        blocks: (N,) float32 each, at 16 kHz, one after the other.
        writer: takes the scores; not finished here.
        on_window: told the seconds that were heard, after each window; may raise to end it.

    Returns:
        Seconds heard.
    """
    mel = LogMel(knowledge.network.config.num_mel_bins)
    waiting = np.zeros(0, dtype=np.float32)
    num_heard = 0
    longest = round(_WINDOW_S * SAMPLE_RATE)
    is_over = False
    while not is_over or len(waiting):
        while len(waiting) < longest and not is_over:
            block = next(blocks, None)
            is_over = block is None
            waiting = waiting if block is None else np.concatenate([waiting, block])
        window = (
            waiting if len(waiting) <= longest and is_over else waiting[: _quiet_place(waiting[:longest])]
        )
        waiting = waiting[len(window) :]
        writer.push(score_window(knowledge.network, mel, window))
        num_heard += len(window)
        on_window(num_heard / SAMPLE_RATE)
    return num_heard / SAMPLE_RATE


def join_words(words: list[str]) -> str:
    """Words as a text: spaces between them, but not between Chinese ones."""
    text = ""
    for word in words:
        is_joined = not text or (_is_chinese(text[-1]) and _is_chinese(word[:1]))
        text += word if is_joined else f" {word}"
    return text


def language_of(words: list[str]) -> str | None:
    """The language that most words are of, as an ISO 639 code; a character counts as half an English word."""
    num_characters = sum(_is_chinese(char) for word in words for char in word)
    num_english = sum(not _is_chinese(word[:1]) for word in words)
    if not words:
        return None
    return "zh" if num_characters / 2 > num_english else "en"


def _log_probs(logits: Tensor, mel: Tensor) -> NDArray[np.float32]:
    """(1, T, V) logits as log probabilities (T, V); where (M, F) is silent, surely blank."""
    log_probs: NDArray[np.float32] = logits[0].float().log_softmax(dim=-1).cpu().numpy()
    is_quiet = mel.amax(dim=0)[: 2 * len(log_probs)].view(-1, 2).amax(dim=1) < _QUIET
    if bool(is_quiet.any()):
        log_probs = log_probs.copy()
        log_probs[is_quiet.cpu().numpy()] = np.where(
            np.arange(log_probs.shape[1]) == BLANK, 0.0, np.float32(math.log(_NOTHING))
        )
    return log_probs


def _quiet_place(waveform: Waveform) -> int:
    """Where a window is best cut: in the middle of its quietest stretch behind `_LEAST_WINDOW_S`."""
    width = round(_QUIET_S * SAMPLE_RATE)
    begin = round(_LEAST_WINDOW_S * SAMPLE_RATE)
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform[begin:], dtype=np.float64))])
    stretches = energy[width:] - energy[:-width]
    middle = begin + int(stretches.argmin()) + width // 2
    return middle // (2 * 160) * (2 * 160)  # whole frames of 20 ms, so that times stay true


def _is_chinese(text: str) -> bool:
    return bool(text) and ord(text[0]) >= 0x2E80
