"""Open models as a service: loaded when asked for, sharing memory, refused with the reason."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from torch import nn

from localgpt.checkpoints.hub import kept
from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.errors import (
    CancelledRequestError,
    CapacityError,
    CheckpointError,
    ConfigError,
    DeadlineError,
    InputError,
    MissingWeightsError,
    UnsafeCheckpointError,
)
from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.runtime.naming import resolve_model
from localgpt.runtime.open.base import OpenCheckpoint, OpenModel, load_open
from localgpt.runtime.open.lanes import Lanes
from localgpt.runtime.open.service import OpenOptions, OpenService
from localgpt.runtime.open.shelf import Shelf, ShelfModel, model_of_folder
from localgpt.runtime.remembering import CacheOptions
from localgpt.tasks import (
    ChatRequest,
    ChatResult,
    Event,
    Finished,
    Message,
    PaintRequest,
    SamplingOptions,
    TextDelta,
)
from localgpt.units import KIB, MIB
from tests import open_models

GREEDY = SamplingOptions(temperature=0.0, max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_models.write_llama(tmp_path_factory.mktemp("open") / "tiny-llama")


def chat(model: str, *, options: SamplingOptions = GREEDY, deadline_s: float | None = None) -> ChatRequest:
    messages = (Message.of("user", "What is this?"),)
    return ChatRequest(id="1", model=model, messages=messages, options=options, deadline_s=deadline_s)


@dataclass
class Loads:
    """Loads as usual, and tells; `may_load` holds a load up, `may_end` an answer."""

    loaded: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    may_load: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_load.set()

    def __call__(self, checkpoint: OpenCheckpoint) -> OpenModel:
        assert self.may_load.wait(30)
        model: Any = load_open(checkpoint)
        self.loaded.append(checkpoint.id)
        self.folders.append(checkpoint.folder)
        release = model.release

        def told() -> None:
            self.released.append(checkpoint.id)
            release()

        model.release = told
        return cast("OpenModel", model)


def service_of(
    *folders: Path, budget: int = 256 * MIB, loads: Loads | None = None, **options: Any
) -> OpenService:
    models = [model_of_folder(path) for path in folders]
    ledger = Ledger(CpuDevice(), Budget(nbytes=budget))
    return OpenService(Shelf(None, models), ledger, options=OpenOptions(**options), load=loads or load_open)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same model twice, whose weights take more than its work."""
    place = tmp_path_factory.mktemp("heavy")
    one = open_models.write_llama(
        place / "one", hidden_size=256, intermediate_size=512, num_hidden_layers=12, vocab_size=512
    )
    return one, shutil.copytree(one, place / "two")


