"""Errors on the wire: their text, and when to come back."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from localgpt.errors import (
    BackendError,
    CancelledRequestError,
    CapacityError,
    CheckpointError,
    DeadlineError,
    LocalGPTError,
    RateLimitError,
    StoreError,
)
from localgpt.server.errors import describe_error, install_error_handlers


@pytest.mark.parametrize(
    "kind",
    [
        BackendError,
        CancelledRequestError,
        CapacityError,
        CheckpointError,
        DeadlineError,
        RateLimitError,
        StoreError,
    ],
)
def test_what_may_pass_says_when_to_come_back(kind: type[LocalGPTError]) -> None:
    status, _, headers = describe_error(kind("not now"))
    assert status in (429, 503) and int(headers["retry-after"]) >= 1


def test_the_error_knows_better_when() -> None:
    assert describe_error(CapacityError("full", retry_after_s=7.2))[2] == {"retry-after": "8"}


async def test_braces_in_a_detail_are_text(connect: Callable[..., httpx.AsyncClient]) -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/braces")
    async def braces() -> None:
        raise HTTPException(400, "{method} and {nothing} stay")

    client = connect(app)
    assert (await client.get("/braces")).json()["error"]["message"] == "{method} and {nothing} stay"
    assert "no such route: GET /{x}" in (await client.get("/%7Bx%7D")).json()["error"]["message"]
