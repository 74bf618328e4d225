"""A network as a resident: its blocks go to pinned host memory and to disk, and come back bit for bit.

What leaves for the disk is not written anywhere: it is read again from the checkpoint it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from localgpt.compute.memory.state import Piece, Place
from localgpt.errors import BackendError, CheckpointError

__all__ = ["ModuleHolder", "give_back_pinned"]

Reader = Callable[[str], Mapping[str, Tensor]]


class ModuleHolder:
    """Moves the tensors of one network; implements `Holder`.

    The tensors stay the same objects and get other memory, so that tied weights stay tied and whoever has the
    network goes on using it; but buffers that are views of other tensors are made tensors of their own first,
    since a view keeps the memory of what it is a view of. Not for int8 layers whose weights are inside a CPU
    kernel and no tensors.

    Args:
        module: in eval mode; nobody runs it while a piece is moved.
        blocks: name of a `ModuleList` whose children move on their own; None makes the whole one piece.
        read: tensors of one piece from the checkpoint, by their names in the network.
    """

    def __init__(self, module: nn.Module, *, blocks: str | None = None, read: Reader) -> None:
        self._read = read
        _detach_views(module)
        children = () if blocks is None else module.get_submodule(blocks).named_children()
        names = tuple(f"{blocks}.{name}" for name, _ in children)
        self._tensors: dict[str, list[tuple[str, Tensor, torch.Size]]] = {name: [] for name in ("", *names)}
        for full, tensor in _all_tensors(module):
            piece = next((name for name in names if full.startswith(f"{name}.")), "")
            self._tensors[piece].append((full, tensor, tensor.shape))

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """What moves on its own: each block, and all the rest as the piece without a name."""
        return tuple(
            Piece(name=name, nbytes=sum(shape.numel() * tensor.itemsize for _, tensor, shape in tensors))
            for name, tensors in self._tensors.items()
        )

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        """Bring a piece's tensors to another place.

        Raises:
            BackendError: the target has no room.
            CheckpointError: the checkpoint no longer has what is to be read from it.
        """
        stored = self._read(piece) if source == "disk" else {}
        try:  # all of them first: a piece that cannot go stays whole where it is
            moved = [
                _placed(
                    _stored(stored, name, tensor.dtype, shape) if source == "disk" else tensor, target, device
                )
                for name, tensor, shape in self._tensors[piece]
            ]
        except RuntimeError as error:  # torch's out-of-memory errors are of this kind
            raise BackendError(f"{piece!r} could not be moved from {source} to {target}: {error}") from error
        for (_, tensor, _), new in zip(self._tensors[piece], moved, strict=True):
            tensor.data = new

    def drop(self, piece: str) -> None:
        """Weights are no cache.

        Raises:
            BackendError: always.
        """
        raise BackendError(f"{piece!r} holds weights, which are moved and not dropped")


def give_back_pinned() -> None:
    """Give the machine back what is pinned and not in use; torch keeps it for whoever rests there next."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch._C._host_emptyCache()


def _detach_views(module: nn.Module) -> None:
    """Have no buffer of a network be a view; those that are shared stay so."""
    detached: dict[int, Tensor] = {}
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer._is_view():
                part._buffers[name] = detached.setdefault(id(buffer), buffer.detach())


def _all_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer by its full name; a shared one comes once."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _stored(stored: Mapping[str, Tensor], name: str, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    if name not in stored or stored[name].shape != shape:
        got = f"{tuple(stored[name].shape)} for {name}" if name in stored else f"no {name}"
        raise CheckpointError(f"the checkpoint has {got}, expected {tuple(shape)}; load the model anew")
    return stored[name].to(dtype)


def _placed(tensor: Tensor, target: Place, device: str) -> Tensor:
    if target == "disk":
        return torch.empty(0, dtype=tensor.dtype)
    if target == "device":
        return tensor.detach().to(device, copy=True)
    host = torch.empty_like(tensor, device="cpu", pin_memory=torch.cuda.is_available())
    return host.copy_(tensor.detach())
