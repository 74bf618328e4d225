"""Denoisers of which a part is streamed: the same bits as those that are there as a whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from localgpt.compute.memory import ModuleHolder, State
from localgpt.compute.memory.state import Piece, Resident
from localgpt.errors import CheckpointError
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import OpenCheckpoint, kind_of
from localgpt.runtime.open.fitting import choose_resident, denoiser_bytes
from localgpt.runtime.open.paint import Painter, load
from localgpt.runtime.open.paint_streaming import StreamedBlocks
from localgpt.runtime.open.shelf import model_of_folder
from localgpt.tasks import PaintRequest, PaintResult
from localgpt.units import GIB
from tests.tiny_media import write_painter

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
Load = Callable[..., Painter]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Load:
    root = tmp_path_factory.mktemp("streamed")

    def get(name: str, **options: Any) -> Painter:
        folder = root / name
        if not folder.exists():
            write_painter(name, folder)
        return load(OpenCheckpoint(folder=folder, id=f"maker/{name}", kind=kind_of(folder), **options))

    return get


def paint(model: Painter) -> NDArray[np.uint8]:
    for module in model.modules.values():  # some processors add in another order where numbers lie unevenly
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.data_ptr() % 64:
                tensor.data = tensor.data.clone()
    request = PaintRequest(id="1", prompt="a red cat", num_steps=3, seed=5, width=64, height=64)
    with torch.inference_mode():
        result = model.answer(request, lambda event: None, lambda: False, model.sizes(request)[0])
    assert isinstance(result, PaintResult)
    return np.asarray(Image.open(io.BytesIO(result.images[0].data)))


@pytest.mark.parametrize("name", ["sdxl", "flux", "sd3"])
@pytest.mark.parametrize("part", [0.0, 0.9])
def test_pictures_have_the_same_bits(loaded: Load, name: str, part: float) -> None:
    plain = loaded(name)
    nbytes = measure(plain._loaded.denoiser).weight_bytes
    streamed = loaded(name, resident_bytes=int(part * nbytes))
    blocks = streamed._loaded.streamed
    assert blocks is not None and 0 < blocks.num_streamed <= blocks.num_blocks
    if part == 0.0:
        assert blocks.num_streamed == blocks.num_blocks
    assert streamed.notices[0].startswith("the denoiser is larger than the memory for it")
    expected = paint(plain)
    assert np.array_equal(paint(streamed), expected) and np.array_equal(paint(streamed), expected)
    assert streamed.status().weight_bytes == plain.status().weight_bytes


def test_what_stays_may_be_put_away(loaded: Load) -> None:
    streamed, expected = loaded("sdxl", resident_bytes=0), paint(loaded("sdxl"))
    assert np.array_equal(paint(streamed), expected)
    for module in streamed.modules.values():
        mover = ModuleHolder(module, read=lambda piece: {})
        mover.move("", "device", "host", "cpu")
        mover.move("", "host", "device", "cpu")
    assert np.array_equal(paint(streamed), expected)


def test_it_works_with_what_makes_painting_faster(loaded: Load) -> None:
    exact = loaded("sdxl", resident_bytes=0, fast="exact")
    assert np.abs(paint(exact).astype(int) - paint(loaded("sdxl")).astype(int)).max() <= 1
    assert not loaded("sdxl", resident_bytes=0, fast="compiled")._loaded.fast.switches.compiled


def test_the_budget_holds() -> None:
    torch.manual_seed(0)
    net = Chain(10)
    sizes = measure(net.transformer_blocks[0]).weight_bytes
    x = torch.randn(3, 8)
    expected = net(x)
    blocks = StreamedBlocks(net, torch.device("cpu"), 6 * sizes + measure(net.last).weight_bytes)
    assert blocks.num_streamed == 6
    assert torch.equal(net(x), expected) and torch.equal(net(x), expected)
    kept = Chain(10)
    assert StreamedBlocks(kept, torch.device("cpu"), 10**9).num_streamed == 0
    assert kept(x).shape == expected.shape


def test_blocks_may_come_in_another_order() -> None:
    net = Chain(4)
    x = torch.randn(3, 8)
    forwards, backwards = net(x), net(x, reverse=True)
    StreamedBlocks(net, torch.device("cpu"), 0)
    for _ in range(2):
        assert torch.equal(net(x), forwards) and torch.equal(net(x, reverse=True), backwards)


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a Linear has no blocks that could be streamed"):
        StreamedBlocks(nn.Linear(2, 2), torch.device("cpu"), 0)


def test_only_what_is_too_large_for_a_card_is_streamed(tmp_path: Path) -> None:
    model = model_of_folder(write_painter("sdxl", tmp_path / "xl"))
    needs = denoiser_bytes(model, device="cuda:0", fp16=False)
    assert 0 < needs < model.weight_bytes(device="cuda:0", fp16=False, quantize="none")
    small = State(budget_bytes=3 * GIB + needs - 1)
    assert choose_resident(model, small, device="cuda:0", fp16=False) == needs - 1
    assert choose_resident(model, small, device="cpu", fp16=False) is None
    enough = replace(small, budget_bytes=3 * GIB + needs)
    assert choose_resident(model, enough, device="cuda:0", fp16=False) is None
    fixed = Resident(name="family", kind="weights", pieces=(Piece(name="all", nbytes=5),), is_fixed=True)
    assert (
        choose_resident(model, replace(enough, residents=(fixed,)), device="cuda:0", fp16=False) == needs - 5
    )


class Chain(nn.Module):
    """Blocks one after the other."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(num))
        self.last = nn.Linear(8, 8)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor, *, reverse: bool = False) -> torch.Tensor:
        blocks = list(self.transformer_blocks)
        for block in reversed(blocks) if reverse else blocks:
            x = torch.tanh(block(x))
        out: torch.Tensor = self.last(x)
        return out
