"""The kernels as calls. Arrays are buffers on the device, row-major float32; the host only names their sizes.

Shape legend: T rows (tokens, or pixels of a picture), C channels, H heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from localgpt.compute.opencl.device import Buffer, OpenCLDevice
from localgpt.errors import BackendError, CheckpointError

__all__ = ["Activation", "Kernels", "Keys", "Matrix", "Weights"]

_COLUMNS = 4  # as in linear.cl
_ROWS = 4  # of a matrix-matrix product


class Activation(IntEnum):
    """What `linear` does to its sums; the numbers are those of linear.cl."""

    NONE = 0
    RELU = 1
    GELU = 2
    GELU_TANH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Weights (n_out, n_in) with a scale, and perhaps a bias, for each output channel."""

    weight: Buffer
    scale: Buffer  # (n_out,)
    bias: Buffer | None  # (n_out,)
    n_out: int
    n_in: int
    kind: str  # of the weights: "char" or "float"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Where keys and values lie: of sequence, head and position, in floats from the starts."""

    k: Buffer
    v: Buffer
    sequence_stride: int
    head_stride: int
    key_stride: int
    k_start: int = 0
    v_start: int = 0


class Weights:
    """Uploads a network's tensors, checks their shapes, and counts them.

    Args:
        device: where they go.
        tensors: by name, int8 matrices beside their scales, as a family's folder holds them.
    """

    def __init__(self, device: OpenCLDevice, tensors: Mapping[str, Tensor]) -> None:
        self._device, self._tensors = device, tensors
        self.num_params = 0
        self.num_bytes = 0

    def matrix(self, name: str, shape: tuple[int, int], *, bias: Tensor | None = None) -> Matrix:
        """The matrix `NAME.weight` of this shape.

        Raises:
            CheckpointError: it is missing or of another shape.
        """
        return self.place(*self.scaled(f"{name}.weight", shape), bias=bias)

    def place(self, weight: Tensor, scale: Tensor, *, bias: Tensor | None = None) -> Matrix:
        """Upload a matrix (n_out, n_in), int8 or floating point, with its scales (n_out,)."""
        is_int8 = weight.dtype == torch.int8
        weight = weight if is_int8 else weight.float()
        self._count(weight, scale, *([] if bias is None else [bias]))
        return Matrix(
            weight=self._device.upload(weight.numpy()),
            scale=self._device.upload(scale.float().numpy()),
            bias=None if bias is None else self._device.upload(bias.float().numpy()),
            n_out=weight.shape[0],
            n_in=weight.shape[1],
            kind="char" if is_int8 else "float",
        )

    def scaled(self, name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """A tensor as it is stored, and a scale for each output channel (1 where it is floating point).

        Raises:
            CheckpointError: it is missing or of another shape.
        """
        weight = self.tensor(name, shape)
        if weight.dtype != torch.int8:
            return weight, torch.ones(shape[0], dtype=torch.float32)
        return weight, self.tensor(f"{name}_scale", shape[:1])

    def vector(self, name: str, shape: tuple[int, ...]) -> Buffer:
        """Upload `NAME` as float32; errors as above."""
        values = self.tensor(name, shape).float()
        self._count(values)
        return self._device.upload(values.numpy())

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor on the host; errors as above."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{name} is missing")
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{name} has the shape {tuple(tensor.shape)}, expected {shape}")
        return tensor

    def _count(self, values: Tensor, *others: Tensor) -> None:
        self.num_params += values.numel()
        self.num_bytes += sum(tensor.nbytes for tensor in (values, *others))


