"""What docs/api.md calls open to everybody is, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx

from localgpt.server import create_app
from localgpt.settings import Settings
from tests.api.fake_service import FakeService

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


async def test_open_routes_are_those_of_the_page(
    service: FakeService, connect: Callable[..., httpx.AsyncClient], tmp_path: Path
) -> None:
    sentence = re.search(r"Open to everybody are (.*?)\.\n", PAGE, re.DOTALL)
    assert sentence is not None
    told = set(re.findall(r"`([^`]+)`", sentence[1]))
    app = create_app(Settings(api_keys=("a-long-key",)), service, static_dir=tmp_path)
    client = connect(app)
    paths = {"/", "/assets/*", "/favicon.svg", "/licences.txt", "/openapi.json", *app.openapi()["paths"]}
    # Without a store, what needs one says so before it asks for a key; test_api_access walks those.
    mine = {path for path in paths if not path.startswith("/api/") or path == "/api/session"}
    replies = {path: await client.get(path.replace("{", "").replace("}", "")) for path in mine}
    assert {path for path, reply in replies.items() if reply.status_code not in (401, 405)} == told
