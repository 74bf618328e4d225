"""Where one open model lives: loaded, put away and let go by the memory ledger, as its `Holder`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping

from torch import Tensor

from localgpt.compute.memory import Ledger, ModuleHolder, Piece, give_back_pinned
from localgpt.compute.memory.state import Place
from localgpt.errors import BackendError
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.base import OpenCheckpoint, OpenModel, load_open
from localgpt.tasks import ModelStatus

__all__ = ["OpenHome"]

WEIGHTS = "weights"


class OpenHome:
    """One model, from its first request on; implements `Holder`.

    "On the disk" is where it is before it is loaded and after it was let go: bringing it to the device loads
    it. Everything here is done in the ledger's thread, never while the model is in use.

    Args:
        checkpoint: what to load.
        nbytes: what its weights will take, as far as can be told before.
        ledger: of the device; the model is entered there at once.
        load: reads a checkpoint.
        name: in the ledger; None for the model's id.
    """

    def __init__(
        self,
        checkpoint: OpenCheckpoint,
        nbytes: int,
        ledger: Ledger,
        load: Callable[[OpenCheckpoint], OpenModel] = load_open,
        *,
        name: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.name = name or checkpoint.id
        self.model: OpenModel | None = None
        self.status: ModelStatus | None = None  # of the loaded model
        self._ledger, self._load = ledger, load
        self._movers: list[ModuleHolder] = []
        self._enter(nbytes, "disk")

    @property
    def notices(self) -> tuple[str, ...]:
        """What the loaded model has to tell."""
        model = self.model
        return () if model is None else model.notices

    @property
    def nbytes(self) -> int:
        """Of the weights, wherever they are."""
        return self._nbytes

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        """Load, put away, or let go.

        Raises:
            LocalGPTError: it cannot be loaded, or there is no room where it shall go.
        """
        if source == "disk":
            self._bring(target)
        elif target == "disk":
            self.let_go()
        else:
            for mover in self._movers:
                mover.move("", source, target, self.checkpoint.device)

    def drop(self, piece: str) -> None:
        """Weights are no cache.

        Raises:
            BackendError: always.
        """
        raise BackendError(f"{self.name} holds weights, which are moved and not dropped")

    def let_go(self, *, is_last: bool = False) -> None:
        """Free everything; the next request loads it anew.

        Args:
            is_last: the process is about to end, so that circles of objects need not be looked for.
        """
        model, self.model, self.status = self.model, None, None
        self._movers = []
        if model is not None:
            model.release()
        del model
        self._ledger.let_go(self._cache_name)
        if not is_last:
            gc.collect()
            give_back_pinned()

    def tell_cache(self) -> None:
        """Tell the ledger what the model remembers now."""
        model = self.model
        nbytes = 0 if model is None else model.cache_bytes
        if model is None or not nbytes:
            self._ledger.let_go(self._cache_name)
            return
        self._ledger.hold(
            self._cache_name,
            kind="cache",
            pieces=(Piece(name="kept", nbytes=nbytes),),
            holder=_Cache(model),
            remake_s=1.0,
        )

    @property
    def _cache_name(self) -> str:
        return f"{self.name}, remembered"

    def _bring(self, target: Place) -> None:
        if target != "device":
            raise BackendError(f"{self.name} is loaded onto its device, not into {target} memory")
        model = self._load(self.checkpoint)
        self.model, self.status = model, model.status()
        self._movers = [ModuleHolder(module, read=_not_read) for module in model.modules.values()]
        is_torchs = bool(model.modules)
        nbytes = measure(*model.modules.values()).weight_bytes if is_torchs else self.status.weight_bytes
        self._enter(nbytes, "disk")  # the ledger moves it from there

    def _enter(self, nbytes: int, place: Place) -> None:
        self._nbytes = nbytes
        pieces = (Piece(name=WEIGHTS, nbytes=nbytes, place=place),)
        self._ledger.hold(self.name, pieces=pieces, holder=self)


class _Cache:
    """What a model remembers, for the ledger to drop; implements `Holder`."""

    def __init__(self, model: OpenModel) -> None:
        self._model = model

    def move(self, piece: str, source: Place, target: Place, device: str) -> None:
        raise AssertionError("a cache is dropped, not moved")

    def drop(self, piece: str) -> None:
        self._model.drop_caches()


def _not_read(piece: str) -> Mapping[str, Tensor]:
    raise AssertionError("a model is loaded as a whole")
