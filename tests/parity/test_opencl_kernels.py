"""Every OpenCL kernel against its formula in float64, with the lanes of a CPU and of a GPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from localgpt.compute.opencl.device import Buffer, OpenCLDevice
from localgpt.compute.opencl.kernels import Activation, Kernels, Keys, Matrix, Weights
from tests.opencl_devices import BOTH_KINDS, open_device

TOLERANCE = 2e-5  # float32, of values near 1
Array = NDArray[Any]


@pytest.fixture(params=BOTH_KINDS, ids=lambda lanes: f"{lanes}-lanes")
def device(request: pytest.FixtureRequest) -> OpenCLDevice:
    return open_device(request.param)


@pytest.fixture
def kernels(device: OpenCLDevice) -> Kernels:
    return Kernels(device)


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make_places(*rows: tuple[int, int, int, int]) -> NDArray[np.int32]:
    return np.array(rows, dtype=np.int32)


def make_matrix(
    device: OpenCLDevice, n_out: int, n_in: int, *, kind: str, bias: bool
) -> tuple[Matrix, Array, Array]:
    """A matrix on the device, the same one in float64, and its bias."""
    rng = np.random.default_rng(n_out + n_in)
    scale = rng.uniform(0.5, 1.5, n_out) / (127 * math.sqrt(n_in) if kind == "char" else math.sqrt(n_in))
    values = rng.integers(-127, 128, (n_out, n_in)) if kind == "char" else rng.standard_normal((n_out, n_in))
    weight = torch.from_numpy(values).to(torch.int8 if kind == "char" else torch.float32)
    shift = torch.from_numpy(noise(n_out, seed=5)) if bias else None
    scales = torch.from_numpy(scale).float()
    placed = Weights(device, {}).place(weight, scales, bias=shift)
    exact = weight.double() * scales.double()[:, None]
    return placed, exact.numpy(), np.zeros(n_out) if shift is None else shift.double().numpy()


def activate(x: Array, activation: Activation) -> Array:
    if activation is Activation.RELU:
        return np.maximum(x, 0)
    if activation is Activation.GELU:
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    if activation is Activation.GELU_TANH:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x


@pytest.mark.parametrize("kind", ["char", "float"])
@pytest.mark.parametrize(
    ("num_rows", "n_in", "n_out"), [(1, 64, 7), (1, 75, 64), (3, 5, 1), (4, 16, 8), (9, 200, 30)]
)
def test_linear(
    device: OpenCLDevice, kernels: Kernels, kind: str, num_rows: int, n_in: int, n_out: int
) -> None:
    for activation in Activation:
        has_more = activation in (Activation.RELU, Activation.GELU)
        matrix, exact, bias = make_matrix(device, n_out, n_in, kind=kind, bias=has_more)
        x, residual = noise(num_rows, n_in), noise(num_rows, n_out, seed=1) * has_more
        y = device.empty(num_rows * n_out)
        kernels.linear(
            device.upload(x), matrix, y, num_rows=num_rows, activation=activation,
            residual=device.upload(residual) if has_more else None,
        )  # fmt: skip
        expected = activate(x.astype(np.float64) @ exact.T + bias + residual, activation)
        assert np.abs(device.read(y, expected.shape) - expected).max() < TOLERANCE


def test_linear_adds_in_place(device: OpenCLDevice, kernels: Kernels) -> None:
    matrix, exact, _ = make_matrix(device, 32, 32, kind="char", bias=False)
    x, y = noise(6, 32), noise(6, 32, seed=1)
    held = device.empty(y.size)
    kernels.add(device.upload(y), device.upload(np.zeros_like(y)), held, size=y.size)
    kernels.linear(device.upload(x), matrix, held, num_rows=6, residual=held)
    assert np.abs(device.read(held, y.shape) - (y + x @ exact.T)).max() < TOLERANCE


@pytest.mark.parametrize("kind", ["char", "float"])
def test_embed(device: OpenCLDevice, kernels: Kernels, kind: str) -> None:
    table, exact, _ = make_matrix(device, 50, 24, kind=kind, bias=False)
    ids = [49, 0, 7]
    places = device.upload(make_places(*((0, 0, 0, token_id) for token_id in ids)))
    y = device.empty(3 * 24)
    kernels.embed(table, places, y, num_rows=3)
    assert np.abs(device.read(y, (3, 24)) - exact[ids]).max() < TOLERANCE


@pytest.mark.parametrize("width", [5, 64, 200])
def test_layer_norm_within_wider_rows(device: OpenCLDevice, kernels: Kernels, width: int) -> None:
    """In place, in the middle third of the rows, and nothing else is touched."""
    x, weight = noise(4, 3 * width) * 3 + 7, noise(width, seed=2)
    held = device.empty(x.size)
    kernels.add(device.upload(x), device.upload(np.zeros_like(x)), held, size=x.size)
    kernels.layer_norm(
        held,
        device.upload(weight),
        held,
        num_rows=4,
        width=width,
        x_start=width,
        y_start=width,
        stride=3 * width,
    )
    middle = x[:, width : 2 * width].astype(np.float64)
    factor = 1 / np.sqrt(middle.var(axis=1, keepdims=True) + 1e-5)
    expected = x.astype(np.float64)
    expected[:, width : 2 * width] = (middle - middle.mean(axis=1, keepdims=True)) * factor * weight
    assert np.abs(device.read(held, x.shape) - expected).max() < TOLERANCE


def test_store(device: OpenCLDevice, kernels: Kernels) -> None:
    num_slots, n_head, head_dim, context_len = 3, 2, 4, 6
    shape = (num_slots, n_head, context_len, head_dim)
    cache = device.empty(math.prod(shape))
    zeros = device.upload(np.zeros(shape, dtype=np.float32))
    kernels.add(zeros, zeros, cache, size=math.prod(shape))
    x = noise(2, 24)  # the middle third of each row is stored
    places = make_places((2, 5, 0, 0), (0, 1, 0, 0))
    kernels.store(device.upload(x), 8, 24, device.upload(places), cache, (2, n_head, head_dim, context_len))
    expected = np.zeros(shape, dtype=np.float32)
    expected[2, :, 5] = x[0, 8:16].reshape(n_head, head_dim)
    expected[0, :, 1] = x[1, 8:16].reshape(n_head, head_dim)
    assert np.array_equal(device.read(cache, shape), expected)


def attention(q: Array, k: Array, v: Array, places: Array, slopes: Array, gates: Array) -> Array:
    """q (T, H, D) over k and v (slots, H, S, D), row by row."""
    rows = []
    for query, (slot, position, modality, _) in zip(q.astype(np.float64), places, strict=True):
        keys, values = k[slot, :, : position + 1], v[slot, :, : position + 1]
        scores = np.einsum("hd,hsd->hs", query, keys) / math.sqrt(q.shape[2])
        scores -= slopes[:, None] * (position - np.arange(position + 1))
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        rows.append(np.einsum("hs,hsd->hd", weights, values) * gates[modality][:, None])
    return np.stack(rows)


@pytest.mark.parametrize(("head_dim", "sharpness"), [(4, 1), (8, 20), (64, 1), (32, 50)])
def test_attend_over_the_cache(device: OpenCLDevice, kernels: Kernels, head_dim: int, sharpness: int) -> None:
    """A prompt's rows and rows of several sequences of any lengths are the same to the kernel."""
    n_head, context_len, num_slots = 4, 40, 3
    q = noise(5, n_head, head_dim) * sharpness
    k, v = (
        noise(num_slots, n_head, context_len, head_dim, seed=1),
        noise(num_slots, n_head, context_len, head_dim, seed=2),
    )
    places = make_places((0, 38, 0, 0), (0, 39, 1, 0), (2, 0, 2, 0), (1, 7, 0, 0), (1, 8, 1, 0))
    slopes, gates = np.array([0.5, 0.1, 0.01, 0.001], np.float32), np.abs(noise(3, n_head, seed=3))
    y = device.empty(q.size)
    keys = Keys(
        k=device.upload(k), v=device.upload(v), sequence_stride=n_head * context_len * head_dim,
        head_stride=context_len * head_dim, key_stride=head_dim,
    )  # fmt: skip
    kernels.attend(
        device.upload(q), n_head * head_dim, keys, device.upload(places), y, num_rows=5, n_head=n_head,
        head_dim=head_dim, slopes=device.upload(slopes), gates=device.upload(gates),
    )  # fmt: skip
    expected = attention(q, k.astype(np.float64), v.astype(np.float64), places, slopes, gates)
    assert np.abs(device.read(y, q.shape) - expected).max() < 10 * TOLERANCE


