"""A recording window by window, and a window's tokens as segments.

Each window begins where the last one ended a segment, so that no word is cut; a window is as long as the
network can hear at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from localgpt.media.audio import Waveform
from localgpt.runtime.open.listen_decoding import Decoded
from localgpt.runtime.open.listen_tokens import ListenTokens

__all__ = ["Piece", "Windows", "is_silent", "pieces_of", "repetition"]

_SILENCE: Final = 1e-3  # of full scale, -60 dB: the loudest 20 ms of what nobody hears
_SILENCE_WINDOW_S: Final = 0.02


class Windows:
    """The part of a recording that is heard next; blocks are taken as they are needed.

    Args:
        blocks: (N,) float32 each, one after the other.
        length: samples of a full window.
    """

    def __init__(self, blocks: Iterator[Waveform], length: int) -> None:
        self._blocks, self._length = blocks, length
        self._waiting = np.zeros(0, dtype=np.float32)
        self.begin = 0  # of the next window, in samples

    def next(self) -> Waveform | None:
        """Up to a window's length of samples; None at the end."""
        while len(self._waiting) < self._length:
            block = next(self._blocks, None)
            if block is None:
                break
            self._waiting = np.concatenate([self._waiting, block])
        return self._waiting[: self._length] if len(self._waiting) else None

    def advance(self, num_samples: int) -> None:
        """Go on behind that many samples of the window."""
        self._waiting = self._waiting[num_samples:]
        self.begin += num_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Text of a window with its place, in seconds from the window's begin."""

    start_s: float
    end_s: float
    token_ids: tuple[int, ...]  # of text
    logprobs: tuple[float, ...]
    avg_logprob: float  # of its timestamps, too


def is_silent(waveform: Waveform, sample_rate: int) -> bool:
    """Whether there is nothing to hear: the loudest 20 ms are below -60 dB of full scale."""
    width = max(1, int(_SILENCE_WINDOW_S * sample_rate))
    padded = np.pad(waveform, (0, -len(waveform) % width)).reshape(-1, width)
    return bool(np.sqrt(np.square(padded, dtype=np.float32).mean(axis=1)).max(initial=0.0) < _SILENCE)


def repetition(text: str) -> float:
    """How often a text says the same: bytes by compressed bytes, above 2.4 it goes in circles."""
    data = text.encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data)) if data else 0.0


def pieces_of(
    decoded: Decoded, tokens: ListenTokens, *, step_s: float, window_s: float
) -> tuple[list[Piece], float]:
    """The segments of a window, and the second at which the next window begins.

    Args:
        decoded: what was written.
        tokens: of the checkpoint.
        step_s: seconds from one timestamp to the next.
        window_s: seconds of sound in the window.
    """
    ids, first = decoded.token_ids, tokens.first_timestamp
    is_time = [token >= first for token in ids]
    is_all = is_time[-2:] == [False, True]  # nothing is said behind the last timestamp
    cuts = [at for at in range(1, len(ids)) if is_time[at - 1] and is_time[at]]

    def time_s(token: int) -> float:
        return min(max(token - first, 0) * step_s, window_s)

    if not cuts:
        times = [time_s(token) for token in ids if token >= first]
        end_s = times[-1] if len(times) > 1 else window_s
        return _pieces(decoded, [(0, len(ids), times[0] if times else 0.0, end_s)], tokens), window_s
    ends = [*cuts, len(ids)] if is_all else cuts
    runs = [
        (begin, end, time_s(ids[begin]), time_s(ids[end - 1]))
        for begin, end in zip([0, *ends], ends, strict=False)
    ]
    next_s = window_s if is_all else time_s(ids[ends[-1] - 1])  # what was cut is heard again, whole
    return _pieces(decoded, runs, tokens), next_s or window_s


def _pieces(decoded: Decoded, runs: list[tuple[int, int, float, float]], tokens: ListenTokens) -> list[Piece]:
    found = []
    for begin, end, start_s, end_s in runs:
        if text := tuple(token for token in decoded.token_ids[begin:end] if tokens.is_text(token)):
            logprobs = decoded.logprobs[begin:end]
            pairs = zip(decoded.token_ids[begin:end], logprobs, strict=True)
            found.append(
                Piece(
                    start_s=start_s,
                    end_s=max(end_s, start_s),
                    token_ids=text,
                    logprobs=tuple(logprob for token, logprob in pairs if tokens.is_text(token)),
                    avg_logprob=sum(logprobs) / len(logprobs),
                )
            )
    return found
