"""Open recognisers: Whisper and its like, by the network of transformers and a decoding of our own.

* A recording is heard in windows of up to 30 seconds, however long it is; memory does not grow with it.
* A window in which nothing is louder than -60 dB is not heard. One that the network holds for no speech, and
  writes down badly, gives no text. So silence gives an empty text.
* The networks were trained on windows padded to 30 seconds. A short recording is padded to ten seconds, or by
  two, which costs less; where what is written then is doubtful (improbable, or in circles), it is heard again
  with the whole pad, and then with rising temperature, as openai/whisper does.
* The language is found out in the first window in which there is something to hear, and kept.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.compute.memory.state import Size
from localgpt.errors import CancelledRequestError, CheckpointError, InputError
from localgpt.media.audio import Waveform, read_audio, told_duration
from localgpt.nn.log_mel import LogMel, whisper_scale
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.listen_decoding import Decoded, align, decode_window, detect_language, encode
from localgpt.runtime.open.listen_tokens import ListenTokens, split_words
from localgpt.runtime.open.listen_windows import Piece, Windows, is_silent, pieces_of, repetition
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.prepared import Prepared
from localgpt.runtime.open.weights import LoadedNetwork, load_config, load_network, load_tokenizer, reading
from localgpt.tasks import (
    ListenRequest,
    ListenResult,
    Notice,
    Progress,
    Request,
    Result,
    SpeechSegment,
    SpokenWord,
    TextDelta,
)

__all__ = ["Listener", "load"]

MAX_SECONDS: Final = 24 * 3600.0
_LEAST_WINDOW_S, _PAD_S = 10.0, 2.0  # of a window that is not padded to the end
_NO_SPEECH: Final = 0.6
_LEAST_LOGPROB: Final = -1.0
_MOST_REPETITION: Final = 2.4
_TEMPERATURES: Final = (0.2, 0.4, 0.6, 0.8, 1.0)  # where the likeliest words are doubtful


def load(checkpoint: OpenCheckpoint) -> Listener:
    """Read a recogniser.

    Raises:
        CheckpointError: the folder is incomplete or broken, or no Whisper.
    """
    loaded = load_network(checkpoint, "AutoModelForSpeechSeq2Seq")
    tokenizer = load_tokenizer(checkpoint.folder)
    with reading(checkpoint.folder):
        from transformers import WhisperFeatureExtractor

        folder = checkpoint.folder
        if (folder / "preprocessor_config.json").is_file() or (folder / "processor_config.json").is_file():
            extractor = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
        else:
            num_mel_bins = load_config(folder).num_mel_bins
            extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)  # type: ignore[no-untyped-call]
    mel = LogMel(
        extractor.feature_size,
        sample_rate=extractor.sampling_rate,
        n_fft=extractor.n_fft,
        hop_length=extractor.hop_length,
    )
    return Listener(checkpoint, loaded, tokenizer, mel)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """A request with nothing left open but a language that is to be found out."""

    request: ListenRequest
    language: str | None
    hint_ids: tuple[int, ...]  # tokens of what to expect
    notices: tuple[str, ...]


class Listener(NetworkModel):
    """One loaded recogniser; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
        mel: makes log-mel spectra, on the CPU.
    """

    tasks: tuple[str, ...] = ("listen",)

    def __init__(
        self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any, mel: LogMel
    ) -> None:
        super().__init__(checkpoint, loaded)
        self._mel = mel
        self.tokenizer = tokenizer
        self.tokens = ListenTokens.of(tokenizer, self.network)
        config = self.network.config
        if mel.num_mel_bins != config.num_mel_bins:
            raise CheckpointError(
                f"{checkpoint.folder} makes {mel.num_mel_bins} mel bins and its network reads "
                f"{config.num_mel_bins}; copy it again"
            )
        self.sample_rate: int = mel.sample_rate
        self.step_s: float = 2 * mel.hop_length / self.sample_rate  # one position of the encoder
        self.window_s: float = config.max_source_positions * self.step_s
        self.context_len = config.max_target_positions
        self.max_tokens: int = config.max_target_positions // 2  # of a window, and of what to expect
        self._ready = Prepared(self._settle)

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What a window takes; recordings of any length take that.

        Raises:
            InputError: it is no recording, or its language is not known.
        """
        self._ready.look(request)
        config = self.network.config
        positions, itemsize = config.max_source_positions, self._compute_dtype.itemsize
        scores = positions**2 * config.encoder_attention_heads * 4
        hidden = positions * (config.encoder_ffn_dim + 8 * config.d_model) * itemsize
        mel = 2 * positions * config.num_mel_bins * 4
        cache = (
            2 * config.decoder_layers * (positions + config.max_target_positions) * config.d_model * itemsize
        )
        return (Size(shape="window", nbytes=scores + hidden + mel + cache),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Write down a recording; a text's pieces are told window by window.

        Raises:
            AudioFormatError: the recording is damaged, or longer than a day.
            CancelledRequestError: nobody waits any more.
        """
        settled = self._ready.take(request)
        notices = (*self.notices, *settled.notices)
        for text in notices:
            emit(Notice(text=text))
        hearing = _Hearing(self, settled, is_cancelled)
        source = settled.request.audio.source
        blocks = read_audio(source, self.sample_rate, max_seconds=MAX_SECONDS)
        windows = Windows(blocks, round(self.window_s * self.sample_rate))
        told_s = told_duration(source)
        with torch.inference_mode():
            while (waveform := windows.next()) is not None:
                num_heard, text = hearing.hear(waveform, windows.begin / self.sample_rate)
                if text:
                    emit(TextDelta(text=text))
                windows.advance(num_heard)
                done_s = windows.begin / self.sample_rate
                emit(Progress(done=done_s, total=max(told_s, done_s) if told_s else None, unit="seconds"))
        for text in hearing.notices:
            emit(Notice(text=text))
        return ListenResult(
            text="".join(hearing.texts),
            language=hearing.language if hearing.texts else None,
            duration_s=windows.begin / self.sample_rate,
            segments=tuple(hearing.segments) if settled.request.timestamps != "none" else (),
            model=self.id,
            words=tuple(hearing.words),
            notices=(*notices, *hearing.notices),
        )

    def features(self, waveform: Waveform, *, is_padded: bool) -> Tensor:
        """What the decoder hears of a window, (1, F / 2, C).

        Args:
            waveform: (N,) float32, at most a window.
            is_padded: with silence to a full window, as in training.
        """
        positions = self.num_positions(len(waveform), is_padded=is_padded)
        mel = whisper_scale(self._mel(torch.from_numpy(waveform)[None], num_frames=2 * positions))
        return encode(self.network, mel.to(self.network.device, self._compute_dtype))

    def num_positions(self, num_samples: int, *, is_padded: bool) -> int:
        """Positions of the encoder for a window."""
        most: int = self.network.config.max_source_positions
        if is_padded:
            return most
        seconds: float = max(_LEAST_WINDOW_S, num_samples / self.sample_rate + _PAD_S)
        return min(most, math.ceil(seconds / self.step_s))

    def release(self) -> None:
        """Let go of the network."""
        self._ready.clear()
        super().release()

    def _settle(self, request: Request) -> _Settled:
        if not isinstance(request, ListenRequest):
            raise InputError(f"the model {self.id} listens; expected a recording", param="model")
        if request.translate and not self.tokens.languages:
            raise InputError(
                f"translate is true, and {self.id} knows one language alone; expected false, or another "
                "model",
                param="translate",
            )
        language = None if request.language is None else self.tokens.language_code(request.language)
        ids = (
            self.tokenizer(f" {request.prompt.strip()}", add_special_tokens=False).input_ids
            if request.prompt
            else []
        )
        ids = [token for token in ids if self.tokens.is_text(token)]
        most = self.max_tokens - 1
        notices = [f"Of the prompt's {len(ids)} tokens the last {most} are used."] if len(ids) > most else []
        return _Settled(
            request=request, language=language, hint_ids=tuple(ids[-most:]), notices=tuple(notices)
        )


class _Hearing:
    """A recording on its way to a text.

    Args:
        listener: whose network it is.
        settled: what is asked for.
        is_cancelled: nobody waits any more.
    """

    def __init__(self, listener: Listener, settled: _Settled, is_cancelled: Callable[[], bool]) -> None:
        self._listener, self._settled, self._is_cancelled = listener, settled, is_cancelled
        self.language = settled.language or (None if listener.tokens.languages else "en")
        self.segments: list[SpeechSegment] = []
        self.words: list[SpokenWord] = []
        self.texts: list[str] = []
        self.notices: list[str] = []

    def hear(self, waveform: Waveform, begin_s: float) -> tuple[int, str]:
        """Take a window that begins at `begin_s`; how many of its samples are done, and what they say."""
        if self._is_cancelled():
            raise CancelledRequestError("listening was cancelled")
        listener, request = self._listener, self._settled.request
        if is_silent(waveform, listener.sample_rate):
            return len(waveform), ""
        features = listener.features(waveform, is_padded=False)
        if self.language is None:
            self.language = detect_language(listener.network, features, listener.tokens)
        with_timestamps = (
            request.timestamps != "none" or len(waveform) >= listener.window_s * listener.sample_rate
        )
        head = listener.tokens.head(
            self.language, translate=request.translate, with_timestamps=with_timestamps
        )
        features, decoded, temperature = self._decode(waveform, features, head, begin_s)
        if decoded.no_speech_prob > _NO_SPEECH and decoded.avg_logprob < _LEAST_LOGPROB:
            return len(waveform), ""
        window_s = len(waveform) / listener.sample_rate
        pieces, next_s = pieces_of(decoded, listener.tokens, step_s=listener.step_s, window_s=window_s)
        if request.timestamps == "word":
            self._add_words(features, pieces, begin_s, window_s)
        text = self._add(pieces, begin_s, decoded.no_speech_prob, temperature)
        return len(waveform) if next_s >= window_s else round(next_s * listener.sample_rate), text

    def _decode(
        self, waveform: Waveform, features: Tensor, head: list[int], begin_s: float
    ) -> tuple[Tensor, Decoded, float]:
        """The first way of writing a window down that is not doubtful, else the most probable one."""
        found: list[tuple[float, Tensor, Decoded, float]] = []
        for heard, temperature in self._ways(waveform, features):
            decoded = self._decode_once(heard, head, temperature)
            text_ids = [token for token in decoded.token_ids if self._listener.tokens.is_text(token)]
            is_circle = repetition(self._listener.tokenizer.decode(text_ids)) > _MOST_REPETITION
            if decoded.no_speech_prob > _NO_SPEECH and decoded.avg_logprob < _LEAST_LOGPROB:
                return heard, decoded, temperature
            if not is_circle and decoded.avg_logprob >= _LEAST_LOGPROB:
                return heard, decoded, temperature
            found.append((decoded.avg_logprob - 1000 * is_circle, heard, decoded, temperature))
        _, heard, decoded, temperature = max(found, key=lambda way: way[0])
        self.notices.append(f"What is said around {begin_s:.0f} s is doubtful.")
        return heard, decoded, temperature

    def _ways(self, waveform: Waveform, features: Tensor) -> Iterator[tuple[Tensor, float]]:
        """As it is, with the whole pad, and with rising temperature."""
        lowest = self._settled.request.temperature
        yield features, lowest
        if features.shape[1] < self._listener.num_positions(len(waveform), is_padded=True):
            features = self._listener.features(waveform, is_padded=True)
            yield features, lowest
        for temperature in _TEMPERATURES:
            if temperature > lowest:
                yield features, temperature

    def _decode_once(self, features: Tensor, head: list[int], temperature: float) -> Decoded:
        listener, hint = self._listener, self._settled.hint_ids
        seed = self._settled.request.seed
        return decode_window(
            listener.network,
            features,
            listener.tokens,
            [*([listener.tokens.previous, *hint] if hint else []), *head],
            max_tokens=listener.max_tokens - len(head),
            temperature=temperature,
            generator=torch.Generator().manual_seed(secrets.randbits(32) if seed is None else seed),
            is_cancelled=self._is_cancelled,
        )

    def _add(self, pieces: list[Piece], begin_s: float, no_speech_prob: float, temperature: float) -> str:
        """Remember segments; their text, which goes on where the last one ended."""
        whole = ""
        for piece in pieces:
            text = self._listener.tokenizer.decode(piece.token_ids)
            self.segments.append(
                SpeechSegment(
                    start_s=begin_s + piece.start_s,
                    end_s=begin_s + piece.end_s,
                    text=text.strip(),
                    avg_logprob=piece.avg_logprob,
                    no_speech_prob=no_speech_prob,
                    token_ids=piece.token_ids,
                    temperature=temperature,
                    heard_from_s=begin_s,
                )
            )
            whole += text
        whole = whole.rstrip() if self.texts else whole.strip()
        if whole:
            self.texts.append(whole)
        return whole

    def _add_words(self, features: Tensor, pieces: list[Piece], begin_s: float, window_s: float) -> None:
        listener = self._listener
        ids = [token for piece in pieces for token in piece.token_ids]
        if not ids:
            return
        probs = [math.exp(logprob) for piece in pieces for logprob in piece.logprobs]
        head = listener.tokens.head(
            self.language, translate=self._settled.request.translate, with_timestamps=False
        )
        frames = align(listener.network, features, listener.tokens, head, ids)
        places = [min(frame * listener.step_s, window_s) for frame in frames.tolist()]
        at = 0
        for text, word_ids in split_words(listener.tokenizer, ids, self.language):
            end = at + len(word_ids)
            self.words.append(
                SpokenWord(
                    start_s=begin_s + places[at],
                    end_s=begin_s + places[end],
                    text=text.strip(),
                    probability=sum(probs[at:end]) / len(word_ids),
                )
            )
            at = end
