"""A hub of our own, a small model on it, and pulls that do not wait."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localgpt.checkpoints.hub.address import Hub
from localgpt.checkpoints.hub.download import PullOptions
from localgpt.checkpoints.hub.pull import Pulled, Watcher, pull
from localgpt.checkpoints.hub.transfer import Patience
from tests.hub.hub_server import HubServer, Repo

REPO = "maker/tiny-model"
PART_BYTES = 64 * 1024
HASTE = Patience(max_tries=3, first_wait_s=0, longest_wait_s=5, connect_s=5, read_s=20)


def make_bytes(num_bytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(num_bytes)


def make_weights(num_bytes: int, seed: int = 0) -> bytes:
    """A safetensors file with nothing but noise behind its header."""
    return b"\2" + bytes(7) + b"{}" + make_bytes(num_bytes - 10, seed)


def make_files() -> dict[str, bytes]:
    """A model of two shards with what belongs to it, and what is left where it is."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    return {
        ".gitattributes": b"* text\n",
        "README.md": b"# Tiny\n",
        "LICENSE": b"do what you like\n",
        "config.json": json.dumps({"model_type": "llama"}).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-00001-of-00002.safetensors": make_weights(5 * PART_BYTES + 123, 1),
        "model-00002-of-00002.safetensors": make_weights(2 * PART_BYTES, 2),
        "tokenizer/词表 é.json": '{"你好": 1}'.encode(),
        "tokenizer/empty.txt": b"",
        "pytorch_model.bin": make_bytes(1000, 3),
        "modeling_tiny.py": b"import os\n",
    }


FETCHED = sorted(set(make_files()) - {".gitattributes", "pytorch_model.bin", "modeling_tiny.py"})


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the user's hub, token and proxies."""
    for name in os.environ:
        if name.startswith(("HF_", "LOCALGPT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    server = HubServer()
    server.repos[REPO] = Repo(make_files())
    yield server
    server.close()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder of models, which is not there yet."""
    return tmp_path / "home" / "models"


PullNow = Callable[..., Pulled]


@pytest.fixture
def pull_now(hub: HubServer, models: Path) -> PullNow:
    """Pull the tiny model in parts of 64 KiB, without waits."""

    def pull_now(
        repo: str = REPO,
        *,
        token: str | None = None,
        revision: str = "main",
        watcher: Watcher | None = None,
        num_connections: int = 4,
    ) -> Pulled:
        return pull(
            Hub(url=hub.url, token=token),
            repo,
            models,
            revision=revision,
            options=PullOptions(num_connections=num_connections, part_bytes=PART_BYTES),
            patience=HASTE,
            watcher=watcher,
        )

    return pull_now


def half_made(models: Path) -> list[Path]:
    """Folders that could be taken for models."""
    return [path for path in models.glob("*/*") if path.is_dir() and not path.name.startswith(".")]
