"""The parts of a call by themselves: sound, voice activity, ends of turns, phrases."""

from __future__ import annotations

import numpy as np
import pytest

from localgpt.server.realtime.activity import Activity
from localgpt.server.realtime.endpoint import Endpointer, Signal, silence_needed_ms
from localgpt.server.realtime.phrases import Phrases, pause_ms, speakable
from localgpt.server.realtime.sound import SoundBuffer, WireFormat
from tests.realtime.speech import Samples, silence, vowels

PCM = WireFormat("audio/pcm", 24_000, 2)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("audio/pcmu", {0xFF: 0, 0x7F: 0, 0x80: 32124, 0x00: -32124, 0xF0: 120, 0xEF: 132}),
        ("audio/pcma", {0xD5: 8, 0x55: -8, 0xAA: 32256, 0x2A: -32256, 0xC5: 264}),
    ],
)
def test_telephone_levels(name: str, levels: dict[int, int]) -> None:
    """Values of ITU-T G.711."""
    wire = WireFormat(name, 8_000, 1)
    assert wire.samples(bytes(levels)).tolist() == list(levels.values())
    every = wire.samples(bytes(range(256)))
    again = wire.samples(wire.from_pcm(every.astype("<i2").tobytes()))
    np.testing.assert_array_equal(every, again)
    loud = wire.samples(wire.from_pcm(np.array([32767, -32768], dtype="<i2").tobytes()))
    assert loud.tolist() == [max(levels.values()), min(levels.values())]


def test_the_buffer_counts_in_the_time_of_the_call() -> None:
    buffer = SoundBuffer(PCM)
    buffer.append(bytes(48 * 100))
    buffer.append(b"\1" * 48 * 100)
    assert (buffer.start_ms, buffer.end_ms) == (0, 200)
    assert buffer.cut(90, 110) == bytes(480) + b"\1" * 480
    buffer.forget_until(150)
    assert buffer.cut(0, 160) == b"\1" * 480 and buffer.start_ms == 150
    buffer.forget_until(100)
    buffer.clear()
    assert (buffer.start_ms, buffer.end_ms, buffer.cut(0, 999)) == (200, 200, b"")


def probabilities(samples: Samples, *, rate: int = 24_000, piece: int = 777) -> list[float]:
    activity = Activity(rate)
    return [
        p for begin in range(0, len(samples), piece) for p in activity.feed(samples[begin : begin + piece])
    ]


@pytest.mark.parametrize("rate", [8_000, 24_000])
@pytest.mark.parametrize("pitch_hz", [90.0, 150.0, 260.0])
def test_voices_are_speech(rate: int, pitch_hz: float) -> None:
    sound = np.concatenate([silence(1000, rate=rate), vowels(1000, pitch_hz=pitch_hz, rate=rate)])
    found = probabilities(sound, rate=rate)
    assert len(found) == 100
    assert max(found[:49]) < 0.5 and np.mean(np.array(found[51:]) > 0.5) > 0.9


def test_it_does_not_matter_in_which_pieces_sound_comes() -> None:
    sound = np.concatenate([silence(300), vowels(300)])
    assert probabilities(sound, piece=100) == pytest.approx(probabilities(sound, piece=100_000))


def noise(kind: str) -> Samples:
    random = np.random.default_rng(0)
    white = random.normal(0, 1, 24_000 * 6)
    if kind == "deep":  # as wind: each sample is near the one before
        tail = 0.98 ** np.arange(400)
        white = np.convolve(white, tail)[: len(white)]
    if kind == "clicks":
        white = np.zeros_like(white)
        white[:: 24_000 // 3] = 1.0
    white *= 0.15 / np.abs(white).max()
    return (white * 32767).astype(np.int16)


@pytest.mark.parametrize("kind", ["white", "deep", "clicks"])
def test_noises_begin_no_turn(kind: str) -> None:
    endpointer = Endpointer(threshold=0.5, needed_ms=500, start_ms=0, longest_ms=60_000)
    assert not [signal for p in probabilities(noise(kind)) for signal in endpointer.feed(p)]


def run(pattern: str, *, needed_ms: int = 200, longest_ms: int = 60_000) -> list[Signal]:
    """Signals of frames: `#` is speech, `.` is none."""
    endpointer = Endpointer(threshold=0.5, needed_ms=needed_ms, start_ms=0, longest_ms=longest_ms)
    return [signal for frame in pattern for signal in endpointer.feed(1.0 if frame == "#" else 0.0)]


def test_ends_of_turns() -> None:
    assert run("...#.#.##" + "#" * 10 + "." * 12) == [
        Signal("started", 60),
        Signal("paused", 380),
        Signal("ended", 380),
    ]
    assert run("#.." * 10) == []  # too little
    assert [one.kind for one in run("#" * 10 + "...." + "##" + "." * 12)] == [
        "started", "paused", "resumed", "paused", "ended",
    ]  # fmt: skip
    assert [one.kind for one in run("#" * 10 + "....#" + "." * 12)] == [
        "started",
        "paused",
        "ended",
    ]  # a click
    assert [one.kind for one in run("#" * 30, longest_ms=400)] == ["started", "ended", "started"]


def test_a_silence_may_become_enough() -> None:
    endpointer = Endpointer(threshold=0.5, needed_ms=4000, start_ms=0, longest_ms=60_000)
    for frame in "#" * 10 + "." * 20:
        endpointer.feed(1.0 if frame == "#" else 0.0)
    assert endpointer.settle() == []
    endpointer.needed_ms = 300
    assert endpointer.settle() == [Signal("ended", 200)] and not endpointer.is_speaking
    assert endpointer.settle() == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("What time is it?", "finished"), ("现在几点？", "finished"), ("I like that.", "finished"),
        ("what time is it", "open"), ("现在几点", "open"), ("tell me more please", "open"),
        ("I would like to know the", "goes on"), ("I went home and.", "goes on"), ("um", "goes on"),
        ("because...", "goes on"), ("Well,", "goes on"), ("我想要，", "goes on"), ("因为", "goes on"),
        ("I am looking for", "goes on"), (None, "goes on"), (" ", "goes on"),
    ],
)  # fmt: skip
def test_what_was_said_tells_whether_more_comes(said: str | None, kind: str) -> None:
    lengths = {"finished": 300, "open": 800, "goes on": 4000}
    assert silence_needed_ms(said, "auto") == lengths[kind]
    assert silence_needed_ms(said, "high") < lengths[kind] < silence_needed_ms(said, "low")


def phrases(*pieces: str) -> list[str]:
    cutter = Phrases()
    return [phrase for piece in pieces for phrase in cutter.feed(piece)] + cutter.finish()


def test_phrases_begin_early_and_lose_nothing() -> None:
    text = "Well then, it is 3.14 p.m. now, which is late, and there is more to say about it, I think. Bye! "
    found = phrases(*text)
    assert found[0] == "Well then," and "".join(found) == text
    assert " Bye!" in found[-1] or found[-1].strip() == "Bye!"
    assert all("3.14" in one or "3." not in one for one in found)
    assert phrases("现在是三点，", "我们走吧。好的") == ["现在是三点，", "我们走吧。", "好的"]
    endless = "word " * 200
    assert "".join(phrases(endless)) == endless and max(map(len, phrases(endless))) <= 210


def test_marks_of_layout_are_not_spoken() -> None:
    assert speakable("**Bold** and `code`, [a link](https://x.y)") == "Bold and code, a link"
    assert speakable("## Title\n- one") == "Title\none" and speakable(" --- ") == ""
    assert pause_ms("Over.") > pause_ms("and,") > 0
