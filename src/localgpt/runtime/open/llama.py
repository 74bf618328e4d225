"""llama.cpp by its C interface: one file's network, and contexts in which it reads tokens.

The library comes with the extra `gguf` and is loaded with the first such model. It ends the whole process
over some broken files, so a header is read by our own code first (`checkpoints.gguf_header`).

Notable: everything runs on the CPU, with as many threads as torch has. An `mpt` network with query and key
norms is read token by token: the library stops otherwise (docs/decisions/0006-gguf-export.md).
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from localgpt.checkpoints.gguf_header import GgufHeader
from localgpt.errors import BackendError, CapacityError, CheckpointError

__all__ = ["PIECE", "LlamaContext", "LlamaNetwork", "require_llama"]

logger = logging.getLogger(__name__)

PIECE: Final = 256  # tokens read in one go
_TOKEN_BY_TOKEN: Final = ("mpt",)
_ERROR_LEVEL: Final = 4


def require_llama() -> None:
    """Make sure that llama.cpp is here.

    Raises:
        CheckpointError: it is not.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise CheckpointError(
            "GGUF models need llama.cpp, which is not installed: pip install 'localgpt[gguf]' builds it "
            "(a C++ compiler and some minutes)"
        )


class LlamaNetwork:
    """One file's network, in memory.

    Args:
        header: of the file.

    Raises:
        CheckpointError: llama.cpp is missing, or cannot read the file.
    """

    def __init__(self, header: GgufHeader) -> None:
        self._model: Any = None
        require_llama()
        self.header = header
        self._llama = _library()
        params = self._llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = self._llama.llama_model_load_from_file(str(header.path).encode(), params)
        if not self._model:
            raise CheckpointError(
                f"llama.cpp cannot read {header.path}, a network it may not know ({header.architecture}); "
                "try a newer llama-cpp-python, or another file"
            )
        self.vocab = self._llama.llama_model_get_vocab(self._model)

    def new_context(self, num_tokens: int, *, embeds: bool = False) -> LlamaContext:
        """Room to read so many tokens in.

        Raises:
            CapacityError: there is no memory for it.
        """
        params = self._llama.llama_context_default_params()
        params.n_ctx = num_tokens
        params.n_batch = num_tokens if embeds else PIECE
        params.n_ubatch = 1 if self.header.architecture in _TOKEN_BY_TOKEN else params.n_batch
        params.n_threads = params.n_threads_batch = torch.get_num_threads()
        params.embeddings = embeds
        params.no_perf = True
        context = self._llama.llama_init_from_model(self._model, params)
        if not context:
            raise CapacityError(
                f"there is no memory for {num_tokens:,} tokens of {self.header.path.name}; ask for fewer"
            )
        return LlamaContext(self._llama, context, self.header, num_tokens)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as the model expects it, with the marks of its beginning and end."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        ids = (self._llama.llama_token * room)()
        num = self._llama.llama_tokenize(self.vocab, data, len(data), ids, room, True, False)
        assert num >= 0
        return list(ids[:num])

    def close(self) -> None:
        """Free it; its contexts go first. May be called twice."""
        if self._model:
            self._llama.llama_model_free(self._model)
            self._model = None

    def __del__(self) -> None:
        self.close()


class LlamaContext:
    """What a network has read: tokens in order, which can be cut at the end and gone on with.

    Args:
        llama: the library.
        context: its pointer, owned from now on.
        header: of the network.
        num_tokens: that it has room for.
    """

    def __init__(self, llama: Any, context: Any, header: GgufHeader, num_tokens: int) -> None:
        self._llama, self._context, self._header = llama, context, header
        self.num_tokens = num_tokens
        self.nbytes = header.kv_bytes(num_tokens)

    def read(self, token_ids: list[int]) -> Tensor:
        """Read tokens behind what was read; logits (V,) float32 after the last of them.

        Raises:
            BackendError: the network failed.
        """
        self._decode(token_ids)
        logits = self._llama.llama_get_logits_ith(self._context, -1)
        return torch.from_numpy(np.ctypeslib.as_array(logits, (self._header.vocab_size,)).copy())

    def embed(self, token_ids: list[int]) -> Tensor:
        """The vector (C,) float32 of a text, by itself; not normalised.

        Raises:
            BackendError: the network failed, or pools nothing.
        """
        self.cut(0)
        self._decode(token_ids)
        values = self._llama.llama_get_embeddings_seq(self._context, 0)
        if not values:
            raise BackendError(f"{self._header.path.name} gives no vector for a text; use another model")
        return torch.from_numpy(np.ctypeslib.as_array(values, (self._header.n_embd,)).copy())

    def cut(self, num_tokens: int) -> bool:
        """Keep the first tokens only; False where this network cannot go back."""
        memory = self._llama.llama_get_memory(self._context)
        return not memory or bool(self._llama.llama_memory_seq_rm(memory, 0, num_tokens, -1))

    def close(self) -> None:
        """Free it. May be called twice."""
        if self._context:
            self._llama.llama_free(self._context)
            self._context = None

    def __del__(self) -> None:
        self.close()

    def _decode(self, token_ids: list[int]) -> None:
        ids = (self._llama.llama_token * len(token_ids))(*token_ids)
        status = self._llama.llama_decode(self._context, self._llama.llama_batch_get_one(ids, len(token_ids)))
        if status != 0:
            raise BackendError(
                f"llama.cpp failed on {len(token_ids)} tokens of {self._header.path.name} ({status}); ask "
                "again"
            )


@cache
def _library() -> Any:
    """The library, whose talk goes to our log."""
    import llama_cpp

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def tell(level: int, text: bytes, data: ctypes.c_void_p) -> None:
        line = text.decode("utf-8", "replace").rstrip()
        if line:
            logger.log(logging.WARNING if level == _ERROR_LEVEL else logging.DEBUG, "llama.cpp: %s", line)

    llama_cpp.llama_log_set(tell, ctypes.c_void_p(0))
    llama_cpp.localgpt_log = tell  # as long as the library is there, it may talk
    llama_cpp.llama_backend_init()
    return llama_cpp
