"""Samples to encoded sound: WAV, raw PCM, MP3, FLAC, Opus and AAC, whole or as it is made.

MP3 and AAC are bare streams, Opus is in an Ogg container; PCM is 16 bits, little endian, without a head.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from localgpt.errors import InputError
from localgpt.media.audio import Waveform

if TYPE_CHECKING:
    from av import AudioStream

__all__ = ["MEDIA_TYPES", "AudioEncoder", "encode_audio", "fit_rate", "to_pcm"]

MEDIA_TYPES: Final = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
}
_UNKNOWN_LENGTH: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codec:
    container: str
    encoder: str
    sample_format: str
    rates: tuple[int, ...] = ()  # Hz; empty = any
    bit_rate: int | None = None  # of one channel


_CODECS: Final = {
    "mp3": _Codec(
        container="mp3",
        encoder="libmp3lame",
        sample_format="fltp",
        rates=(8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        bit_rate=64_000,
    ),
    "flac": _Codec(container="flac", encoder="flac", sample_format="s16"),
    "opus": _Codec(
        container="ogg",
        encoder="libopus",
        sample_format="flt",
        rates=(8000, 12_000, 16_000, 24_000, 48_000),
        bit_rate=40_000,
    ),
    "aac": _Codec(
        container="adts",
        encoder="aac",
        sample_format="fltp",
        rates=(8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
        bit_rate=64_000,
    ),
}


def fit_rate(format: str, sample_rate: int) -> int:
    """The rate in Hz that a format has for sound of some rate: the same, the next higher, or the highest.

    Raises:
        InputError: no such format.
    """
    rates = _CODECS[_known(format)].rates if format in _CODECS else ()
    if not rates or sample_rate in rates:
        return sample_rate
    return next((rate for rate in rates if rate > sample_rate), rates[-1])


def encode_audio(waveform: Waveform, sample_rate: int, format: str = "wav") -> bytes:
    """A whole file.

    Args:
        waveform: (N,) float32; clipped to [-1, 1].
        sample_rate: Hz, one that the format has (`fit_rate`).
        format: wav, pcm, mp3, flac, opus or aac.

    Raises:
        InputError: no such format, or it has no such rate.
    """
    if format == "wav":
        pcm = to_pcm(waveform)
        return _wav_head(sample_rate, len(pcm)) + pcm
    encoder = AudioEncoder(format, sample_rate, seekable=True)
    encoder.feed(waveform)
    encoder.finish()
    return encoder.written


def to_pcm(waveform: Waveform) -> bytes:
    """(N,) float32 as 16-bit little-endian samples; what is beyond [-1, 1] is clipped."""
    return np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


class AudioEncoder:
    """A file as it is made: feed samples, take bytes, which together are the file.

    A WAV file made so cannot tell its length in its head; players read on to its end.

    Args:
        format: wav, pcm, mp3, flac, opus or aac.
        sample_rate: Hz, one that the format has (`fit_rate`).
        seekable: keep all bytes until the end, and write lengths into the head; see `written`.

    Raises:
        InputError: no such format, or it has no such rate.
    """

    def __init__(self, format: str, sample_rate: int, *, seekable: bool = False) -> None:
        if fit_rate(_known(format), sample_rate) != sample_rate:
            rates = ", ".join(map(str, _CODECS[format].rates))
            raise InputError(
                f"{format} has no sample rate of {sample_rate} Hz; expected one of {rates}",
                param="sample_rate",
            )
        self._sample_rate = sample_rate
        self._sink = io.BytesIO() if seekable else _Pipe()
        self._writer = None
        if format in _CODECS:
            self._writer = _Writer(_CODECS[format], sample_rate, self._sink)
        elif format == "wav":
            self._sink.write(_wav_head(sample_rate, None))

    @property
    def written(self) -> bytes:
        """All bytes of a seekable file, after `finish`."""
        return self._sink.getvalue()

    def feed(self, waveform: Waveform) -> bytes:
        """Take (N,) float32 samples; the bytes that are ready."""
        if self._writer is None:
            self._sink.write(to_pcm(waveform))
        elif len(waveform):
            self._writer.write(waveform)
        return self._take()

    def finish(self) -> bytes:
        """End the file; its last bytes."""
        if self._writer is not None:
            self._writer.close()
        return self._take()

    def _take(self) -> bytes:
        return self._sink.take() if isinstance(self._sink, _Pipe) else b""


class _Pipe(io.BytesIO):
    """Bytes on their way; no way back to what was taken."""

    def seekable(self) -> bool:
        return False

    def take(self) -> bytes:
        data = self.getvalue()
        super().seek(0)
        self.truncate()
        return data


class _Writer:
    """PyAV's muxer and encoder of one format."""

    def __init__(self, codec: _Codec, sample_rate: int, sink: io.BytesIO) -> None:
        import av

        self._codec, self._sample_rate = codec, sample_rate
        self._container = av.open(sink, "w", format=codec.container)
        stream = cast("AudioStream", self._container.add_stream(codec.encoder, rate=sample_rate))
        stream.codec_context.layout = "mono"
        stream.codec_context.format = codec.sample_format
        if codec.bit_rate:
            stream.bit_rate = codec.bit_rate
        self._stream = stream
        self._num_written = 0

    def write(self, waveform: Waveform) -> None:
        from av import AudioFrame

        samples = np.clip(waveform, -1.0, 1.0).astype(np.float32)
        is_whole = self._codec.sample_format == "s16"
        rows = np.round(samples * 32767.0).astype(np.int16) if is_whole else samples
        frame = AudioFrame.from_ndarray(rows[None], format=self._codec.sample_format, layout="mono")
        frame.sample_rate = self._sample_rate
        frame.pts = self._num_written
        self._num_written += len(waveform)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


def _wav_head(sample_rate: int, num_bytes: int | None) -> bytes:
    """44 bytes before 16-bit samples of one channel; None: how many there will be is not known."""
    size = _UNKNOWN_LENGTH if num_bytes is None else num_bytes
    riff = _UNKNOWN_LENGTH if num_bytes is None else 36 + num_bytes
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def _known(format: str) -> str:
    if format not in MEDIA_TYPES:
        raise InputError(f"format is {format!r}; expected one of {', '.join(MEDIA_TYPES)}", param="format")
    return format
