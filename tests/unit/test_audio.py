"""Sound: every container to the same samples, any rate, bounded; and back into every format."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from localgpt.errors import AudioFormatError, InputError
from localgpt.media.audio import Resampler, decode_audio_bytes, read_audio, resample, told_duration
from localgpt.media.audio_files import MEDIA_TYPES, AudioEncoder, encode_audio, fit_rate, to_pcm

RATE = 16_000


def tone(seconds: float, rate: int = RATE, hz: float = 440.0) -> NDArray[np.float32]:
    at = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


def recording(samples: NDArray[Any], rate: int = RATE, **how: Any) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, **{"format": "WAV", **how})
    return sink.getvalue()


def pitch(waveform: NDArray[np.float32], rate: int = RATE) -> float:
    """Hz of the loudest tone."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum) * rate / len(waveform))


@pytest.mark.parametrize(
    ("how", "tolerance"),
    [
        ({"subtype": "PCM_16"}, 1e-4),
        ({"subtype": "PCM_U8"}, 1e-2),
        ({"subtype": "PCM_24"}, 1e-6),
        ({"subtype": "FLOAT"}, 1e-7),
        ({"subtype": "ULAW"}, 2e-2),
        ({"format": "FLAC"}, 1e-4),
        ({"format": "AIFF"}, 1e-4),
        ({"format": "OGG", "subtype": "VORBIS"}, 3e-2),
    ],
    ids=lambda how: str(how),
)
def test_every_container_gives_the_same_samples(how: dict[str, Any], tolerance: float) -> None:
    waveform = decode_audio_bytes(recording(tone(1.0), **how), RATE)
    assert waveform.dtype == np.float32 and 0 <= len(waveform) - RATE <= 128
    assert np.abs(waveform[:RATE] - tone(1.0))[1000:-1000].max() < tolerance


