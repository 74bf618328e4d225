"""Models that make vectors of texts, on small random checkpoints in the form of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from localgpt.compute.memory import Budget, CpuDevice, Ledger
from localgpt.errors import (
    CancelledRequestError,
    CheckpointError,
    InputError,
    LocalGPTError,
    PromptTooLongError,
    UnsafeCheckpointError,
)
from localgpt.runtime.open.base import OpenCheckpoint, kind_of, load_open
from localgpt.runtime.open.embedder import Embedder
from localgpt.runtime.open.service import OpenService
from localgpt.runtime.open.shelf import Shelf, model_of_folder
from localgpt.tasks import EmbedRequest, EmbedResult, ImagePart, TextPart
from localgpt.units import MIB
from tests import open_models, tiny

TEXTS = ("two red apples", "a dog", "a dog on the green grass beside two apples and a cat", "What is this?")
NAMES = ("bert", "roberta", "qwen3")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = open_models.write_embedder(name, tmp_path_factory.mktemp("open") / name)
        return made[name]

    return folder


def load(folder: Path, **values: Any) -> Embedder:
    assert kind_of(folder) == "embedder"
    return cast("Embedder", load_open(OpenCheckpoint(folder=folder, id="e", kind="embedder", **values)))


def request(*texts: str, **values: Any) -> EmbedRequest:
    return EmbedRequest(id="1", inputs=tuple(TextPart(text=text) for text in texts), **values)


def embed(model: Embedder, *texts: str, **values: Any) -> EmbedResult:
    asked = request(*texts, **values)
    with torch.inference_mode():
        result = model.answer(asked, lambda event: None, lambda: False, model.sizes(asked)[0])
    return cast("EmbedResult", result)


def expected(name: str, folder: Path, text: str) -> Any:
    """The vector of one text by itself, by the description of its model."""
    from transformers import AutoModel

    network = AutoModel.from_pretrained(folder).eval()
    before = {"qwen3": "Say: "}.get(name, "")
    ids = open_models.make_backend().encode(before + (text.lower() if name == "roberta" else text)).ids
    with torch.inference_mode():
        hidden = network(input_ids=torch.tensor([ids])).last_hidden_state[0].float()
    vector = {"bert": hidden.mean(dim=0), "roberta": hidden[0], "qwen3": hidden[-1]}[name]
    if name == "roberta":
        dense = load_file(folder / "2_Dense" / "model.safetensors")
        vector = torch.tanh(dense["linear.weight"] @ vector + dense["linear.bias"])
    return F.normalize(vector, dim=0).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_those_of_each_text_alone(folders: Callable[[str], Path], name: str) -> None:
    model = load(folders(name))
    result = embed(model, *TEXTS)
    for text, vector in zip(TEXTS, result.embeddings, strict=True):
        assert np.allclose(vector, expected(name, folders(name), text), atol=1e-5)
    assert result.usage.prompt_tokens == sum(map(len, model._texts(request(*TEXTS))))
    assert np.allclose(np.linalg.norm(result.embeddings, axis=1), 1.0, atol=1e-5)


def test_batches_hold_texts_of_about_one_length(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folders("bert"))
    whole = embed(model, *TEXTS)
    monkeypatch.setattr("localgpt.runtime.open.embedder._BATCH_TOKENS", 8)
    read: list[list[int]] = []
    reads = model._read
    monkeypatch.setattr(model, "_read", lambda texts: read.append(list(map(len, texts))) or reads(texts))
    assert np.allclose(embed(model, *TEXTS).embeddings, whole.embeddings, atol=1e-5)
    assert len(read) > 1 and all(len(batch) * max(batch) <= 8 or len(batch) == 1 for batch in read)
    with pytest.raises(CancelledRequestError):
        model.answer(request(*TEXTS), lambda event: None, lambda: True, model.sizes(request(*TEXTS))[0])


def test_what_cannot_be_embedded_is_refused(folders: Callable[[str], Path]) -> None:
    model = load(folders("bert"))
    assert model.context_len == 40  # of 64 positions, as the folder says
    for asked, param, error in (
        (request(), "input", InputError),
        (request("a", " "), "input[1]", InputError),
        (request("dog " * 60), "input", PromptTooLongError),
        (request("a", "x" * 100_000), "input[1]", PromptTooLongError),
        (request("a", dimensions=7), "dimensions", InputError),
        (replace(request("a"), inputs=(ImagePart(data=tiny.make_photo()),)), "input", InputError),
    ):
        with pytest.raises(error) as caught:
            model.sizes(asked)
        assert cast("InputError", caught.value).param == param
    assert load(folders("roberta")).context_len == 62  # two positions stand before the first token


async def test_the_service_runs_it(folders: Callable[[str], Path]) -> None:
    ledger = Ledger(CpuDevice(), Budget(nbytes=256 * MIB))
    service = OpenService(Shelf(None, [model_of_folder(folders("roberta"))]), ledger)
    result = await service.run(replace(request(*TEXTS), model="roberta"))
    assert isinstance(result, EmbedResult) and len(result.embeddings) == 4
    status = (await service.status()).models[0]
    assert status.tasks == ("embed",) and status.num_params > 10_000
    await service.close()
    ledger.close()


@pytest.mark.parametrize(
    ("name", "file", "change", "told"),
    [
        ("bert", "modules.json", [{"type": "a.Transformer", "path": ""}], "pools 0 times"),
        ("bert", "modules.json", {"type": "a.Transformer"}, "no list of parts"),
        (
            "bert",
            "modules.json",
            [{"type": "a.Transformer", "path": ""}, {"type": "b.CNN", "path": "1"}],
            "a part CNN",
        ),
        ("bert", "modules.json", [{"type": "a.Transformer", "path": "0"}], "no network at its top"),
        (
            "bert",
            "1_Pooling/config.json",
            {"pooling_mode_weightedmean_tokens": True},
            "pools by weightedmean",
        ),
        (
            "bert",
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "pools by cls and mean",
        ),
        ("roberta", "2_Dense/config.json", {"activation_function": "a.Mish"}, "ends with Mish"),
        ("roberta", "2_Dense/config.json", {"in_features": 32, "out_features": 9}, "has not the tensors"),
        (
            "qwen3",
            "config_sentence_transformers.json",
            {"prompts": {}, "default_prompt_name": "x"},
            "no prompt",
        ),
    ],
)
def test_parts_that_are_not_run_say_so(tmp_path: Path, name: str, file: str, change: Any, told: str) -> None:
    folder = open_models.write_embedder(name, tmp_path / name)
    (folder / file).write_text(json.dumps(change))
    with pytest.raises(CheckpointError, match=told):
        load(folder)


def test_parts_outside_the_folder_are_refused(tmp_path: Path) -> None:
    folder = open_models.write_embedder("bert", tmp_path / "bert")
    parts = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "../1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(UnsafeCheckpointError):
        load(folder)


def test_only_what_nobody_asks_for_may_be_missing(tmp_path: Path) -> None:
    folder = open_models.write_embedder("bert", tmp_path / "bert")
    tensors = load_file(folder / "model.safetensors")
    without = {name: tensor for name, tensor in tensors.items() if not name.startswith("pooler")}
    assert len(without) < len(tensors)
    save_file(without, folder / "model.safetensors", metadata={"format": "pt"})
    assert np.allclose(
        embed(load(folder), "a dog").embeddings[0], expected("bert", folder, "a dog"), atol=1e-5
    )
    del without["embeddings.word_embeddings.weight"]
    save_file(without, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LocalGPTError, match="lacks 1 tensors of its network"):
        load(folder)
