"""`transcribe` and `say` beyond one file: folders, files of transcripts, microphone and loudspeaker."""

from __future__ import annotations

import io
import json
import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from localgpt.cli.sound_programs import record, recorder
from localgpt.errors import InputError
from localgpt.media.audio_files import encode_audio
from tests.cli.conftest import Run
from tests.tiny_media import write_listener, write_voice

RATE = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.2, RATE).astype(np.float32)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs of this test are scripts")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_listener(root / "listen")
    write_voice(root / "speak")
    return root


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, code: str) -> None:
    """A program that runs Python code, `args` being its arguments."""
    path = folder / name
    path.write_text(f"#!{sys.executable} -S\nimport sys\nargs = sys.argv[1:]\n{code}\n")
    path.chmod(0o755)


def test_transcripts_into_files(run: Run, models: Path, tmp_path: Path) -> None:
    talks = tmp_path / "talks"
    talks.mkdir()
    for name in ("one.wav", "two.wav"):
        (talks / name).write_bytes(encode_audio(NOISE, RATE))
    asked = ("transcribe", "talks", "--model", str(models / "listen"), "--language", "en")
    assert "2 recordings need a folder" in run(*asked, "--out", "all.srt").line
    assert "a folder for them with --out" in run(*asked, "--format", "srt").line
    (tmp_path / "texts").mkdir()
    outcome = run(*asked, "--format", "srt", "--out", "texts")
    assert outcome.out.splitlines() == ["texts/one.srt", "texts/two.srt"]
    assert (tmp_path / "texts" / "two.srt").read_text().startswith("1\n00:00:0")
    assert run(*asked[:1], "talks/one.wav", *asked[2:], "--json", "-o", "one.json").out == "one.json\n"
    assert list(json.loads((tmp_path / "one.json").read_text())) == ["text", "language", "segments"]
    (talks / "one.mp3").write_bytes(encode_audio(NOISE, RATE, "mp3"))
    assert "two recordings would be written to" in run(*asked, "--out", "texts").line


def test_the_microphone(run: Run, models: Path, programs: Path) -> None:
    asked = ("transcribe", "--microphone", "--model", str(models / "listen"), "--language", "en")
    assert "none of parecord, arecord, rec is here" in run(*asked).line
    program(programs, "arecord", "sys.stderr.write('no soundcards found\\n')")
    assert "arecord could not record: no soundcards found" in run(*asked, "--seconds", "1").line
    loud = "sys.stdout.buffer.write(bytes(range(256)) * 400)\nsys.stdout.flush()\nsys.stdin.read()"
    program(
        programs,
        "arecord",
        f"assert args[-4:] == ['-r', '16000', '-c', '1']\n{loud}\nimport time\ntime.sleep(60)",
    )
    answer = run(*asked, "--seconds", "1", "--json").json
    assert answer["text"] and answer["segments"][-1]["end"] <= 1.0
    assert "expected recordings or --microphone" in run("transcribe").line
    assert "expected recordings or --microphone" in run(*asked, "a.wav").line
    assert "--seconds is 0" in run(*asked, "--seconds", "0").line
    assert "with --microphone" in run("transcribe", "a.wav", "--seconds", "3").line


def test_the_enter_key_ends_a_recording(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = tmp_path / "said"
    os.mkfifo(said)
    told = f"sys.stdout.buffer.write(bytes(8000))\nsys.stdout.flush()\nopen({str(said)!r}, 'w').close()"
    program(programs, "parecord", f"{told}\nimport time\ntime.sleep(60)")

    # ready once the program has said something
    with open(os.open(said, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as keyboard:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", keyboard)
        recorded = record(recorder(), None)
    with wave.open(io.BytesIO(recorded)) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 4000)
    assert "the Enter key ends" in capsys.readouterr().err


def test_a_damaged_recording_takes_nothing_from_those_before_it(
    run: Run, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(encode_audio(NOISE, RATE, "wav"))
    (tmp_path / "b.wav").write_bytes(b"RIFF of nothing")
    asked = ("transcribe", "a.wav", "b.wav", "--model", str(models / "listen"), "--language", "en")
    told = run(*asked, "--json")
    assert told.status == 2 and "b.wav" in told.err
    assert [answer["audio"] for answer in told.json] == ["a.wav"]


def test_a_recorder_that_dies_waits_for_no_key(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(programs, "parecord", "sys.exit('no such device')")
    read, write = os.pipe()
    with open(read, encoding="utf-8") as keyboard, open(write, "w"):  # noqa: PTH123 - nobody types
        monkeypatch.setattr(sys, "stdin", keyboard)
        with pytest.raises(InputError, match="could not record: no such device"):
            record(recorder(), None)


def test_speaking_aloud(run: Run, models: Path, programs: Path, tmp_path: Path) -> None:
    asked = ("say", "Hello there.", "--model", str(models / "speak"), "--seed", "1")
    assert "none of pw-play, paplay, aplay" in run(*asked, "--play").line
    program(programs, "aplay", "import shutil\nshutil.copy(args[-1], 'played.wav')")
    assert run(*asked, "--play").out == ""
    played = (tmp_path / "played.wav").read_bytes()
    with wave.open(io.BytesIO(played)) as file:
        assert file.getnchannels() == 1 and file.getnframes() > 1000
    assert not (tmp_path / "spoken.wav").exists()
    assert run(*asked, "--play", "--json").json["path"] is None
    assert run(*asked, "--play", "--out", "hello.wav").out == "hello.wav\n"
    assert (tmp_path / "hello.wav").read_bytes() == played
    assert "ends with .wav, which --play plays" in run(*asked, "--play", "--out", "hello.mp3").line
    program(programs, "aplay", "sys.exit('audio open error')")
    failed = run(*asked, "--play")
    assert failed.status == 2 and "aplay could not play: audio open error" in failed.err


@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac", "opus", "ogg", "aac", "pcm", "raw"])
def test_say_writes_every_format(suffix: str, run: Run, models: Path, tmp_path: Path) -> None:
    asked = ("say", "Hello there.", "--model", str(models / "speak"), "--seed", "1")
    answer = run(*asked, "--out", f"hello.{suffix}", "--json").json
    data = (tmp_path / f"hello.{suffix}").read_bytes()
    assert answer["path"] == f"hello.{suffix}" and len(data) > 1000
    if suffix == "flac":
        assert soundfile.info(io.BytesIO(data)).samplerate == answer["sample_rate"]
