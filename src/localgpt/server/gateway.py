"""What every route shares: the settings, the task service, and the moment the server stops."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fastapi import Request

from localgpt.server.admission import Admission
from localgpt.server.bodies import BodyRoom
from localgpt.server.heard_texts import HeardTexts
from localgpt.server.metrics import Metrics
from localgpt.server.realtime.secrets import ClientSecrets
from localgpt.server.turns import Turns
from localgpt.settings import Settings
from localgpt.tasks.kept_models import ModelKeeper
from localgpt.units import GIB

if TYPE_CHECKING:
    from localgpt.server.store.opening import Store

__all__ = ["STATIC_DIR", "Gateway", "get_gateway"]

STATIC_DIR = Path(__file__).parent / "static"


@dataclass(slots=True)
class Gateway:
    """One running application's state, held in `app.state.gateway`."""

    settings: Settings
    service: Admission  # around the service that does the work
    turns: Turns
    metrics: Metrics
    api_keys: tuple[str, ...]
    store: Store | None = None  # what is kept between requests; without it, the routes that need it say so
    keeper: ModelKeeper | None = None  # gets and removes open models; without it, those routes say so
    static_dir: Path = STATIC_DIR
    heard: HeardTexts = field(
        default_factory=HeardTexts
    )  # recordings of conversations that were written down
    upload_room: BodyRoom = field(default_factory=lambda: BodyRoom(8 * GIB))  # of uploads on the disk
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    secrets: ClientSecrets = field(default_factory=ClientSecrets)  # that open calls
    calls: set[object] = field(default_factory=set)  # that are open
    started_at: int = field(default_factory=lambda: int(time.time()))  # seconds since the epoch


def get_gateway(request: Request) -> Gateway:
    """The gateway of the application that `request` came to."""
    return cast("Gateway", request.app.state.gateway)
