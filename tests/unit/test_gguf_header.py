"""What our own reader makes of GGUF files, whole and broken; llama.cpp is not needed for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from localgpt.checkpoints.gguf_header import BLOCKS, GgufHeader, is_gguf, read_gguf_header
from localgpt.errors import CheckpointError


def write(path: Path, change: Callable[[Any], None] = lambda writer: None, *, tensors: bool = True) -> Path:
    """A file of a two-layer network that is not meant to run."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_license("apache-2.0")
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([b"a", "ü".encode(), b"<end>"])
    writer.add_chat_template("{{ messages }}")
    change(writer)
    if tensors:
        writer.add_tensor("out", np.zeros((3, 34), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor("token_embd.weight", np.ones((3, 64), np.float32))  # ends without padding
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "model.gguf")


def test_a_whole_file_tells_its_model(path: Path) -> None:
    header = read_gguf_header(path)
    assert (header.architecture, header.licence, header.context_len) == ("llama", "apache-2.0", 512)
    assert (header.n_layer, header.n_embd, header.vocab_size) == (2, 64, 3)
    assert header.num_params == 3 * 64 + 3 * 32 and header.num_bytes == path.stat().st_size
    assert header.has_template and not header.pools and is_gguf(path)
    assert header.kv_bytes(10) == 10 * 2 * 2 * (2 * 16) * 2  # tokens, layers, heads, keys and values, bytes


def test_every_layer_may_have_its_own_heads(tmp_path: Path) -> None:
    def change(writer: Any) -> None:
        writer.kv_data[0]["llama.attention.head_count_kv"] = gguf.GGUFValue(
            value=[1, 3], type=gguf.GGUFValueType.ARRAY
        )
        writer.add_key_length(8)
        writer.add_value_length(4)
        writer.add_pooling_type(gguf.PoolingType.MEAN)

    header = read_gguf_header(write(tmp_path / "m", change))
    assert header.kv_bytes(1) == (1 + 3) * (8 + 4) * 2 and header.pools


def test_sizes_are_those_of_the_library() -> None:
    theirs = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: BLOCKS[kind] for kind in theirs if kind in BLOCKS} == {
        k: theirs[k] for k in theirs if k in BLOCKS
    }
    assert set(BLOCKS) <= set(theirs)


def test_any_end_is_noticed(path: Path, tmp_path: Path) -> None:
    """Cut anywhere, a file is refused with one line."""
    whole = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, len(whole) - 1, 7), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut short|no GGUF file") as caught:
            read_gguf_header(cut)
        assert str(cut) in str(caught.value)


@pytest.mark.parametrize(
    ("at", "data", "told"),
    [
        (0, b"ggml", "no GGUF file"),
        (0, b"\x80\x04", "no GGUF file"),
        (4, struct.pack("<I", 1), "version 1; expected 2 or 3"),
        (4, struct.pack(">I", 3), "the other byte order"),
        (8, struct.pack("<Q", 2**60), "tensors and"),
        (16, struct.pack("<Q", 2**60), "tensors and"),
        (24, struct.pack("<Q", 2**63), "cut short within its header"),
        (24, struct.pack("<Q", 2**32), "cut short within its header"),
    ],
)
def test_counts_that_cannot_be(path: Path, at: int, data: bytes, told: str) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        read_gguf_header(path)


def test_any_flipped_byte_of_a_header_is_an_error_of_ours_or_none(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole) - 1000, 3):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            header = read_gguf_header(path)
            assert isinstance(header, GgufHeader)
            header.kv_bytes(1)
        except CheckpointError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda writer: writer.add_uint16("split.count", 3), "one part of several"),
        (lambda writer: writer.add_uint32("general.alignment", 2**30), "alignment"),
    ],
)
def test_what_is_not_read(tmp_path: Path, change: Callable[[Any], None], told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        read_gguf_header(write(tmp_path / "m.gguf", change))


def test_no_weights_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a vocabulary and no weights"):
        read_gguf_header(write(tmp_path / "vocab.gguf", tensors=False))
    with pytest.raises(CheckpointError, match="No such file"):
        read_gguf_header(tmp_path / "nowhere.gguf")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_gguf_header(tmp_path)


def test_what_a_network_must_tell(tmp_path: Path) -> None:
    header = read_gguf_header(
        write(tmp_path / "m", lambda writer: writer.kv_data[0].pop("llama.block_count"))
    )
    with pytest.raises(CheckpointError, match="tells no block_count"):
        header.kv_bytes(1)
