"""Open models that make vectors of texts, in the folders of sentence-transformers: BGE, E5, MiniLM, Qwen's.

* The network is transformers'; what comes after it is read by `embedder_parts`. Vectors have unit length.
* A text is read as a whole: one that is longer than the model was trained for is refused and never cut.
* Some models want to be told what a text is for ("query: ..."). Where a model names a prompt for every text,
  that is put before it; others are the caller's to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.compute.memory.state import Size
from localgpt.errors import CheckpointError, InputError, PromptTooLongError
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.embedder_parts import EmbedderParts, pool, read_parts
from localgpt.runtime.open.network_model import NetworkModel
from localgpt.runtime.open.prepared import Prepared
from localgpt.runtime.open.weights import LoadedNetwork, load_config, load_network, load_tokenizer
from localgpt.runtime.open.words import check_is_wanted
from localgpt.tasks import EmbedRequest, EmbedResult, ImagePart, Request, Result, TextPart, Usage
from localgpt.units import MIB

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Embedder", "load"]

_BATCH_TOKENS: Final = 4096  # read at once, or one text
_MOST_BYTES_PER_TOKEN: Final = 256  # no piece is longer, so far longer texts are refused without being read
_ALIVE: Final = 8  # tensors of a layer's width, or of its MLP's, alive at once
_UNTOLD_LENGTH: Final = 512
_SHIFTED: Final = ("roberta", "camembert", "mpnet")  # whose first position is behind that of padding
_POOLER: Final = ("pooler.",)  # of BERT and its kin, for another task


def load(checkpoint: OpenCheckpoint) -> Embedder:
    """Read a model that makes vectors of texts.

    Raises:
        CheckpointError: the folder is incomplete or broken, or has a part that is not run here.
    """
    parts = read_parts(checkpoint.folder)
    if getattr(load_config(checkpoint.folder), "is_encoder_decoder", False):
        raise CheckpointError(
            f"{checkpoint.folder} has a network of encoder and decoder; expected one of them, such as a BERT"
        )
    tokenizer = load_tokenizer(checkpoint.folder)
    return Embedder(checkpoint, load_network(checkpoint, "AutoModel", unused=_POOLER), tokenizer, parts)


class Embedder(NetworkModel):
    """One loaded model that makes vectors of texts; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
        parts: what comes after the network.
    """

    tasks: tuple[str, ...] = ("embed",)

    def __init__(
        self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any, parts: EmbedderParts
    ) -> None:
        super().__init__(checkpoint, loaded)
        self._tokenizer, self._parts = tokenizer, parts
        self._dense: nn.Module = parts.dense.to(checkpoint.device)
        self._config: Any = self.network.config.get_text_config()
        self._footprint = measure(self.network, self._dense)
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self.context_len = self._longest()
        dense = [layer.out_features for layer in parts.dense if isinstance(layer, torch.nn.Linear)]
        self._embed_dim = dense[-1] if dense else int(self._config.hidden_size)
        self._ready = Prepared(self._texts)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The network, and what comes after it."""
        return {"network": self.network, "dense": self._dense}

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What the largest batch takes.

        Raises:
            InputError: something cannot be embedded; `param` names it.
        """
        texts = self._ready.look(request)
        longest = max(map(len, texts))
        num_tokens = max(longest, min(_BATCH_TOKENS, sum(map(len, texts))))
        bucket, longest = (1 << (num - 1).bit_length() for num in (num_tokens, longest))
        config, itemsize = self._config, self._compute_dtype.itemsize
        widest = max(config.hidden_size, getattr(config, "intermediate_size", 0) or 4 * config.hidden_size)
        scores = 2 * bucket * config.num_attention_heads * longest
        nbytes = (bucket * widest * _ALIVE + scores) * itemsize + MIB
        return (Size(shape=f"{bucket} tokens, {longest} a text", nbytes=int(nbytes)),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Make one unit vector for each text.

        Raises:
            LocalGPTError: it was refused, failed or was cancelled.
        """
        texts = self._ready.take(request)
        vectors: dict[int, tuple[float, ...]] = {}
        for batch in _batches(texts):
            check_is_wanted(is_cancelled)
            made = self._read([texts[number] for number in batch])
            vectors |= {number: tuple(row) for number, row in zip(batch, made.tolist(), strict=True)}
        return EmbedResult(
            embeddings=tuple(vectors[number] for number in range(len(texts))),
            usage=Usage(prompt_tokens=sum(map(len, texts)), completion_tokens=0),
            model=self.id,
            notices=self.notices,
        )

    def release(self) -> None:
        """Let go of the network."""
        self._ready.clear()
        del self._dense
        super().release()

    def _read(self, texts: list[list[int]]) -> Tensor:
        """Unit vectors (B, E) float32 on the CPU."""
        longest, device = max(map(len, texts)), self._checkpoint.device
        ids = torch.tensor([text + [self._pad_id] * (longest - len(text)) for text in texts], device=device)
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=device)
        hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        return F.normalize(self._dense(pool(hidden, mask, self._parts.pooling)), dim=1).cpu()

    def _longest(self) -> int:
        """Tokens of a text, special ones included."""
        told = int(getattr(self._config, "max_position_embeddings", 0) or _UNTOLD_LENGTH)
        if any(name in self._config.model_type for name in _SHIFTED):
            told -= self._pad_id + 1
        return min(self._parts.max_tokens or told, told)

    def _texts(self, request: Request) -> list[list[int]]:
        """Token ids of the texts."""
        if not isinstance(request, EmbedRequest):
            raise InputError(f"the model {self.id} embeds texts and does nothing else", param="model")
        if not request.inputs:
            raise InputError("got nothing to embed, expected at least one text", param="input")
        if request.dimensions not in (None, self._embed_dim):
            raise InputError(
                f"dimensions is {request.dimensions}; this model's vectors have {self._embed_dim} and cannot "
                "be shortened",
                param="dimensions",
            )
        is_one = len(request.inputs) == 1
        return [
            self._encode(part, "input" if is_one else f"input[{number}]")
            for number, part in enumerate(request.inputs)
        ]

    def _encode(self, part: TextPart | ImagePart, param: str) -> list[int]:
        if isinstance(part, ImagePart):
            raise InputError(f"the model {self.id} embeds texts, and no pictures", param=param)
        if not part.text.strip():
            raise InputError("got an empty text to embed, expected some words", param=param)
        text = self._parts.prompt + (part.text.lower() if self._parts.lower_case else part.text)
        token_ids: list[int] | None = None
        if len(text) <= self.context_len * _MOST_BYTES_PER_TOKEN:
            token_ids = self._tokenizer(text, truncation=False, padding=False).input_ids
        if token_ids is None or len(token_ids) > self.context_len:
            got = "far more" if token_ids is None else f"{len(token_ids):,}"
            raise PromptTooLongError(
                f"the text has {got} tokens, expected at most {self.context_len:,}; embed its parts",
                param=param,
            )
        return token_ids


def _batches(texts: list[list[int]]) -> Iterator[list[int]]:
    """Numbers of texts that are read together: of about the same length, and not too many."""
    batch: list[int] = []
    for number in sorted(range(len(texts)), key=lambda number: len(texts[number])):
        if batch and len(texts[number]) * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(number)
    yield batch
