"""Models, health and status."""

from __future__ import annotations

from typing import Literal

from localgpt.server.schemas.common import Reply

__all__ = ["HealthReply", "ModelItem", "ModelsReply", "ReadyReply", "ServedModel", "StatusReply"]


class ModelItem(Reply):
    """One served model."""

    id: str
    object: Literal["model"] = "model"
    created: int  # seconds since the epoch
    owned_by: str


class ModelsReply(Reply):
    """All served models; the embedded family's id comes first."""

    object: Literal["list"] = "list"
    data: list[ModelItem]


class HealthReply(Reply):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ReadyReply(Reply):
    """Whether the models are loaded."""

    status: Literal["ready", "loading"]


class ServedModel(Reply):
    """What the page shows about a model."""

    id: str
    tasks: list[str]
    num_params: int
    weight_bytes: int
    context_len: int
    licence: str


class StatusReply(Reply):
    """What runs where; the page's status chip."""

    ready: bool
    version: str
    device: str
    dtype: str
    models: list[ServedModel]
    resident_bytes: int
    num_running: int
    num_waiting: int
    max_batch_size: int
    notices: list[str]