def test_channels_become_one() -> None:
    stereo = np.stack([tone(0.5), -tone(0.5)], axis=1)
    assert np.abs(decode_audio_bytes(recording(stereo), RATE)).max() < 1e-4
    stereo[:, 1] = 0.0
    assert np.allclose(decode_audio_bytes(recording(stereo), RATE), tone(0.5) / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [6000, 8000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(rate: int) -> None:
    waveform = decode_audio_bytes(recording(tone(1.0, rate), rate, subtype="PCM_U8"), RATE)
    assert abs(len(waveform) - RATE) <= 1
    assert abs(pitch(waveform) - 440.0) < 2.0
    assert len(resample(tone(1.0, rate), rate, RATE)) == pytest.approx(RATE, abs=1)


def test_blocks_are_the_whole() -> None:
    data = recording(tone(2.5, 44_100), 44_100)
    blocks = list(read_audio(data, RATE, block_s=1.0))
    assert [len(block) for block in blocks[:2]] == [RATE, RATE] and 0 < len(blocks[2]) < RATE
    assert np.array_equal(np.concatenate(blocks), decode_audio_bytes(data, RATE))


def test_a_long_recording_takes_little_memory() -> None:
    data = recording(np.zeros(1800 * 8000, dtype=np.int16), 8000, format="FLAC")
    tracemalloc.start()
    num_read = sum(len(block) for block in read_audio(data, RATE, block_s=10.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_read == pytest.approx(1800 * RATE, abs=2)
    assert peak < 20_000_000 < 4 * num_read


def test_a_file_is_read_as_its_bytes_are_and_never_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(recording(tone(2.5, 44_100), 44_100))
    assert np.array_equal(decode_audio_bytes(path, RATE), decode_audio_bytes(path.read_bytes(), RATE))
    assert told_duration(path) == pytest.approx(2.5)
    with path.open("wb") as file:  # ten hours of silence, for which the disk holds nothing
        file.write(ten_hours_head())
        file.truncate(len(ten_hours_head()) + 36_000 * 6000)
    tracemalloc.start()
    blocks = read_audio(path, RATE, max_seconds=86_400)
    num_read = sum(len(next(blocks)) for _ in range(20))  # the others are as these
    blocks.close()  # type: ignore[attr-defined]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_read == 20 * 30 * RATE and peak < 20_000_000
    assert told_duration(path) == 36_000.0
    path.write_bytes(b"")
    with pytest.raises(AudioFormatError, match="empty file"):
        decode_audio_bytes(path, RATE)
    with pytest.raises(AudioFormatError, match="cannot be read: No such file"):
        decode_audio_bytes(tmp_path / "none.wav", RATE)


def ten_hours_head() -> bytes:
    """Of one channel of 8 bits at 6 kHz."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + 36_000 * 6000, b"WAVE", b"fmt ", 16, 1, 1, 6000, 6000, 1, 8
    )
    return head + struct.pack("<4sI", b"data", 36_000 * 6000)


def hours(rate: int, num_bytes: int) -> bytes:
    """A WAV file written as a stream, of silence in 8 bits."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, rate, rate, 1, 8)
    return head + struct.pack("<4sI", b"data", 0xFFFFFFFF) + bytes([128]) * num_bytes


def test_too_long_is_refused_early() -> None:
    flac = recording(np.zeros(3 * 3600 * 1000, dtype=np.int16), 1000, format="FLAC")
    with pytest.raises(AudioFormatError, match=r"at least 3\.0 hours") as caught:
        next(read_audio(flac, RATE))
    assert caught.value.param == "audio"
    with pytest.raises(AudioFormatError, match="at most 20 seconds"):
        for _ in read_audio(hours(2000, 60_000), RATE, max_seconds=20.0):
            pass


def test_a_stream_of_unknown_length_is_read() -> None:
    assert len(decode_audio_bytes(hours(8000, 8000), 8000)) == 8000


def broken_float(value: float) -> bytes:
    samples = tone(0.5)
    samples[100] = value
    return recording(samples, subtype="FLOAT")


def png() -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sink, "PNG")
    return sink.getvalue()


def silent_video() -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 32, 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


WAV = recording(tone(2.0))
FLAC = recording(np.random.default_rng(0).normal(0, 0.1, 2 * RATE), format="FLAC")
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"This is a text.\n" * 100, "a text file"),
        (PLAYLIST, "a text file"),
        (b"%PDF-1.7\n" + bytes(100), "a PDF file"),
        (bytes(1000), "no recording"),
        (png(), "no recording"),
        (silent_video(), "video without sound"),
        (WAV[: len(WAV) // 2], "cut short"),
        (WAV[:44], "cut short"),
        (WAV[:36], "without samples"),
        (WAV[:20], "without samples"),
        (FLAC[: len(FLAC) // 2], "seconds can be read"),
        (FLAC[:100], "damaged or truncated|no recording"),
        (broken_float(float("nan")), "no numbers"),
        (broken_float(float("inf")), "no numbers"),
    ],
    ids=range(15),
)
def test_what_is_no_recording_is_one_clear_error(data: bytes, words: str) -> None:
    with pytest.raises(AudioFormatError, match=words) as caught:
        decode_audio_bytes(data, RATE)
    assert caught.value.param == "audio" and "expected" in str(caught.value)


def test_loud_samples_are_clipped() -> None:
    assert decode_audio_bytes(broken_float(3.0), RATE).max() == 1.0
    assert np.frombuffer(to_pcm(np.array([2.0, -2.0, 0.0], dtype=np.float32)), "<i2").tolist() == [
        32767,
        -32767,
        0,
    ]


@pytest.mark.parametrize("name", MEDIA_TYPES)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_formats_keep_what_is_heard(name: str, streamed: bool) -> None:
    rate = fit_rate(name, RATE)
    waveform = tone(1.0, rate)
    if streamed:
        encoder = AudioEncoder(name, rate)
        data = b"".join([*map(encoder.feed, np.array_split(waveform, 7)), encoder.finish()])
    else:
        data = encode_audio(waveform, rate, name)
    if name == "pcm":
        assert data == to_pcm(waveform)
        return
    heard = decode_audio_bytes(data, rate)
    assert len(heard) == pytest.approx(rate, abs=0.15 * rate)  # MP3 and AAC pad their ends
    assert abs(pitch(heard, rate) - 440.0) < 5.0
    if name == "wav" and not streamed:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            assert (file.samplerate, file.channels, file.frames, file.subtype) == (rate, 1, rate, "PCM_16")


def test_bytes_come_while_samples_do() -> None:
    encoder = AudioEncoder("mp3", RATE)
    assert sum(len(encoder.feed(tone(1.0))) for _ in range(3)) > 10_000
    assert encoder.finish()


def test_rates_and_formats_that_are_not() -> None:
    assert fit_rate("opus", 22_050) == 24_000
    assert fit_rate("mp3", 96_000) == 48_000
    assert fit_rate("wav", 22_050) == 22_050
    with pytest.raises(InputError, match="24000"):
        AudioEncoder("opus", 22_050)
    with pytest.raises(InputError, match="mp3"):
        encode_audio(tone(0.1), RATE, "midi")


@pytest.mark.parametrize("target", [16_000, 24_000, 48_000])
def test_a_rate_is_changed_in_pieces_as_in_one(target: int) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    resampler = Resampler(24_000, target)
    pieces = [resampler.feed(piece) for piece in np.array_split(waveform, 7)]
    joined = np.concatenate([*pieces, resampler.finish()])
    whole = resample(waveform, 24_000, target)
    assert len(joined) == len(whole) == target and np.allclose(joined, whole, atol=1e-5)
