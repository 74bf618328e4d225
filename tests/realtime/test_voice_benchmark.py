"""`benchmarks/voice_latency.py` over a scripted server: it counts what it says it counts."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from benchmarks.voice_latency import Turn, call, main, measure, parse, read_recordings, summary, table
from localgpt.settings import Settings
from tests.api.live import live
from tests.realtime.speech import said
from tests.realtime.voice_service import VoiceService


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for number, ms in enumerate((300, 400)):
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(24_000)
            file.writeframes(said(100, ms, 100).tobytes())
    return tmp_path


async def test_turns_are_timed(recordings: Path) -> None:
    assert [len(one) for one in read_recordings(recordings)] == pytest.approx([7200, 9600], abs=300)
    service = VoiceService(deltas=("It is noon.",))
    async with live(Settings(), service) as server:
        args = parse([str(recordings), "--turns", "2", "--calls", "2", "--detection", "server_vad"])
        found = await measure(args, f"http://127.0.0.1:{server.port}")
    row = found["detection"]["server_vad"]
    assert (row["turns"], row["unanswered"]) == (2, 0)
    if not row["false_cut_ins"]:  # a busy machine may send late
        assert row["last_sample_to_sound_ms"][0] > row["commit_to_sound_ms"][0]
        assert row["median_steps_ms_from_commit"]["heard"] < row["median_steps_ms_from_commit"]["first_sound"]
    assert "last sample to first sound" in table(found)


async def test_a_turn_cut_in_its_pause_is_counted(recordings: Path) -> None:
    async with live(Settings(), VoiceService(deltas=("It is noon.",))) as server:
        args = parse([str(recordings), "--turns", "1", "--silence-ms", "80"])
        (turn,) = await call(args, f"http://127.0.0.1:{server.port}", "server_vad", 0)
    assert turn.is_cut


def test_what_was_cut_or_not_answered_counts_in_no_time() -> None:
    steps = {"heard": -10.0, "first_sound": 5.0}
    turns = [
        Turn(last_sample=1.0, committed=1.5, first_sound=1.6, steps=dict(steps)),
        Turn(last_sample=1.0, committed=1.5, first_sound=1.8, steps=dict(steps)),
        Turn(is_cut=True, last_sample=1.0, committed=0.5, first_sound=0.6),
        Turn(last_sample=1.0, committed=1.5),
    ]
    row = summary(turns)
    assert row["commit_to_sound_ms"] == pytest.approx([200, 290])
    assert row["last_sample_to_sound_ms"] == pytest.approx([700, 790])
    assert (row["false_cut_ins"], row["unanswered"]) == (1, 1)
    assert row["median_steps_ms_from_commit"] == {"heard": -10.0, "first_sound": 5.0}
    assert json.dumps(row)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no recording"):
        read_recordings(tmp_path)
    assert callable(main)
