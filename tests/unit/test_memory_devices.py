"""What devices tell of their memory, and networks whose blocks move away and come back bit for bit."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from localgpt.compute.memory import (
    Budget,
    CpuDevice,
    Ledger,
    ModuleHolder,
    Need,
    Size,
    device_of,
    reserve_bytes,
)
from localgpt.errors import BackendError, CheckpointError
from localgpt.units import GIB, MIB
from tests.memory_fakes import FakeDevice, Inline


def machine(
    folder: Path, *, total_kib: int = 8 << 20, available_kib: int = 6 << 20, cgroup: str = ""
) -> CpuDevice:
    """A machine of files."""
    proc = folder / "proc"
    (proc / "self").mkdir(parents=True)
    lines = (f"MemTotal: {total_kib} kB", "MemFree: 1 kB", f"MemAvailable: {available_kib} kB")
    (proc / "meminfo").write_text("\n".join(lines) + "\n")
    (proc / "self/cgroup").write_text(cgroup)
    (proc / "self/statm").write_text("1000 700 30 1 0 5 0\n")
    return CpuDevice(proc=proc, cgroups=folder / "cgroup")


def group(
    folder: Path, *, limit: str, used: int, names: tuple[str, str] = ("memory.max", "memory.current")
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(limit + "\n")
    (folder / names[1]).write_text(f"{used}\n")


def test_the_machine_is_read_from_the_system(tmp_path: Path) -> None:
    device = machine(tmp_path)
    assert (device.total_bytes(), device.free_bytes()) == (8 * GIB, 6 * GIB)
    assert device.resident_bytes() == 700 * os.sysconf("SC_PAGE_SIZE")
    assert reserve_bytes(device) == 8 * GIB // 20


def test_control_groups_bound_it(tmp_path: Path) -> None:
    """The tightest of the process's group and those around it, in both versions."""
    device = machine(tmp_path, cgroup="0::/user/app\n")
    group(tmp_path / "cgroup/user/app", limit="max", used=GIB)
    group(tmp_path / "cgroup/user", limit=str(2 * GIB), used=1 * GIB)
    assert (device.total_bytes(), device.free_bytes()) == (2 * GIB, 1 * GIB)
    group(tmp_path / "cgroup/user", limit=str(2 * GIB), used=3 * GIB)
    assert device.free_bytes() == 0

    older = tmp_path / "older"
    device = machine(older, cgroup="5:cpu,cpuacct:/x\n4:memory:/box\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(older / "cgroup/memory/box", limit=str(GIB), used=GIB // 4, names=names)
    group(older / "cgroup/memory", limit=str(2**63 - 4096), used=5 * GIB, names=names)
    assert (device.total_bytes(), device.free_bytes()) == (GIB, 3 * GIB // 4)


def test_a_machine_that_tells_nothing_is_no_failure(tmp_path: Path) -> None:
    device = CpuDevice(proc=tmp_path, cgroups=tmp_path)
    assert device.total_bytes() == device.free_bytes() > 0
    assert device.resident_bytes() == device.high_water_bytes() > 0


def test_this_machine_is_plausible() -> None:
    device = device_of("cpu")
    assert isinstance(device, CpuDevice)
    assert 0 < device.free_bytes() <= device.total_bytes()
    assert 10 * MIB < device.resident_bytes() <= device.high_water_bytes() + MIB  # counted in batches


class Grown(CpuDevice):
    """A process whose memory grows as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.mark = 1000 * MIB

    def resident_bytes(self) -> int:
        return self.now

    def high_water_bytes(self) -> int:
        return self.mark


def test_a_process_tells_only_a_bound_of_a_peak() -> None:
    device = Grown()
    device.now = 900 * MIB
    meter = device.measure()
    measured = meter.peak()
    assert measured.is_bound and measured.nbytes == 100 * MIB  # it never rose above the mark of before
    device.mark = 1030 * MIB
    assert meter.peak().is_bound and meter.peak().nbytes == 130 * MIB  # the work may have been less


# Networks.


def network() -> nn.Module:
    torch.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte = nn.Embedding(11, 8)
            self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
            self.head = nn.Linear(8, 11, bias=False)
            self.head.weight = self.wte.weight
            self.register_buffer("scale", torch.tensor(0.5))

        def forward(self, ids: Tensor) -> Tensor:
            x = self.wte(ids)
            for block in self.blocks:
                x = torch.tanh(block(x))
            return self.head(x) * self.scale

    return Tied().eval()


def holder_of(module: nn.Module) -> ModuleHolder:
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return ModuleHolder(module, blocks="blocks", read=lambda piece: kept)


def test_pieces_are_the_blocks_and_the_rest() -> None:
    pieces = holder_of(network()).pieces
    assert [piece.name for piece in pieces] == ["", "blocks.0", "blocks.1", "blocks.2"]
    assert [piece.nbytes for piece in pieces] == [(11 * 8 + 1) * 4, *[(8 * 8 + 8) * 4] * 3]  # tied: once


@torch.inference_mode()
def test_weights_come_back_bit_for_bit() -> None:
    module = network()
    ids = torch.arange(11)
    before = module(ids)
    holder = holder_of(module)
    for way in (("host",), ("disk",), ("host", "disk")):
        for piece in [piece.name for piece in holder.pieces]:
            places = ["device", *way, "device"]
            for source, target in itertools.pairwise(places):
                holder.move(piece, source, target, "cpu")  # type: ignore[arg-type]
        assert torch.equal(module(ids), before)
    holder.move("", "device", "disk", "cpu")
    assert module.head.weight.nbytes == 0  # type: ignore[union-attr]
    assert next(piece.nbytes for piece in holder.pieces) == (11 * 8 + 1) * 4  # what it takes when it is back


def test_a_checkpoint_that_changed_is_refused_and_nothing_is_half_moved() -> None:
    module = network()
    stored: dict[str, Tensor] = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    holder = ModuleHolder(module, blocks="blocks", read=lambda piece: stored)
    holder.move("blocks.1", "device", "disk", "cpu")
    for wrong, what in (({}, "no blocks.1.weight"), ({"blocks.1.weight": torch.zeros(3)}, r"\(3,\) for")):
        kept = dict(stored)
        stored.clear()
        stored.update(wrong)
        with pytest.raises(CheckpointError, match=what):
            holder.move("blocks.1", "disk", "device", "cpu")
        stored.clear()
        stored.update(kept)
    assert module.blocks[1].weight.numel() == 0  # type: ignore[index]
    holder.move("blocks.1", "disk", "device", "cpu")
    with pytest.raises(BackendError, match="not dropped"):
        holder.drop("blocks.1")


def test_a_buffer_that_is_a_view_does_not_keep_the_memory_it_had() -> None:
    class Packed(nn.Module):
        def __init__(self, words: Tensor) -> None:
            super().__init__()
            self.register_buffer("words", words, persistent=False)

    words = torch.arange(64, dtype=torch.uint8).view(torch.int32).view(4, 4)
    module = nn.Sequential(Packed(words), Packed(words))
    before, memory = words.clone(), StorageWeakRef(words.untyped_storage())
    holder = ModuleHolder(module, read=lambda piece: {})
    assert [piece.nbytes for piece in holder.pieces] == [64]  # of both
    del words
    for source, target in (("device", "host"), ("host", "device")):
        _move(holder, "", source, target)
        assert memory.expired()
    assert module[0].words is module[1].words
    assert torch.equal(module[0].words, before)  # type: ignore[arg-type]


def test_a_device_without_room_leaves_the_piece_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    module = network()
    holder = holder_of(module)
    before = module.blocks[0].weight.clone()  # type: ignore[index]

    def full(self: Tensor, *_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Tensor, "to", full)
    with pytest.raises(BackendError, match="out of memory"):
        holder.move("blocks.0", "host", "device", "cpu")
    assert torch.equal(module.blocks[0].weight, before)  # type: ignore[index]


async def test_a_real_network_swaps_in_the_ledger() -> None:
    """Two networks that fit only one at a time, through a ledger, give what they gave alone."""
    first, second = network(), network()
    nn.init.normal_(second.blocks[0].weight)  # type: ignore[index,arg-type]
    ids = torch.arange(11)
    alone = {"first": first(ids), "second": second(ids)}
    nbytes = sum(piece.nbytes for piece in holder_of(first).pieces)
    ledger = Ledger(FakeDevice(10 * nbytes), Budget(nbytes=nbytes + 100), mover=Inline())
    models: Mapping[str, nn.Module] = {"first": first, "second": second}
    for name, module in models.items():
        holder = holder_of(module)
        ledger.device.move = _move  # type: ignore[method-assign]
        if name == "second":
            for piece in holder.pieces:
                holder.move(piece.name, "device", "disk", "cpu")
        place = "device" if name == "first" else "disk"
        pieces = [type(piece)(name=piece.name, nbytes=piece.nbytes, place=place) for piece in holder.pieces]  # type: ignore[arg-type]
        ledger.hold(name, pieces=pieces, holder=holder)
    for name in ("first", "second", "second", "first"):
        need = Need(
            name=name, model=name, dtype="float32", sizes=(Size(shape="", nbytes=50),), residents=(name,)
        )
        async with ledger.reserve(need):
            assert torch.equal(models[name](ids), alone[name])
    assert len(ledger.plans()) == 2


def _move(holder: ModuleHolder, piece: str, source: str, target: str) -> float:
    holder.move(piece, source, target, "cpu")  # type: ignore[arg-type]
    return 0.001


def test_a_card_is_measured() -> None:
    """On a machine that has one: the allocator's peak, and memory that comes back when weights leave."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA or ROCm device here")
    device = device_of("cuda:0")
    assert 0 < device.free_bytes() <= device.total_bytes()
    meter = device.measure()
    work = torch.empty(64 * MIB, dtype=torch.uint8, device="cuda:0")
    del work
    assert meter.peak().nbytes == 64 * MIB
    module = nn.Linear(4096, 4096).to("cuda:0")
    kept = {name: tensor.cpu().clone() for name, tensor in module.state_dict().items()}
    holder = ModuleHolder(module, read=lambda piece: kept)
    used = torch.cuda.memory_allocated()
    for way in ("host", "disk"):
        assert device.move(holder, "", "device", way) > 0  # type: ignore[arg-type]
        assert used - torch.cuda.memory_allocated() >= holder.pieces[0].nbytes
        assert module.weight.is_pinned() == (way == "host")
        device.move(holder, "", way, "device")  # type: ignore[arg-type]
        assert torch.cuda.memory_allocated() == used
        assert torch.equal(module.weight.cpu(), kept["weight"])
