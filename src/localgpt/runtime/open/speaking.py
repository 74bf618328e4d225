"""How VITS voices speak, pulled or embedded: clause by clause, each in pieces as they are decoded.

* The first piece is sent when about a third of a second of the first clause is made.
* Rhythm and intonation are drawn at random; the request's seed and a clause's number decide them.
* Samples never leave [-1, 1]: the network's last function keeps them there, and what changing the rate adds
  is made softer, never clipped.
"""

from __future__ import annotations

import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from localgpt.compute.memory.state import Size
from localgpt.errors import BackendError, CancelledRequestError, InputError
from localgpt.media.audio import Resampler, Waveform
from localgpt.media.audio_files import MEDIA_TYPES, AudioEncoder, encode_audio, fit_rate
from localgpt.media.text.clauses import Clause
from localgpt.runtime.open.base import Emit
from localgpt.runtime.open.prepared import Prepared
from localgpt.sampling.voice import Pace, cuts_exactly, decode_pieces, make_frames
from localgpt.tasks import Notice, Progress, Request, Result, SpeakChunk, SpeakRequest, SpeakResult

__all__ = ["Settled", "Speaking", "Utterance", "settle_rate"]

_SECONDS_A_SOUND: Final = 0.075  # an upper estimate at ordinary speed, blanks counted
_ALIVE: Final = 8  # tensors of the last and widest layers of the waveform decoder, alive at once
_MAX_FRESH_SEED: Final = 2**32
_drawing = threading.Lock()  # voices draw from torch's own generator, which all threads share
_HEADROOM: Final = 0.97  # a rate that is changed overshoots by less than the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What one voice says without a stop: numbers of its sounds."""

    sound_ids: Sequence[int]
    speaker_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A request with nothing left open."""

    request: SpeakRequest
    clauses: tuple[Clause, ...]
    utterances: tuple[tuple[Utterance, ...], ...]  # of each clause, one or more
    sample_rate: int
    notices: tuple[str, ...]


class Speaking(ABC):
    """The half of an `OpenModel` that speaks; the other half is `NetworkModel`.

    The result tells the model by `id`, what differs from what was asked for by `notices`.
    """

    id: str
    notices: tuple[str, ...]
    network: Any  # a VitsModel

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)  # of the other half
        self._ready = Prepared(self._settle)

    @abstractmethod
    def settle(self, request: SpeakRequest) -> Settled:
        """Turn the text into utterances.

        Raises:
            InputError: it cannot be spoken.
        """

    @property
    def told_with_results(self) -> tuple[str, ...]:
        """Notices of the model that every result repeats."""
        return self.notices

    @property
    def result_model(self) -> str:
        """The model's name in results."""
        return self.id

    @property
    def sample_rate(self) -> int:
        """Hz, of the voice."""
        return int(self.network.config.sampling_rate)

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What the longest clause takes.

        Raises:
            InputError: the request cannot be spoken.
        """
        settled = self._ready.look(request)
        num_sounds = max(len(one.sound_ids) for clause in settled.utterances for one in clause)
        bucket = -(-num_sounds // 100) * 100
        config = self.network.config
        seconds = bucket * _SECONDS_A_SOUND / settled.request.speed
        if cuts_exactly(config):  # what is decoded at once is the longest piece
            seconds = min(seconds, 2 * Pace().longest_s)
        num_samples = seconds * self.sample_rate
        last_width = config.upsample_initial_channel >> len(config.upsample_rates)
        nbytes = round(num_samples * max(last_width, 1) * 4 * _ALIVE)
        return (Size(shape=f"{bucket} sounds at {settled.request.speed:g}", nbytes=nbytes),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Speak, piece by piece.

        Raises:
            CancelledRequestError: nobody waits any more.
            InputError: the request cannot be spoken.
        """
        settled = self._ready.take(request)
        spoken, rate = settled.request, settled.sample_rate
        notices = (*self.told_with_results, *settled.notices)
        for text in notices:
            emit(Notice(text=text))
        seed = secrets.randbelow(_MAX_FRESH_SEED) if spoken.seed is None else spoken.seed
        encoder = AudioEncoder(spoken.format, rate)
        waveforms: list[Waveform] = []
        num_samples = 0
        for number, clause in enumerate(settled.clauses):
            text = clause.text  # told with the first piece of it
            for waveform in self._say(settled, number, seed + number):
                if is_cancelled():
                    raise CancelledRequestError("speaking was cancelled")
                if spoken.wants_file:
                    waveforms.append(waveform)
                start_s, duration_s = num_samples / rate, len(waveform) / rate
                data = encoder.feed(waveform)
                emit(SpeakChunk(data=data, text=text, start_s=start_s, duration_s=duration_s))
                num_samples += len(waveform)
                text = ""
            emit(Progress(done=number + 1.0, total=float(len(settled.clauses)), unit="clauses"))
        if rest := encoder.finish():
            emit(SpeakChunk(data=rest, text="", start_s=num_samples / rate, duration_s=0.0))
        return SpeakResult(
            data=encode_audio(np.concatenate(waveforms), rate, spoken.format) if waveforms else b"",
            format=spoken.format,
            media_type=MEDIA_TYPES[spoken.format],
            sample_rate=rate,
            duration_s=num_samples / rate,
            seed=seed,
            model=self.result_model,
            voice=spoken.voice,
            notices=notices,
        )

    def _settle(self, request: Request) -> Settled:
        if not isinstance(request, SpeakRequest):
            raise InputError(f"the model {self.id} speaks; expected a text to say", param="model")
        return self.settle(request)

    def _say(self, settled: Settled, number: int, seed: int) -> Iterator[Waveform]:
        """A clause piece by piece and the silence behind it, at the rate that is wanted."""
        rate, speed = settled.sample_rate, settled.request.speed
        resampler = Resampler(self.sample_rate, rate)
        for utterance in settled.utterances[number]:
            for samples in self._pieces(utterance, speed, seed):
                if len(waveform := resampler.feed(samples)):
                    yield waveform
        pause = np.zeros(round(settled.clauses[number].pause_s / speed * rate), dtype=np.float32)
        if len(rest := np.concatenate([resampler.finish(), pause])):
            yield rest

    @torch.inference_mode()
    def _pieces(self, utterance: Utterance, speed: float, seed: int) -> Iterator[Waveform]:
        network = self.network
        ids = torch.tensor([list(utterance.sound_ids)], device=network.device)
        on_gpu = [network.device.index or 0] if network.device.type == "cuda" else []
        with _drawing, torch.random.fork_rng(devices=on_gpu):
            torch.manual_seed(seed)
            frames = make_frames(network, ids, speaker_id=utterance.speaker_id, speed=speed)
        for samples in decode_pieces(network, frames):
            waveform: Waveform = samples.float().cpu().numpy()
            if not np.isfinite(waveform).all():
                raise BackendError(f"{self.id} gave no numbers; load it without --fp16")
            yield waveform * np.float32(_HEADROOM)


def settle_rate(request: SpeakRequest, own: int) -> int:
    """The sample rate of the answer.

    Args:
        request: may ask for one.
        own: Hz, of the voice.

    Raises:
        InputError: the format does not have the one that is asked for.
    """
    wanted = request.sample_rate or fit_rate(request.format, own)
    if fit_rate(request.format, wanted) != wanted:
        raise InputError(
            f"sample_rate is {wanted}, which {request.format} does not have; expected "
            f"{fit_rate(request.format, wanted)}, or another format",
            param="sample_rate",
        )
    return wanted
