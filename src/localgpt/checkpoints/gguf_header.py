"""What a GGUF file is, by its header and without llama.cpp, which may end the process over a broken file.

Covered: files that are none, cut short, of another version or byte order, with counts, types or offsets that
cannot be, and files in several parts. Not covered: whether the numbers in the tensors make sense.

Source: ggml's description of the format, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from localgpt.errors import CheckpointError
from localgpt.units import MIB

__all__ = ["BLOCKS", "GGUF_SUFFIX", "MAGIC", "GgufHeader", "is_gguf", "read_gguf_header"]

MAGIC: Final = b"GGUF"
GGUF_SUFFIX: Final = ".gguf"
_VERSIONS: Final = (2, 3)
_MAX_HEADER_BYTES: Final = 512 * MIB
_MOST_TENSORS: Final = 100_000
_MOST_ENTRIES: Final = 10_000
_MOST_KEPT: Final = 1024  # numbers of a list that are kept; vocabularies are skipped
_STRING, _ARRAY = 8, 9
_NUMBERS: Final[dict[int, struct.Struct]] = {
    number: struct.Struct(f"<{form}")
    for number, form in {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
                         12: "d"}.items()
}  # fmt: skip
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")

BLOCKS: Final[dict[int, tuple[int, int]]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Numbers of a block and its bytes, by ggml's type of a tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """What a file tells of its model."""

    path: Path
    num_params: int
    num_bytes: int  # of the file
    vocab_size: int
    values: Mapping[str, Any] = field(repr=False)  # texts and numbers by key; long lists are left out

    @property
    def architecture(self) -> str:
        """The network, as llama.cpp calls it."""
        return str(self.values["general.architecture"])

    @property
    def licence(self) -> str:
        """As the file tells it."""
        return str(self.values.get("general.license", "unknown"))

    @property
    def context_len(self) -> int:
        """Tokens the network was trained on."""
        return self._number("context_length")

    @property
    def n_layer(self) -> int:
        """Layers."""
        return self._number("block_count")

    @property
    def n_embd(self) -> int:
        """Width of the network."""
        return self._number("embedding_length")

    @property
    def has_template(self) -> bool:
        """Whether it knows how its conversations are written."""
        return bool(self.values.get("tokenizer.chat_template"))

    @property
    def pools(self) -> bool:
        """Whether it was made to embed texts: it says how vectors of tokens become one."""
        return self._number("pooling_type", default=0) > 0

    def kv_bytes(self, num_tokens: int) -> int:
        """Keys and values of so many tokens in half precision, at most; windows and shared ones take less."""
        n_head = self._numbers("attention.head_count", default=1)
        n_kv_head = self._numbers("attention.head_count_kv", default=max(n_head))
        head_dim = self.n_embd // max(max(n_head), 1)
        width = self._number("attention.key_length", default=head_dim)
        width += self._number("attention.value_length", default=head_dim)
        num_heads = sum(n_kv_head) if len(n_kv_head) > 1 else n_kv_head[0] * self.n_layer
        return 2 * num_heads * width * num_tokens

    def _number(self, name: str, *, default: int | None = None) -> int:
        value = self.values.get(f"{self.architecture}.{name}", default)
        if type(value) is not int or value < 0:
            raise CheckpointError(f"{self.path} tells no {name} of its network; expected a whole number")
        return value

    def _numbers(self, name: str, *, default: int) -> list[int]:
        """A number, or one for each layer."""
        value = self.values.get(f"{self.architecture}.{name}", default)
        values = value if isinstance(value, list) else [value]
        if not values or not all(type(one) is int and one >= 0 for one in values):
            raise CheckpointError(f"{self.path} tells no {name} of its network; expected whole numbers")
        return values


def is_gguf(path: Path) -> bool:
    """Whether a file begins like one of this format, whatever its name."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf_header(path: Path, *, name: str | None = None) -> GgufHeader:
    """Read a file's header and hold it against the file's size.

    Args:
        path: of the file.
        name: what errors call it; None for the path.

    Raises:
        CheckpointError: the file cannot be read, is none of this format, cut short, or broken.
    """
    shown = name or str(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size < 24 or file.read(len(MAGIC)) != MAGIC:
                raise CheckpointError(f"{shown} is no GGUF file; expected one that llama.cpp can read")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(path, shown, data, size).header()
    except OSError as error:
        raise CheckpointError(f"cannot read {shown} ({error.strerror or error})") from None


class _Reader:
    """Reads one header from its beginning."""

    def __init__(self, path: Path, shown: str, data: mmap.mmap, size: int) -> None:
        self._path, self._shown = path, shown
        self._data = data
        self._size = size
        self._at = len(MAGIC)

    def header(self) -> GgufHeader:
        version = self._unpack(_U32)
        if version not in _VERSIONS:
            order = ", the other byte order" if version & 0xFFFF == 0 else ""
            raise CheckpointError(f"{self._shown} is GGUF of version {version}{order}; expected 2 or 3")
        num_tensors, num_entries = self._unpack(_U64), self._unpack(_U64)
        if num_tensors > _MOST_TENSORS or num_entries > _MOST_ENTRIES:
            raise self._broken(f"{num_tensors:,} tensors and {num_entries:,} entries")
        values: dict[str, Any] = {}
        vocab_size = 0
        for _ in range(num_entries):
            key = self._text()
            length, value = self._value()
            if value is not None:
                values[key] = value
            if key == "tokenizer.ggml.tokens":
                vocab_size = length
        if not isinstance(values.get("general.architecture"), str):
            raise self._broken("no name of its network")
        if values.get("split.count", 1) not in (0, 1):
            raise CheckpointError(
                f"{self._shown} is one part of several; put them together first: "
                "llama-gguf-split --merge FIRST-PART WHOLE.gguf"
            )
        num_params = self._check_tensors(num_tensors, values)
        return GgufHeader(
            path=self._path,
            num_params=num_params,
            num_bytes=self._size,
            vocab_size=vocab_size,
            values=values,
        )

    def _check_tensors(self, num_tensors: int, values: Mapping[str, Any]) -> int:
        """Numbers in all tensors, each of which must lie within the file."""
        if not num_tensors:
            raise CheckpointError(f"{self._shown} holds a vocabulary and no weights; expected a model")
        end, num_params = 0, 0
        for _ in range(num_tensors):
            name = self._text()
            num_dims = self._unpack(_U32)
            if num_dims > 8:
                raise self._broken(f"{num_dims} dimensions of {name[:80]!r}")
            num = math.prod(self._unpack(_U64) for _ in range(num_dims))
            kind, offset = self._unpack(_U32), self._unpack(_U64)
            if kind not in BLOCKS:
                raise CheckpointError(
                    f"{self._shown} has tensors of type {kind}, which this version does not know; expected a "
                    "usual quantization such as Q4_K_M or Q8_0"
                )
            block, block_bytes = BLOCKS[kind]
            end = max(end, offset + -(-num // block) * block_bytes)
            num_params += num
        alignment = values.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= MIB:
            raise self._broken(f"the alignment {alignment!r}")
        expected = -(-self._at // alignment) * alignment + end
        if expected > self._size:
            raise CheckpointError(
                f"{self._shown} is cut short: {self._size:,} bytes of {expected:,}; fetch or copy it again"
            )
        return num_params

    def _value(self) -> tuple[int, Any]:
        """The length of a list (0 for others), and the value; None for long lists and lists of texts."""
        kind = self._unpack(_U32)
        if kind == _STRING:
            return 0, self._text()
        if kind in _NUMBERS:
            return 0, self._unpack(_NUMBERS[kind])
        if kind != _ARRAY:
            raise self._broken(f"a value of type {kind}")
        inner, length = self._unpack(_U32), self._unpack(_U64)
        if inner in _NUMBERS:
            form = _NUMBERS[inner]
            start = self._take(length * form.size)
            if length > _MOST_KEPT:
                return length, None
            return length, [form.unpack_from(self._data, start + n * form.size)[0] for n in range(length)]
        if inner != _STRING:
            raise self._broken(f"a list of type {inner}")
        for _ in range(length):  # ends with the file at the latest
            self._take(self._unpack(_U64))
        return length, None

    def _text(self) -> str:
        length = self._unpack(_U64)
        start = self._take(length)
        return self._data[start : start + length].decode("utf-8", "replace")

    def _unpack(self, form: struct.Struct) -> Any:
        return form.unpack_from(self._data, self._take(form.size))[0]

    def _take(self, num_bytes: int) -> int:
        """Where the next bytes begin, which are then behind."""
        start = self._at
        self._at += num_bytes
        if self._at > self._size:
            raise CheckpointError(
                f"{self._shown} is cut short within its header: {self._size:,} bytes; fetch or copy it again"
            )
        if self._at > _MAX_HEADER_BYTES:
            raise self._broken(f"a header of more than {_MAX_HEADER_BYTES:,} bytes")
        return start

    def _broken(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._shown} is a broken GGUF file: it tells {what}; fetch or copy it again"
        )
