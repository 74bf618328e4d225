"""The language decoder: six wide layers, ALiBi, modality-gated heads, tied head.

Notable:
- No position embeddings: ALiBi biases (arXiv:2108.12409), so the context can be longer than in training.
- Pictures enter as embeddings in place of `<|image|>` tokens; the modality of each position picks the
  head gates.
- LayerNorm without bias, GELU, fused qkv, tied head: for text the same network as MPT (arXiv 2023, MosaicML)
  with qk_ln, so llama.cpp can run the exported weights and serve as an oracle.

Shape legend: B batch, T tokens, C width (n_embd), V vocabulary.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from localgpt.nn.alibi import alibi_slopes
from localgpt.nn.attention import Attend, CachedAttend, CausalAttend, ModalityGatedAttention
from localgpt.nn.kv_cache import KVCache
from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["Block", "Decoder", "DecoderConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Shape of the decoder. The defaults are the embedded model's (101 M parameters)."""

    vocab_size: int = 24_576
    n_layer: int = 6
    n_embd: int = 1024
    n_head: int = 16  # a power of two: ALiBi slopes, and the mpt export
    n_modality: int = 3  # text, image, audio
    context_len: int = 2560  # served; trained at 2,048
    qk_norm: bool = True
    dropout: float = 0.0  # in training, of what a layer adds

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderConfig:
        """Inverse of `to_dict`; keys of other purposes in config.json are left alone."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})


class MLP(nn.Module):
    """Feed-forward layer, 4x wide, GELU (tanh form, as llama.cpp computes it)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.c_fc = Linear(n_embd, 4 * n_embd)
        self.c_proj = Linear(4 * n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm_1 = LayerNorm(config.n_embd)
        self.attn = ModalityGatedAttention(
            config.n_embd, config.n_head, n_modality=config.n_modality, qk_norm=config.qk_norm
        )
        self.norm_2 = LayerNorm(config.n_embd)
        self.mlp = MLP(config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, layer: int, attend: Attend, modality: Tensor | None) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        x = x + self.dropout(self.attn(self.norm_1(x), layer, attend, modality))
        return x + self.dropout(self.mlp(self.norm_2(x)))


class Decoder(nn.Module):
    """Next-token predictor over text and embedded pictures."""

    alibi: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = LayerNorm(config.n_embd)
        self.lm_head = Linear(config.n_embd, config.vocab_size)
        self.lm_head.weight = self.wte.weight  # tied
        self.register_buffer("alibi", alibi_slopes(config.n_head), persistent=False)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Normal(0, 0.02) matrices; the projections that end a residual branch start at zero."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or name.endswith("gate_logits"):
                continue
            if name.endswith("c_proj.weight"):
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02, generator=generator)

    @property
    def device(self) -> torch.device:
        """Where its weights are, and so embeddings and logits."""
        return self.alibi.device

    @property
    def has_exact_rows(self) -> bool:
        """Whether a row comes out the same to the last bit however many rows run beside it.

        Products of int8 weights are whole numbers and add up the same in any order; those of floating point
        weights are added in an order that depends on the number of rows.
        """
        return not any(isinstance(module, Linear) for module in self.modules())

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings: (B, T) int64 to (B, T, C)."""
        return self.wte(token_ids)

    def hidden(self, x: Tensor, *, attend: Attend | None = None, modality: Tensor | None = None) -> Tensor:
        """Run all layers.

        Args:
            x: (B, T, C) embeddings of tokens and pictures.
            attend: how to attend; None is the plain causal reference.
            modality: (B, T) int64, 0 text, 1 image, 2 audio; None means all text.

        Returns:
            (B, T, C) normalised features, ready for `logits`.
        """
        attend = attend or CausalAttend(self.alibi)
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, attend, modality)
        return self.norm_f(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, C) to (B, T, V) float32."""
        return self.lm_head(hidden).float()

    def forward(self, inputs: Tensor, *, modality: Tensor | None = None) -> Tensor:
        """Logits of whole sequences, without a cache.

        Args:
            inputs: (B, T) int64 token ids, or (B, T, C) embeddings.
            modality: (B, T) int64 or None.

        Returns:
            (B, T, V) float32.
        """
        x = inputs if inputs.is_floating_point() else self.embed(inputs)
        return self.logits(self.hidden(x, modality=modality))

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: KVCache, *, slot: int, start: int
    ) -> Tensor:
        """Read a piece of one prompt into a cache slot.

        Args:
            embeddings: (T, C) of the new tokens.
            modality: (T,) int64, or None for all text.
            cache: written at [slot, start : start + T].
            slot: the sequence's slot.
            start: how many positions the slot already holds.

        Returns:
            (V,) float32 logits after the last new token.
        """
        attend = CachedAttend(self.alibi, cache, [slot], [start])
        hidden = self.hidden(
            embeddings[None], attend=attend, modality=None if modality is None else modality[None]
        )
        return self.logits(hidden[:, -1])[0]

    def decode_step(self, token_ids: Tensor, cache: KVCache, slots: Tensor, lengths: Tensor) -> Tensor:
        """One more token for each of B sequences of any lengths.

        Args:
            token_ids: (B,) int64, the latest token of each sequence.
            cache: read, and written at [slots[b], lengths[b]].
            slots: (B,) int64 cache slots.
            lengths: (B,) int64 positions already held.

        Returns:
            (B, V) float32 logits.
        """
        attend = CachedAttend(self.alibi, cache, slots.tolist(), lengths.tolist())
        hidden = self.hidden(self.embed(token_ids[:, None]), attend=attend)
        return self.logits(hidden[:, 0])

    def new_cache(
        self,
        num_slots: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        num_spare: int = 0,
    ) -> KVCache:
        """An empty cache that fits this decoder; `num_spare` as for `KVCache`."""
        config = self.config
        head_dim = config.n_embd // config.n_head
        shape = (config.n_layer, num_slots, config.n_head, config.context_len + num_spare, head_dim)
        return KVCache(shape, dtype=dtype, device=device, num_spare=num_spare)
