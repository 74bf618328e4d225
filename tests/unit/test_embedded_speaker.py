"""The family's voice through the service: both languages, pieces, seeds, notices, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from localgpt.checkpoints import export_family, read_layout
from localgpt.errors import CheckpointError, InputError
from localgpt.media.audio import decode_audio_bytes
from localgpt.runtime import lacking
from localgpt.runtime.embedded_speaker import EmbeddedSpeaker, build_voice
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.runtime.members import load_member
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.switchboard import Switchboard
from localgpt.tasks import EMBEDDED_MODEL_ID, Event, SpeakChunk, SpeakRequest, SpeakResult
from tests.tiny_speaker import describe_voice, write_member

TEXT = "I have 3 cats. 我有2只猫。"


@pytest.fixture(scope="module")
def folder(family_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with a voice."""
    folder = tmp_path_factory.mktemp("speaking") / "tiny"
    shutil.copytree(family_folder, folder)
    write_member(folder)
    return folder


@pytest.fixture(scope="module")
def speaker(folder: Path) -> EmbeddedSpeaker:
    model = load_member(OpenCheckpoint(folder=folder, id="local/tiny#speaker", kind="speak"))
    assert isinstance(model, EmbeddedSpeaker)
    return model


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Switchboard]:
    service = load_service(LoadOptions(model=str(folder), device="cpu", max_batch_size=1))
    yield service
    asyncio.run(service.close())


def speak(speaker: EmbeddedSpeaker, **values: Any) -> tuple[SpeakResult, list[Event]]:
    request, events = SpeakRequest(**{"id": "1", "text": TEXT, "seed": 1, **values}), list[Event]()
    result = speaker.answer(request, events.append, lambda: False, speaker.sizes(request)[0])
    assert isinstance(result, SpeakResult)
    return result, events


async def test_it_speaks_under_the_familys_name(service: Switchboard) -> None:
    before = await service.status()
    assert before.models[0].id == "local/tiny" and before.models[0].tasks[-1] == "speak"
    result = await service.run(SpeakRequest(id="1", model=EMBEDDED_MODEL_ID, text=TEXT))
    assert isinstance(result, SpeakResult)
    assert (result.model, result.sample_rate, result.notices) == ("local/tiny", 48_000, ())
    after = await service.status()
    assert after.resident_bytes > before.resident_bytes and len(after.models) == 1
    assert any("sound up to 16 kHz" in notice and "12 kHz" in notice for notice in after.notices)
    assert after.memory is not None
    assert any("speaker" in resident.name for resident in after.memory.residents)


def test_clauses_in_pieces(speaker: EmbeddedSpeaker) -> None:
    result, events = speak(speaker, format="pcm")
    chunks = [event for event in events if isinstance(event, SpeakChunk)]
    assert [chunk.text for chunk in chunks if chunk.text] == ["I have 3 cats.", "我有2只猫。"]
    assert b"".join(chunk.data for chunk in chunks) == result.data
    samples = np.frombuffer(result.data, "<i2").astype(int)
    assert 100 < np.abs(samples).max() < 2**15 - 1  # heard, and not clipped
    assert len(samples) / 48_000 == pytest.approx(result.duration_s)
    wav = decode_audio_bytes(speak(speaker)[0].data, 48_000)
    assert np.abs(wav * 2**15 - samples).max() <= 1


def test_the_seed_decides(speaker: EmbeddedSpeaker) -> None:
    first = speak(speaker)[0].data
    assert speak(speaker)[0].data == first != speak(speaker, seed=2)[0].data


def test_each_word_is_said_by_the_voice_of_its_language(speaker: EmbeddedSpeaker) -> None:
    settled = speaker.settle(SpeakRequest(id="1", text="我爱 Python 和 3.14。 Yes!"))
    said = [[one.speaker_id for one in clause] for clause in settled.utterances]
    assert said == [[1, 0, 1], [0]] and not settled.notices
    chosen = speaker.settle(SpeakRequest(id="1", text="12 cats", voice="zh"))
    assert [one.speaker_id for one in chosen.utterances[0]] == [1, 0]
    assert chosen.notices == (
        "The voice zh speaks Chinese alone; words in English are said by the voice en.",
    )
    assert len(speaker.settle(SpeakRequest(id="1", text="12", language="zh-CN")).utterances[0]) == 1


def test_speed(speaker: EmbeddedSpeaker) -> None:
    slow, fast = (speak(speaker, speed=speed)[0].duration_s for speed in (0.5, 2.0))
    assert slow > 2 * fast


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"text": "Привет"}, "text"),
        ({"text": "..."}, "text"),
        ({"voice": "alloy"}, "voice"),
        ({"language": "fr"}, "language"),
        ({"language": "en", "voice": "zh"}, "language"),
        ({"format": "opus", "sample_rate": 22_050}, "sample_rate"),
    ],
)
def test_what_is_refused(speaker: EmbeddedSpeaker, values: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as caught:
        speak(speaker, **values)
    assert caught.value.param == param


def test_letters_that_are_left_out_are_told(speaker: EmbeddedSpeaker) -> None:
    assert speak(speaker, text="hello Мир")[0].notices == (
        "The voice cannot say М, и, р, which it leaves out.",
    )


def test_in_one_file(folder: Path, tmp_path: Path, speaker: EmbeddedSpeaker) -> None:
    path = tmp_path / "model.bin"
    export_family(folder, path)
    other = load_member(OpenCheckpoint(folder=path, id="local/tiny#speaker", kind="speak"))
    assert isinstance(other, EmbeddedSpeaker)
    assert speak(other)[0].data == speak(speaker)[0].data


def test_the_network_is_the_librarys(folder: Path) -> None:
    """The weights fit transformers' own class, which says the same with them."""
    from torch.nn.utils import parametrize
    from transformers import VitsConfig, VitsModel

    tensors = load_file(folder.parent / "tiny_trained" / "speaker.safetensors")
    ours: Any = build_voice(describe_voice()["vits"], tensors, torch.float32)
    theirs: Any = VitsModel(VitsConfig(**describe_voice()["vits"])).eval()
    for module in theirs.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    told = theirs.load_state_dict(tensors, strict=False)
    assert not told.unexpected_keys and all(key.startswith("posterior") for key in told.missing_keys)
    ids = torch.tensor([[0, 9, 0, 12, 0, 20, 0]])
    waveforms = []
    for network in (ours, theirs):
        torch.manual_seed(0)
        with torch.inference_mode():
            waveforms.append(network(ids, speaker_id=1).waveform)
    assert torch.allclose(waveforms[0], waveforms[1], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"symbols": "abc"}, "other sounds"),
        ({"voices": [{"name": "en", "language": "en", "speaker": 0, "bandwidth_hz": 1}]}, "lacks one"),
        ({"vits": {}}, "cannot be read"),
    ],
)
def test_members_that_are_refused(folder: Path, tmp_path: Path, change: dict[str, Any], told: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    path = broken / "speaker" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=told):
        load_member(OpenCheckpoint(folder=broken, id="local/tiny#speaker", kind="speak"))


def test_without_the_member_the_error_names_what_to_pull(family_folder: Path) -> None:
    assert "speaker" not in read_layout(family_folder).configs
    told = str(lacking.lacks_job("local/tiny", "speak"))
    assert "cannot speak" in told and "localgpt pull" in told
