"""Sound on the wire of a call: its formats, and what of it is kept until a turn is over.

Shape legend: N samples. Samples are int16, one channel. Times are milliseconds of the call's incoming sound.
numpy is loaded with the first call, not with the server.
"""

from __future__ import annotations

import base64
import binascii
import io
import wave
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from localgpt.errors import AudioFormatError
from localgpt.server.schemas.realtime import AudioFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAX_TURN_MS", "SoundBuffer", "WireFormat", "decode_sound", "encode_sound", "to_wav"]

MAX_TURN_MS: Final = 300_000  # of sound that waits for the end of its turn


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How samples travel."""

    name: str
    sample_rate: int  # Hz
    bytes_per_sample: int

    @classmethod
    def of(cls, body: AudioFormat | None) -> WireFormat:
        """The format a session names; PCM where it names none."""
        if body is None or body.type == "audio/pcm":
            return cls("audio/pcm", 24_000, 2)
        return cls(body.type, 8_000, 1)

    @property
    def bytes_per_ms(self) -> int:
        """Bytes of a millisecond; whole in all formats."""
        return self.sample_rate * self.bytes_per_sample // 1000

    def samples(self, data: bytes) -> NDArray[np.int16]:
        """Samples (N,) of bytes of the wire."""
        import numpy as np

        if self.name == "audio/pcm":
            return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)
        return _levels(self.name)[np.frombuffer(data, dtype=np.uint8)]

    def from_pcm(self, data: bytes) -> bytes:
        """Bytes of the wire of 16-bit little-endian samples of the same rate; the nearest level of each."""
        if self.name == "audio/pcm":
            return data
        import numpy as np

        levels = _levels(self.name).astype(np.int32)
        order = np.argsort(levels, kind="stable").astype(np.uint8)
        middles = (levels[order][1:] + levels[order][:-1]) / 2
        return order[np.searchsorted(middles, np.frombuffer(data, dtype="<i2"))].tobytes()


@cache
def _levels(name: str) -> NDArray[np.int16]:
    """The sample (256,) that each byte of G.711 stands for."""
    import numpy as np

    code = np.arange(256)
    if name == "audio/pcmu":
        code = ~code & 0xFF
        size = (((code & 0xF) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
        return np.where(code & 0x80, -size, size).astype(np.int16)
    code = code ^ 0x55
    step, fine = code >> 4 & 7, (code & 0xF) << 4
    size = np.where(step == 0, fine + 8, fine + 0x108 << np.maximum(step - 1, 0))
    return np.where(code & 0x80, size, -size).astype(np.int16)


def decode_sound(text: str, wire: WireFormat, param: str) -> bytes:
    """Bytes of the wire from their base64 text.

    Raises:
        AudioFormatError: it is no base64, or ends within a sample.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise AudioFormatError("the sound's base64 text is broken; send it again", param=param) from None
    if len(data) % wire.bytes_per_sample:
        raise AudioFormatError(
            f"got {len(data)} bytes, which end within a sample; expected samples of "
            f"{wire.bytes_per_sample} bytes ({wire.name})",
            param=param,
        )
    return data


def encode_sound(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode("ascii")


def to_wav(data: bytes, wire: WireFormat) -> bytes:
    """A WAV file of bytes of the wire."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(wire.sample_rate)
        writer.writeframes(wire.samples(data).astype("<i2").tobytes())
    return file.getvalue()


class SoundBuffer:
    """The end of what has come in.

    Args:
        wire: its format.
        start_ms: of the call's sound, at which this begins.
    """

    def __init__(self, wire: WireFormat, start_ms: int = 0) -> None:
        self.wire = wire
        self._start_ms = start_ms
        self._data = bytearray()

    @property
    def start_ms(self) -> int:
        """Where what is kept begins."""
        return self._start_ms

    @property
    def end_ms(self) -> int:
        """Where it ends."""
        return self._start_ms + len(self._data) // self.wire.bytes_per_ms

    def append(self, data: bytes) -> None:
        """Keep more."""
        self._data += data

    def cut(self, start_ms: int, end_ms: int) -> bytes:
        """The bytes between two times, as far as they are kept."""
        first, last = (self._place(at) for at in (start_ms, end_ms))
        return bytes(self._data[first:last])

    def forget_until(self, at_ms: int) -> None:
        """Drop what lies before a time."""
        at_ms = min(max(at_ms, self._start_ms), self.end_ms)
        del self._data[: self._place(at_ms)]
        self._start_ms = at_ms

    def clear(self) -> None:
        """Drop everything; time goes on."""
        self._start_ms = self.end_ms
        self._data.clear()

    def _place(self, at_ms: int) -> int:
        return max(0, at_ms - self._start_ms) * self.wire.bytes_per_ms
