"""`create_app`: settings and a task service in, an ASGI application out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI

from localgpt import __version__
from localgpt.server.access import require_key
from localgpt.server.admission import SPARE_SLOTS, Admission
from localgpt.server.bodies import BodyRoom
from localgpt.server.door import Door
from localgpt.server.errors import install_error_handlers
from localgpt.server.gateway import STATIC_DIR, Gateway
from localgpt.server.metrics import Metrics
from localgpt.server.middleware import Envelope
from localgpt.server.queries import refuse_unknown_queries
from localgpt.server.routes import (
    api,
    audio,
    chat,
    completions,
    embeddings,
    health,
    images,
    memory,
    metrics,
    missing,
    models,
    page,
    realtime,
    responses,
    vision,
)
from localgpt.server.turns import Turns
from localgpt.server.uploads import sweep_uploads
from localgpt.settings import Settings
from localgpt.tasks import TaskService
from localgpt.tasks.kept_models import ModelKeeper
from localgpt.units import MIB

if TYPE_CHECKING:
    from localgpt.server.store.opening import Store

__all__ = ["create_app"]

logger = logging.getLogger(__name__)
_MAX_UPLOADS = 4  # of the largest size that are on the disk at once
_FAMILIES = (
    api,
    audio,
    chat,
    completions,
    vision,
    missing,
    realtime,
    responses,
    embeddings,
    images,
    models,
    health,
    memory,
    metrics,
    page,
)
CLOSE_TIMEOUT_S = 0.8  # together with the listener's own second, a stop takes less than two


def create_app(
    settings: Settings,
    service: TaskService,
    *,
    store: Store | None = None,
    keeper: ModelKeeper | None = None,
    static_dir: Path = STATIC_DIR,
) -> FastAPI:
    """Build the HTTP face of a task service.

    Args:
        settings: address and keys; without keys only this machine may ask.
        service: does all model work; closed when the application shuts down.
        store: keeps conversations and keys; closed too. Without one the routes that need it answer 503.
        keeper: gets and removes open models; closed too. Without one the routes that need it answer 503.
        static_dir: the built page.

    Returns:
        The application; nothing is started before its lifespan begins.

    Raises:
        ConfigError: the server is public, and there is neither a key nor a store that may have one.
    """
    require_key(settings, has_stored_keys=store is not None)  # what is in it, `needs_key` asks each time
    turns = Turns(
        num_slots=settings.max_batch_size + SPARE_SLOTS,
        max_waiting=settings.max_queue,
        limits=None if store is None else store.accounts,
    )
    figures = Metrics()
    gateway = Gateway(
        settings=settings,
        service=Admission(service, turns, figures, timeout_s=settings.request_timeout_s),
        turns=turns,
        metrics=figures,
        api_keys=tuple(settings.api_keys),
        store=store,
        keeper=keeper,
        static_dir=static_dir,
        upload_room=BodyRoom(_MAX_UPLOADS * settings.max_upload_mib * MIB),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if store is not None:  # so nobody else serves from the data folder
            sweep_uploads(settings)
        async with _kept_tidy(store):
            yield
            await close_service()

    async def close_service() -> None:
        gateway.stopping.set()
        if keeper is not None:
            await keeper.close()
        try:
            await asyncio.wait_for(gateway.service.close(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.warning("the models did not stop within %.1f s; leaving them", CLOSE_TIMEOUT_S)

    app = FastAPI(
        title="LocalGPT",
        version=__version__,
        description="A private assistant on this computer, on the OpenAI wire.",
        docs_url=None,  # its page loads scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.gateway = gateway
    install_error_handlers(app)
    for routes in _FAMILIES:
        # What is not installed says so, whatever it is asked.
        checks = [] if routes is missing else [Depends(refuse_unknown_queries)]
        app.include_router(routes.router, dependencies=checks)
    app.include_router(realtime.sockets)
    app.mount("/assets", page.Assets(directory=static_dir / "assets", check_dir=False), name="assets")
    app.add_middleware(
        Envelope,
        bound_host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        authenticate=Door(turns, figures, has_upstreams=bool(settings.upstreams)),
        max_body_bytes=settings.max_body_mib * MIB,
        max_upload_bytes=settings.max_upload_mib * MIB,
        read_timeout_s=settings.read_timeout_s,
        metrics=figures,
    )
    return app


@asynccontextmanager
async def _kept_tidy(store: Store | None) -> AsyncIterator[None]:
    """Tidy the store now and daily while the application runs, and close it at the end."""
    if store is None:
        yield
        return
    tidying = asyncio.ensure_future(store.tidy_daily())
    try:
        yield
    finally:
        tidying.cancel()
        await asyncio.gather(tidying, return_exceptions=True)
        await store.close()
