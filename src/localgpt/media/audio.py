"""Encoded sound to samples: any common container, one channel, any rate, bounded in length and memory.

Notable: only the containers of `CONTAINERS` are tried, so that playlists and the like, which name other files
and addresses, are never followed. A recording is read block by block (`read_audio`), so that a long one takes
no more memory than a short one, beyond its own bytes; one in a file is read from there as it is needed.

Shape legend: N samples. A waveform is float32 in [-1, 1], one channel.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from localgpt.errors import AudioFormatError
from localgpt.units import GIB, format_bytes

if TYPE_CHECKING:
    import av
    import soxr

__all__ = [
    "CONTAINERS",
    "MAX_AUDIO_BYTES",
    "Resampler",
    "SoundSource",
    "Waveform",
    "decode_audio_bytes",
    "read_audio",
    "resample",
    "told_duration",
]

Waveform = NDArray[np.float32]
SoundSource = bytes | Path
"""An encoded recording: its bytes, or the file that holds them."""

CONTAINERS: Final = (
    "wav", "w64", "mp3", "flac", "ogg", "mov", "mp4", "m4a", "3gp", "matroska", "webm", "aac", "aiff", "au",
    "caf", "amr", "asf", "avi", "mpegts", "mpeg", "flv", "ac3",
)  # fmt: skip
MAX_AUDIO_BYTES: Final = GIB
_MAX_SECONDS: Final = 2 * 3600.0  # of what is decoded as a whole
_MIN_RATE, _MAX_RATE = 1000, 768_000  # Hz
_MAX_CHANNELS: Final = 64
_TOLD_EXACTLY: Final = frozenset({"flac", "mov", "matroska"})  # whose head says how long the recording is
_STREAMED: Final = 0x7FFF_0000  # a size from here on, or none, is of a WAV file that was written as a stream
_EXPECTED = "expected a recording such as WAV, MP3, FLAC, Ogg, M4A or WebM"
_FULL_SCALE: Final = {"uint8": (128.0, 128.0), "int16": (0.0, 2.0**15), "int32": (0.0, 2.0**31)}


def decode_audio_bytes(data: SoundSource, sample_rate: int, *, max_seconds: float = _MAX_SECONDS) -> Waveform:
    """A whole recording at once.

    Args:
        data: the file's bytes, or the file.
        sample_rate: Hz, of the waveform.
        max_seconds: longer recordings are refused, as soon as that is known.

    Returns:
        (N,) float32 in [-1, 1]; all channels as one.

    Raises:
        AudioFormatError: empty, not a recording, without sound, damaged, too large or too long; `param` is
            "audio".
    """
    blocks = list(read_audio(data, sample_rate, max_seconds=max_seconds))
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def read_audio(
    data: SoundSource, sample_rate: int, *, block_s: float = 30.0, max_seconds: float = _MAX_SECONDS
) -> Iterator[Waveform]:
    """A recording block by block; memory for one block, however long it is.

    Args:
        data: the file's bytes, or the file, which stays open until the last block.
        sample_rate: Hz, of the waveforms.
        block_s: seconds of each block but the last, which is shorter and never empty.
        max_seconds: longer recordings are refused, as soon as that is known.

    Yields:
        (N,) float32 in [-1, 1].

    Raises:
        AudioFormatError: as `decode_audio_bytes`; damage shows when it is reached.
    """
    num_block = round(block_s * sample_rate)
    waiting: list[Waveform] = []
    num_waiting, num_read = 0, 0
    for piece in _resampled(_pieces(data, max_seconds), sample_rate):
        num_read += len(piece)
        if num_read > max_seconds * sample_rate:
            raise _too_long(num_read / sample_rate, max_seconds)
        waiting.append(piece)
        num_waiting += len(piece)
        if num_waiting >= num_block:
            whole = np.concatenate(waiting)
            while len(whole) >= num_block:
                yield whole[:num_block]
                whole = whole[num_block:]
            waiting, num_waiting = [whole], len(whole)
    if num_waiting:
        yield np.concatenate(waiting)


def told_duration(data: SoundSource) -> float | None:
    """Seconds that a recording says it lasts; None where it does not say.

    Raises:
        AudioFormatError: as `decode_audio_bytes`, but for what only decoding shows.
    """
    with _opened(data) as (container, stream):
        return _told_seconds(container, stream) or None


def resample(waveform: Waveform, source: int, target: int) -> Waveform:
    """(N,) samples at `source` Hz as (N x target / source,) samples at `target` Hz."""
    if source == target or not len(waveform):
        return waveform
    import soxr

    return np.asarray(soxr.resample(waveform, source, target), dtype=np.float32)


class Resampler:
    """Changes the rate of sound that comes in pieces; the pieces together are what the whole would be.

    Args:
        source: Hz, of what comes.
        target: Hz, of what is given.
    """

    def __init__(self, source: int, target: int) -> None:
        self._stream: soxr.ResampleStream | None = None
        if source != target:
            import soxr

            self._stream = soxr.ResampleStream(source, target, 1, dtype="float32")

    def feed(self, waveform: Waveform) -> Waveform:
        """Take (N,) samples; those that are ready."""
        return waveform if self._stream is None else _through(self._stream, waveform)

    def finish(self) -> Waveform:
        """The last samples."""
        nothing = np.zeros(0, dtype=np.float32)
        return nothing if self._stream is None else _through(self._stream, nothing, last=True)


@contextmanager
def _opened(source: SoundSource) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """A container and its first stream of sound, until the end of the block."""
    import av

    with _file_of(source) as file:
        _check(file)
        try:
            container = av.open(
                file,
                "r",
                metadata_errors="ignore",
                options={"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"},
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            raise AudioFormatError(f"got {_looks_like(file)}, {_EXPECTED}", param="audio") from error
        with container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                kind = "a video without sound" if container.streams.video else "a file without sound"
                raise AudioFormatError(f"got {kind}, {_EXPECTED}", param="audio")
            yield container, stream


def _file_of(source: SoundSource) -> BinaryIO:
    if isinstance(source, Path):
        try:
            return source.open("rb")
        except OSError as error:
            raise AudioFormatError(
                f"the recording {source} cannot be read: {error.strerror or error}", param="audio"
            ) from None
    if len(source) > MAX_AUDIO_BYTES:
        raise AudioFormatError(
            f"got a recording of {format_bytes(len(source))}, expected at most "
            f"{format_bytes(MAX_AUDIO_BYTES)}; save it as MP3 or Opus, or cut it into parts",
            param="audio",
        )
    return io.BytesIO(source)


def _check(file: BinaryIO) -> None:
    """Refuse an empty file, and a WAV file that ends before its samples do.

    Decoders take what is there of such a one and say nothing.
    """
    num_bytes = file.seek(0, os.SEEK_END)
    if not num_bytes:
        raise AudioFormatError(f"got an empty file, {_EXPECTED}", param="audio")
    head = _read_at(file, 0, 12)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        _check_wav(file, num_bytes)
    file.seek(0)


def _check_wav(file: BinaryIO, num_bytes: int) -> None:
    at = 12
    while at + 8 <= num_bytes:
        name, size = struct.unpack("<4sI", _read_at(file, at, 8))
        missing = at + 8 + size - num_bytes
        if name == b"data":
            if missing > 1 and 0 < size < _STREAMED:  # 1: the byte that makes an odd size even
                got = f"{format_bytes(size - missing)} of {format_bytes(size)}"
                raise AudioFormatError(
                    f"got a WAV file that is cut short ({got} of samples), expected a whole one; copy or "
                    "download it again",
                    param="audio",
                )
            return
        at += 8 + size + size % 2
    raise AudioFormatError(f"got a WAV file without samples, {_EXPECTED}", param="audio")


def _read_at(file: BinaryIO, at: int, num_bytes: int) -> bytes:
    file.seek(at)
    return file.read(num_bytes)


def _pieces(source: SoundSource, max_seconds: float) -> Iterator[tuple[Waveform, int]]:
    """What a decoder gives, as it comes: one channel and its rate in Hz."""
    with _opened(source) as (container, stream):
        told_s = _told_seconds(container, stream)
        if told_s > max_seconds:
            raise _too_long(told_s, max_seconds)
        read_s, num_broken = 0.0, 0
        for frame in _frames(container, stream):
            if frame is None:
                num_broken += 1
                continue
            waveform = _mono(frame)
            read_s += len(waveform) / frame.sample_rate
            yield waveform, frame.sample_rate
        if not read_s and num_broken:
            raise _broken("whose sound cannot be read")
        if container.format.name.split(",")[0] in _TOLD_EXACTLY and read_s < 0.98 * told_s - 0.5:
            raise _broken(f"of which only {read_s:.1f} of {told_s:.1f} seconds can be read")


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame | None]:
    """Decoded frames; None for each packet that is damaged, as players skip them."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the container is damaged from here on
            yield None
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            yield None


