"""What models share that are one network and keep nothing between requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import OpenCheckpoint
from localgpt.runtime.open.weights import LoadedNetwork
from localgpt.tasks import ModelStatus

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NetworkModel"]


class NetworkModel:
    """One loaded network; the half of an `OpenModel` that does no work.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
    """

    tasks: tuple[str, ...]
    context_len = 0  # tokens that it reads at once; 0 where it reads none
    cache_bytes = 0

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork) -> None:
        self.id = checkpoint.id
        self.notices = loaded.notices
        self.network: Any = loaded.network
        self._checkpoint = checkpoint
        self._compute_dtype = loaded.dtype
        self._footprint = measure(loaded.network)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    @property
    def dtype(self) -> str:
        """Of most weights."""
        return self._footprint.dtype

    def status(self) -> ModelStatus:
        """What it is."""
        return self._checkpoint.status(self.tasks, self._footprint, context_len=self.context_len)

    def drop_caches(self) -> None:
        """It remembers nothing."""

    def release(self) -> None:
        """Let go of the network."""
        self.network = None
