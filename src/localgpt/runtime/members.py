"""The family's members for other media: loaded when first asked for, and let go, as open models are.

A member is a folder of the family beside decoder and encoder; which ones there are is told by `family.json`.
Each is one `OpenModel` in an `OpenService` of its own shelf, so that it waits for memory, works in a thread
and is cancelled like any other. Callers know the family's name alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Final

from localgpt.checkpoints.layout import FamilyLayout, read_layout
from localgpt.checkpoints.store import TensorShape
from localgpt.compute.memory import Ledger
from localgpt.runtime.open.base import OpenCheckpoint, OpenKind, OpenModel
from localgpt.runtime.open.service import OpenOptions, OpenService
from localgpt.runtime.open.shelf import TASKS, Shelf, ShelfModel
from localgpt.sampling.diffusion.binding import BindingOptions
from localgpt.tasks import ModelStatus, Request

__all__ = ["MEMBERS", "MemberModel", "Members", "family_name", "load_member", "member_kinds"]

# Member to what it is for, and to what loads it: `OpenCheckpoint` and `FamilyLayout` to `OpenModel`.
MEMBERS: Final[Mapping[str, tuple[OpenKind, str]]] = {
    "listener": ("listen", "localgpt.runtime.embedded_listener:load"),
    "painter": ("paint", "localgpt.runtime.embedded_painter:load"),
    "speaker": ("speak", "localgpt.runtime.embedded_speaker:load"),
}
_MARK: Final = "#"


@dataclass(frozen=True)
class MemberModel(ShelfModel):
    """A member on a shelf; `folder` is the family's folder or file."""

    member: str = ""

    @cached_property
    def kind(self) -> OpenKind:
        """What it is for."""
        return MEMBERS[self.member][0]

    @cached_property
    def header(self) -> None:
        """None: a family in one file is no GGUF."""

    @cached_property
    def shapes(self) -> dict[str, TensorShape]:
        """Its tensors.

        Raises:
            CheckpointError: a file is broken.
        """
        return read_layout(self.folder).read_shapes()[self.member]

    def weight_bytes(self, *, device: str, fp16: bool, quantize: str) -> int:
        """As kept on a CPU; int8 is spread to half precision elsewhere, and always to paint and to speak."""
        if self.kind in ("paint", "speak"):
            itemsize = 2 if fp16 and device.startswith("cuda") else 4
            borrowed = self._borrowed_bytes(itemsize) if self.kind == "paint" else 0
            return self.num_params * itemsize + borrowed
        return self.stored_bytes if device == "cpu" else 2 * self.stored_bytes

    def _borrowed_bytes(self, itemsize: int) -> int:
        """Of the family's encoder, what a painter loads: the text tower, and the judge in float32."""
        layout = read_layout(self.folder)
        shapes = layout.read_shapes().get("encoder", {})
        tower, judge = (
            sum(math.prod(shape.shape) for name, shape in shapes.items() if name.startswith(prefix))
            for prefix in ("encoder.text.", "encoder.")
        )
        binding = BindingOptions.from_dict(layout.configs[self.member].get("binding", {}))
        return tower * itemsize + (judge * 4 if binding.judge_weight > 0 else 0)


class Members(OpenService):
    """All members of a family that do a job of their own.

    A `TaskService` for requests that `request_to` has renamed.

    Args:
        layout: of the family.
        created: of the family, in seconds since the epoch.
        ledger: of the device that `options` names.
        options: how they run.
    """

    def __init__(self, layout: FamilyLayout, created: int, ledger: Ledger, options: OpenOptions) -> None:
        models: list[MemberModel] = [
            MemberModel(
                id=f"{layout.id}{_MARK}{member}",
                folder=layout.path,
                licence=layout.licence,
                created=created,
                member=member,
            )
            for member in layout.configs
            if member in MEMBERS
        ]
        super().__init__(Shelf(None, models), ledger, options=options, load=load_member)
        self._by_task = {task: model.id for model in models for task in TASKS[model.kind]}

    def request_to(self, request: Request, task: str) -> Request | None:
        """A request to the family under the name of the member that does the task; None if none does."""
        name = self._by_task.get(task)
        return None if name is None else replace(request, model=name)

    def told_with(self, family: ModelStatus, members: Sequence[ModelStatus]) -> ModelStatus:
        """The family's status with its members', which callers see as one model."""
        return replace(
            family,
            tasks=(*family.tasks, *self._by_task),
            num_params=family.num_params + sum(member.num_params for member in members),
            weight_bytes=family.weight_bytes + sum(member.weight_bytes for member in members),
        )


def load_member(checkpoint: OpenCheckpoint) -> OpenModel:
    """Load a member of a family.

    Raises:
        CheckpointError: a part of it is missing or broken.
        UnsafeCheckpointError: a file is a pickle.
    """
    member = checkpoint.id.rpartition(_MARK)[2]
    module, _, name = MEMBERS[member][1].partition(":")
    model: OpenModel = getattr(import_module(module), name)(checkpoint, read_layout(checkpoint.folder))
    return model


def family_name(member_id: str) -> str:
    """The family that a member belongs to: what callers are told."""
    return member_id.rpartition(_MARK)[0] or member_id


def member_kinds(path: Path) -> frozenset[OpenKind]:
    """What the members of a family are for.

    Raises:
        CheckpointError: the family is incomplete or broken.
    """
    return frozenset(MEMBERS[member][0] for member in read_layout(path).configs if member in MEMBERS)
