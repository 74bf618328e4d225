"""A real Chromium against a real server on a loopback port; the models are scripted."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from localgpt.server import create_app
from localgpt.server.gateway import STATIC_DIR
from localgpt.server.running import Server, address_of, bind
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class LiveServer:
    """A server in a thread, and the service it asks."""

    def __init__(self, settings: Settings) -> None:
        self.service = FakeService()
        listener = bind("127.0.0.1", 0)
        self.url = address_of(listener)
        started = threading.Event()
        self._server = Server(create_app(settings, self.service), on_listening=started.set)
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()
        assert started.wait(20)

    def _run(self, listener: object) -> None:
        asyncio.run(self._server.serve(sockets=[listener]))  # type: ignore[list-item]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def live() -> Iterator[LiveServer]:
    """A fresh server for each test."""
    if not (STATIC_DIR / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    server = LiveServer(Settings())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


class Visit:
    """A page of one visitor, who notices errors, foreign requests and policy violations."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.problems: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on(
            "console",
            lambda message: self.problems.append(message.text) if message.type == "error" else None,
        )
        self.page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((url, "data:", "blob:"))
                else self.problems.append(f"left the origin: {request.url}")
            ),
        )
        self.page.goto(url)


@pytest.fixture
def visit(browser: Browser, live: LiveServer, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The page, opened; options of the browser context come from the marker `visitor`."""
    marker = request.node.get_closest_marker("visitor")
    options = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
    context = browser.new_context(**{**options, **(marker.kwargs if marker else {})})
    context.set_default_timeout(15_000)
    yield Visit(context, live.url)
    context.close()
