"""The family's recogniser through the service: loaded when asked, in one file too, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localgpt.checkpoints import export_family, read_layout
from localgpt.checkpoints.layout import describe_family
from localgpt.errors import CheckpointError, InputError
from localgpt.media.audio_files import encode_audio
from localgpt.models.recognizer import Recognizer
from localgpt.runtime import lacking
from localgpt.runtime.embedded_listener import EmbeddedListener, read_knowledge
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.runtime.members import family_name, load_member
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.switchboard import Switchboard
from localgpt.tasks import (
    EMBEDDED_MODEL_ID,
    AudioPart,
    Finished,
    ListenRequest,
    ListenResult,
    Progress,
    TextDelta,
)
from tests import tiny_folder
from tests.tiny_listener import RATE, noise, said, write_member


@pytest.fixture(scope="module")
def folder(family_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family with a listener."""
    folder = tmp_path_factory.mktemp("listening") / "tiny"
    shutil.copytree(family_folder, folder)
    write_member(folder)
    tiny_folder.write_description(folder, members=["decoder", "encoder", "listener"])
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Switchboard]:
    service = load_service(LoadOptions(model=str(folder), device="cpu", max_batch_size=1))
    yield service
    asyncio.run(service.close())


def asked(*parts: Any, **values: Any) -> ListenRequest:
    data = encode_audio(np.concatenate(parts) if parts else said("the", "cat"), RATE)
    audio = AudioPart(data=data, media_type="audio/wav")
    return ListenRequest(**{"id": "1", "model": EMBEDDED_MODEL_ID, "audio": audio, **values})


def listen(service: Switchboard, request: ListenRequest) -> ListenResult:
    result = asyncio.run(service.run(request))
    assert isinstance(result, ListenResult)
    return result


def test_it_is_loaded_with_the_first_recording(folder: Path) -> None:
    async def first() -> None:
        service = load_service(LoadOptions(model=str(folder), device="cpu", max_batch_size=1))
        try:
            before = await service.status()
            assert [model.id for model in before.models] == ["local/tiny"]
            assert before.models[0].tasks[-1] == "listen"
            result = await service.run(asked())
            assert isinstance(result, ListenResult) and result.text == "the cat"
            assert result.model == "local/tiny"
            after = await service.status()
            assert after.resident_bytes > before.resident_bytes and len(after.models) == 1
            assert after.memory is not None
            assert any("listener" in resident.name for resident in after.memory.residents)
        finally:
            await service.close()

    asyncio.run(first())


def test_a_recording_in_both_languages(service: Switchboard) -> None:
    parts = (said("你好"), noise(1.0), said("你好", "cat"), noise(0.5))
    result = listen(service, asked(*parts, timestamps="word"))
    assert result.text == "你好你好 cat" and result.language == "zh"
    assert [segment.text for segment in result.segments] == ["你好", "你好 cat"]
    assert [word.text for word in result.words] == ["你好", "你好", "cat"]
    assert result.words[0].start_s == pytest.approx(0.3, abs=0.05)
    assert result.duration_s == pytest.approx(sum(map(len, parts)) / RATE)
    assert all(0.3 < word.probability <= 1.0 for word in result.words)
    assert all(-1.2 < s.avg_logprob <= 0.0 and 0.0 <= s.no_speech_prob < 0.7 for s in result.segments)
    plain = listen(service, asked(*parts, timestamps="none"))
    assert plain.text == result.text and not plain.segments and not plain.words


def test_a_language_that_is_told(service: Switchboard) -> None:
    parts = (said("你好"), said("the"))
    assert listen(service, asked(*parts, language="English")).text == "the"
    assert listen(service, asked(*parts, language="zh")).text == "你好"
    assert listen(service, asked(*parts, language="zh-CN")).text == "你好"  # as the voice takes it
    assert listen(service, asked(*parts)).text == "你好 the"


