"""The published Python API over a tiny family, and how a model is loaded behind it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localgpt import MultimodalPipeline
from localgpt.checkpoints import export_family
from localgpt.errors import CheckpointError, ConfigError, ImageFormatError, InputError
from localgpt.runtime.loading import LazyService, LoadOptions, load_service, plan_load
from localgpt.tasks import ChatRequest, Finished, ImagePart, Message, SamplingOptions
from tests import tiny


@pytest.fixture(scope="module")
def pipeline(family_folder: Path) -> Iterator[MultimodalPipeline]:
    with MultimodalPipeline.from_pretrained(family_folder) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    path.write_bytes(tiny.make_photo())
    return path


@pytest.mark.filterwarnings("ignore:The answer began to repeat itself")  # random weights do
def test_the_published_calls(pipeline: MultimodalPipeline, photo: Path) -> None:
    result = pipeline.image_to_text(str(photo), max_length=100)
    assert isinstance(result["generated_text"], str) and result["generated_text"]
    assert pipeline.image_to_text(photo.read_bytes(), max_length=100) == result
    assert pipeline.image_to_text(photo, max_length=3, language="zh").keys() == {"generated_text"}
    assert pipeline.ask(photo, "What is this?", max_length=3)["generated_text"]


def test_chat_takes_words_or_turns(pipeline: MultimodalPipeline) -> None:
    options = SamplingOptions(temperature=0.0, max_tokens=4)
    words = pipeline.chat("Who are you?", options=options)
    assert words == pipeline.chat([Message.of("user", "Who are you?")], options=options)


def test_embeddings_have_length_one(pipeline: MultimodalPipeline) -> None:
    vectors = pipeline.embed(["a dog", ImagePart(data=tiny.make_photo())])
    assert [round(sum(value**2 for value in vector), 4) for vector in vectors] == [1.0, 1.0]


def test_what_is_refused_is_named(pipeline: MultimodalPipeline, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the picture nofile"):
        pipeline.image_to_text("nofile.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ImageFormatError, match="text file"):
        pipeline.image_to_text(tmp_path / "text.jpg")
    with pytest.raises(InputError, match="max_length is 0"):
        pipeline.image_to_text(photo, max_length=0)
    with pytest.raises(InputError, match="empty"):
        pipeline.ask(photo, " ")


def test_an_exported_file_answers_as_its_folder(
    pipeline: MultimodalPipeline, family_folder: Path, photo: Path, tmp_path: Path
) -> None:
    export_family(family_folder, tmp_path / "model.bin")
    with MultimodalPipeline.from_pretrained(tmp_path / "model.bin", device="cpu") as other:
        assert other.image_to_text(photo) == pipeline.image_to_text(photo)
    other.close()  # twice does no harm
    with pytest.raises(ConfigError, match="pipeline is closed; make another"):
        other.chat("Who are you?")


def test_an_absent_device_becomes_the_cpu_with_a_warning(family_folder: Path) -> None:
    with pytest.warns(UserWarning, match="cuda:63 is not here"):
        MultimodalPipeline.from_pretrained(family_folder, device="cuda:63").close()
    with pytest.raises(ConfigError, match="unknown device"):
        MultimodalPipeline.from_pretrained(family_folder, device="gpu")


def test_half_precision_on_a_cpu_is_told(family_folder: Path) -> None:
    plan = plan_load(LoadOptions(model=str(family_folder), device="cpu", fp16=True))
    assert plan.dtype is None and "int8" in plan.notices[0]


HELLO = ChatRequest(
    id="1", messages=(Message.of("user", "hi"),), options=SamplingOptions(temperature=0.0, max_tokens=3)
)


async def test_requests_wait_for_the_load(family_folder: Path) -> None:
    plan = plan_load(LoadOptions(model=str(family_folder), device="cpu"))
    service = LazyService(plan)
    assert not (await service.status()).ready
    gone, waiting = asyncio.create_task(service.run(HELLO)), asyncio.create_task(service.run(HELLO))
    await asyncio.sleep(0)
    gone.cancel()  # a caller who leaves must not take the load along
    service.start()
    result = await waiting
    events = [event async for event in service.stream(HELLO)]
    assert isinstance(events[-1], Finished) and events[-1].result.text == result.text
    assert (await service.status()).ready and service.failure is None
    await service.close()
    direct = load_service(plan)
    assert (await direct.run(HELLO)).text == result.text
    await direct.close()


async def test_a_failed_load_is_told_to_everyone(family_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(family_folder, tmp_path / "copy"))
    plan = plan_load(LoadOptions(model=str(copy), device="cpu"))
    shard = next((copy / "decoder").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-10])
    service, told = LazyService(plan), threading.Event()
    waiting = asyncio.create_task(service.run(HELLO))
    service.start(on_failure=told.set)
    for request in (waiting, service.run(HELLO)):
        with pytest.raises(CheckpointError, match="whole safetensors"):
            await request
    assert told.wait(60) and isinstance(service.failure, CheckpointError)
    await service.close()
