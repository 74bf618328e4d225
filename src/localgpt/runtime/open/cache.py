"""Keys and values of one answer, for networks of transformers; kept between answers for the next turn.

Notable: transformers' own growing cache copies everything for every token. Here a layer is written in place
into memory that grows by half when it is full. Layers that slide or are no attention stay transformers' own,
and a cache with such layers is not gone on with by another prompt, since they cannot go back.
"""

from __future__ import annotations

import inspect
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PrefixMemory", "cache_argument", "cut", "is_growing", "kv_bytes", "new_cache"]

_FIRST_LEN: Final = 256  # positions


def new_cache(config: Any) -> Any:
    """An empty cache for a network, of as many layers of each kind as it has.

    Args:
        config: of the network.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    made = DynamicCache(config=config)
    grows = _growing_layer()
    made.layers = [grows() if type(layer) is DynamicLayer else layer for layer in made.layers]
    return made


def cache_argument(network: Any) -> str:
    """What a network's `forward` calls its cache: it was renamed between versions of transformers."""
    return "cache" if "cache" in inspect.signature(network.forward).parameters else "past_key_values"


def is_growing(made: Any) -> bool:
    """Whether all layers hold every token."""
    grows = _growing_layer()
    return all(isinstance(layer, grows) for layer in made.layers)


def cut(made: Any, num_tokens: int) -> bool:
    """Go back to the first tokens of a cache; False where it cannot."""
    if not is_growing(made):
        return False
    for layer in made.layers:
        layer.cut(num_tokens)
    return True


class PrefixMemory:
    """The cache of the last prompt, so that a conversation's next turn reads only what is new.

    Gone on with are whole pieces, as they would be read again: so an answer has the same bits whatever was
    asked before. Nobody gets what another owner asked: how quickly an answer begins would tell of it.

    Args:
        piece_len: tokens of a prompt that are read in one go.
    """

    def __init__(self, piece_len: int) -> None:
        self._piece_len = piece_len
        self._kept: tuple[str, list[int], Any] | None = None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Of what is kept."""
        with self._lock:
            return 0 if self._kept is None else _nbytes(self._kept[2])

    def take(self, token_ids: Sequence[int], owner: str) -> tuple[Any, int] | None:
        """The cache, cut to what a prompt shares with it, and how many tokens that is; it is kept no more.

        At least the prompt's last token is left to be read.
        """
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None or kept[0] != owner:
            return None
        _, known, made = kept
        num_shared = 0
        for mine, other in zip(known, token_ids[:-1], strict=False):
            if mine != other:
                break
            num_shared += 1
        num_shared -= num_shared % self._piece_len
        if not num_shared or not cut(made, num_shared):
            return None
        return made, num_shared

    def keep(self, token_ids: list[int], made: Any, owner: str) -> None:
        """Keep the cache of a prompt, with or without what was read behind it."""
        with self._lock:
            self._kept = (owner, token_ids, made)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._kept = None


def _nbytes(made: Any) -> int:
    return sum(
        tensor.untyped_storage().nbytes()
        for layer in made.layers
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if isinstance(tensor, Tensor)
    )


@cache
def _growing_layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    base: Any = DynamicLayer

    class GrowingLayer(base):  # type: ignore[misc]
        """A layer whose keys and values (1, H, T, D) are the filled part of a larger memory."""

        def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
            self.device = key_states.device
            self._memory = [
                states.new_empty(*states.shape[:-2], _FIRST_LEN, states.shape[-1])
                for states in (key_states, value_states)
            ]
            self.keys, self.values = (memory[..., :0, :] for memory in self._memory)
            self.is_initialized = True

        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            start = self.keys.shape[-2]
            end = start + key_states.shape[-2]
            if end > self._memory[0].shape[-2]:
                self._memory = [_grown(memory, start, end) for memory in self._memory]
            for memory, states in zip(self._memory, (key_states, value_states), strict=True):
                memory[..., start:end, :] = states
            self.keys, self.values = (memory[..., :end, :] for memory in self._memory)
            return self.keys, self.values

        def cut(self, num_tokens: int) -> None:
            """Go back to the first tokens."""
            if self.is_initialized:
                self.keys, self.values = (memory[..., :num_tokens, :] for memory in self._memory)

    return GrowingLayer


def _grown(memory: Tensor, num_filled: int, least: int) -> Tensor:
    length = max(least, memory.shape[-2] * 3 // 2)
    length = -(-length // _FIRST_LEN) * _FIRST_LEN
    larger = memory.new_empty(*memory.shape[:-2], length, memory.shape[-1])
    larger[..., :num_filled, :] = memory[..., :num_filled, :]
    return larger


def kv_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes that one token takes in all layers, at most."""
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width * dtype.itemsize)