def test_silence_and_noise_give_nothing(service: Switchboard) -> None:
    for sound in (np.zeros(2 * RATE, dtype=np.float32), noise(2.0), noise(2.0, 0.3)):
        result = listen(service, asked(sound))
        assert result.text == "" and result.language is None and not result.segments


def test_text_comes_as_it_is_settled(service: Switchboard) -> None:
    async def events() -> list[Any]:
        sound = np.tile(np.concatenate([said("the", "cat"), noise(1.0)]), 12)
        return [event async for event in service.stream(asked(sound))]

    told = asyncio.run(events())
    pieces = [event.text for event in told if isinstance(event, TextDelta)]
    assert len(pieces) >= 2 and isinstance(told[-1], Finished)
    assert "".join(pieces) == told[-1].result.text == " ".join(["the cat"] * 12)
    done = [event for event in told if isinstance(event, Progress)]
    assert done[-1].done == done[-1].total


@pytest.mark.parametrize(
    ("values", "param"),
    [({"translate": True}, "translate"), ({"temperature": 0.5}, "temperature"), ({"language": "fr"},
    "language")],
)  # fmt: skip
def test_what_it_cannot_do_is_refused(service: Switchboard, values: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as caught:
        listen(service, asked(**values))
    assert (caught.value.param == param and "expected" in str(caught.value)) or param == "language"


def test_a_family_without_it_names_what_can_be_pulled(family_folder: Path) -> None:
    service = load_service(LoadOptions(model=str(family_folder), device="cpu", max_batch_size=1))
    try:
        with pytest.raises(InputError, match="cannot write down speech; `localgpt pull whisper"):
            listen(service, asked())
    finally:
        asyncio.run(service.close())


def test_a_family_in_one_file_listens_too(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    export_family(folder, file)
    service = load_service(LoadOptions(model=str(file), device="cpu", max_batch_size=1))
    try:
        assert listen(service, asked()).text == "the cat"
    finally:
        asyncio.run(service.close())


def test_a_stream_of_it(folder: Path) -> None:
    checkpoint = OpenCheckpoint(folder=folder, id="local/tiny#listener", kind="listen")
    listener = load_member(checkpoint)
    assert isinstance(listener, EmbeddedListener) and family_name(listener.id) == "local/tiny"
    stream = listener.open_stream(language="en", prompt="a cat")
    sound = np.concatenate([said("the", "cat"), noise(0.3)])
    for at in range(0, len(sound), 800):
        stream.feed(sound[at : at + 800])
    assert stream.text == stream.preview() == stream.finish() == "the cat"
    with pytest.raises(InputError, match="knows en and zh"):
        listener.open_stream(language="xx")


def test_words_are_no_parameters(folder: Path) -> None:
    layout = read_layout(folder)
    network = read_knowledge(layout).network
    member = next(member for member in describe_family(folder).members if member.name == "listener")
    assert member.num_bytes > 0
    assert member.num_params == sum(tensor.numel() for tensor in build(network.config).parameters()), (
        "the words were counted, or a weight was not"
    )


def build(config: Any) -> Any:

    return Recognizer(config)


def test_broken_members_are_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "tiny"
    shutil.copytree(folder, broken)
    config = json.loads((broken / "listener" / "config.json").read_text(encoding="utf-8"))
    (broken / "listener" / "config.json").write_text(json.dumps(config | {"num_units": 9}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="tells 9 sounds apart"):
        read_knowledge(read_layout(broken))
    network = config["network"] | {"n_embd": 32}
    (broken / "listener" / "config.json").write_text(
        json.dumps(config | {"network": network}), encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match="does not fit its config"):
        read_knowledge(read_layout(broken))


def test_commands_take_it_where_nothing_was_pulled(
    folder: Path, family_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localgpt.checkpoints.locate.resolve_family", lambda name: folder)
    assert lacking.model_for("listen", tmp_path) == EMBEDDED_MODEL_ID
    monkeypatch.setattr("localgpt.checkpoints.locate.resolve_family", lambda name: family_folder)
    with pytest.raises(InputError, match="no model that can write down speech is here"):
        lacking.model_for("listen", tmp_path)