def crowded(folders: tuple[Path, Path], loads: Loads) -> OpenService:
    """A service whose memory holds one of two models and its work."""
    nbytes = model_of_folder(folders[0]).weight_bytes(device="cpu", fp16=False, quantize="none")
    return service_of(*folders, budget=nbytes * 19 // 10, loads=loads, quantize="none")


async def test_the_first_request_loads_and_all_wait_for_one_load(folder: Path) -> None:
    loads = Loads()
    service = service_of(folder, loads=loads)
    status = (await service.status()).models[0]
    assert (status.id, status.tasks, status.is_loaded) == ("tiny-llama", ("chat", "complete"), False)
    assert status.context_len == open_models.CONTEXT_LEN and status.num_params > 10_000
    results = await asyncio.gather(*(service.run(chat("tiny-llama")) for _ in range(3)))
    assert loads.loaded == ["tiny-llama"]
    assert results[0] == results[1] == results[2]
    loaded = (await service.status()).models[0]
    assert loaded.is_loaded and loaded.num_params == status.num_params
    await service.close()
    assert loads.released == ["tiny-llama"]
    with pytest.raises(CancelledRequestError):
        await service.run(chat("tiny-llama"))


@pytest.mark.parametrize("mib", [0, 1])
async def test_no_prompt_is_kept_where_none_may_be(folder: Path, mib: int) -> None:
    options = LoadOptions(model=str(folder), device="cpu", cache=CacheOptions(prompt_mib=mib))
    service = load_service(options)
    request = replace(chat("tiny-llama"), messages=(Message.of("user", "Describe this picture. " * 60),))
    results = [await service.run(request) for _ in range(2)]
    assert [result.usage.cached_tokens > 0 for result in results] == [False, bool(mib)]
    await service.close()


async def test_events_stream_and_end_with_the_result(folder: Path) -> None:
    service = service_of(folder)
    events = [event async for event in service.stream(chat("tiny-llama"))]
    assert isinstance(events[-1], Finished)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == events[-1].answer.text == cast("ChatResult", await service.run(chat("tiny-llama"))).text
    await service.close()


async def test_two_models_beyond_the_budget_take_turns(heavy: tuple[Path, Path]) -> None:
    loads = Loads()
    service = crowded(heavy, loads)
    first = await service.run(chat("one"))
    second = await service.run(chat("two"))
    assert loads.released == ["one"]
    assert [model.is_loaded for model in (await service.status()).models] == [False, True]
    assert await service.run(chat("one")) == first and await service.run(chat("one")) == first
    assert loads.loaded == ["one", "two", "one"]
    assert cast("ChatResult", second).text == cast("ChatResult", first).text  # the same weights
    both = await asyncio.gather(service.run(chat("one")), service.run(chat("two")))
    assert both == [first, second]
    await service.close()


async def test_a_model_in_use_stays_until_its_answer_ends(heavy: tuple[Path, Path]) -> None:
    loads = Loads()
    service = crowded(heavy, loads)
    long = chat("one", options=SamplingOptions(temperature=0.0, max_tokens=200))
    stream = cast("Any", service.stream(long))
    await anext(stream)
    other = asyncio.create_task(service.run(chat("two")))
    events = [event async for event in stream]
    assert isinstance(events[-1], Finished) and loads.loaded == ["one"]
    await other
    assert loads.released == ["one"]
    await service.close()


async def test_closing_a_stream_ends_the_work(folder: Path) -> None:
    service = service_of(folder)
    long = chat("tiny-llama", options=SamplingOptions(temperature=0.0, max_tokens=400))
    async with aclosing(cast("Any", service.stream(long))) as events:
        await anext(events)
    assert not service.ledger.state().held
    assert (await service.status()).num_running == 0
    assert await service.run(chat("tiny-llama"))
    await service.close()


async def test_a_deadline_holds_while_a_model_is_loaded(folder: Path) -> None:
    loads = Loads()
    loads.may_load.clear()
    service = service_of(folder, loads=loads)
    with pytest.raises(DeadlineError):
        await service.run(chat("tiny-llama", deadline_s=0.01))
    waiting = asyncio.create_task(service.run(chat("tiny-llama")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    loads.may_load.set()
    assert await service.run(chat("tiny-llama"))
    assert loads.loaded == ["tiny-llama"]
    await service.close()


async def test_a_model_too_large_says_what_would_fit(folder: Path) -> None:
    service = service_of(folder, budget=64 * KIB, quantize="none")
    with pytest.raises(CapacityError, match=r"needs .* on cpu, which is .* more than") as caught:
        await service.run(chat("tiny-llama"))
    assert "--memory-budget" in str(caught.value)
    await service.close()


async def test_what_cannot_be_done_is_refused(folder: Path) -> None:
    service = service_of(folder)
    with pytest.raises(InputError, match="cannot paint, it can chat, complete") as caught:
        await service.run(PaintRequest(id="1", model="tiny-llama", prompt="a dog"))
    assert caught.value.param == "model"
    with pytest.raises(InputError, match="not known, expected tiny-llama"):
        await service.run(chat(str(folder)))  # a caller cannot name folders
    await service.close()


# What is on the shelf.


def keep(folder: Path, data_folder: Path, repo: str, *, commit: str, pulled_at: str) -> Path:
    """A model as a pull leaves it."""
    place = kept.model_folder(kept.models_folder(data_folder), repo) / commit
    shutil.copytree(folder, place)
    manifest = kept.Manifest(
        repo=repo,
        revision=commit,
        requested="main",
        source="http://127.0.0.1",
        licence="Apache-2.0",
        pulled_at=pulled_at,
        variant=None,
        files=(),
    )
    (place / "manifest.json").write_text(manifest.to_text())
    return place


def test_pulled_models_go_by_their_names(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.models() == []
    old, new = "a" * 40, "b" * 40
    keep(folder, tmp_path, "Qwen/Qwen3-0.6B", commit=old, pulled_at="2026-01-01T00:00:00+00:00")
    place = keep(folder, tmp_path, "Qwen/Qwen3-0.6B", commit=new, pulled_at="2026-02-01T00:00:00+00:00")
    keep(folder, tmp_path, "me/mine", commit=old, pulled_at="2026-01-01T00:00:00+00:00")
    assert {model.id for model in shelf.models()} == {
        "qwen3-0.6b", f"Qwen/Qwen3-0.6B@{old[:12]}", "me/mine",
    }  # fmt: skip
    for name in ("qwen3-0.6b", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B@main", f"Qwen/Qwen3-0.6B@{new}"):
        found = cast("ShelfModel", shelf.find(name))
        assert (found.folder, found.licence) == (place, "Apache-2.0")
    shutil.rmtree(place)
    assert cast("ShelfModel", shelf.find("Qwen/Qwen3-0.6B")).id == "qwen3-0.6b"


class Held:
    """Stands for a model whose answer ends when it may."""

    def __init__(self, checkpoint: OpenCheckpoint, began: threading.Event, may_end: threading.Event) -> None:
        self._model: Any = load_open(checkpoint)
        self._began, self._may_end = began, may_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def answer(self, *args: Any) -> Any:
        self._began.set()
        assert self._may_end.wait(60)
        return self._model.answer(*args)


async def test_a_model_does_not_wait_for_the_answer_of_another_on_a_cpu(folder: Path, tmp_path: Path) -> None:
    began, may_end = threading.Event(), threading.Event()
    other = shutil.copytree(folder, tmp_path / "slow")

    def load(checkpoint: OpenCheckpoint) -> OpenModel:
        if checkpoint.id == "slow":
            return cast("OpenModel", Held(checkpoint, began, may_end))
        return load_open(checkpoint)

    ledger = Ledger(CpuDevice(), Budget(nbytes=256 * MIB))
    models = [model_of_folder(path) for path in (folder, other)]
    service = OpenService(Shelf(None, models), ledger, load=load)
    slow = [asyncio.ensure_future(service.run(chat("slow"))) for _ in range(2)]
    assert await asyncio.to_thread(began.wait, 60)
    async with asyncio.timeout(60):
        quick = await service.run(chat("tiny-llama"))
    assert not any(one.done() for one in slow)
    assert (await service.status()).num_running + (await service.status()).num_waiting == 2
    may_end.set()
    first, second = cast("list[ChatResult]", await asyncio.gather(*slow))
    assert first.text == second.text == cast("ChatResult", quick).text
    await service.close()
    ledger.close()


def test_a_card_has_one_thread_for_all_models() -> None:
    for is_shared in (False, True):
        lanes = Lanes(is_shared=is_shared)
        assert lanes.of("a") is lanes.of("a") and (lanes.of("a") is lanes.of("b")) == is_shared
        has_begun, may_end, has_given_up = threading.Event(), threading.Event(), threading.Event()
        begun = lanes.of("a").submit(lambda: has_begun.set() or may_end.wait(60))  # noqa: B023
        assert has_begun.wait(60)
        given_up = lanes.of("a").submit(may_end.wait, 60)
        given_up.add_done_callback(lambda _: has_given_up.set())  # noqa: B023
        closing = threading.Thread(target=lanes.close)
        closing.start()
        assert has_given_up.wait(60) and given_up.cancelled() and not begun.done()
        may_end.set()
        closing.join(60)
        assert begun.result() and not closing.is_alive()
        for name in ("a", "new"):
            with pytest.raises(CancelledRequestError):
                lanes.of(name)


async def test_a_model_that_is_removed_or_pulled_anew_is_let_go(folder: Path, tmp_path: Path) -> None:
    loads = Loads()
    old = keep(folder, tmp_path, "me/mine", commit="a" * 40, pulled_at="2026-01-01T00:00:00+00:00")
    ledger = Ledger(CpuDevice(), Budget(nbytes=256 * MIB))
    service = OpenService(Shelf(tmp_path), ledger, load=loads)
    first = await service.run(chat("me/mine"))
    stream = cast("Any", service.stream(chat("me/mine")))
    await anext(stream)
    shutil.rmtree(old)
    new = keep(folder, tmp_path, "me/mine", commit="b" * 40, pulled_at="2026-02-01T00:00:00+00:00")
    answered = await service.run(chat("me/mine"))  # by the new one, while the older one still answers
    assert (answered.model, loads.loaded, loads.released) == ("me/mine", ["me/mine"] * 2, [])
    assert loads.folders == [old, new]
    assert isinstance([event async for event in stream][-1], Finished)
    assert loads.released == ["me/mine"]  # with its last answer, though nobody has looked since
    assert await service.run(chat("me/mine")) == first
    assert len(loads.loaded) == 2
    shutil.rmtree(new)
    assert (await service.status()).resident_bytes == 0 and loads.released == ["me/mine"] * 2
    assert ledger.state().residents == ()
    await service.close()
    ledger.close()


def test_operators_name_models_in_several_ways(folder: Path, tmp_path: Path, family_folder: Path) -> None:
    place = keep(folder, tmp_path, "me/mine", commit="c" * 40, pulled_at="2026-01-01T00:00:00+00:00")
    for name, model_id in (("me/mine", "me/mine"), (str(folder), "tiny-llama"), (str(place), "me/mine")):
        assert cast("ShelfModel", resolve_model(name, tmp_path)).id == model_id
    assert resolve_model(str(family_folder), tmp_path) == family_folder
    with pytest.raises(ConfigError, match="was not pulled; run: localgpt pull qwen3-4b"):
        resolve_model("qwen3-4b", tmp_path)
    with pytest.raises(ConfigError, match="did you mean qwen3-4b"):
        resolve_model("qwen3-4", tmp_path)


# What is no model.


def test_a_pickle_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "pickled")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UnsafeCheckpointError, match=r"pytorch_model\.bin, a pickle"):
        resolve_model(str(copy))
    (copy / "model.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UnsafeCheckpointError, match="is a pickle"):
        resolve_model(str(copy))


def test_code_of_a_repository_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "coded")
    change_config(
        copy, model_type="own", architectures=["OwnForCausalLM"], auto_map={"AutoConfig": "own.Own"}
    )
    with pytest.raises(UnsafeCheckpointError, match="is Python in the folder"):
        resolve_model(str(copy))


def test_a_network_of_an_unknown_kind_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "other")
    change_config(copy, architectures=["BertForMaskedLM"])
    with pytest.raises(CheckpointError, match="BertForMaskedLM, which is not run here"):
        resolve_model(str(copy))


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


async def test_broken_folders_say_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(folder, tmp_path / "cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    blind = shutil.copytree(folder, tmp_path / "blind")
    (blind / "tokenizer.json").unlink()
    other = shutil.copytree(folder, tmp_path / "other")
    change_config(other, num_hidden_layers=3)
    wide = shutil.copytree(folder, tmp_path / "wide")
    change_config(wide, hidden_size=64)
    service = service_of(cut, blind, other, wide)
    for name, kind, reason in (
        ("cut", CheckpointError, "cut"),
        ("blind", MissingWeightsError, "no tokenizer"),
        ("other", CheckpointError, "lacks .* tensors of its network, such as model.layers.2"),
        ("wide", CheckpointError, "wide"),
    ):
        with pytest.raises(kind, match=reason):
            await service.run(chat(name))
    assert not service.ledger.state().held
    await service.close()


# All of it together.


def test_a_service_of_family_and_open_models(folder: Path, family_folder: Path, tmp_path: Path) -> None:
    keep(folder, tmp_path, "me/mine", commit="c" * 40, pulled_at="2026-01-01T00:00:00+00:00")
    options = LoadOptions(model=str(family_folder), device="cpu", max_batch_size=1, data_folder=tmp_path)
    service = load_service(options)

    async def talk() -> None:
        status = await service.status()
        assert [model.id for model in status.models] == ["local/tiny", "me/mine"]
        for name in ("local/multimodal-base", "local/tiny", "me/mine"):
            result = cast("ChatResult", await service.run(chat(name)))
            assert result.model == ("me/mine" if name == "me/mine" else "local/tiny")
        memory = (await service.status()).memory
        assert memory is not None and "me/mine" in {one.name for one in memory.residents}
        with pytest.raises(InputError, match="was not pulled; run: localgpt pull qwen3-4b"):
            await service.run(chat("Qwen/Qwen3-4B-Instruct-2507"))
        with pytest.raises(InputError, match="did you mean me/mine") as caught:
            await service.run(chat("me/mime"))
        assert caught.value.param == "model"
        await service.close()

    asyncio.run(talk())


def test_an_open_model_instead_of_the_family(folder: Path) -> None:
    service = load_service(LoadOptions(model=str(folder), device="cpu", fp16=True))

    async def talk() -> None:
        model = (await service.status()).models[0]
        assert (model.id, model.is_loaded) == ("tiny-llama", True)
        assert "local/multimodal-base" in model.names
        result = cast("ChatResult", await service.run(chat("local/multimodal-base")))
        assert result.model == "tiny-llama"
        assert any("bfloat16" in notice for notice in result.notices)
        await service.close()

    asyncio.run(talk())


class Service:
    """Answers with the name it was asked by."""

    async def run(self, request: Any) -> Any:
        return request.model

    def stream(self, request: Any) -> Any:
        async def events() -> Any:
            yield request.model

        return events()


def test_other_services_are_mounted_under_names(folder: Path) -> None:
    service = load_service(LoadOptions(model=str(folder), device="cpu"))
    service.mount("upstream:", cast("Any", Service()))
    service.mount("file.gguf", cast("Any", Service()))

    async def talk() -> None:
        assert cast("Any", await service.run(chat("upstream:big/one"))) == "upstream:big/one"
        assert [cast("Any", one) async for one in service.stream(chat("file.gguf"))] == ["file.gguf"]
        with pytest.raises(InputError):
            await service.run(chat("file.gguf2"))
        service._mounted.clear()
        await service.close()

    asyncio.run(talk())


class Sleeper:
    """A model that works until it is told that nobody waits."""

    id, tasks, notices, dtype, cache_bytes = "tiny-llama", ("chat",), (), "float32", 0

    def __init__(self) -> None:
        self.began = threading.Event()
        self.modules = {"network": nn.Linear(2, 2)}

    def status(self) -> Any:
        return model_of_folder(Path()).status

    def sizes(self, request: Any) -> Any:
        from localgpt.compute.memory import Size

        return (Size(shape="work", nbytes=1),)

    def answer(self, request: Any, emit: Any, is_cancelled: Any, size: Any) -> Any:
        emit(TextDelta(text="begun"))
        self.began.set()
        while not is_cancelled():
            pass
        raise CancelledRequestError("nobody waits")

    def drop_caches(self) -> None:
        pass

    def release(self) -> None:
        pass


async def test_the_memory_is_kept_until_the_thread_is_done(folder: Path) -> None:
    sleeper = Sleeper()
    ledger = Ledger(CpuDevice(), Budget(nbytes=64 * MIB))
    service = OpenService(
        Shelf(None, [model_of_folder(folder)]), ledger, load=lambda checkpoint: cast("OpenModel", sleeper)
    )
    events: list[Event] = []

    async def listen() -> None:
        events.extend([event async for event in service.stream(chat("tiny-llama"))])

    task = asyncio.create_task(listen())
    await asyncio.to_thread(sleeper.began.wait, 30)
    assert ledger.state().held
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ledger.state().held
    await service.close()
