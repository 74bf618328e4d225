"""What of a repository is fetched, and what is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localgpt.checkpoints.hub import pull as pulling
from localgpt.checkpoints.hub.metadata import HubFile, HubModel
from localgpt.checkpoints.hub.pull import Watcher
from localgpt.checkpoints.hub.selection import select_files
from localgpt.errors import CheckpointError, MissingWeightsError, UnsafeCheckpointError
from tests.hub.conftest import REPO, PullNow, half_made
from tests.hub.hub_server import HubServer, Repo

SD = [
    ".gitattributes",
    "README.md",
    "model_index.json",
    "v1-5-pruned.safetensors",
    "v1-5-pruned.ckpt",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.fp16.bin",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "onnx/unet/model.safetensors",
    "onnx/unet/config.json",
]
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


def select(names: list[str], size: int = 100) -> tuple[set[str], set[str], str | None]:
    files = tuple(HubFile(name=name, size=size, sha256="0" * 64) for name in names)
    found = select_files(HubModel(repo=REPO, commit="a" * 40, licence="mit", files=files))
    return {file.name for file in found.texts}, {file.name for file in found.weights}, found.variant


def test_a_diffusers_model_in_half_precision() -> None:
    texts, weights, variant = select(SD)
    assert weights == {
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert texts == {name for name in SD if name.endswith((".json", ".txt", ".md")) and "onnx" not in name}
    assert variant == "fp16"


@pytest.mark.parametrize(
    ("names", "expected", "variant"),
    [
        (["model.safetensors", "pytorch_model.bin", "tf_model.h5"], {"model.safetensors"}, None),
        ([*SHARDS, "consolidated.safetensors", "original/consolidated.00.pth"], set(SHARDS), None),
        (["model.safetensors", "model.fp32-00001-of-00002.safetensors"], {"model.safetensors"}, None),
        (["model.bf16.safetensors", "model.fp32.safetensors"], {"model.bf16.safetensors"}, "bf16"),
        (["weights.non_ema.safetensors"], {"weights.non_ema.safetensors"}, None),
        (["consolidated.safetensors", "params.json"], {"consolidated.safetensors"}, None),
        ([*SHARDS, "mmproj.safetensors"], {*SHARDS, "mmproj.safetensors"}, None),
    ],
)
def test_one_copy_of_the_weights(names: list[str], expected: set[str], variant: str | None) -> None:
    _, weights, found = select(names)
    assert weights == expected and found == variant


def test_texts_and_tokenizers() -> None:
    wanted = [
        "a.json",
        "b.jsonl",
        "merges.txt",
        "tokenizer.model",
        "chat_template.jinja",
        "NOTICE",
        "LICENSE.md",
    ]
    unwanted = [
        "x.py",
        "x.sh",
        "x.ipynb",
        "x.exe",
        "x.so",
        "picture.png",
        "manifest.json",
        ".gitattributes",
        "x.onnx",
    ]
    texts, _, _ = select([*wanted, *unwanted, "model.safetensors"])
    assert texts == set(wanted)


@pytest.mark.parametrize(
    ("names", "kind", "reason"),
    [
        (["config.json", "pytorch_model.bin"], UnsafeCheckpointError, "only as .bin, which can run code"),
        (
            ["model.ckpt", "x.pt", "y.pth"],
            UnsafeCheckpointError,
            "only as .ckpt, .pt, .pth, which can run code",
        ),
        (["modeling.py", "config.json"], UnsafeCheckpointError, "has code and no weights"),
        (
            ["model.Q4_0.gguf"],
            MissingWeightsError,
            r"as GGUF files; name one, as in .*It has model.Q4_0.gguf",
        ),
        (["tf_model.h5", "x.onnx"], MissingWeightsError, "only as .h5, .onnx, which pull does not fetch"),
        (["README.md"], MissingWeightsError, "has no safetensors"),
        (["model_index.json", "all-in-one.safetensors"], MissingWeightsError, "has no safetensors"),
    ],
)
def test_what_has_nothing_to_read(
    hub: HubServer,
    models: Path,
    pull_now: PullNow,
    names: list[str],
    kind: type[CheckpointError],
    reason: str,
) -> None:
    hub.repos[REPO] = Repo(dict.fromkeys(names, b"x"))
    with pytest.raises(kind, match=reason):
        pull_now()
    assert not hub.asked and not half_made(models)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"config.json": {"auto_map": {}, "model_type": "own-network"}}, "network own-network is Python"),
        ({"config.json": {"auto_map": {}}}, "network without name is Python"),
        ({"model_index.json": {"_class_name": ["pipeline", "OwnPipe"]}}, "pipeline OwnPipe is Python"),
    ],
)
def test_networks_that_are_code_are_refused_before_their_weights(
    hub: HubServer,
    models: Path,
    pull_now: PullNow,
    monkeypatch: pytest.MonkeyPatch,
    texts: dict[str, object],
    reason: str,
) -> None:
    monkeypatch.setattr(pulling, "known_types", lambda: frozenset({"llama"}))
    files = {name: json.dumps(values).encode() for name, values in texts.items()}
    hub.repos[REPO].files = {**files, "unet/m.safetensors": b"x"}
    with pytest.raises(UnsafeCheckpointError, match=f"without running its code: its {reason}"):
        pull_now()
    assert {asked.name for asked in hub.asked} == set(texts) and not half_made(models)


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"\x80\x04K\x01.", UnsafeCheckpointError, "is a pickle, which can run code"),
        (b"PK\x03\x04 archive", UnsafeCheckpointError, "is a pickle, which can run code"),
        (b"\xff" + bytes(7) + b"{}", CheckpointError, "is cut short: 10 bytes"),
        (b"hello", CheckpointError, "is not a safetensors file"),
    ],
)
def test_weights_are_judged_by_their_content(
    hub: HubServer, models: Path, pull_now: PullNow, data: bytes, kind: type[CheckpointError], reason: str
) -> None:
    hub.repos[REPO].files = {"config.json": b"{}", "model.safetensors": data}
    with pytest.raises(kind, match=f"model.safetensors of {REPO} {reason}"):
        pull_now()
    assert not half_made(models) and not list(models.rglob("*.bytes"))


def test_code_beside_a_network_that_is_known_is_left_where_it_is(
    hub: HubServer, pull_now: PullNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos[REPO].files["config.json"] = json.dumps({"auto_map": {}, "model_type": "llama"}).encode()
    monkeypatch.setattr(pulling, "known_types", lambda: frozenset({"llama"}))
    notes: list[str] = []
    assert not list(pull_now(watcher=Watcher(on_note=notes.append)).folder.glob("*.py")) and not notes


def test_transformers_tells_which_networks_it_knows() -> None:
    known = pulling.known_types()
    assert {"llama", "whisper", "vits", "rt_detr", "qwen2_5_vl"} <= known
    assert "own-network" not in known