def test_attend_within_a_product(device: OpenCLDevice, kernels: Kernels) -> None:
    """Queries, keys and values side by side, as the text tower has them; every row sees every other."""
    num_rows, n_head, head_dim = 11, 2, 8
    width = n_head * head_dim
    qkv = noise(num_rows, 3, n_head, head_dim)
    places = make_places(*((0, num_rows - 1, 0, 0) for _ in range(num_rows)))
    zeros, ones = np.zeros(n_head, np.float32), np.ones((1, n_head), np.float32)
    held, y = device.upload(qkv), device.empty(num_rows * width)
    keys = Keys(
        k=held, k_start=width, v=held, v_start=2 * width,
        sequence_stride=0, head_stride=head_dim, key_stride=3 * width,
    )  # fmt: skip
    kernels.attend(
        held, 3 * width, keys, device.upload(places), y, num_rows=num_rows, n_head=n_head, head_dim=head_dim,
        slopes=device.upload(zeros), gates=device.upload(ones),
    )  # fmt: skip
    q, k, v = qkv.astype(np.float64).transpose(1, 0, 2, 3)
    expected = attention(q, k.transpose(1, 0, 2)[None], v.transpose(1, 0, 2)[None], places, zeros, ones)
    assert np.abs(device.read(y, expected.shape) - expected).max() < TOLERANCE


