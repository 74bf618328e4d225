"""Models, health and status."""

from __future__ import annotations

from typing import Literal

from localgpt.server.schemas.common import Reply

__all__ = [
    "HealthReply",
    "ModelExtension",
    "ModelItem",
    "ModelsReply",
    "ReadyReply",
    "ServedModel",
    "StatusReply",
    "UpstreamExtension",
]


class ModelExtension(Reply):
    """What this server adds to a model of the list."""

    alias_of: str


class UpstreamExtension(Reply):
    """What this server adds to a model that another server runs."""

    upstream: str  # host of that server
    leaves_machine: bool  # what is asked may go to another machine


class ModelItem(Reply):
    """One name that may be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int  # seconds since the epoch
    owned_by: str
    localgpt: ModelExtension | UpstreamExtension | None = None  # of an alias, or a model of another server


class ModelsReply(Reply):
    """All served models; the embedded family's id comes first."""

    object: Literal["list"] = "list"
    data: list[ModelItem]


class HealthReply(Reply):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class ReadyReply(Reply):
    """Whether requests are answered now: the models are loaded, and the server is not stopping."""

    status: Literal["ready", "loading", "stopping"]


class ServedModel(Reply):
    """What the page shows about a model."""

    id: str
    tasks: list[str]
    num_params: int
    weight_bytes: int
    context_len: int
    licence: str
    upstream: str | None  # host of the server that runs it; null: this one does
    leaves_machine: bool  # what is asked of it may go to another machine
    names: list[str]  # others that it answers to
    loaded: bool  # False: the first request for it waits until it is


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
    max_queue: int  # requests that may wait
    tokens_per_s: float  # written, over those of the last sixty seconds in which any were
    process_bytes: int | None  # resident memory of the server and its models, where it can be told
    uptime_s: int
    notices: list[str]
