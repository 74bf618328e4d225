"""The open models that were asked for: where each lives, who uses it, and when it is let go."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from localgpt.compute.memory import Ledger
from localgpt.runtime.open.base import Fast, OpenCheckpoint, OpenModel, Quantize
from localgpt.runtime.open.fitting import choose_quantize, choose_resident, denoiser_bytes
from localgpt.runtime.open.home import OpenHome
from localgpt.runtime.open.shelf import Shelf, ShelfModel

__all__ = ["Homes", "OpenOptions"]

_Key = tuple[str, Path]  # a model's name, and its folder: another folder is another model


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """How open models run."""

    device: str = "cpu"  # as torch names it
    fp16: bool = False
    quantize: Quantize | Literal["auto"] = "auto"
    fast: Fast = "auto"
    keeps_prompts: bool = True


class Homes:
    """Homes of models by name and folder; for any thread.

    A model that was pulled anew has a home of its own at once. The older one ends with its last answer.

    Args:
        shelf: what may be asked for.
        ledger: of the device that `options` names.
        options: how models run.
        load: reads a checkpoint.
    """

    def __init__(
        self,
        shelf: Shelf,
        ledger: Ledger,
        options: OpenOptions,
        load: Callable[[OpenCheckpoint], OpenModel],
    ) -> None:
        self._shelf, self._ledger, self._options, self._load = shelf, ledger, options, load
        self._lock = threading.Lock()
        self._homes: dict[_Key, OpenHome] = {}
        self._users: Counter[_Key] = Counter()

    def all(self) -> list[OpenHome]:
        """Those there are now."""
        with self._lock:
            return list(self._homes.values())

    def find(self, model: ShelfModel) -> OpenHome | None:
        """Where a model lives; None if nobody has asked for it."""
        with self._lock:
            return self._homes.get((model.id, model.folder))

    def enter(self, model: ShelfModel) -> OpenHome | None:
        """Use a model's home, which is not let go until `leave`; None if it has to be made first."""
        with self._lock:
            key = (model.id, model.folder)
            home = self._homes.get(key)
            if home is not None:
                self._users[key] += 1
            return home

    def leave(self, model: ShelfModel) -> None:
        """The end of what `enter` began."""
        with self._lock:
            self._users[model.id, model.folder] -= 1

    def make(self, model: ShelfModel) -> None:
        """A home for a model that has none; reads how large it is."""
        checkpoint, nbytes = self._settled(model)
        key = (model.id, model.folder)
        with self._lock:
            if key in self._homes:
                return
            taken = {home.name for home in self._homes.values()}  # by older ones that are still used
            names = (model.id, *(f"{model.id} ({number})" for number in range(2, len(taken) + 2)))
            name = next(name for name in names if name not in taken)
            self._homes[key] = OpenHome(checkpoint, nbytes, self._ledger, self._load, name=name)

    def options_for(self, model: ShelfModel) -> OpenOptions:
        """The options with what is chosen for this model and this memory."""
        options = self._options
        if options.quantize != "auto":
            return options
        state = self._ledger.state()
        return replace(
            options, quantize=choose_quantize(model, state, device=options.device, fp16=options.fp16)
        )

    def let_go_removed(self) -> None:
        """Free what nobody uses of the models whose folders are on the shelf no more."""
        there = {(model.id, model.folder) for model in self._shelf.models()}
        with self._lock:
            removed = [
                key
                for key, home in self._homes.items()
                if key not in there
                and not self._users[key]
                and self._ledger.let_go(home.name, unless_moving=True)
            ]
            homes = [self._homes.pop(key) for key in removed]
            for key in removed:
                del self._users[key]
        for home in homes:
            home.let_go()

    def take_all(self) -> list[Callable[[], None]]:
        """Forget all homes; what lets each of them go, at the end of the process."""
        with self._lock:
            homes, self._homes = list(self._homes.values()), {}
        return [partial(home.let_go, is_last=True) for home in homes]

    def _settled(self, model: ShelfModel) -> tuple[OpenCheckpoint, int]:
        """How a model is loaded, and how much its weights will take."""
        options = self.options_for(model)
        resident = choose_resident(model, self._ledger.state(), device=options.device, fp16=options.fp16)
        checkpoint = OpenCheckpoint(
            folder=model.folder,
            id=model.id,
            kind=model.kind,
            licence=model.licence,
            created=model.created,
            device=options.device,
            fp16=options.fp16,
            quantize=options.quantize,  # type: ignore[arg-type]  # "auto" was settled
            fast=options.fast,
            keeps_prompts=options.keeps_prompts,
            resident_bytes=resident,
        )
        nbytes = model.weight_bytes(device=options.device, fp16=options.fp16, quantize=options.quantize)
        if resident is not None:
            nbytes -= denoiser_bytes(model, device=options.device, fp16=options.fp16) - resident
        return checkpoint, nbytes
