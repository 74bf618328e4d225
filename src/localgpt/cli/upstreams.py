"""Upstreams on the command line: `--upstream NAME=URL[,FIELD=VALUE...]`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgpt.errors import ConfigError, LocalGPTError

if TYPE_CHECKING:
    from localgpt.runtime.upstream.address import Upstream
    from localgpt.runtime.upstream.service import UpstreamService
    from localgpt.settings import Settings

__all__ = ["UpstreamsOption", "look_at_upstreams", "upstream_service", "upstream_values"]

UpstreamsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--upstream",
        metavar="NAME=URL[,FIELD=VALUE...]",
        help="A server that speaks the OpenAI wire (Ollama, llama-server, vLLM, another LocalGPT), as in "
        "ollama=http://127.0.0.1:11434/v1,kind=ollama; its models are called upstream:NAME/MODEL. Fields: "
        "kind (openai, ollama, llama.cpp, vllm, localgpt), api_key_env, api_key_file, ca_file, allow_remote. "
        "May be repeated.",
    ),
]


def upstream_values(written: Sequence[str] | None) -> dict[str, dict[str, Any]] | None:
    """The setting `upstreams` of what was written; None where nothing was.

    Raises:
        ConfigError: an entry has another form, or a name comes twice.
    """
    if not written:
        return None
    values: dict[str, dict[str, Any]] = {}
    for entry in written:
        first, *others = entry.split(",")
        name, _, url = first.partition("=")
        fields = dict(field.partition("=")[::2] for field in others)
        if not name or not url or not all(fields.values()) or len(fields) < len(others):
            raise ConfigError(
                f"--upstream is {entry!r}; expected NAME=URL, and further fields behind commas, as in "
                "ollama=http://127.0.0.1:11434/v1,kind=ollama"
            )
        if name in values:
            raise ConfigError(f"--upstream names {name!r} twice; give one another name")
        values[name] = {"base_url": url} | fields
    return values


def upstream_service(settings: Settings) -> UpstreamService:
    """A service that asks the upstreams of the settings.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from localgpt.runtime.upstream.address import read_upstreams
    from localgpt.runtime.upstream.service import UpstreamService

    return UpstreamService(read_upstreams(settings.upstreams, os.environ))


def look_at_upstreams(settings: Settings) -> list[dict[str, Any]]:
    """Which upstreams there are, and whether they answer; nothing but `GET /models` is sent to them.

    Raises:
        ConfigError: one of them cannot be used.
    """
    from localgpt.runtime.upstream.address import read_upstreams

    async def look() -> list[dict[str, Any]]:
        upstreams = read_upstreams(settings.upstreams, os.environ)
        return list(await asyncio.gather(*map(_look, upstreams)))

    return asyncio.run(look())


async def _look(upstream: Upstream) -> dict[str, Any]:
    from localgpt.runtime.upstream.listing import ask_models

    told: dict[str, Any] = {
        "name": upstream.name,
        "base_url": upstream.base_url,
        "kind": upstream.kind,
        "leaves_machine": upstream.allow_remote,
    }
    try:
        return told | {"models": [model.id for model in await ask_models(upstream)], "trouble": None}
    except LocalGPTError as error:
        return told | {"models": [], "trouble": str(error)}
