"""One GGUF file of a repository: which one is meant, where it is kept, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from localgpt.checkpoints.catalogue import fit_to, load_catalogue, resolve_name
from localgpt.checkpoints.catalogue.entries import USER_FILE
from localgpt.checkpoints.catalogue.fit import Fit
from localgpt.checkpoints.hub import kept
from localgpt.checkpoints.hub.address import check_repo, split_quant
from localgpt.errors import CheckpointError, ConfigError, MissingWeightsError
from localgpt.runtime.open.shelf import Shelf
from localgpt.units import GIB
from tests import gguf_files
from tests.hub.conftest import REPO, PullNow, half_made
from tests.hub.hub_server import HubServer, Repo


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole GGUF file."""
    return gguf_files.write_qwen2(tmp_path_factory.mktemp("gguf"))[1].read_bytes()


@pytest.fixture
def hub(hub: HubServer, data: bytes) -> HubServer:
    """A hub whose model has several such files."""
    names = ("Tiny-3B-Q4_K_M.gguf", "Tiny-3B-Q4_K_S.gguf", "tiny.f16.gguf", "mmproj-Tiny-3B-Q4_K_M.gguf",
             "big/Tiny-Q8_0-00001-of-00002.gguf", "big/Tiny-Q8_0-00002-of-00002.gguf")  # fmt: skip
    others = {"README.md": b"# Tiny\n", "LICENSE": b"do\n", "config.json": b"{}", "model.bin": b"x"}
    hub.repos[REPO] = Repo(dict.fromkeys(names, data) | others, large_suffixes=(".gguf",))
    return hub


def test_the_named_file_comes_alone(hub: HubServer, models: Path, pull_now: PullNow, data: bytes) -> None:
    pulled = pull_now(f"{REPO}:q4_k_m")
    assert pulled.manifest.repo == f"{REPO}:Q4_K_M" and pulled.manifest.variant == "Q4_K_M"
    assert sorted(file.path for file in pulled.manifest.files) == [
        "LICENSE",
        "README.md",
        "Tiny-3B-Q4_K_M.gguf",
    ]
    assert (pulled.folder / "Tiny-3B-Q4_K_M.gguf").read_bytes() == data
    assert {asked.name for asked in hub.asked} == {"LICENSE", "README.md", "Tiny-3B-Q4_K_M.gguf"}
    assert pull_now(f"{REPO}:Q4_K_M").was_here and half_made(models) == [pulled.folder]


def test_two_files_of_one_commit_stand_beside_each_other(
    hub: HubServer, models: Path, pull_now: PullNow
) -> None:
    first, second = pull_now(f"{REPO}:Q4_K_M"), pull_now(f"{REPO}:f16")
    assert first.folder != second.folder
    assert [kept.repo_of(folder.parent) for folder, _ in kept.list_models(models)] == [
        f"{REPO}:F16",
        f"{REPO}:Q4_K_M",
    ]
    shelf = Shelf(models.parent)
    model = shelf.find(f"{REPO}:F16")
    assert model is not None and model.kind == "gguf" and model.folder.name == "tiny.f16.gguf"
    assert model.status().tasks == ("chat", "complete")
    kept.remove_model(models, f"{REPO}:Q4_K_M")
    assert [one.id for one in shelf.models()] == [f"{REPO}:F16"]


def test_one_of_the_catalogue_goes_by_its_name(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    entry = {
        "name": "tiny-gguf",
        "repo": f"{REPO}:Q4_K_M",
        "job": "chat",
        "licence": "MIT",
        "commercial": True,
        "parameters": 1_000_000_000,
        "download_bytes": 600_000_000,
        "context": 512,
        "note": {"en": "Tiny.", "zh": "小。"},
    }
    models.parent.mkdir(parents=True, exist_ok=True)
    (models.parent / USER_FILE).write_text(yaml.safe_dump({"models": [entry]}, allow_unicode=True), "utf-8")
    repo, found = resolve_name(load_catalogue(models.parent), "tiny-gguf")
    assert repo == f"{REPO}:Q4_K_M" and found is not None and found.is_gguf
    pull_now(repo)
    model = Shelf(models.parent).find("tiny-gguf")
    assert model is not None and (model.id, model.kind) == ("tiny-gguf", "gguf")
    assert model.folder.name == "Tiny-3B-Q4_K_M.gguf" and f"{REPO}:Q4_K_M" in model.names
    assert fit_to(found, 3 * GIB) == Fit(precision="int4", lacking_bytes=0)
    assert fit_to(found, 2 * GIB).lacking_bytes == 600_000_000 - (2 * GIB - round(1.6 * GIB))


@pytest.mark.parametrize(
    ("quant", "told"),
    [
        ("Q5_K_M", r"none is called that; its GGUF files: .*Tiny-3B-Q4_K_M\.gguf"),
        ("Q4", "none is called that"),  # not a part of a name
        ("Q8_0", "in several parts"),
        ("Tiny", "more than one is"),
    ],
)
def test_what_names_no_single_file(
    hub: HubServer, models: Path, pull_now: PullNow, quant: str, told: str
) -> None:
    with pytest.raises(MissingWeightsError, match=told):
        pull_now(f"{REPO}:{quant}")
    assert not hub.asked and not half_made(models)


def test_a_file_that_is_no_model_is_not_kept(hub: HubServer, models: Path, pull_now: PullNow) -> None:
    hub.repos[REPO].files["tiny.f16.gguf"] = b"GGUF" + bytes(100)
    with pytest.raises(CheckpointError, match=rf"tiny\.f16\.gguf of {REPO}:F16 "):
        pull_now(f"{REPO}:f16")
    assert not list(models.glob("*/*/tiny.f16.gguf"))


def test_names_with_and_without_a_file() -> None:
    assert split_quant("a/b") == ("a/b", None) and split_quant("a/b:Q4_K_M") == ("a/b", "Q4_K_M")
    for name in ("a/b", "a/b:Q4_K_M", "a/b:IQ2_XXS"):
        assert check_repo(name) == name
        assert kept.repo_of(Path(kept.folder_name(name))) == name
    for name in ("a/b:", "a/b:x/y", "a/b:..", "a/b:a--b", "a:b/c", "a/b:x:y", "a/b: "):
        with pytest.raises(ConfigError, match="no model name"):
            check_repo(name)