def _told_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """How long the file says it is; 0 where it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def _mono(frame: av.AudioFrame) -> Waveform:
    """A frame's channels as one, (N,) in [-1, 1]."""
    num_channels = frame.layout.nb_channels
    if not (_MIN_RATE <= frame.sample_rate <= _MAX_RATE and 1 <= num_channels <= _MAX_CHANNELS):
        raise AudioFormatError(
            f"got a recording of {num_channels} channels at {frame.sample_rate} Hz, expected up to "
            f"{_MAX_CHANNELS} channels at {_MIN_RATE:,} to {_MAX_RATE:,} Hz",
            param="audio",
        )
    samples: NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, num_channels).T
    if (scale := _FULL_SCALE.get(samples.dtype.name)) is not None:
        zero, full = scale
        samples = (samples.astype(np.float32) - np.float32(zero)) / np.float32(full)
    waveform: Waveform = samples.mean(axis=0, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise _broken("with samples that are no numbers")
    return waveform.clip(-1.0, 1.0)


def _resampled(pieces: Iterator[tuple[Waveform, int]], sample_rate: int) -> Iterator[Waveform]:
    """Pieces at one rate, whatever rates they come in."""
    import soxr

    stream: soxr.ResampleStream | None = None
    current = sample_rate
    for waveform, rate in pieces:
        if rate != current:
            if stream is not None:
                yield _through(stream, np.zeros(0, dtype=np.float32), last=True)
            current = rate
            stream = (
                soxr.ResampleStream(rate, sample_rate, 1, dtype="float32") if rate != sample_rate else None
            )
        yield waveform if stream is None else _through(stream, waveform)
    if stream is not None:
        yield _through(stream, np.zeros(0, dtype=np.float32), last=True)


def _through(stream: soxr.ResampleStream, waveform: Waveform, *, last: bool = False) -> Waveform:
    return np.asarray(stream.resample_chunk(waveform, last=last), dtype=np.float32).reshape(-1)


def _looks_like(file: BinaryIO) -> str:
    head = _read_at(file, 0, 4096)
    if head[:5] == b"%PDF-":
        return "a PDF file"
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head):
        return "a text file"
    num_bytes = file.seek(0, os.SEEK_END)
    return f"a file of {format_bytes(num_bytes)} that is no recording, or a broken one"


def _broken(what: str) -> AudioFormatError:
    return AudioFormatError(
        f"got a damaged or truncated recording, {what}, expected a whole one; copy or download it again",
        param="audio",
    )


def _too_long(seconds: float, max_seconds: float) -> AudioFormatError:
    return AudioFormatError(
        f"got a recording of at least {_duration(seconds)}, expected at most {_duration(max_seconds)}; cut "
        "it into parts",
        param="audio",
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
