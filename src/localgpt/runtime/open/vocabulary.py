"""The vocabulary of an open language model, by the bytes of its tokens: a `media.text.lexicon.Lexicon`.

Read are the two forms that language models have: byte-level BPE (GPT-2, Llama 3, Qwen, Mistral's newer ones),
whose pieces are bytes written as printable characters, and SentencePiece with byte fallback (Llama 2, Gemma,
Phi 3), whose pieces are text with a mark for spaces, and `<0xNN>` for single bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from localgpt.errors import CheckpointError
from localgpt.media.text.lexicon import Lexicon
from localgpt.media.text.tokenizer import StreamDecoder, byte_chars

if TYPE_CHECKING:
    import tokenizers

__all__ = ["OpenLexicon", "OpenVocabulary", "TextStream"]

_SPACE_MARK: Final = "\u2581"
_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class OpenLexicon(Lexicon, Protocol):
    """What prompts and answers of open models need to know of a vocabulary, whoever reads it."""

    end_ids: frozenset[int]  # tokens that end an answer
    special_texts: tuple[str, ...]  # as what special tokens are written out
    strips_start: bool  # an answer's first blank is no part of it

    @property
    def has_all_bytes(self) -> bool:
        """Whether every byte has a token of its own, as grammars need."""
        ...

    def token_of(self, text: str) -> int | None:
        """The token that stands for exactly a text, marks included; None without one."""
        ...

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens that are written out stay text."""
        ...


class OpenVocabulary:
    """Ids and bytes of a fast tokenizer.

    Args:
        backend: of the tokenizer.
        vocab_size: length of the model's logits, which may be more than the tokenizer knows.
        end_ids: tokens that end an answer; the first one stands for all.
        bos_id: the token prompts begin with; None for the end's.

    Raises:
        CheckpointError: the tokenizer is of another form.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, *, vocab_size: int, end_ids: Collection[int], bos_id: int | None
    ) -> None:
        self._backend = backend
        self.vocab_size = vocab_size
        self.end_ids = frozenset(end_ids)
        self.end_id = next(iter(end_ids))
        self.bos_id = self.end_id if bos_id is None else bos_id
        added = {
            token_id: token
            for token_id, token in backend.get_added_tokens_decoder().items()
            if token_id < vocab_size
        }
        decoders = _decoders(backend)
        self._pieces = _pieces(backend, decoders, vocab_size)
        for token_id, token in added.items():
            self._pieces[token_id] = b"" if token.special else token.content.encode()
        names = {token_id: token.content for token_id, token in added.items()}
        for token_id in self.end_ids:
            self._pieces[token_id] = b""
        self.reserved: Mapping[int, str] = {
            token_id: names.get(token_id) or backend.id_to_token(token_id) or f"<|unused_{token_id}|>"
            for token_id, piece in enumerate(self._pieces)
            if not piece
        }
        self.special_texts = tuple(token.content for token in added.values() if token.special)
        self.strips_start = any(one.get("type") == "Strip" and one.get("start") for one in decoders)

    @property
    def has_all_bytes(self) -> bool:
        """Whether every byte has a token of its own, as grammars need."""
        return {piece[0] for piece in self._pieces if len(piece) == 1} == set(range(256))

    def token_of(self, text: str) -> int | None:
        """The token that stands for exactly a text, marks included; None without one."""
        token_id = self._backend.token_to_id(text)
        return token_id if token_id is not None and token_id < self.vocab_size else None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, in which special tokens may be written out."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens that are written out stay text."""
        self._backend.encode_special_tokens = True
        try:
            return self.encode(text)
        finally:
            self._backend.encode_special_tokens = False

    def piece(self, token_id: int) -> bytes:
        """The bytes one token stands for; empty for a special or unused one."""
        return self._pieces[token_id]


class TextStream(StreamDecoder):
    """Decodes an answer token by token, without the blank that SentencePiece puts before the first word.

    Args:
        vocabulary: of the tokens.
    """

    def __init__(self, vocabulary: OpenLexicon) -> None:
        super().__init__(vocabulary)
        self._strips = vocabulary.strips_start

    def push(self, token_id: int) -> str:
        """Text that became complete with this token."""
        text = super().push(token_id)
        if self._strips and text:
            self._strips = False
            return text.removeprefix(" ")
        return text


def _decoders(backend: tokenizers.Tokenizer) -> list[dict[str, Any]]:
    """What a tokenizer does to get from pieces to text, one step after another."""
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    steps: list[dict[str, Any]] = decoder.get("decoders", [decoder])
    return steps


def _pieces(backend: tokenizers.Tokenizer, decoders: list[dict[str, Any]], vocab_size: int) -> list[bytes]:
    kinds = {one.get("type") for one in decoders}
    if "ByteLevel" in kinds:
        to_byte = {char: byte for byte, char in byte_chars().items()}

        def bytes_of(piece: str) -> bytes:
            return bytes(to_byte[char] for char in piece) if set(piece) <= to_byte.keys() else piece.encode()
    elif kinds & {"ByteFallback", "Metaspace", "Replace"}:

        def bytes_of(piece: str) -> bytes:
            found = _BYTE.fullmatch(piece)
            return bytes([int(found[1], 16)]) if found else piece.replace(_SPACE_MARK, " ").encode()
    else:
        raise CheckpointError(
            f"the tokenizer writes its pieces as {', '.join(sorted(map(str, kinds)))}; expected byte-level "
            "BPE or SentencePiece, as language models have"
        )
    pieces = [b""] * vocab_size
    for piece, token_id in backend.get_vocab(with_added_tokens=False).items():
        if token_id < vocab_size:
            pieces[token_id] = bytes_of(piece)
    return pieces
