"""The Python API of painting, listening, speaking and detecting, over open models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from localgpt import MultimodalPipeline
from localgpt.errors import InputError
from localgpt.media.audio import decode_audio_bytes
from localgpt.media.audio_files import encode_audio
from localgpt.media.image import decode_image
from tests import tiny
from tests.tiny_media import write_detector, write_listener, write_painter, write_voice

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCALGPT_HOME", str(tmp_path / "home"))


@pytest.fixture
def embedded(family_folder: Path, no_home: None) -> Iterator[MultimodalPipeline]:
    with MultimodalPipeline.from_pretrained(family_folder, device="cpu") as pipeline:
        yield pipeline


def test_paint(tmp_path: Path, no_home: None) -> None:
    folder = write_painter("turbo", tmp_path / "painter")
    with MultimodalPipeline.from_pretrained(folder, device="cpu") as pipeline:
        options = {"width": 64, "height": 64, "num_steps": 2, "seed": 3}
        painted = pipeline.paint("a red cat", num_images=2, **options)
        assert painted["seeds"] == [3, 4] and (painted["width"], painted["height"]) == (64, 64)
        assert [decode_image(data).shape for data in painted["images"]] == [(64, 64, 3)] * 2
        other = pipeline.paint("a red cat", image=painted["images"][0], strength=0.5, **options)
        assert other["images"][0] != painted["images"][0]
        with pytest.warns(UserWarning, match="reads the first 77"):
            pipeline.paint("a red cat " * 20, **options)
        with pytest.raises(InputError, match="expected one of binds_words, effort"):
            pipeline.paint("a red cat", widht=64)


def test_listen(tmp_path: Path, no_home: None) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.2, 8000).astype(np.float32)
    (tmp_path / "sound.flac").write_bytes(encode_audio(waveform, 16_000, "flac"))
    folder = write_listener(tmp_path / "listener")
    with MultimodalPipeline.from_pretrained(folder, device="cpu") as pipeline:
        with pytest.warns(UserWarning, match="doubtful"):
            heard = pipeline.listen(tmp_path / "sound.flac", language="en", timestamps="word", seed=0)
        assert heard["text"] and heard["language"] == "en" and heard["words"]
        silence = encode_audio(np.zeros(8000, dtype=np.float32), 16_000)
        assert pipeline.listen(silence) == {"text": "", "language": None, "segments": []}
        with pytest.raises(InputError, match="cannot read the recording"):
            pipeline.listen(tmp_path / "none.wav")


def test_speak(tmp_path: Path, no_home: None) -> None:
    with MultimodalPipeline.from_pretrained(write_voice(tmp_path / "voice"), device="cpu") as pipeline:
        spoken = pipeline.speak("Hello there.", seed=1, format="flac")
        waveform = decode_audio_bytes(spoken["audio"], spoken["sample_rate"])
        assert len(waveform) / spoken["sample_rate"] == pytest.approx(spoken["seconds"], abs=0.01)


def test_detect(tmp_path: Path, no_home: None) -> None:
    with MultimodalPipeline.from_pretrained(write_detector(tmp_path / "seer"), device="cpu") as pipeline:
        found = pipeline.detect(tiny.make_photo(), threshold=0.0, max_objects=3)
        assert len(found["objects"]) == 3
        label = found["objects"][0]["label"]
        only = pipeline.detect(tiny.make_photo(), threshold=0.0, labels=label)
        assert {thing["label"] for thing in only["objects"]} == {label}


def test_the_family_names_models_that_can(embedded: MultimodalPipeline) -> None:
    for work, pull in (
        (lambda: embedded.paint("a cat"), "sd-turbo"),
        (lambda: embedded.listen(b"sound"), "whisper-base"),
        (lambda: embedded.speak("hello"), "mms-tts-eng"),
        (lambda: embedded.detect(tiny.make_photo()), "rtdetr-r50"),
    ):
        with pytest.raises(InputError, match=f"localgpt pull {pull}"):
            work()
