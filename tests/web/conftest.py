"""A real Chromium against a real server with a real store on a loopback port; the models are scripted."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from localgpt.server import create_app
from localgpt.server.gateway import STATIC_DIR
from localgpt.server.running import Server, address_of, bind
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from tests.api.fake_keeper import FakeKeeper
from tests.api.fake_service import FakeService
from tests.served import PATIENCE_S

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream",
)  # fmt: skip
expect.set_options(timeout=PATIENCE_S * 1000)  # a state is waited for, however slow the machine
DESKTOP = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}


class LiveServer:
    """A server in a thread, the service it asks, and a client that prepares what is stored."""

    def __init__(self, folder: Path, *, service: FakeService | None = None, **settings: Any) -> None:
        self.service = service or FakeService()
        self.keeper = FakeKeeper(is_live=True)
        chosen = Settings(data_dir=folder, **settings)
        listener = bind("127.0.0.1", 0)
        self.url = address_of(listener)
        key = chosen.api_keys[0] if chosen.api_keys else "none"
        self.http = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE_S
        )
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(chosen, listener)), daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE_S)

    async def _run(self, chosen: Settings, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        app = create_app(chosen, self.service, store=await open_store(chosen), keeper=self.keeper)
        self._server = Server(app, on_listening=self._started.set)
        await self._server.serve(sockets=[listener])

    def hold(self) -> None:
        """Let answers stop after their first piece, until `release`."""
        self.service.gate = asyncio.Event()

    def release(self) -> None:
        """Let answers go on, those under way too."""
        gate, self.service.gate = self.service.gate, None
        assert gate is not None
        self._loop.call_soon_threadsafe(gate.set)

    def work(self, repo: str, **values: Any) -> None:
        """Let the work on a model come further."""
        self._loop.call_soon_threadsafe(lambda: self.keeper.change(repo, **values))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the page's own API answers."""
        reply = self.http.request(method, f"/api/{path}", json=body)
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    def remember(self, title: str, *texts: str) -> str:
        """Store a conversation: questions and answers in turn; returns its id."""
        made: str = self.call("POST", "conversations", {"title": title})["id"]
        parent = None
        for index, text in enumerate(texts):
            body = {"id": f"m{index}", "parent_id": parent, "text": text}
            if index % 2:
                body["role"] = "assistant"
            parent = self.call("POST", f"conversations/{made}/messages", body)["id"]
        return made

    def messages(self) -> list[dict[str, Any]]:
        """All stored messages, those of the conversation changed last first."""
        found = self.call("GET", "conversations")["data"]
        return [
            message for one in found for message in self.call("GET", f"conversations/{one['id']}")["messages"]
        ]

    def stop(self) -> None:
        self.http.close()
        if self.service.gate is not None:
            self.release()
        self._server.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Start servers with the settings a test wants; their first-run tour has been seen."""
    if not (STATIC_DIR / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    servers: list[LiveServer] = []

    def start(*, tour: bool = False, **settings: Any) -> LiveServer:
        server = LiveServer(tmp_path / f"data{len(servers)}", **settings)
        servers.append(server)
        server.call("PUT", "settings", {"show_tour": tour})
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def live(serve: Callable[..., LiveServer]) -> LiveServer:
    """A fresh server for each test."""
    return serve()


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    """What starts browsers. A process has one, and no other test may run an event loop while it is there."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: install chromium")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(driver: Playwright) -> Iterator[Browser]:
    """One Chromium for a file's tests, but for those that need another microphone."""
    chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
    yield chromium
    chromium.close()


class Visit:
    """A page of one visitor, who notices errors, foreign requests and policy violations."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.problems: list[str] = []
        context.on("request", self._on_request)
        self.page = self.open()

    def open(self) -> Page:
        """Another window of the same visitor."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: (
                self.problems.append(f"{message.text} ({message.location['url']})")
                if message.type == "error"
                else None
            ),
        )
        page.goto(self.url)
        return page

    def go_offline(self) -> None:
        """Cut the network, and wait until the page feels it: a request right after may still get out."""
        self.context.set_offline(True)
        self.page.wait_for_function("() => fetch('/health').then(() => false, () => true)")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", f"blob:{self.url}")):
            self.problems.append(f"left the origin: {request.url}")


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Visitors of any server, with the browser options a test wants."""
    contexts: list[BrowserContext] = []

    def visit(url: str, **options: Any) -> Visit:
        context = browser.new_context(**{**DESKTOP, **options})
        context.set_default_timeout(PATIENCE_S * 1000)
        contexts.append(context)
        return Visit(context, url)

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def visit(visitor: Callable[..., Visit], live: LiveServer, request: pytest.FixtureRequest) -> Visit:
    """The page, opened; options of the browser context come from the marker `visitor`."""
    marker = request.node.get_closest_marker("visitor")
    return visitor(live.url, **(marker.kwargs if marker else {}))