class Kernels:
    """Calls the kernels of one device."""

    def __init__(self, device: OpenCLDevice) -> None:
        self._device = device

    def linear(
        self,
        x: Buffer,
        matrix: Matrix,
        y: Buffer,
        *,
        num_rows: int,
        activation: Activation = Activation.NONE,
        residual: Buffer | None = None,
    ) -> None:
        """`y = activate(x W^T + bias + residual)`: (T, n_in) to (T, n_out); `residual` may be `y`."""
        rows = 1 if num_rows == 1 else _ROWS
        kernel = self._device.kernel("linear", "linear", ROWS=rows, WEIGHT=matrix.kind)
        groups = (-(-num_rows // rows), -(-matrix.n_out // _COLUMNS))
        self._device.run(
            kernel, groups, x, matrix.weight, matrix.scale, matrix.bias, residual, y,
            num_rows, matrix.n_in, matrix.n_out, int(activation), uses_lanes=True,
        )  # fmt: skip

    def embed(self, table: Matrix, places: Buffer, y: Buffer, *, num_rows: int) -> None:
        """`y[t] = table[token id of t]`, (T, C); the ids are the last of the places."""
        kernel = self._device.kernel("linear", "embed", ROWS=1, WEIGHT=table.kind)
        self._device.run(kernel, (table.n_in, num_rows), table.weight, table.scale, places, y)

    def layer_norm(
        self,
        x: Buffer,
        weight: Buffer,
        y: Buffer,
        *,
        num_rows: int,
        width: int,
        x_start: int = 0,
        y_start: int = 0,
        stride: int | None = None,
    ) -> None:
        """Normalise rows of `width`, `stride` apart in x and y (None: side by side); y may be x."""
        stride = width if stride is None else stride
        kernel = self._device.kernel("rows", "layer_norm")
        self._device.run(
            kernel, (num_rows,), x, x_start, stride, weight, y, y_start, stride, width, 1e-5, uses_lanes=True
        )

    def store(
        self,
        x: Buffer,
        x_start: int,
        x_stride: int,
        places: Buffer,
        cache: Buffer,
        shape: tuple[int, int, int, int],
    ) -> None:
        """Put rows (T, H * D) into a cache of (H, context, D) a sequence; `shape` is (T, H, D, context)."""
        num_rows, n_head, head_dim, context_len = shape
        kernel = self._device.kernel("rows", "store")
        groups = (n_head * head_dim, num_rows)
        self._device.run(kernel, groups, x, x_start, x_stride, places, cache, n_head, head_dim, context_len)

    def attend(
        self,
        q: Buffer,
        q_stride: int,
        keys: Keys,
        places: Buffer,
        y: Buffer,
        *,
        num_rows: int,
        n_head: int,
        head_dim: int,
        slopes: Buffer,
        gates: Buffer,
    ) -> None:
        """Attend from each row to the keys of its sequence up to its position, with ALiBi; y is (T, H * D).

        `slopes` is (H,), `gates` (modalities, H).
        """
        if head_dim % 4:
            raise BackendError(f"heads are {head_dim} wide; the OpenCL kernels need a multiple of 4")
        kernel = self._device.kernel("attention", "attend", HEAD_DIM=head_dim)
        self._device.run(
            kernel, (n_head, num_rows), q, q_stride, keys.k, keys.k_start, keys.v, keys.v_start,
            keys.sequence_stride, keys.head_stride, keys.key_stride, places, slopes, gates, y,
            uses_lanes=True,
        )  # fmt: skip

    def add(self, x: Buffer, z: Buffer, y: Buffer, *, size: int) -> None:
        """`y = x + z`, element by element."""
        self._device.run(self._device.kernel("rows", "add"), (size,), x, z, y)

    def mean_of_rows(self, x: Buffer, y: Buffer, *, num_rows: int, width: int) -> None:
        """The mean (C,) over rows (T, C)."""
        self._device.run(self._device.kernel("rows", "mean_of_rows"), (width,), x, y, num_rows)

    def im2col(self, picture: Buffer, columns: Buffer, *, side: int, channels: int, stride: int = 1) -> None:
        """Rows of 3 x 3 neighbourhoods: (side * side, C) to ((side / stride)^2, 9 * C), zeros outside."""
        side_out = side // stride
        kernel = self._device.kernel("pictures", "im2col")
        groups = (9 * channels, side_out * side_out)
        self._device.run(kernel, groups, picture, columns, side, channels, side_out, stride)

    def average_pool(self, x: Buffer, y: Buffer, *, side: int, channels: int) -> None:
        """Means of 2 x 2 pixels: (side * side, C) to ((side / 2)^2, C)."""
        kernel = self._device.kernel("pictures", "average_pool")
        self._device.run(kernel, (channels, (side // 2) ** 2), x, y, side // 2)

    def grid(self, fine: Buffer, coarse: Buffer, y: Buffer, *, side: int, n_fine: int, n_coarse: int) -> None:
        """Fine features beside the coarse ones of half the side: (side * side, n_fine + n_coarse)."""
        kernel = self._device.kernel("pictures", "grid")
        self._device.run(kernel, (n_fine + n_coarse, side * side), fine, coarse, y, side, n_fine, n_coarse)
