"""Training parts: gradients of several processes, skipped steps, and maps that follow their pictures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from localgpt.training.optimizer import step_all
from localgpt.training.parallel import Group, join_group
from recipes.augment import Augmentation, augment_with_grid
from recipes.cells import CellHead, CellMaps

WORKER = """
import torch
from torch import nn
from localgpt.training.parallel import join_group
group = join_group("cpu")
layers = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(4))]
layers[0].grad = torch.full((2, 3), 1.0 + group.rank)
if group.rank == 1:
    layers[1].grad = torch.full((4,), 6.0)
group.average_gradients(layers)
print(group.rank, group.size, group.is_first, layers[0].grad.unique().item(), layers[1].grad.unique().item())
print(group.agree(float(group.rank + 5), "cpu"))
group.leave()
"""


def test_a_single_process_is_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = join_group("cpu")
    assert group == Group() and group.is_first
    assert group.agree(0.25, "cpu") == 0.25


def test_two_processes_average_their_gradients_and_agree() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    told = [worker.communicate(timeout=120) for worker in workers]
    assert told[0][0].split("\n")[:2] == ["0 2 True 1.5 3.0", "5.0"], told[0][1]
    assert told[1][0].split("\n")[:2] == ["1 2 False 1.5 3.0", "5.0"], told[1][1]


def test_a_step_with_broken_gradients_is_left_out() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.tensor([1.0, float("nan"), 0.0])
    assert not step_all([optimizer], [weight])
    assert weight.tolist() == [1.0, 1.0, 1.0]
    assert weight.grad is None
    weight.grad = torch.tensor([3.0, 0.0, 4.0])
    assert step_all([optimizer], [weight], max_norm=1.0)
    assert torch.allclose(weight.detach(), torch.tensor([0.4, 1.0, 0.2]), atol=1e-5)


def test_cell_maps_follow_the_warp_of_their_pictures() -> None:
    """A white square on black: wherever the warped picture is white, the warped map says so."""
    images = torch.zeros(1, 96, 96, 3, dtype=torch.uint8)
    images[0, 24:72, 12:48] = 255
    box = [12 / 96, 24 / 96, 48 / 96, 72 / 96]
    pictures = SimpleNamespace(images=images, samples=[{"image": 0, "objects": [[7, 2, *box]]}])
    maps = CellMaps.of(pictures, "cpu")  # type: ignore[arg-type]
    assert maps is not None and (maps.num_nouns, maps.num_colours) == (7, 2)
    how = Augmentation(brightness=0, contrast=0, saturation=0, grey=0, erase=0)
    for seed in range(8):
        pixels, grid = augment_with_grid(images, 96, how, torch.Generator().manual_seed(seed))
        targets = maps.targets(torch.tensor([0]), grid, 6)[0]
        cells = pixels[0, 0].unfold(0, 16, 16).unfold(1, 16, 16).mean(dim=(2, 3))
        is_sure = cells.abs() > 0.9  # the whole cell is on one side of the edge
        assert is_sure.any()
        assert torch.equal(targets[0][is_sure] == 7, cells[is_sure] > 0)
        assert torch.equal(targets[1] == 2, targets[0] == 7)


def test_a_set_without_objects_has_no_maps() -> None:
    pictures = SimpleNamespace(images=torch.zeros(1, 8, 8, 3), samples=[{"image": 0}])
    assert CellMaps.of(pictures, "cpu") is None  # type: ignore[arg-type]


def test_the_cell_head_learns_what_lies_where() -> None:
    maps = CellMaps(torch.zeros(1, 2, 48, 48, dtype=torch.int16), num_nouns=2, num_colours=1)
    torch.manual_seed(0)
    head = CellHead(4, maps)
    targets = torch.tensor([[[[0, 1], [2, 0]], [[0, 1], [1, 0]]]])  # (1, 2, 2, 2)
    features = torch.eye(4)[None]  # every cell looks different
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    first = float(head.loss(features, targets).detach())
    for _ in range(60):
        optimizer.zero_grad()
        head.loss(features, targets).backward()
        optimizer.step()
    assert float(head.loss(features, targets).detach()) < 0.5 * first
    assert head.noun(features).argmax(dim=-1).tolist() == [[0, 1, 2, 0]]
