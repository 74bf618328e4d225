"""The vocabulary and the chat template of a GGUF file, in the forms that open models have."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

from localgpt.errors import CheckpointError
from localgpt.runtime.open.llama import LlamaNetwork

__all__ = ["GgufTokenizer", "GgufVocabulary"]

_UNKNOWN, _UNUSED, _CONTROL = 1, 2, 8  # llama.cpp's attributes of tokens
_SENTENCE_PIECE: Final = 1  # its type of such a vocabulary
_LONGEST_PIECE: Final = 512


class GgufVocabulary:
    """Ids and bytes of a file's tokens, as llama.cpp reads them; takes the place of an `OpenVocabulary`.

    Args:
        network: of the file.

    Raises:
        CheckpointError: no token ends an answer.
    """

    def __init__(self, network: LlamaNetwork) -> None:
        import llama_cpp

        self._llama, self._vocab = llama_cpp, network.vocab
        self.vocab_size: int = llama_cpp.llama_vocab_n_tokens(network.vocab)
        ids = range(self.vocab_size)
        attributes = [llama_cpp.llama_vocab_get_attr(network.vocab, token_id) for token_id in ids]
        ends = [token_id for token_id in ids if llama_cpp.llama_vocab_is_eog(network.vocab, token_id)]
        if not ends:
            raise CheckpointError(f"{network.header.path} names no token that ends an answer")
        first = llama_cpp.llama_vocab_eos(network.vocab)
        self.end_ids = frozenset(ends)
        self.end_id: int = first if first in self.end_ids else ends[0]
        bos_id = llama_cpp.llama_vocab_bos(network.vocab)
        self.bos_id: int = self.end_id if bos_id < 0 else bos_id
        self.adds_bos = bos_id >= 0 and bool(llama_cpp.llama_vocab_get_add_bos(network.vocab))
        silent = [bool(attribute & (_UNKNOWN | _UNUSED | _CONTROL)) for attribute in attributes]
        self._pieces = [
            b"" if silent[token_id] or token_id in self.end_ids else self._bytes(token_id) for token_id in ids
        ]
        self.reserved: Mapping[int, str] = {
            token_id: self.name(token_id) or f"<|unused_{token_id}|>"
            for token_id in ids
            if not self._pieces[token_id]
        }
        self.special_texts = tuple(
            self.name(token_id)
            for token_id in ids
            if attributes[token_id] & _CONTROL or token_id in self.end_ids
        )
        self._by_name = {name: token_id for token_id, name in self.reserved.items()}
        is_sentence_piece = llama_cpp.llama_vocab_type(network.vocab) == _SENTENCE_PIECE
        self.strips_start = is_sentence_piece and bool(
            network.header.values.get("tokenizer.ggml.add_space_prefix", True)
        )

    @property
    def has_all_bytes(self) -> bool:
        """Whether every byte has a token of its own, as grammars need."""
        return {piece[0] for piece in self._pieces if len(piece) == 1} == set(range(256))

    def name(self, token_id: int) -> str:
        """What a token is called."""
        text: bytes = self._llama.llama_vocab_get_text(self._vocab, token_id)
        return text.decode("utf-8", "replace")

    def token_of(self, text: str) -> int | None:
        """The token that stands for exactly a text, marks included; None without one."""
        if (reserved := self._by_name.get(text)) is not None:
            return reserved
        token_ids = self.encode(text)
        return token_ids[0] if len(token_ids) == 1 and self._pieces[token_ids[0]] == text.encode() else None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, in which special tokens may be written out."""
        return self._encode(text, parse_special=True)

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens that are written out stay text."""
        return self._encode(text, parse_special=False)

    def piece(self, token_id: int) -> bytes:
        """The bytes one token stands for; empty for a special or unused one."""
        return self._pieces[token_id]

    def _encode(self, text: str, *, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8  # no text has more tokens than bytes, but for what is put before it
        ids = (self._llama.llama_token * room)()
        num = self._llama.llama_tokenize(self._vocab, data, len(data), ids, room, False, parse_special)
        assert num >= 0
        return list(ids[:num])

    def _bytes(self, token_id: int) -> bytes:
        room = _LONGEST_PIECE
        while True:
            buffer = ctypes.create_string_buffer(room)
            num: int = self._llama.llama_token_to_piece(self._vocab, token_id, buffer, room, 0, False)
            if num >= 0:
                return buffer.raw[:num]
            room = -num


class GgufTokenizer:
    """A file's chat template with the calls that `PromptWriter` makes of transformers' tokenizers.

    The template is code of the file's maker. It runs in the sandbox that transformers has for the hub's.

    Args:
        network: of the file.
        vocabulary: of it.
    """

    def __init__(self, network: LlamaNetwork, vocabulary: GgufVocabulary) -> None:
        self.chat_template: str | None = network.header.values.get("tokenizer.chat_template") or None
        self._vocabulary = vocabulary

    def __call__(self, text: str) -> SimpleNamespace:
        """Token ids of a text behind the beginning of texts, where the model wants one."""
        before = [self._vocabulary.bos_id] if self._vocabulary.adds_bos else []
        return SimpleNamespace(input_ids=[*before, *self._vocabulary.encode(text)])

    def apply_chat_template(
        self, messages: list[dict[str, Any]], *, tools: list[dict[str, Any]] | None, **options: Any
    ) -> str:
        """The text of a prompt."""
        from transformers.utils import chat_template_utils

        render: Any = chat_template_utils.render_jinja_template  # gives a pair, whatever it declares
        texts, _ = render(
            conversations=[messages],
            tools=tools,
            chat_template=self.chat_template,
            add_generation_prompt=options["add_generation_prompt"],
            bos_token=self._vocabulary.name(self._vocabulary.bos_id) if self._vocabulary.adds_bos else "",
            eos_token=self._vocabulary.name(self._vocabulary.end_id),
        )
        text: str = texts[0]
        return text
