"""The models in a real child process: it answers as the service of this process does, and may crash alone."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from localgpt.errors import BackendError, CheckpointError, InputError, LocalGPTError
from localgpt.runtime.local import LocalService
from localgpt.settings import Settings
from localgpt.tasks import (
    AnswerFormat,
    AskRequest,
    ChatRequest,
    ChatResult,
    CompleteRequest,
    DescribeRequest,
    EmbedRequest,
    ImagePart,
    Message,
    Request,
    SamplingOptions,
    TextPart,
    Tool,
    ToolChoice,
)
from localgpt.worker import ModelProcess, WorkerService
from localgpt.worker.building import build
from tests import tiny, tiny_folder

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(sys.platform == "win32", reason="a process of their own needs inherited sockets"),
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and waits for foreign processes")
PATIENCE_S = 60  # of a busy machine; a hang fails the test
PHOTO = ImagePart(data=tiny.make_photo(), media_type="image/png")
OPTIONS = SamplingOptions(seed=3, max_tokens=9, temperature=1.0, top_logprobs=2)
ME = (Message.of("user", "Who are you?"),)
SCHEMA = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
ANSWERS: list[Request] = [
    ChatRequest(id="1", messages=ME, options=OPTIONS),
    ChatRequest(id="1", messages=(*ME, Message.of("assistant", "x"), *ME), options=replace(OPTIONS, seed=4)),
    ChatRequest(
        id="1",
        messages=ME,
        options=replace(OPTIONS, max_tokens=40),
        answer_format=AnswerFormat(kind="json", schema=SCHEMA),
    ),
    ChatRequest(
        id="1",
        messages=ME,
        options=replace(OPTIONS, max_tokens=60),
        tools=(Tool(name="f", parameters=SCHEMA),),
        tool_choice=ToolChoice(mode="required"),
    ),
    ChatRequest(
        id="1", messages=(Message(role="user", content=(PHOTO, TextPart(text="What?"))),), options=OPTIONS
    ),
    ChatRequest(id="1", messages=tuple(Message.of("user", f"turn {n}") for n in range(120)), options=OPTIONS),
    CompleteRequest(id="1", prompt="The capital", options=OPTIONS),
    DescribeRequest(id="1", image=PHOTO),
    AskRequest(id="1", image=PHOTO, question="What is this?", options=OPTIONS),
]
WRONG: list[Request] = [
    ChatRequest(id="1", messages=()),
    ChatRequest(id="1", messages=ME, model="gpt-5"),
    ChatRequest(id="1", messages=(Message.of("user", "word " * 900),)),
    ChatRequest(id="1", messages=ME, deadline_s=0.0),
    DescribeRequest(id="1", image=ImagePart(data=b"text")),
    EmbedRequest(id="1", inputs=(TextPart(text=" "),)),
]
LONG = ChatRequest(
    id="1", messages=ME, options=SamplingOptions(seed=1, max_tokens=90, temperature=2.0, top_k=0, top_p=1.0)
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    family = tiny_folder.write_family(home / "tiny", config=replace(tiny.DECODER, context_len=256))
    return Settings(model=str(family), device="cpu", data_dir=home, log_level="warning")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(settings: Settings) -> AsyncIterator[WorkerService]:
    """One process for all tests that leave it as it was."""
    service = WorkerService(partial(ModelProcess, settings, environment={"OMP_NUM_THREADS": "1"}))
    service.start()
    yield service
    await service.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(settings: Settings) -> AsyncIterator[LocalService]:
    """The same models in this process."""
    lazy = build(settings)
    lazy.start()
    yield await lazy._service()
    await lazy.close()


@pytest.mark.parametrize("request_", ANSWERS, ids=lambda request: type(request).__name__)
async def test_answers_are_those_of_the_service_here(
    worker: WorkerService, local: LocalService, request_: Request
) -> None:
    expected = [event async for event in local.stream(request_)]
    assert told([event async for event in worker.stream(request_)]) == told(expected)
    assert told(await worker.run(request_)) == told(await local.run(request_))


def told(answer: object) -> str:
    """An answer without the ids of tool calls, which are new each time."""
    return re.sub(r"call_[0-9a-f]{24}", "call", repr(answer))


async def test_so_are_vectors_and_what_is_told_of_the_models(
    worker: WorkerService, local: LocalService
) -> None:
    request = EmbedRequest(id="1", inputs=(TextPart(text="a dog"), PHOTO))
    assert await worker.run(request) == await local.run(request)
    theirs, ours = await worker.status(), await local.status()
    assert theirs.ready and theirs.models == ours.models and theirs.dtype == ours.dtype
    assert theirs.memory is not None and theirs.memory.residents[0].nbytes > 0
    assert (theirs.model_process_bytes or 0) > 10 * theirs.models[0].weight_bytes
    assert (worker.plan.device, worker.plan.max_batch_size) == ("cpu", 4)


@pytest.mark.parametrize("request_", WRONG, ids=lambda request: type(request).__name__)
async def test_refusals_are_too(worker: WorkerService, local: LocalService, request_: Request) -> None:
    with pytest.raises(LocalGPTError) as expected:
        await local.run(request_)
    with pytest.raises(LocalGPTError) as found:
        await worker.run(request_)
    assert type(found.value) is type(expected.value) and str(found.value) == str(expected.value)
    assert vars(found.value) == vars(expected.value)


async def test_voice_is_refused_as_it_is_here(worker: WorkerService) -> None:
    with pytest.raises(InputError, match="voice is not installed"):
        await worker.open(ANSWERS[0])


@linux
async def test_two_hundred_who_leave_at_random_leave_nothing(worker: WorkerService) -> None:
    folder, chance = Path(f"/proc/{worker.pid}/fd"), random.Random(0)
    await worker.run(ANSWERS[0])
    num_before = len(list(folder.iterdir()))

    async def leave() -> None:
        for _ in range(25):
            async with aclosing(worker.stream(LONG)) as events:
                for _ in range(chance.randrange(5)):
                    await anext(events)

    await asyncio.gather(*(leave() for _ in range(8)))
    result = await worker.run(ANSWERS[0])  # behind all that was given up
    assert isinstance(result, ChatResult)
    worker._is_fresh_until = 0.0
    status = await worker.status()
    assert (status.num_running, status.num_waiting) == (0, 0) and status.memory is not None
    assert not status.memory.reservations and not worker._calls
    assert len(list(folder.iterdir())) == num_before


async def test_a_process_that_is_killed_takes_its_answers_along_and_is_replaced(
    worker: WorkerService, caplog: pytest.LogCaptureFixture
) -> None:
    first = worker.pid
    stream = worker.stream(LONG)
    await anext(stream)
    waiting = [asyncio.ensure_future(worker.run(replace(LONG, id=str(n)))) for n in range(9)]
    await anext(stream)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(BackendError, match=r"signal 9 \(SIGKILL\).*memory.*started again"):
        async for _ in stream:
            pass
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({id(end) for end in ends}) == len(ends)
    assert all(isinstance(end, BackendError | ChatResult) for end in ends)
    assert not (await worker.status()).ready
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await worker.run(ANSWERS[0]), ChatResult)
    assert worker.pid != first and (await worker.status()).ready
    assert "SIGKILL" in caplog.text


async def test_a_crash_leaves_its_trace_in_the_log(
    worker: WorkerService, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.run(ANSWERS[0])
    stream = worker.stream(LONG)
    await anext(stream)
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(BackendError, match=r"signal 11 \(SIGSEGV\)"):
        async for _ in stream:
            pass
    assert "the model process says: Fatal Python error: Segmentation fault" in caplog.text


async def test_a_failed_load_is_told_to_everyone(
    settings: Settings, family_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(family_folder, tmp_path / "copy"))
    shard = next((copy / "decoder").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-10])
    service = WorkerService(partial(ModelProcess, settings.model_copy(update={"model": str(copy)})))
    told = asyncio.Event()
    service.start(on_failure=told.set)
    waiting = asyncio.ensure_future(service.run(ANSWERS[0]))
    await told.wait()
    for request in (waiting, service.run(ANSWERS[0])):
        with pytest.raises(CheckpointError, match="whole safetensors"):
            await request
    assert isinstance(service.failure, CheckpointError)
    await service.close()
    await service.close()
