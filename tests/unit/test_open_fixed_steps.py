"""Tokens of open language models in fixed shapes: the same as kernel by kernel, over growing memory too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from localgpt.compute.graphs import Captured
from localgpt.runtime.open import fixed_steps
from localgpt.runtime.open.base import Fast, OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.fixed_steps import FixedSteps
from localgpt.runtime.open.language import LanguageModel
from localgpt.tasks import ChatResult, CompleteRequest, SamplingOptions
from tests import open_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return open_models.write_llama(tmp_path_factory.mktemp("fixed") / "llama", max_position_embeddings=2048)


def load(folder: Path, fast: Fast) -> LanguageModel:
    model = load_open(OpenCheckpoint(folder=folder, id="maker/llama", kind=kind_of(folder), fast=fast))
    assert isinstance(model, LanguageModel)
    return model


def complete(model: LanguageModel, prompt: str, num_tokens: int = 24) -> ChatResult:
    request = CompleteRequest(
        id="1", prompt=prompt, options=SamplingOptions(temperature=0.0, max_tokens=num_tokens)
    )
    result = model.answer(request, lambda event: None, lambda: False, model.sizes(request)[0])
    assert isinstance(result, ChatResult)
    return result


@pytest.mark.parametrize("num_words", [3, 160])  # within the first memory, and beyond it while answering
def test_answers_are_those_of_the_plain_path(folder: Path, num_words: int) -> None:
    plain, fixed = load(folder, "off"), load(folder, "exact")
    for prompt in ("sea ", "the sea "):  # the second goes on in memory that holds another answer
        expected = complete(plain, prompt * num_words, 80)
        found = complete(fixed, prompt * num_words, 80)
        assert found.text == expected.text and found.usage == expected.usage
    assert fixed._fixed is not None and plain._fixed is None
    assert fixed.cache_bytes > plain.cache_bytes
    fixed.drop_caches()
    assert fixed.cache_bytes == 0
    assert complete(fixed, "sea " * num_words, 80).text == complete(plain, "sea " * num_words, 80).text


def test_memory_grows_with_the_answer(folder: Path) -> None:
    model = load(folder, "off")
    steps = FixedSteps(model.network, captures=False)
    with torch.inference_mode():
        ids = [5 + number % 200 for number in range(500)]
        made, logits = read(model, ids)
        assert steps.begin(made, ids[-1], logits)
        before = steps.nbytes
        for position, token_id in enumerate(range(30, 60), start=len(ids)):
            expected = model._forward(made, [token_id])
            torch.testing.assert_close(steps.step(token_id, position), expected, rtol=1e-4, atol=1e-4)
    assert steps.nbytes == 2 * before


def test_a_network_that_says_something_else_is_not_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folder, "exact")

    def wrong(self: FixedSteps, length: int) -> Tensor:
        return torch.arange(model.vocabulary.vocab_size).float() * 10

    expected = complete(load(folder, "off"), "sea").text
    monkeypatch.setattr(FixedSteps, "_compute", wrong)
    assert complete(model, "sea").text == expected
    assert any("one kernel at a time: its logits" in notice for notice in model.notices)


def test_a_network_that_fails_so_is_run_plainly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(folder, "exact")

    def fails(self: FixedSteps, length: int) -> Tensor:
        raise TypeError("unexpected argument")

    monkeypatch.setattr(FixedSteps, "_compute", fails)
    assert complete(model, "sea").finish_reason == "length"
    assert any("unexpected argument" in notice for notice in model.notices)


def test_an_answer_goes_on_where_a_later_length_cannot_be_captured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replays: list[int] = []

    class Graph:
        def __init__(self, run: Callable[[], Tensor], out: Tensor) -> None:
            self._run, self._out = run, out

        def replay(self) -> None:
            replays.append(1)
            self._out.copy_(self._run())

        def pool(self) -> str:
            return "pool"

    def capture(run: Callable[[], Tensor], device: torch.device, *, pool: Any) -> Captured:
        if pool is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        out = run().clone()
        return Captured(graph=Graph(run, out), out=out, nbytes=0)  # type: ignore[arg-type]

    monkeypatch.setattr(fixed_steps, "capture_graph", capture)
    model = load(folder, "off")
    steps = FixedSteps(model.network, captures=True)
    with torch.inference_mode():
        ids = [5 + number % 200 for number in range(500)]
        made, logits = read(model, ids)
        assert steps.begin(made, ids[-1], logits)
        steps._make_room(made, 600)  # both lengths in one memory
        steps._graphs.clear()
        steps._pool = None
        for position, token_id in enumerate(range(30, 60), start=len(ids)):
            expected = model._forward(made, [token_id])
            torch.testing.assert_close(steps.step(token_id, position), expected, rtol=1e-4, atol=1e-4)
    assert len(replays) == 1 + 12 and steps.num_graphs == 0
    [record] = caplog.records
    assert "without a graph from here on" in record.getMessage()


def read(model: LanguageModel, ids: list[int]) -> tuple[Any, Tensor]:
    from localgpt.runtime.open.cache import new_cache

    made = new_cache(model._config)
    return made, model._forward(made, ids)
