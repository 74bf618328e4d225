"""Open voices: VITS and MMS-TTS by the network of transformers.

* A text is said clause by clause, and each clause is sent when it is made.
* Rhythm and intonation are drawn at random; the request's seed and a clause's number decide them.
* Letters that the voice does not know are left out, and a notice names them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import torch

from localgpt.compute.memory.state import Size
from localgpt.errors import (
    BackendError,
    CancelledRequestError,
    CheckpointError,
    InputError,
    MissingWeightsError,
)
from localgpt.media.audio import Waveform, resample
from localgpt.media.audio_files import MEDIA_TYPES, AudioEncoder, encode_audio, fit_rate
from localgpt.media.text.clauses import Clause, split_clauses
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.prepared import Prepared
from localgpt.runtime.open.weights import LoadedNetwork, load_network, reading
from localgpt.tasks import (
    Notice,
    Progress,
    Request,
    Result,
    SpeakChunk,
    SpeakRequest,
    SpeakResult,
)

__all__ = ["Speaker", "load"]

_SECONDS_A_CHAR: Final = 0.15  # an upper estimate at ordinary speed
_ALIVE: Final = 8  # tensors of the last and widest layers of the waveform decoder, alive at once
_MAX_FRESH_SEED: Final = 2**32
_LANGUAGES: Final = {
    "en": "eng",
    "zh": "cmn",
    "de": "deu",
    "fr": "fra",
    "es": "spa",
    "ru": "rus",
    "ar": "ara",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """A request with nothing left open."""

    request: SpeakRequest
    clauses: tuple[Clause, ...]
    speaker_id: int | None
    sample_rate: int
    notices: tuple[str, ...]


def load(checkpoint: OpenCheckpoint) -> Speaker:
    """Read a voice.

    Raises:
        CheckpointError: the folder is incomplete or broken, or its words have to be phonemes.
    """
    folder = checkpoint.folder
    if not (folder / "vocab.json").is_file():
        raise MissingWeightsError(f"{folder} has no vocab.json; copy it from the model's repository")
    with reading(folder):
        from transformers import VitsTokenizer

        tokenizer: Any = VitsTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.phonemize and find_spec("phonemizer") is None:
        raise CheckpointError(
            f"{checkpoint.id} speaks phonemes, which takes phonemizer and espeak-ng; install them, "
            "or use a voice that reads letters, such as those of MMS-TTS"
        )
    return Speaker(checkpoint, load_network(checkpoint, "AutoModelForTextToWaveform"), tokenizer)


class Speaker(NetworkModel):
    """One loaded voice; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
    """

    tasks: tuple[str, ...] = ("speak",)

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any) -> None:
        super().__init__(checkpoint, loaded)
        self._tokenizer = tokenizer
        self._ready = Prepared(self._settle)

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
        num_chars = max(len(clause.text) for clause in settled.clauses)
        bucket = -(-num_chars // 50) * 50
        num_samples = bucket * _SECONDS_A_CHAR / settled.request.speed * self.sample_rate
        config = self.network.config
        last_width = config.upsample_initial_channel >> len(config.upsample_rates)
        nbytes = round(num_samples * max(last_width, 1) * 4 * _ALIVE)
        return (Size(shape=f"{bucket} letters at {settled.request.speed:g}", nbytes=nbytes),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Speak, clause by clause.

        Raises:
            CancelledRequestError: nobody waits any more.
            InputError: the request cannot be spoken.
        """
        settled = self._ready.take(request)
        spoken, rate = settled.request, settled.sample_rate
        notices = (*self.notices, *settled.notices)
        for text in notices:
            emit(Notice(text=text))
        seed = secrets.randbelow(_MAX_FRESH_SEED) if spoken.seed is None else spoken.seed
        encoder = AudioEncoder(spoken.format, rate)
        waveforms: list[Waveform] = []
        start_s = 0.0
        for number, clause in enumerate(settled.clauses):
            if is_cancelled():
                raise CancelledRequestError("speaking was cancelled")
            waveform = self._say(clause, settled, seed + number)
            waveforms.append(waveform)
            duration_s = len(waveform) / rate
            data = encoder.feed(waveform)
            emit(SpeakChunk(data=data, text=clause.text, start_s=start_s, duration_s=duration_s))
            emit(Progress(done=number + 1.0, total=float(len(settled.clauses)), unit="clauses"))
            start_s += duration_s
        if rest := encoder.finish():
            emit(SpeakChunk(data=rest, text="", start_s=start_s, duration_s=0.0))
        return SpeakResult(
            data=encode_audio(np.concatenate(waveforms), rate, spoken.format),
            format=spoken.format,
            media_type=MEDIA_TYPES[spoken.format],
            sample_rate=rate,
            duration_s=start_s,
            seed=seed,
            model=self.id,
            voice=spoken.voice,
            notices=notices,
        )

    @torch.inference_mode()
    def _say(self, clause: Clause, settled: _Settled, seed: int) -> Waveform:
        """A clause and the silence behind it, at the rate that is wanted."""
        network, speed = self.network, settled.request.speed
        inputs = self._tokenizer(clause.text, return_tensors="pt").to(network.device)
        on_gpu = [network.device.index or 0] if network.device.type == "cuda" else []
        # The network draws from torch's own generator; nobody else does in this thread.
        with torch.random.fork_rng(devices=on_gpu):
            torch.manual_seed(seed)
            network.speaking_rate = network.config.speaking_rate * speed
            made = network(**inputs, speaker_id=settled.speaker_id).waveform[0]
        waveform: Waveform = made.float().cpu().numpy()
        if not np.isfinite(waveform).all():
            raise BackendError(f"{self.id} gave no numbers; load it without --fp16")
        waveform = waveform / max(1.0, float(np.abs(waveform).max(initial=0.0)))  # rather softer than clipped
        waveform = resample(waveform, self.sample_rate, settled.sample_rate)
        pause = np.zeros(round(clause.pause_s / speed * settled.sample_rate), dtype=np.float32)
        return np.concatenate([waveform, pause])

    def _settle(self, request: Request) -> _Settled:
        if not isinstance(request, SpeakRequest):
            raise InputError(f"the model {self.id} speaks; expected a text to say", param="model")
        self._check_language(request.language)
        wanted = request.sample_rate or fit_rate(request.format, self.sample_rate)
        if fit_rate(request.format, wanted) != wanted:
            raise InputError(
                f"sample_rate is {wanted}, which {request.format} does not have; expected "
                f"{fit_rate(request.format, wanted)}, or another format",
                param="sample_rate",
            )
        self._check_script(request.text)
        clauses = tuple(clause for clause in split_clauses(request.text) if self._reads(clause.text))
        if not clauses:
            raise InputError(
                f"{self.id} knows no letter of the text {request.text[:40]!r}; expected words in its "
                f"language ({self._language or 'as its card says'})",
                param="text",
            )
        return _Settled(
            request=request,
            clauses=clauses,
            speaker_id=self._speaker_id(request.voice),
            sample_rate=wanted,
            notices=self._notices_about(request.text),
        )

    @property
    def _language(self) -> str | None:
        """ISO 639-3 code, where the tokenizer tells it."""
        return getattr(self._tokenizer, "language", None)

    def _check_language(self, language: str | None) -> None:
        known = self._language
        if language is None or known is None:
            return
        code = language.strip().lower().partition("-")[0]
        if known not in (code, _LANGUAGES.get(code)):
            raise InputError(
                f"language is {language!r}; {self.id} speaks {known}, expected that or another model",
                param="language",
            )

    def _check_script(self, text: str) -> None:
        """Refuse letters that would have to be romanised first."""
        foreign = [char for char in text if char.isalpha() and not char.isascii()]
        if self._tokenizer.is_uroman and foreign and find_spec("uroman") is None:
            raise InputError(
                f"{self.id} reads romanised text, and {foreign[0]!r} is not; install the package uroman, or "
                "write the text in Latin letters",
                param="text",
            )

    def _speaker_id(self, voice: str | None) -> int | None:
        num: int = self.network.config.num_speakers
        if num <= 1:
            if voice not in (None, "default"):
                raise InputError(
                    f"voice is {voice!r}; {self.id} has one voice, expected none or default", param="voice"
                )
            return None
        if voice in (None, "default"):
            return 0
        if voice is not None and voice.isascii() and voice.isdigit() and int(voice) < num:
            return int(voice)
        raise InputError(f"voice is {voice!r}; expected a number from 0 to {num - 1}", param="voice")

    def _prepared(self, text: str) -> str:
        """The letters that the tokenizer keeps of a text."""
        kept, _ = self._tokenizer.prepare_for_tokenization(text)
        return str(kept)

    def _reads(self, text: str) -> bool:
        return any(char.isalnum() for char in self._prepared(text))

    def _notices_about(self, text: str) -> tuple[str, ...]:
        if self._tokenizer.phonemize or (self._tokenizer.is_uroman and not text.isascii()):
            return ()  # what is read is not what is written
        known = set(self._prepared("".join(sorted(set(text)))))
        lost = sorted({char for char in text if char.isalnum() and not {char, char.lower()} & known})
        if not lost:
            return ()
        return (f"The voice knows no {', '.join(lost[:10])}, which it leaves out; write them as words.",)
