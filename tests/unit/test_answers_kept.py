"""Answers that are kept: which question finds which, how many, on disk, in the ledger, as drafts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from localgpt.engine import runner
from localgpt.engine.answers import AnswerStore, question_key
from localgpt.engine.drafts import Draft, is_repeatable
from localgpt.engine.runner import ModelRunner
from localgpt.engine.sequence import GenerationRequest
from localgpt.runtime.loading import LoadOptions, plan_load
from localgpt.runtime.local import LocalService
from localgpt.runtime.remembering import ANSWERS, NO_DRAFTS, CacheOptions
from localgpt.runtime.shelf import ShelfFolder
from localgpt.tasks import ChatRequest, ChatResult, Message, SamplingOptions, TextDelta
from tests import tiny
from tests.open_models import write_llama

ASKED = GenerationRequest(token_ids=[1, 2, 3], options=SamplingOptions(seed=1), max_tokens=5, owner="a")


def ask(**changes: Any) -> GenerationRequest:
    return replace(ASKED, **changes)


@pytest.mark.parametrize(
    "other",
    [
        ask(owner="b"),
        ask(token_ids=[1, 2]),
        ask(token_ids=[1, 2, 4]),
        ask(options=SamplingOptions(seed=2)),
        ask(options=SamplingOptions(seed=1, stop=("x",))),
        ask(options=SamplingOptions(seed=1, repetition_penalty=1.1)),
        ask(image_tokens=torch.zeros(1, 2)),
        ask(grammar_opener=3),
    ],
)
def test_another_question_has_another_answer(other: GenerationRequest) -> None:
    store = AnswerStore(10**6, vocab_size=100)
    store.put(ASKED, [7, 8])
    assert store.find(other) == []
    store.put(other, [9])
    assert (store.find(ASKED), store.find(other)) == ([7, 8], [9])


def test_what_changes_no_token_changes_no_question() -> None:
    options = SamplingOptions(seed=1, top_logprobs=3, max_tokens=9)
    assert question_key(ask(options=options, max_tokens=50)) == question_key(ASKED)


def test_the_answer_used_longest_ago_is_forgotten() -> None:
    heard: list[int] = []
    store = AnswerStore(2100, vocab_size=100, on_size=heard.append)
    for owner in "ab":
        store.put(ask(owner=owner), [1])
    assert store.find(ask(owner="a")) == [1]
    store.put(ask(owner="c"), [1])
    assert [store.find(ask(owner=owner)) for owner in "abc"] == [[1], [], [1]]
    assert heard[-1] == store.nbytes <= 2100
    store.put(ask(owner="c"), [2, 3])
    assert store.find(ask(owner="c")) == [2, 3]
    store.clear()
    assert store.nbytes == 0 and store.find(ask(owner="a")) == []


def test_a_draft_is_followed_to_its_first_mistake() -> None:
    draft = Draft([1, 2, 3, 4])
    assert draft.next_tokens(3) == [1, 2, 3]
    draft.follow(1)
    assert draft.is_left and draft.next_tokens(9) == [2, 3, 4]
    draft.follow(9)
    assert not draft.is_left and draft.next_tokens(9) == [] and draft.num_followed == 1
    draft.follow(2)
    assert not draft.is_left


def test_a_draft_that_may_be_wrong_is_trusted_little_by_little() -> None:
    draft = Draft(range(100), is_certain=False)
    taken = []
    while draft.is_left:
        tokens = draft.next_tokens(30)
        taken.append(len(tokens))
        for token_id in tokens:
            draft.follow(token_id)
    assert taken == [4, 8, 16, 30, 30, 12]
    assert not is_repeatable(SamplingOptions(temperature=0.1))
    assert is_repeatable(SamplingOptions(temperature=0.0)) and is_repeatable(SamplingOptions(seed=0))


# On disk


def test_answers_outlive_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    AnswerStore(10**6, vocab_size=10**6, shelf=ShelfFolder(folder)).put(ASKED, [70_000, 8])
    store = AnswerStore(10**6, vocab_size=10**6, shelf=ShelfFolder(folder))
    assert store.find(ASKED) == [70_000, 8] and store.find(ask(owner="b")) == []
    (path,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700 and path.stat().st_mode & 0o777 == 0o600
    other_model = AnswerStore(10**6, vocab_size=1000, shelf=ShelfFolder(folder))
    assert other_model.find(ASKED) == []


def test_a_file_tells_nothing_of_question_and_answer(tmp_path: Path) -> None:
    ShelfFolder(tmp_path).put(b"a question in words", b"an answer in words")
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    assert len(data) == 12 + 18 + 16 and b"words" not in data
    assert ShelfFolder(tmp_path).get(b"a question in word") is None
    assert ShelfFolder(tmp_path).get(b"a question in words") == b"an answer in words"


HARMS = (lambda d: d[:-1], lambda d: d[:5], lambda d: b"", lambda d: bytes([d[0] ^ 1]) + d[1:])


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_file_is_no_answer(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    shelf = ShelfFolder(tmp_path)
    shelf.put(b"q", b"a" * 8)
    (path,) = tmp_path.iterdir()
    path.write_bytes(harm(path.read_bytes()))
    assert shelf.get(b"q") is None
    shelf.put(b"q", b"b" * 8)
    assert shelf.get(b"q") == b"b" * 8


def test_a_folder_keeps_so_many_and_trouble_is_no_error(tmp_path: Path) -> None:
    shelf = ShelfFolder(tmp_path, most_files=3)
    for number in range(5):
        shelf.put(b"%d" % number, b"abcd")
    assert len(list(tmp_path.iterdir())) == 3 and shelf.get(b"4") == b"abcd"
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    shelf = ShelfFolder(blocked)
    shelf.put(b"q", b"abcd")
    assert shelf.get(b"q") is None


# Through the service


def chat(text: str = "Hello", owner: str = "local", **options: Any) -> ChatRequest:
    sampling = SamplingOptions(**{"max_tokens": 12, "seed": 4, **options})
    return ChatRequest(id="1", messages=(Message.of("user", text),), options=sampling, owner=owner)


def quantized_family() -> Any:
    family = tiny.make_family()
    from localgpt.nn.linear import quantize_

    quantize_(family.decoder, kernel="plain")
    return family


async def answered(service: LocalService, request: ChatRequest) -> tuple[ChatResult, list[str]]:
    result = await service.run(request)
    assert isinstance(result, ChatResult)
    pieces = [event.text async for event in service.stream(request) if isinstance(event, TextDelta)]
    return result, pieces


async def test_a_service_answers_again_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LocalService(quantized_family())
    kept = LocalService(quantized_family(), cache=CacheOptions(keeps_answers=True))
    assert NO_DRAFTS not in kept.notices
    rows: list[int] = []
    step = kept._runner.decoder.decode_step
    monkeypatch.setattr(
        kept._runner.decoder, "decode_step", lambda ids, *rest: rows.append(len(ids)) or step(ids, *rest)
    )
    for request in (chat(), chat(top_logprobs=2), chat(temperature=0.0), chat("Who?", owner="b")):
        assert await answered(kept, request) == await answered(plain, request)
    assert max(rows) == 12  # the latest token and the rest of the draft, which the prompt's last token begins
    memory = (await kept.status()).memory
    assert memory is not None
    (held,) = [resident for resident in memory.residents if resident.name == ANSWERS]
    assert held.kind == "cache" and held.nbytes > 0
    await plain.close()
    await kept.close()


async def test_a_device_that_cannot_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "is_same_in_company", lambda *_: False)
    service = LocalService(tiny.make_family(), cache=CacheOptions(keeps_answers=True))
    assert NO_DRAFTS in (await service.status()).notices
    first, _ = await answered(service, chat())
    again, _ = await answered(service, chat())
    assert first.text == again.text
    await service.close()


def test_rows_that_depend_on_their_place_are_found_out() -> None:
    decoder = tiny.make_decoder()
    step = decoder.decode_step

    def uneven(token_ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        logits = step(token_ids, *rest)
        logits[5:6] += 1e-6 * logits[5:6].abs()
        return logits

    decoder.decode_step = uneven  # type: ignore[method-assign]
    assert ModelRunner(decoder, num_slots=1, checks_drafts=True).row_plan is None


def test_an_open_model_keeps_no_answers_and_it_is_said(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "llama")
    options = LoadOptions(model=str(folder), device="cpu", data_folder=tmp_path)
    assert not any("use_cache" in notice for notice in plan_load(options).notices)
    plan = plan_load(replace(options, cache=CacheOptions(keeps_answers=True)))
    assert plan.main is not None
    (notice,) = [notice for notice in plan.notices if "use_cache" in notice]
    assert notice.endswith(f"it has no effect on {plan.main.id}")
