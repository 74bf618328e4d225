"""The embedded decoder on an OpenCL device: `models.decoder`, kernel by kernel.

Notable:
- Reading a prompt and making tokens for several sequences are one function: every row has a place (sequence,
  position, modality), and attends to the keys of its sequence up to its position.
- Activations are float32 (the CPU's int8 kernels round them to 8 bits), so numbers are those of the plain
  network with the same weights, up to the order of sums.

Shape legend: T rows, C width, B sequences, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.compute.opencl.device import Buffer, OpenCLDevice
from localgpt.compute.opencl.kernels import Activation, Kernels, Keys, Matrix, Weights
from localgpt.errors import BackendError, CapacityError
from localgpt.models.decoder import DecoderConfig
from localgpt.nn.alibi import alibi_slopes

__all__ = ["OpenCLCache", "OpenCLDecoder"]

_MAX_ELEMENTS: Final = 2**31  # of one layer's keys, which kernels count in 32 bits within a sequence


@dataclass(frozen=True, slots=True)
class _Block:
    """Weights of one layer."""

    norm_1: Buffer
    c_attn: Matrix
    q_norm: Buffer | None
    k_norm: Buffer | None
    gates: Buffer  # (modalities, H), after the sigmoid
    c_proj: Matrix
    norm_2: Buffer
    c_fc: Matrix
    mlp_proj: Matrix


class OpenCLCache:
    """Keys and values of `num_slots` sequences on the device: of each layer (slots, H, context, D)."""

    def __init__(self, device: OpenCLDevice, shape: tuple[int, int, int, int, int]) -> None:
        n_layer, self.num_slots, n_head, self.context_len, head_dim = shape
        size = self.num_slots * n_head * self.context_len * head_dim
        if n_head * self.context_len * head_dim >= _MAX_ELEMENTS:
            raise CapacityError(
                f"a context of {self.context_len:,} tokens is too long for the OpenCL kernels; "
                "use a model with a shorter one"
            )
        self.k = [device.empty(size) for _ in range(n_layer)]
        self.v = [device.empty(size) for _ in range(n_layer)]
        self.nbytes = 2 * n_layer * size * 4
        """Bytes reserved for keys and values together."""
        self.dtype = torch.float32


class OpenCLDecoder:
    """Next-token predictor; the methods and arguments are those of `models.decoder.Decoder`.

    What comes in and goes out are torch tensors on the CPU; weights and cache stay on the device.

    Args:
        config: shape.
        tensors: by name, as a family's folder holds them.
        device: where it runs.

    Raises:
        CheckpointError: a tensor is missing or of another shape.
        CapacityError: the device's memory is too small.
    """

    def __init__(self, config: DecoderConfig, tensors: Mapping[str, Tensor], device: OpenCLDevice) -> None:
        self.config = config
        self.device = torch.device("cpu")  # where embeddings and logits are
        self._opencl, self._kernels = device, Kernels(device)
        weights = Weights(device, tensors)
        self._wte = weights.matrix("wte", (config.vocab_size, config.n_embd))  # the head too
        self._blocks = [self._load_block(weights, f"blocks.{layer}") for layer in range(config.n_layer)]
        self._norm_f = weights.vector("norm_f.weight", (config.n_embd,))
        self._slopes = device.upload(alibi_slopes(config.n_head).numpy())
        self.num_params, self.weight_bytes = weights.num_params, weights.num_bytes
        self.weight_dtype = "int8" if self._wte.kind == "char" else "float32"

    def _load_block(self, weights: Weights, name: str) -> _Block:
        width = self.config.n_embd
        gate_logits = weights.tensor(f"{name}.attn.gate_logits", (self.config.n_modality, self.config.n_head))
        has_norm = self.config.qk_norm
        return _Block(
            norm_1=weights.vector(f"{name}.norm_1.weight", (width,)),
            c_attn=weights.matrix(f"{name}.attn.c_attn", (3 * width, width)),
            q_norm=weights.vector(f"{name}.attn.q_norm.weight", (width,)) if has_norm else None,
            k_norm=weights.vector(f"{name}.attn.k_norm.weight", (width,)) if has_norm else None,
            gates=self._opencl.upload(torch.sigmoid(gate_logits.float()).numpy()),
            c_proj=weights.matrix(f"{name}.attn.c_proj", (width, width)),
            norm_2=weights.vector(f"{name}.norm_2.weight", (width,)),
            c_fc=weights.matrix(f"{name}.mlp.c_fc", (4 * width, width)),
            mlp_proj=weights.matrix(f"{name}.mlp.c_proj", (width, 4 * width)),
        )

    @property
    def has_exact_rows(self) -> bool:
        """Sums of floating point numbers, whose order is the driver's: nothing is promised."""
        return False

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token embeddings: (B, T) int64 to (B, T, C)."""
        ids = token_ids.flatten()
        x = self._embed(self._opencl.upload(self._places(token_ids=ids)), len(ids))
        return torch.from_numpy(self._opencl.read(x, (*token_ids.shape, self.config.n_embd)))

    def prefill(
        self, embeddings: Tensor, modality: Tensor | None, cache: OpenCLCache, *, slot: int, start: int
    ) -> Tensor:
        """Read a piece of one prompt (T, C) into a cache slot; (V,) float32 logits after its last token."""
        num_rows = len(embeddings)
        positions = torch.arange(start, start + num_rows)
        places = self._places(positions, torch.full((num_rows,), slot), modality, cache=cache)
        x = self._opencl.upload(embeddings.float().numpy())
        residual = self._opencl.scratch("x", num_rows * self.config.n_embd)
        self._layers(x, residual, self._opencl.upload(places), num_rows, cache)
        return self._logits(residual, first=num_rows - 1, num_rows=1)[0]

    def decode_step(self, token_ids: Tensor, cache: OpenCLCache, slots: Tensor, lengths: Tensor) -> Tensor:
        """One more token for each of B sequences of any lengths; (B, V) float32 logits."""
        num_rows = len(token_ids)
        places = self._opencl.upload(self._places(lengths, slots, token_ids=token_ids, cache=cache))
        x = self._embed(places, num_rows)
        self._layers(x, x, places, num_rows, cache)
        return self._logits(x, first=0, num_rows=num_rows)

    def new_cache(
        self, num_slots: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> OpenCLCache:
        """An empty cache that fits this decoder, in float32 on its device.

        Raises:
            CapacityError: it does not fit.
        """
        config = self.config
        head_dim = config.n_embd // config.n_head
        return OpenCLCache(
            self._opencl, (config.n_layer, num_slots, config.n_head, config.context_len, head_dim)
        )

    def _embed(self, places: Buffer, num_rows: int) -> Buffer:
        x = self._opencl.scratch("x", num_rows * self.config.n_embd)
        self._kernels.embed(self._wte, places, x, num_rows=num_rows)
        return x

    def _layers(self, x: Buffer, out: Buffer, places: Buffer, num_rows: int, cache: OpenCLCache) -> None:
        """Run all layers over x (T, C); the last residual stream is in `out`, which may be x."""
        kernels, width = self._kernels, self.config.n_embd
        normed = self._opencl.scratch("normed", num_rows * width)
        hidden = self._opencl.scratch("hidden", num_rows * 4 * width)
        for layer, block in enumerate(self._blocks):
            kernels.layer_norm(x, block.norm_1, normed, num_rows=num_rows, width=width)
            heads = self._attention(normed, block, places, num_rows, (cache.k[layer], cache.v[layer], cache))
            kernels.linear(heads, block.c_proj, out, num_rows=num_rows, residual=x)
            x = out
            kernels.layer_norm(x, block.norm_2, normed, num_rows=num_rows, width=width)
            kernels.linear(normed, block.c_fc, hidden, num_rows=num_rows, activation=Activation.GELU_TANH)
            kernels.linear(hidden, block.mlp_proj, x, num_rows=num_rows, residual=x)

    def _attention(
        self,
        x: Buffer,
        block: _Block,
        places: Buffer,
        num_rows: int,
        layer_cache: tuple[Buffer, Buffer, OpenCLCache],
    ) -> Buffer:
        """Gated heads (T, C) of rows x (T, C), whose keys and values are added to the cache."""
        kernels, width, n_head = self._kernels, self.config.n_embd, self.config.n_head
        k, v, cache = layer_cache
        head_dim = width // n_head
        qkv = self._opencl.scratch("qkv", num_rows * 3 * width)
        heads = self._opencl.scratch("heads", num_rows * width)
        kernels.linear(x, block.c_attn, qkv, num_rows=num_rows)
        for start, norm in ((0, block.q_norm), (width, block.k_norm)):
            if norm is not None:
                kernels.layer_norm(
                    qkv,
                    norm,
                    qkv,
                    num_rows=num_rows,
                    width=width,
                    x_start=start,
                    y_start=start,
                    stride=3 * width,
                )
        shape = (num_rows, n_head, head_dim, cache.context_len)
        kernels.store(qkv, width, 3 * width, places, k, shape)
        kernels.store(qkv, 2 * width, 3 * width, places, v, shape)
        keys = Keys(
            k=k,
            v=v,
            sequence_stride=n_head * cache.context_len * head_dim,
            head_stride=cache.context_len * head_dim,
            key_stride=head_dim,
        )
        kernels.attend(
            qkv, 3 * width, keys, places, heads, num_rows=num_rows, n_head=n_head, head_dim=head_dim,
            slopes=self._slopes, gates=block.gates,
        )  # fmt: skip
        return heads

    def _logits(self, x: Buffer, *, first: int, num_rows: int) -> Tensor:
        """(rows, V) logits of rows first, first + 1, ... of the residual stream."""
        width, vocab_size = self.config.n_embd, self.config.vocab_size
        normed = self._opencl.scratch("normed", num_rows * width)
        logits = self._opencl.scratch("logits", num_rows * vocab_size)
        self._kernels.layer_norm(
            x, self._norm_f, normed, num_rows=num_rows, width=width, x_start=first * width
        )
        self._kernels.linear(normed, self._wte, logits, num_rows=num_rows)
        return torch.from_numpy(self._opencl.read(logits, (num_rows, vocab_size)))

    def _places(
        self,
        positions: Tensor | None = None,
        slots: Tensor | None = None,
        modality: Tensor | None = None,
        *,
        token_ids: Tensor | None = None,
        cache: OpenCLCache | None = None,
    ) -> NDArray[np.int32]:
        """(T, 4) int32 for the kernels, which check nothing: so everything is checked here."""
        limits = (
            (slots, cache.num_slots if cache else 1, "cache slot"),
            (positions, cache.context_len if cache else 1, "position"),
            (modality, self.config.n_modality, "modality"),
            (token_ids, self.config.vocab_size, "token id"),
        )
        given = [values for values, _, _ in limits if values is not None]
        places = np.zeros((len(given[0]), 4), dtype=np.int32)
        for column, (values, limit, what) in enumerate(limits):
            if values is None:
                continue
            if int(values.min()) < 0 or int(values.max()) >= limit:
                raise BackendError(f"got a {what} outside 0 to {limit - 1}; this is a mistake of LocalGPT's")
            places[:, column] = values.numpy()
        return places
