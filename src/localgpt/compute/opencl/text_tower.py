"""The encoder's text tower on an OpenCL device: `models.encoder.TextEncoder`, one text at a time.

Shape legend: T tokens, C width, E embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from localgpt.compute.opencl.device import Buffer, OpenCLDevice
from localgpt.compute.opencl.kernels import Activation, Kernels, Keys, Matrix, Weights
from localgpt.errors import BackendError
from localgpt.models.encoder import EncoderConfig

__all__ = ["OpenCLTextTower"]


@dataclass(frozen=True, slots=True)
class _Block:
    """Weights of one layer."""

    norm_1: Buffer
    c_attn: Matrix
    c_proj: Matrix
    norm_2: Buffer
    mlp_fc: Matrix
    mlp_proj: Matrix


class OpenCLTextTower:
    """Texts to vectors (E,), not yet of unit length.

    Args:
        config: shape.
        weights: of the whole encoder.
        device: where it runs.
    """

    def __init__(self, config: EncoderConfig, weights: Weights, device: OpenCLDevice) -> None:
        self._config, self._opencl, self._kernels = config, device, Kernels(device)
        width = config.n_text_embd
        self._wte = weights.matrix("text.wte", (config.vocab_size, config.n_token_embd))
        self._widen = weights.matrix("text.widen", (width, config.n_token_embd))
        self._positions = weights.vector("text.positions", (config.text_context_len, width))
        self._blocks = [
            _load_block(weights, f"text.blocks.{layer}", width) for layer in range(config.n_text_layer)
        ]
        self._norm_f = weights.vector("text.norm_f.weight", (width,))
        self._c_proj = weights.matrix("text.c_proj", (config.embed_dim, width))
        self._slopes = device.upload(np.zeros(config.n_text_head, dtype=np.float32))
        self._gates = device.upload(np.ones(config.n_text_head, dtype=np.float32))

    def run(self, token_ids: Tensor) -> Tensor:
        """One text of (T,) int64 tokens, as many as the tower reads at most, to (E,)."""
        kernels, config = self._kernels, self._config
        num_rows, width = len(token_ids), config.n_text_embd
        places = self._opencl.upload(self._places(token_ids))
        x = self._opencl.scratch("text x", num_rows * width)
        normed = self._opencl.scratch("text normed", num_rows * width)
        hidden = self._opencl.scratch("text hidden", num_rows * max(4 * width, config.n_token_embd))
        kernels.embed(self._wte, places, hidden, num_rows=num_rows)
        kernels.linear(hidden, self._widen, x, num_rows=num_rows, residual=self._positions)
        for block in self._blocks:
            kernels.layer_norm(x, block.norm_1, normed, num_rows=num_rows, width=width)
            heads = self._attention(normed, block, places, num_rows)
            kernels.linear(heads, block.c_proj, x, num_rows=num_rows, residual=x)
            kernels.layer_norm(x, block.norm_2, normed, num_rows=num_rows, width=width)
            kernels.linear(normed, block.mlp_fc, hidden, num_rows=num_rows, activation=Activation.GELU)
            kernels.linear(hidden, block.mlp_proj, x, num_rows=num_rows, residual=x)
        kernels.layer_norm(x, self._norm_f, normed, num_rows=num_rows, width=width)
        mean = self._opencl.scratch("text mean", width)
        out = self._opencl.scratch("text out", config.embed_dim)
        kernels.mean_of_rows(normed, mean, num_rows=num_rows, width=width)
        kernels.linear(mean, self._c_proj, out, num_rows=1)
        return torch.from_numpy(self._opencl.read(out, (config.embed_dim,)))

    def _attention(self, x: Buffer, block: _Block, places: Buffer, num_rows: int) -> Buffer:
        """Heads (T, C) of every row over every row; keys and values stay where the product left them."""
        width, n_head = self._config.n_text_embd, self._config.n_text_head
        head_dim = width // n_head
        qkv = self._opencl.scratch("text qkv", num_rows * 3 * width)
        heads = self._opencl.scratch("text heads", num_rows * width)
        self._kernels.linear(x, block.c_attn, qkv, num_rows=num_rows)
        keys = Keys(
            k=qkv, k_start=width, v=qkv, v_start=2 * width,
            sequence_stride=0, head_stride=head_dim, key_stride=3 * width,
        )  # fmt: skip
        self._kernels.attend(
            qkv, 3 * width, keys, places, heads, num_rows=num_rows, n_head=n_head, head_dim=head_dim,
            slopes=self._slopes, gates=self._gates,
        )  # fmt: skip
        return heads

    def _places(self, token_ids: Tensor) -> np.ndarray:
        """(T, 4) int32: each row attends up to the last, so that is every row's position."""
        vocab_size, limit = self._config.vocab_size, self._config.text_context_len
        if (
            not 1 <= len(token_ids) <= limit
            or not 0 <= int(token_ids.min()) <= int(token_ids.max()) < vocab_size
        ):
            raise BackendError(
                f"got {len(token_ids)} token ids, expected 1 to {limit}, each below {vocab_size}; "
                "this is a mistake of LocalGPT's"
            )
        places = np.zeros((len(token_ids), 4), dtype=np.int32)
        places[:, 1] = len(token_ids) - 1
        places[:, 3] = token_ids.numpy()
        return places


def _load_block(weights: Weights, name: str, width: int) -> _Block:
    return _Block(
        norm_1=weights.vector(f"{name}.norm_1.weight", (width,)),
        c_attn=weights.matrix(f"{name}.c_attn", (3 * width, width)),
        c_proj=weights.matrix(f"{name}.c_proj", (width, width)),
        norm_2=weights.vector(f"{name}.norm_2.weight", (width,)),
        mlp_fc=weights.matrix(f"{name}.mlp_fc", (4 * width, width)),
        mlp_proj=weights.matrix(f"{name}.mlp_proj", (width, 4 * width)),
    )
