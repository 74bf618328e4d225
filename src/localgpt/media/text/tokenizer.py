"""Text to token ids and back: the byte-level BPE of the family, and decoding of a stream token by token.

Notable: every digit is its own token, Han runs are never joined to other scripts, and text can never produce
a reserved id, even when it spells one out (`<|end|>` typed by a user stays text).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import tokenizers

from localgpt.errors import CheckpointError
from localgpt.media.text.lexicon import Lexicon
from localgpt.media.text.vocabulary import BOS_ID, END_ID, FIRST_SPECIAL_ID, SPECIAL_TOKENS, VOCAB_SIZE

__all__ = ["StreamDecoder", "Tokenizer", "byte_chars"]

_RESERVED: Final[Mapping[int, str]] = dict(enumerate(SPECIAL_TOKENS, FIRST_SPECIAL_ID))


class Tokenizer:
    """Bilingual byte-level BPE over the `tokenizers` library.

    Encoding and decoding are lossless: `decode(encode(text)) == text` for every text.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self._backend.encode_special_tokens = True  # text never produces a reserved id
        self._pieces = _piece_bytes(backend)

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read a `tokenizer.json`.

        Raises:
            CheckpointError: no such file, not a tokenizer, or one with another vocabulary.
        """
        file = Path(path)
        if not file.is_file():
            raise CheckpointError(f"no tokenizer at {file}: expected a tokenizer.json in the model folder")
        return cls.from_str(file.read_text(encoding="utf-8"))

    @classmethod
    def from_str(cls, text: str) -> Self:
        """Read the JSON text of a tokenizer (as kept in the metadata of an exported model).

        Raises:
            CheckpointError: not a tokenizer, or one with another vocabulary.
        """
        try:
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"this is not a tokenizer.json: {error}") from error
        if backend.token_to_id(SPECIAL_TOKENS[0]) != FIRST_SPECIAL_ID:
            raise CheckpointError(
                f"the tokenizer puts {SPECIAL_TOKENS[0]} at {backend.token_to_id(SPECIAL_TOKENS[0])}, "
                f"expected {FIRST_SPECIAL_ID}: it belongs to another model family"
            )
        return cls(backend)

    @property
    def vocab_size(self) -> int:
        """Number of ids, reserved ones included."""
        return VOCAB_SIZE

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return END_ID

    @property
    def bos_id(self) -> int:
        """The token that every prompt begins with."""
        return BOS_ID

    @property
    def reserved(self) -> Mapping[int, str]:
        """Ids that stand for no text, and their names."""
        return _RESERVED

    def to_str(self) -> str:
        """The tokenizer as the JSON text of a `tokenizer.json`."""
        return self._backend.to_str()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, all below `FIRST_SPECIAL_ID`."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, on as many threads as the library takes."""
        return [item.ids for item in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, token_ids: Iterable[int], *, keep_special: bool = False) -> str:
        """Text of token ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            token_ids: ids in [0, vocab_size).
            keep_special: write reserved ids out (`<|end|>`) instead of leaving them out.
        """
        data = bytearray()
        for token_id in token_ids:
            if token_id < FIRST_SPECIAL_ID:
                data += self.piece(token_id)
            elif keep_special:
                data += SPECIAL_TOKENS[token_id - FIRST_SPECIAL_ID].encode()
        return data.decode("utf-8", errors="replace")

    def piece(self, token_id: int) -> bytes:
        """The bytes one token stands for; empty for a reserved or unused id."""
        return self._pieces[token_id]


class StreamDecoder:
    """Decodes a stream of tokens into whole characters; one per answer.

    A character whose bytes are spread over several tokens comes out with its last one.
    """

    def __init__(self, tokenizer: Lexicon) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """Text that became complete with this token; empty for reserved ids."""
        return self._decoder.decode(self._tokenizer.piece(token_id))

    def flush(self) -> str:
        """What is left at the end: empty, or U+FFFD for an unfinished character."""
        return self._decoder.decode(b"", final=True)


def _piece_bytes(backend: tokenizers.Tokenizer) -> list[bytes]:
    """Bytes of every ordinary piece, by id."""
    to_byte = {char: byte for byte, char in byte_chars().items()}
    pieces = [b""] * VOCAB_SIZE
    for piece, token_id in backend.get_vocab(with_added_tokens=False).items():
        if token_id < FIRST_SPECIAL_ID:
            pieces[token_id] = bytes(to_byte[char] for char in piece)
    return pieces


def byte_chars() -> dict[int, str]:
    """The printable character byte-level BPE writes for each byte (GPT-2, Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    chars = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in chars)
    chars.update({byte: chr(256 + place) for place, byte in enumerate(others)})
    return chars
