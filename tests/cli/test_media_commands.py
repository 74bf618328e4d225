"""`paint`, `transcribe`, `say` and `detect`: shapes, files, one line where no model can, a whole process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from localgpt.checkpoints.hub.kept import Manifest, model_folder, models_folder
from localgpt.checkpoints.hub.selection import MANIFEST_NAME
from localgpt.media.audio_files import encode_audio
from localgpt.tasks import ListenResult, SpeechSegment
from localgpt.tasks.subtitles import as_srt, as_vtt
from tests.cli.conftest import Run
from tests.tiny_media import write_detector, write_listener, write_painter, write_voice

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = ("--size", "64x64", "--steps", "4", "--seed", "7")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each job."""
    root = tmp_path_factory.mktemp("models")
    write_painter("turbo", root / "paint")
    write_listener(root / "listen")
    write_voice(root / "speak")
    write_detector(root / "detect")
    return root


@pytest.fixture
def sound(tmp_path: Path) -> str:
    waveform = np.random.default_rng(0).normal(0, 0.2, 16_000).astype(np.float32)
    (tmp_path / "sound.wav").write_bytes(encode_audio(waveform, 16_000))
    return "sound.wav"


def keep(models: Path, job: str, home: Path, *, repo: str, pulled_at: str) -> None:
    """Have a model as if it was pulled."""
    parent = model_folder(models_folder(home), repo)
    parent.mkdir(parents=True)
    folder = parent / COMMIT
    folder.symlink_to(models / job, target_is_directory=True)
    manifest = Manifest(
        repo=repo,
        revision=COMMIT,
        requested="main",
        source="test",
        licence="MIT",
        pulled_at=pulled_at,
        variant=None,
        files=(),
    )
    (folder / MANIFEST_NAME).write_text(manifest.to_text())


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


def test_paint(run: Run, models: Path, tmp_path: Path) -> None:
    model = ("--model", str(models / "paint"))
    outcome = run("paint", "a red cat", *SMALL, *model)
    assert (outcome.status, outcome.out) == (0, "painted.png\n")
    first = (tmp_path / "painted.png").read_bytes()
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    arguments = (*SMALL, *model, "--out", "cat", "--save-stages", "--json")
    answer = run("paint", "-", *arguments, stdin=b"a red cat").json
    stages = answer.pop("stages")
    assert answer.pop("seconds") > 0
    assert answer == {"path": "cat.png", "width": 64, "height": 64, "seed": 7}
    assert [(stage["name"], stage["path"]) for stage in stages] == [
        ("sketch", "cat-sketch.png"),
        ("middle", "cat-middle.png"),
    ]
    assert pixels((tmp_path / "cat.png").read_bytes()) == pixels(first)  # their labels differ
    assert (tmp_path / "cat-sketch.png").exists()
    several = run("paint", "a red cat", *SMALL, *model, "--n", "2", "--image", "cat.png", "--json").json
    assert [(entry["path"], entry["seed"]) for entry in several] == [
        ("painted-1.png", 7),
        ("painted-2.png", 8),
    ]


def test_painted_files_and_where_they_came_from(run: Run, models: Path, tmp_path: Path) -> None:
    model = ("--model", str(models / "paint"))
    answer = run("paint", "a red cat", *SMALL, *model, "--out", "cat.webp", "--save-stages", "--json").json
    for name in ("cat.webp", "cat-sketch.webp", "cat-middle.webp"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "WEBP"
    assert answer["path"] == "cat.webp"
    assert run("paint", "a cat", *SMALL, *model, "--out", "cat.jpg").out == "cat.jpg\n"
    told = run("provenance", "cat.webp", "cat.jpg", "--json").json
    assert [(one["path"], one["state"], one["model"]) for one in told] == [
        (name, "own", "paint") for name in ("cat.webp", "cat.jpg")
    ]
    assert "generated; signed here" in run("provenance", "cat.jpg").out
    assert run("provenance", "cat.jpg", "--data-dir", "elsewhere", "--json").json["state"] == "foreign"
    with Image.open(tmp_path / "cat.jpg") as image:
        image.save("copy.png")
    assert run("provenance", "copy.png").out == "copy.png: no label, which proves nothing\n"
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png: got a file that is no PNG" in run("provenance", "text.png").line
    assert "effort" in run("paint", "a cat", *model, "--steps", "3", "--quality", "high").line


def test_transcribe(run: Run, models: Path, sound: str, tmp_path: Path) -> None:
    model = ("--model", str(models / "listen"), "--language", "zh")
    text = run("transcribe", sound, *model).out
    answer = run("transcribe", sound, *model, "--timestamps", "word", "--json").json
    assert list(answer) == ["text", "language", "segments", "words"]
    assert answer["language"] == "zh" and text.strip() and answer["segments"][0]["end"] <= 1.0
    srt = run("transcribe", sound, *model, "--format", "srt").out
    assert srt.startswith("1\n00:00:0") and " --> " in srt
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "a.wav").write_bytes((tmp_path / sound).read_bytes())
    (folder / "silence.wav").write_bytes(encode_audio(np.zeros(16_000, dtype=np.float32), 16_000))
    (folder / "notes.txt").write_text("no recording")
    several = run("transcribe", "more", *model, "--json").json
    assert [Path(entry["audio"]).name for entry in several] == ["a.wav", "silence.wav"]
    assert several[1]["text"] == "" and several[1]["language"] is None


