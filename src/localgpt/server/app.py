"""`create_app`: settings and a task service in, an ASGI application out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from localgpt import __version__
from localgpt.server.access import require_key
from localgpt.server.admission import SPARE_SLOTS, Admission
from localgpt.server.errors import install_error_handlers
from localgpt.server.gateway import STATIC_DIR, Gateway
from localgpt.server.metrics import Metrics
from localgpt.server.middleware import Envelope
from localgpt.server.routes import chat, embeddings, health, models, page
from localgpt.server.turns import Turns
from localgpt.settings import Settings
from localgpt.tasks import TaskService

__all__ = ["create_app"]

logger = logging.getLogger(__name__)
CLOSE_TIMEOUT_S = 0.8  # together with the listener's own second, a stop takes less than two


def create_app(settings: Settings, service: TaskService, *, static_dir: Path = STATIC_DIR) -> FastAPI:
    """Build the HTTP face of a task service.

    Args:
        settings: address and keys; without keys only this machine may ask.
        service: does all model work; closed when the application shuts down.
        static_dir: the built page.

    Returns:
        The application; nothing is started before its lifespan begins.

    Raises:
        ConfigError: the address is public and there is no key.
    """
    require_key(settings)
    turns = Turns(num_slots=settings.max_batch_size + SPARE_SLOTS, max_waiting=settings.max_queue)
    metrics = Metrics()
    gateway = Gateway(
        settings=settings,
        service=Admission(service, turns, metrics, timeout_s=settings.request_timeout_s),
        turns=turns,
        metrics=metrics,
        api_keys=tuple(settings.api_keys),
        static_dir=static_dir,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        gateway.stopping.set()
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
    for routes in (chat, embeddings, models, health, page):
        app.include_router(routes.router)
    app.mount("/assets", page.Assets(directory=static_dir / "assets", check_dir=False), name="assets")
    app.add_middleware(Envelope, bound_host=settings.host)
    return app
