"""A denoiser larger than its room: blocks that fit stay on the device, the others come in while it works.

Weights of a streamed block lie in the machine's memory as one piece, pinned where there is a card. Two
buffers on the device take turns: while a block computes out of one, the next block's weights are copied into
the other by a stream of their own. Which block is next is what came next the last time. The numbers are
those of a denoiser that is there as a whole, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from localgpt.errors import CheckpointError

__all__ = ["StreamedBlocks"]

_BLOCKS: Final = ("transformer_blocks", "single_transformer_blocks")
_ALIGN: Final = 256  # bytes; where tensors begin in a piece


class StreamedBlocks:
    """Has the blocks of a denoiser come and go.

    Args:
        denoiser: of diffusers, in the machine's memory; what stays is moved to the device.
        device: where it computes.
        resident_bytes: what may lie on the device, the two buffers included. Where that is too little for
            what cannot be streamed, every block is.

    Raises:
        CheckpointError: it has no blocks.
    """

    def __init__(self, denoiser: nn.Module, device: torch.device, resident_bytes: int) -> None:
        blocks = _blocks_of(denoiser)
        if not blocks:
            raise CheckpointError(
                f"a {type(denoiser).__name__} has no blocks that could be streamed, and it is larger than "
                "the memory for it; use a smaller model, or raise --memory-budget"
            )
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._stream: Any = None
        if self._is_cuda:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        streamed = _choose(denoiser, blocks, resident_bytes)
        packed = [_Packed(block, pin=self._is_cuda) for block in streamed]
        largest = max((one.host.numel() for one in packed), default=0)
        self._slots = [_Slot(largest, device) for _ in range(2 if packed else 0)]
        self._following: dict[_Packed, _Packed] = {}
        self._last: _Packed | None = None
        self.num_blocks, self.num_streamed = len(blocks), len(streamed)
        away = {id(tensor) for one in packed for tensor in one.tensors}
        self.resident = _Resident(denoiser, away, device, [slot.buffer for slot in self._slots])
        for one, block in zip(packed, streamed, strict=True):
            block.register_forward_pre_hook(lambda module, args, one=one: self._enter(one))
            block.register_forward_hook(lambda module, args, out, one=one: self._leave(one))

    def _enter(self, packed: _Packed) -> None:
        """Have a block's weights be there, and the next one's on their way."""
        slot = next((slot for slot in self._slots if slot.held is packed), None)
        if slot is None:
            slot = self._free_slot()
            self._copy(packed, slot)
        if self._is_cuda:
            torch.cuda.current_stream(self._device).wait_event(slot.ready)
        packed.point_to(slot.buffer)
        slot.is_busy = True
        if self._last is not None:
            self._following[self._last] = packed
        self._last = packed
        following = self._following.get(packed)
        if following is not None and not any(slot.held is following for slot in self._slots):
            self._copy(following, self._free_slot())

    def _leave(self, packed: _Packed) -> None:
        for slot in self._slots:
            if slot.held is packed:
                slot.is_busy = False
                if self._is_cuda:
                    slot.done.record(torch.cuda.current_stream(self._device))
        packed.point_home()

    def _free_slot(self) -> _Slot:
        """One that no block computes out of; after a block that failed, any."""
        for slot in self._slots:
            if not slot.is_busy:
                return slot
        self._slots[0].is_busy = False
        return self._slots[0]

    def _copy(self, packed: _Packed, slot: _Slot) -> None:
        slot.held = packed
        target = slot.buffer[: packed.host.numel()]
        if not self._is_cuda:
            target.copy_(packed.host)
            return
        self._stream.wait_event(slot.done)  # at first it was never recorded, which is no wait
        with torch.cuda.stream(self._stream):
            target.copy_(packed.host, non_blocking=True)
            slot.ready.record(self._stream)


class _Slot:
    """A buffer on the device, and which block's weights it holds."""

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self.buffer = torch.empty(nbytes, dtype=torch.uint8, device=device)  # filled by another stream
        self.held: _Packed | None = None
        self.is_busy = False
        is_cuda = device.type == "cuda"
        self.ready: Any = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]
        self.done: Any = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]


class _Packed:
    """One block's weights as one piece of the machine's memory."""

    def __init__(self, block: nn.Module, *, pin: bool) -> None:
        self.tensors: list[Tensor] = [*block.parameters(), *block.buffers()]
        self._shapes = [(tensor.shape, tensor.dtype) for tensor in self.tensors]
        self._starts: list[int] = []
        end = 0
        for tensor in self.tensors:
            self._starts.append(end)
            end += -(-tensor.nbytes // _ALIGN) * _ALIGN
        self.host = torch.empty(end, dtype=torch.uint8, pin_memory=pin)
        for view, tensor in zip(self._views(self.host), self.tensors, strict=True):
            view.copy_(tensor)
        self.point_home()

    def point_to(self, buffer: Tensor) -> None:
        """Have the block compute with what lies in a buffer."""
        for tensor, view in zip(self.tensors, self._views(buffer), strict=True):
            tensor.data = view

    def point_home(self) -> None:
        """Have the block's weights be those of the machine's memory."""
        self.point_to(self.host)

    def _views(self, piece: Tensor) -> list[Tensor]:
        views = []
        for start, (shape, dtype) in zip(self._starts, self._shapes, strict=True):
            part = piece[start : start + shape.numel() * dtype.itemsize]
            views.append(part.view(dtype).view(shape))
        return views


class _Resident(nn.Module):
    """What stays on the device, the buffers included: what the memory ledger moves."""

    def __init__(
        self, denoiser: nn.Module, away: set[int], device: torch.device, buffers: Sequence[Tensor]
    ) -> None:
        super().__init__()
        for number, parameter in enumerate(denoiser.parameters()):
            if id(parameter) not in away:
                parameter.data = parameter.data.to(device)
                self.register_parameter(f"parameter_{number}", parameter)
        for number, tensor in enumerate(denoiser.buffers()):
            if id(tensor) not in away:
                tensor.data = tensor.data.to(device)
                self.register_buffer(f"tensor_{number}", tensor)
        for number, tensor in enumerate(buffers):
            self.register_buffer(f"buffer_{number}", tensor)


def _blocks_of(denoiser: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for name, module in denoiser.named_modules():
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in _BLOCKS:
            found += module
    return found


def _choose(denoiser: nn.Module, blocks: list[nn.Module], resident_bytes: int) -> list[nn.Module]:
    """As few blocks as have to be streamed, spread evenly: copies hide behind blocks that are there."""
    sizes = [_nbytes(block) for block in blocks]
    rest = _nbytes(denoiser) - sum(sizes)
    if rest + sum(sizes) <= resident_bytes:
        return []
    room = resident_bytes - rest - 2 * max(sizes)
    num_blocks = len(blocks)
    for num_streamed in range(1, num_blocks):
        chosen = [
            (index + 1) * num_streamed // num_blocks > index * num_streamed // num_blocks
            for index in range(num_blocks)
        ]
        if sum(size for size, is_away in zip(sizes, chosen, strict=True) if not is_away) <= room:
            return [block for block, is_away in zip(blocks, chosen, strict=True) if is_away]
    return blocks


def _nbytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