def test_say(run: Run, models: Path, tmp_path: Path) -> None:
    model = ("--model", str(models / "speak"), "--seed", "1")
    answer = run("say", "Hello there. How are you?", *model, "--out", "hello.wav", "--json").json
    assert list(answer) == ["path", "sample_rate", "seconds"] and answer["path"] == "hello.wav"
    with soundfile.SoundFile(tmp_path / "hello.wav") as file:
        assert file.samplerate == answer["sample_rate"] == 16_000
        assert file.frames / file.samplerate == pytest.approx(answer["seconds"], abs=1e-3)
    slow = run("say", "-", *model, "--speed", "0.5", "-o", "slow.mp3", stdin=b"Hello there. How are you?")
    assert slow.out == "slow.mp3\n" and (tmp_path / "slow.mp3").stat().st_size > 1000
    assert "ends with .wav" in run("say", "Hello", *model, "--out", "hello.doc").line


def test_detect(run: Run, models: Path, photo: str) -> None:
    model = ("--model", str(models / "detect"), "--threshold", "0")
    answer = run("detect", photo, *model, "--json").json
    assert list(answer) == ["objects"] and len(answer["objects"]) == 20
    found = answer["objects"][0]
    assert list(found) == ["label", "score", "box_xyxy"] and len(found["box_xyxy"]) == 4
    lines = run("detect", photo, *model, "--label", found["label"]).out.splitlines()
    assert lines[0].split("  ")[1] == found["label"]
    several = run("detect", photo, photo, *model, "--json").json
    assert [entry["image"] for entry in several] == [photo, photo]


def test_the_newest_pulled_model_that_can_is_taken(
    run: Run, models: Path, photo: str, tmp_path: Path
) -> None:
    lacking = run("detect", photo)
    assert lacking.status == 2 and "localgpt pull rtdetr-r50" in lacking.line
    keep(models, "speak", tmp_path / "home", repo="maker/voice", pulled_at="2026-03-01T00:00:00+00:00")
    assert "localgpt pull rtdetr-r50" in run("detect", photo).line
    keep(models, "detect", tmp_path / "home", repo="maker/seer", pulled_at="2026-01-01T00:00:00+00:00")
    assert run("detect", photo, "--threshold", "0", "--json").json["objects"]
    assert run("say", "Hello there.", "--json").json["path"] == "spoken.wav"
    assert run("say", "Hello there.", "--model", "maker/seer").line.count("cannot speak") == 1
    elsewhere = ("--data-dir", str(tmp_path / "elsewhere"))
    assert "localgpt pull rtdetr-r50" in run("detect", photo, *elsewhere).line
    keep(models, "detect", tmp_path / "elsewhere", repo="maker/seer", pulled_at="2026-01-01T00:00:00+00:00")
    assert run("detect", photo, "--threshold", "0", "--json", *elsewhere).json["objects"]


def test_what_is_lacking_or_wrong_is_one_line(
    run: Run, models: Path, photo: str, sound: str, tmp_path: Path
) -> None:
    paint = ("--model", str(models / "paint"))
    (tmp_path / "empty").mkdir()
    for arguments, reason in (
        (("paint", "a cat"), "localgpt pull sd-turbo"),
        (("detect", photo), "localgpt pull rtdetr"),
        (("paint", "a cat", "--model", str(models / "listen")), "cannot paint, it can listen"),
        (("paint", "", *paint), "the prompt is empty"),
        (("paint", "x" * 5000, *paint), "at most 4,000"),
        (("paint", "a cat", "--size", "513x777", *paint), "width is 513"),
        (("paint", "a cat", "--size", "large", *paint), "expected width and height"),
        (("paint", "a cat", "--n", "100", *paint), "from 1 to 10"),
        (("paint", "a cat", "--mask", photo, *paint), "a mask alone"),
        (("paint", "a cat", *SMALL, "--out", "nowhere/cat.png", *paint), "cannot write nowhere/cat.png"),
        (("transcribe", "none.wav", "--model", str(models / "listen")), "cannot read the recording none.wav"),
        (("transcribe", photo, "--model", str(models / "listen")), "photo.jpg: got a file"),
        (("transcribe", sound, "--format", "srt", "--timestamps", "none"), "--format srt needs times"),
        (("transcribe", sound, sound, "--format", "vtt"), "of one recording; got 2"),
        (("transcribe", "empty"), "no recordings in empty"),
    ):
        outcome = run(*arguments)
        assert outcome.status == 2 and reason in outcome.line, (arguments, outcome)


def test_subtitles() -> None:
    segments = tuple(
        SpeechSegment(start_s=start, end_s=start + 1.5, text=text, avg_logprob=0.0, no_speech_prob=0.0)
        for start, text in ((0.0, "Hello --> you & <b>"), (3661.0625, "再见\n"))
    )
    result = ListenResult(text="", language="en", duration_s=1.0, segments=segments, model="m")
    assert as_srt(result) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello -> you & <b>\n\n2\n01:01:01,062 --> 01:01:02,562\n再见\n"
    )
    first = "00:00:00.000 --> 00:00:01.500\nHello -> you &amp; &lt;b>"
    assert as_vtt(result).startswith(f"WEBVTT\n\n{first}\n\n01:01:01.062")


def test_a_whole_process_says_nothing_but_the_answer(models: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCALGPT_")}
    arguments = ["paint", "a red cat", *SMALL, "--json", "--device", "cpu", "--model", str(models / "paint")]
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "localgpt", *arguments],
        env={**kept, "LOCALGPT_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["seed"] == 7 and (tmp_path / "painted.png").exists()
