"""The application in process, over a service that is scripted by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import httpx2
import pytest
from openai import AsyncOpenAI

from localgpt.server import create_app
from localgpt.server.store.opening import Store, open_store
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

BASE_URL = "http://127.0.0.1:8000"


@pytest.fixture
def service() -> FakeService:
    """Scripted by the test before it asks."""
    return FakeService()


@pytest.fixture
async def http(service: FakeService) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client of a server on loopback without a key."""
    app = create_app(Settings(), service)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client:
        yield client


@pytest.fixture
async def openai(service: FakeService) -> AsyncIterator[AsyncOpenAI]:
    """The official client, which takes httpx2 as its transport."""
    transport = httpx2.ASGITransport(create_app(Settings(), service))
    async with AsyncOpenAI(
        base_url=f"{BASE_URL}/v1",
        api_key="unused",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., httpx.AsyncClient]]:
    """Make a plain client of an application that the test built."""
    async with AsyncExitStack() as stack:

        def make(app: object, base_url: str = BASE_URL, **options: object) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            client = httpx.AsyncClient(transport=transport, base_url=base_url, **options)  # type: ignore[arg-type]
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of its own."""
    opened = await open_store(Settings(data_dir=tmp_path / "home"))
    yield opened
    await opened.close()


@pytest.fixture
def page(store: Store, service: FakeService, connect: Callable[..., httpx.AsyncClient]) -> httpx.AsyncClient:
    """A client of a server on loopback without a key, and with a store."""
    return connect(create_app(Settings(), service, store=store))