def test_mean_of_rows(device: OpenCLDevice, kernels: Kernels) -> None:
    x, y = noise(7, 10), device.empty(10)
    kernels.mean_of_rows(device.upload(x), y, num_rows=7, width=10)
    assert np.abs(device.read(y, (10,)) - x.astype(np.float64).mean(axis=0)).max() < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
def test_im2col_and_a_product_are_a_convolution(device: OpenCLDevice, kernels: Kernels, stride: int) -> None:
    side, n_in, n_out = 6, 5, 7
    picture, weight = noise(side, side, n_in), noise(n_out, n_in, 3, 3, seed=1)
    side_out = side // stride
    columns: Buffer = device.empty(side_out**2 * 9 * n_in)
    kernels.im2col(device.upload(picture), columns, side=side, channels=n_in, stride=stride)
    rows = device.read(columns, (side_out**2, 9 * n_in)).astype(np.float64)
    expected = F.conv2d(
        torch.from_numpy(picture).double().permute(2, 0, 1)[None],
        torch.from_numpy(weight).double(), stride=stride, padding=1,
    )[0].flatten(1).T.numpy()  # fmt: skip
    got = rows @ weight.astype(np.float64).transpose(0, 2, 3, 1).reshape(n_out, -1).T
    assert np.abs(got - expected).max() < 1e-12


def test_average_pool(device: OpenCLDevice, kernels: Kernels) -> None:
    x, y = noise(6, 6, 5), device.empty(9 * 5)
    kernels.average_pool(device.upload(x), y, side=6, channels=5)
    expected = x.astype(np.float64).reshape(3, 2, 3, 2, 5).mean(axis=(1, 3))
    assert np.abs(device.read(y, (3, 3, 5)) - expected).max() < TOLERANCE


def test_grid(device: OpenCLDevice, kernels: Kernels) -> None:
    fine, coarse, y = noise(4, 4, 3), noise(2, 2, 5, seed=1), device.empty(16 * 8)
    kernels.grid(device.upload(fine), device.upload(coarse), y, side=4, n_fine=3, n_coarse=5)
    expected = np.concatenate([fine, coarse.repeat(2, axis=0).repeat(2, axis=1)], axis=2)
    assert np.array_equal(device.read(y, (4, 4, 8)), expected)
