"""The joint encoder on an OpenCL device: `models.encoder`, kernel by kernel.

Notable:
- A picture is (pixels, channels), so that a 1 x 1 convolution is a matrix product and a 3 x 3 one is another
  over its neighbourhoods (im2col).
- Batch norms are folded into the convolutions: their factors into the scale of each output channel, what
  is left into a bias. Int8 weights stay int8.
- One picture, or one text, at a time.

Shape legend: N pixels of a side * side grid, C channels, T text tokens, E embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from localgpt.compute.opencl.device import Buffer, OpenCLDevice
from localgpt.compute.opencl.kernels import Activation, Kernels, Keys, Matrix, Weights
from localgpt.compute.opencl.text_tower import OpenCLTextTower
from localgpt.models.encoder import Bottleneck, EncoderConfig

__all__ = ["OpenCLEncoder", "fold_conv"]

_BATCH_NORM_EPSILON = 1e-5  # torch's default, as the networks have it


@dataclass(frozen=True, slots=True)
class _Bottleneck:
    """Weights of one residual block; `shortcut` is None where the input is added as it is."""

    conv1: Matrix
    conv2: Matrix
    conv3: Matrix
    shortcut: Matrix | None
    stride: int


class OpenCLEncoder:
    """Pictures and texts into one space; methods and arguments are those of `models.encoder.JointEncoder`.

    What comes in and goes out are torch tensors on the CPU; weights and features stay on the device.

    Args:
        config: shape.
        tensors: by name, as a family's folder holds them, without their "encoder." in front.
        device: where it runs.

    Raises:
        CheckpointError: a tensor is missing or of another shape.
        CapacityError: the device's memory is too small.
    """

    def __init__(self, config: EncoderConfig, tensors: Mapping[str, Tensor], device: OpenCLDevice) -> None:
        self.config = config
        self.device, self.dtype = torch.device("cpu"), torch.float32  # of what comes in and goes out
        self._opencl, self._kernels = device, Kernels(device)
        weights = Weights(device, tensors)
        width, embed_dim = config.stem_width, config.embed_dim
        self._stem = [
            fold_conv(weights, f"image.stem.{place}", f"image.stem.{place + 1}", shape)
            for place, shape in (
                (0, (width // 2, 3, 3, 3)),
                (3, (width // 2, width // 2, 3, 3)),
                (6, (width, width // 2, 3, 3)),
            )
        ]
        self._stages = _load_stages(weights, config)
        n_in, grid = width * 8 * Bottleneck.expansion, (config.image_size // 32) ** 2
        self._positions = weights.vector("image.pool.positions", (grid, n_in))
        self._c_q = weights.matrix("image.pool.c_q", (embed_dim, n_in))
        self._c_kv = weights.matrix("image.pool.c_kv", (2 * embed_dim, n_in))
        self._c_proj = weights.matrix("image.pool.c_proj", (embed_dim, embed_dim))
        self._slopes = device.upload(np.zeros(config.n_pool_head, dtype=np.float32))
        self._gates = device.upload(np.ones(config.n_pool_head, dtype=np.float32))
        self._pool_place = device.upload(np.array([[0, grid - 1, 0, 0]], dtype=np.int32))
        self._text = OpenCLTextTower(config, weights, device)
        self.num_params, self.weight_bytes = weights.num_params, weights.num_bytes
        self.weight_dtype = self._c_kv.kind.replace("char", "int8").replace("float", "float32")

    def read_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Grid features for the decoder and the picture's vector, from one pass.

        Args:
            pixels: (B, 3, S, S) in [-1, 1].

        Returns:
            (B, N, n_feature) row by row, and (B, E) of unit length.
        """
        side, n_feature = self.config.grid_size, self.config.n_feature
        rows, vectors = [], []
        for picture in pixels:
            fine, coarse = self._run_stages(picture)
            grid = self._opencl.scratch("grid", side * side * n_feature)
            n_fine = self.config.stem_width * 16
            self._kernels.grid(fine, coarse, grid, side=side, n_fine=n_fine, n_coarse=n_feature - n_fine)
            rows.append(self._opencl.read(grid, (side * side, n_feature)))
            vectors.append(self._pool(coarse))
        return torch.from_numpy(np.stack(rows)), F.normalize(torch.stack(vectors), dim=-1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) float RGB in [-1, 1] to (B, E) of unit length."""
        return F.normalize(
            torch.stack([self._pool(self._run_stages(picture)[1]) for picture in pixels]), dim=-1
        )

    def encode_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, T) int64 padded on the right and (B,) lengths of at least 1, to (B, E) of unit length."""
        limit = min(self.config.text_context_len, token_ids.shape[1])
        pieces = zip(token_ids, lengths.clamp(max=limit).tolist(), strict=True)
        return F.normalize(torch.stack([self._text.run(row[:length]) for row, length in pieces]), dim=-1)

    def _run_stages(self, picture: Tensor) -> tuple[Buffer, Buffer]:
        """Outputs of stage 3 and stage 4 for pixels (3, S, S)."""
        side = self.config.image_size
        x = self._opencl.upload(picture.float().permute(1, 2, 0).contiguous().numpy())
        channels = 3
        for number, matrix in enumerate(self._stem):
            x = self._conv3x3(
                x, matrix, side, channels, name=f"stem {number}", stride=2 if number == 0 else 1
            )
            side, channels = side // 2 if number == 0 else side, matrix.n_out
        x, side = self._average_pool(x, side, channels, name="stem pool"), side // 2
        outputs = []
        for number, stage in enumerate(self._stages):
            for block in stage:
                x = self._bottleneck(x, block, side, name=f"stage {number}")
                side //= block.stride
            outputs.append(x)
        return outputs[2], outputs[3]

    def _bottleneck(self, x: Buffer, block: _Bottleneck, side: int, *, name: str) -> Buffer:
        """(N, n_in) to (N / stride^2, n_out), in the scratch `name`; x may lie there if nothing is pooled."""
        kernels, num_rows = self._kernels, side * side
        width, n_in = block.conv1.n_out, block.conv1.n_in
        hidden = self._opencl.scratch("conv1", num_rows * width)
        kernels.linear(x, block.conv1, hidden, num_rows=num_rows, activation=Activation.RELU)
        hidden = self._conv3x3(hidden, block.conv2, side, width, name="conv2")
        shortcut = x
        if block.stride > 1:
            hidden = self._average_pool(hidden, side, width, name="conv2 pool")
            shortcut = self._average_pool(x, side, n_in, name="shortcut pool")
            num_rows //= 4
        if block.shortcut is not None:
            before = shortcut
            shortcut = self._opencl.scratch("shortcut", num_rows * block.shortcut.n_out)
            kernels.linear(before, block.shortcut, shortcut, num_rows=num_rows)
        out = self._opencl.scratch(name, num_rows * block.conv3.n_out)
        kernels.linear(
            hidden, block.conv3, out, num_rows=num_rows, activation=Activation.RELU, residual=shortcut
        )
        return out

    def _conv3x3(
        self, x: Buffer, matrix: Matrix, side: int, channels: int, *, name: str, stride: int = 1
    ) -> Buffer:
        num_rows = (side // stride) ** 2
        columns = self._opencl.scratch("columns", num_rows * 9 * channels)
        out = self._opencl.scratch(name, num_rows * matrix.n_out)
        self._kernels.im2col(x, columns, side=side, channels=channels, stride=stride)
        self._kernels.linear(columns, matrix, out, num_rows=num_rows, activation=Activation.RELU)
        return out

    def _average_pool(self, x: Buffer, side: int, channels: int, *, name: str) -> Buffer:
        out = self._opencl.scratch(name, (side // 2) ** 2 * channels)
        self._kernels.average_pool(x, out, side=side, channels=channels)
        return out

    def _pool(self, coarse: Buffer) -> Tensor:
        """Attention pooling of stage 4 (N, C): one query, their mean, over all positions; (E,)."""
        kernels, embed_dim, n_head = self._kernels, self.config.embed_dim, self.config.n_pool_head
        num_rows, channels = (self.config.image_size // 32) ** 2, self._c_kv.n_in
        grid = self._opencl.scratch("pool grid", num_rows * channels)
        mean = self._opencl.scratch("pool mean", channels)
        query, pooled, out = (
            self._opencl.scratch(f"pool {name}", embed_dim) for name in ("q", "heads", "out")
        )
        kv = self._opencl.scratch("pool kv", num_rows * 2 * embed_dim)
        kernels.add(coarse, self._positions, grid, size=num_rows * channels)
        kernels.mean_of_rows(grid, mean, num_rows=num_rows, width=channels)
        kernels.linear(mean, self._c_q, query, num_rows=1)
        kernels.linear(grid, self._c_kv, kv, num_rows=num_rows)
        head_dim = embed_dim // n_head
        keys = Keys(
            k=kv, v=kv, v_start=embed_dim, sequence_stride=0, head_stride=head_dim, key_stride=2 * embed_dim
        )
        kernels.attend(
            query, embed_dim, keys, self._pool_place, pooled, num_rows=1, n_head=n_head, head_dim=head_dim,
            slopes=self._slopes, gates=self._gates,
        )  # fmt: skip
        kernels.linear(pooled, self._c_proj, out, num_rows=1)
        return torch.from_numpy(self._opencl.read(out, (embed_dim,)))


def fold_conv(weights: Weights, conv: str, norm: str, shape: tuple[int, int, int, int]) -> Matrix:
    """A convolution (n_out, n_in, k, k) and the batch norm behind it as one matrix (n_out, k * k * n_in).

    Raises:
        CheckpointError: a tensor is missing or of another shape.
    """
    weight, scale = weights.scaled(f"{conv}.weight", shape)
    gain, shift, mean, variance = (
        weights.tensor(f"{norm}.{name}", shape[:1]).float()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gain / torch.sqrt(variance + _BATCH_NORM_EPSILON)
    flat = weight.permute(0, 2, 3, 1).reshape(shape[0], -1).contiguous()
    return weights.place(flat, scale * factor, bias=shift - mean * factor)


def _load_stages(weights: Weights, config: EncoderConfig) -> list[list[_Bottleneck]]:
    stages, n_in = [], config.stem_width
    for i, num_blocks in enumerate(config.stage_blocks):
        width = config.stem_width << i
        n_out = width * Bottleneck.expansion
        stage = []
        for j in range(num_blocks):
            name, stride = f"image.stages.{i}.{j}", 2 if i > 0 and j == 0 else 1
            has_shortcut = stride > 1 or n_in != n_out
            shortcut = (f"{name}.shortcut.conv", f"{name}.shortcut.bn", (n_out, n_in, 1, 1))
            stage.append(
                _Bottleneck(
                    conv1=fold_conv(weights, f"{name}.conv1", f"{name}.bn1", (width, n_in, 1, 1)),
                    conv2=fold_conv(weights, f"{name}.conv2", f"{name}.bn2", (width, width, 3, 3)),
                    conv3=fold_conv(weights, f"{name}.conv3", f"{name}.bn3", (n_out, width, 1, 1)),
                    shortcut=fold_conv(weights, *shortcut) if has_shortcut else None,
                    stride=stride,
                )
            )
            n_in = n_out
        stages.append(stage)
    return stages
