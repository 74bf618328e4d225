"""Weights: written, read, exported, and refused with one line that says what to do."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from localgpt.checkpoints import (
    describe_family,
    embedded_folder,
    export_family,
    load_family,
    read_layout,
    read_tensors,
    resolve_family,
    write_sharded,
)
from localgpt.errors import (
    CheckpointError,
    ConfigError,
    LocalGPTError,
    MissingWeightsError,
    UnsafeCheckpointError,
)
from localgpt.nn.linear import Int8Linear
from tests import tiny
from tests.tiny_folder import write_description, write_family

TOKEN_IDS = torch.arange(12)[None]
LIMIT = 192 * 1024


@pytest.fixture
def copy(family_folder: Path, tmp_path: Path) -> Path:
    """A family to spoil."""
    return Path(shutil.copytree(family_folder, tmp_path / "copy"))


def test_a_family_comes_back(family_folder: Path) -> None:
    family = load_family(family_folder)
    assert family.encoder is not None and family.projector is not None
    assert isinstance(family.decoder.lm_head, Int8Linear)
    assert family.tokenizer.to_str() == tiny.make_tokenizer().to_str()
    with torch.inference_mode():
        expected, got = tiny.make_decoder()(TOKEN_IDS), family.decoder(TOKEN_IDS)
        assert (got - expected).norm() / expected.norm() < 0.06
        pixels = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
        close = family.encoder.encode_image(pixels) @ tiny.make_encoder().encode_image(pixels).T
    assert close.item() > 0.999


def test_float32_holds_the_products_of_int8_and_scale(family_folder: Path) -> None:
    stored = read_tensors(family_folder / "decoder")
    decoder = load_family(family_folder, dtype=torch.float32).decoder
    name = "blocks.0.mlp.c_fc.weight"
    expected = stored[name].float() * stored[f"{name}_scale"][:, None]
    assert torch.equal(decoder.get_parameter(name), expected)
    assert decoder.lm_head.weight is decoder.wte.weight
    assert all(not tensor.is_meta for tensor in (*decoder.parameters(), *decoder.buffers()))


def test_a_family_without_an_encoder_is_blind(tmp_path: Path) -> None:
    family = load_family(write_family(tmp_path / "blind", sees=False))
    assert family.encoder is None and family.projector is None


def test_an_exported_file_is_the_folder(family_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    num_bytes = export_family(family_folder, file)
    assert num_bytes == file.stat().st_size and [path.name for path in tmp_path.iterdir()] == ["model.bin"]
    one, other = read_layout(family_folder), read_layout(resolve_family(file))
    assert (one.description, one.configs, one.tokenizer) == (
        other.description,
        other.configs,
        other.tokenizer,
    )
    for member, tensors in one.read_tensors().items():
        exported = other.read_tensors()[member]
        assert tensors.keys() == exported.keys()
        assert all(torch.equal(tensors[name], exported[name]) for name in tensors)
    export_family(file, tmp_path / "again.bin")  # a file can be exported again
    with torch.inference_mode():
        logits = [load_family(path).decoder(TOKEN_IDS) for path in (family_folder, file)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", ["missing/model.bin", "."])
def test_export_says_where_it_cannot_write(family_folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        export_family(family_folder, tmp_path / name)


def test_sizes_are_told_from_headers(family_folder: Path, tmp_path: Path) -> None:
    networks = (tiny.make_decoder(), tiny.make_encoder(), tiny.make_projector())
    num_params = sum(parameter.numel() for model in networks for parameter in model.parameters())
    small = write_family(tmp_path / "shards", max_shard_bytes=LIMIT)  # its large tensors are in parts
    for path in (family_folder, small):
        summary = describe_family(path)
        assert summary.num_params == num_params
        assert summary.context_len == tiny.DECODER.context_len
        assert [member.name for member in summary.members] == ["decoder", "encoder"]
        assert summary.num_bytes == describe_family(family_folder).num_bytes


def test_large_tensors_are_cut_and_joined(tmp_path: Path) -> None:
    tensors = {
        "rows": torch.arange(300 * 257, dtype=torch.float32).view(300, 257),
        "flat": torch.arange(100_001, dtype=torch.int32),
        "scalar": torch.tensor(3.5),
        "int8": torch.ones(7, 3, dtype=torch.int8),
    }
    shards = write_sharded(tensors, tmp_path, config={"n": 1}, max_shard_bytes=LIMIT)
    assert len(shards) > 3 and all(shard.stat().st_size <= LIMIT for shard in shards)
    found = read_tensors(tmp_path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    fewer = write_sharded({"int8": tensors["int8"]}, tmp_path, config={})
    assert sorted(tmp_path.glob("*.safetensors")) == fewer  # nothing stale is left


def test_a_pickle_is_refused_whatever_its_name(copy: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "old.bin").write_bytes(pickle.dumps({"weight": [0.0]}, protocol=0))
    (tmp_path / "new.bin").write_bytes(pickle.dumps({"weight": [0.0]}))
    for name in ("model.safetensors", "old.bin", "new.bin"):
        with pytest.raises(UnsafeCheckpointError, match=r"pickle.*safetensors"):
            resolve_family(tmp_path / name)
    shutil.copyfile(tmp_path / "new.bin", next((copy / "decoder").glob("*.safetensors")))
    with pytest.raises(UnsafeCheckpointError):
        load_family(copy)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x10" + b"\0" * 7 + b"{", b"some text about cats\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.bin"):
        resolve_family(tmp_path / "model.bin")


def test_tensors_without_a_description_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="no model description"):
        resolve_family(tmp_path / "model.bin")
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.bin", {"localgpt.family": "{}"})
    with pytest.raises(CheckpointError, match="format"):
        read_layout(resolve_family(tmp_path / "model.bin"))


def test_a_lone_shard_names_its_folder(family_folder: Path) -> None:
    shard = next((family_folder / "decoder").glob("*.safetensors"))
    with pytest.raises(CheckpointError, match=f"shard.*{family_folder}$"):
        resolve_family(shard)
    with pytest.raises(CheckpointError, match=f"member.*{family_folder}$"):
        resolve_family(family_folder / "decoder")


@pytest.mark.parametrize("name", ["", "family.json", "tokenizer.json", "decoder/config.json"])
def test_a_folder_and_its_texts_name_the_family(family_folder: Path, name: str) -> None:
    assert resolve_family(family_folder / name) == family_folder


@pytest.mark.parametrize("name", ["nowhere", "~nobody-of-that-name/x", "x" * 5000, "a\0b"])
def test_unknown_models(name: str) -> None:
    with pytest.raises(ConfigError, match="model"):
        resolve_family(name)


def test_a_folder_without_weights(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"family\.json"):
        resolve_family(tmp_path)
    shutil.rmtree(copy / "decoder")
    with pytest.raises(MissingWeightsError, match="decoder"):
        read_layout(resolve_family(copy))


def spoil_truncated(folder: Path) -> None:
    shard = next((folder / "decoder").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])


def spoil_missing_shard(folder: Path) -> None:
    next((folder / "encoder").glob("*.safetensors")).unlink()


def spoil_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def spoil_missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def spoil_format(folder: Path) -> None:
    write_description(folder, format="localgpt-family-99")


def spoil_members(folder: Path) -> None:
    write_description(folder, members=["../decoder"])


def spoil_description(folder: Path) -> None:
    (folder / "family.json").write_bytes(b"\xff\xfe")


def spoil_index(folder: Path) -> None:
    (folder / "decoder" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}')


def spoil_config(folder: Path) -> None:
    config = folder / "decoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"n_embd": 64}))


def spoil_heads(folder: Path) -> None:
    config = folder / "decoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"n_head": 3}))


def spoil_no_decoder(folder: Path) -> None:
    write_description(folder, members=["encoder"])


SPOILERS = {name.removeprefix("spoil_"): value for name, value in globals().items() if name[:6] == "spoil_"}


@pytest.mark.parametrize("how", SPOILERS)
def test_a_broken_family_is_refused_in_one_line(copy: Path, how: str) -> None:
    SPOILERS[how](copy)
    with pytest.raises(CheckpointError) as caught:
        load_family(resolve_family(copy))
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_the_embedded_family_or_a_reason() -> None:
    try:
        assert (embedded_folder() / "family.json").is_file()
        assert resolve_family("local/multimodal-base") == resolve_family(None) == embedded_folder()
    except LocalGPTError as error:
        assert isinstance(error, MissingWeightsError) and "--model" in str(error)


def test_loading_leaves_the_compiler_out(family_folder: Path) -> None:
    """torch._dynamo and sympy cost a second of a cold start, and transformers more."""
    code = (
        "import sys\nfrom localgpt.runtime.loading import LoadOptions, load_service\n"
        f"load_service(LoadOptions(model={str(family_folder)!r}, device='cpu'))\n"
        "heavy = ('torch._dynamo', 'sympy', 'transformers', 'fastapi')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr
