"""Descriptions by the product's own service, which is sent each picture's file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from localgpt.runtime.loading import LoadOptions, load_service
from localgpt.tasks import ChatResult, DescribeRequest, ImagePart, Language

__all__ = ["describe_served"]

_AT_ONCE = 4  # requests


def describe_served(
    pictures: Sequence[bytes],
    language: Language,
    *,
    model: str | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """What `localgpt describe` tells of pictures, in their order.

    Args:
        pictures: files.
        language: of the descriptions.
        model: family folder; None = the embedded one.
        device: as `--device` of the command line.
        report: told how far the work is, in words.
    """
    return asyncio.run(_describe_all(pictures, language, LoadOptions(model=model, device=device), report))


async def _describe_all(
    pictures: Sequence[bytes], language: Language, options: LoadOptions, report: Callable[[str], None]
) -> list[str]:
    service = load_service(options)
    told = [""] * len(pictures)
    waiting = iter(enumerate(pictures))

    async def visitor() -> None:
        for number, data in waiting:
            request = DescribeRequest(id=str(number), image=ImagePart(data=data), language=language)
            result = await service.run(request)
            assert isinstance(result, ChatResult)
            told[number] = result.text
            report(f"{number + 1}/{len(pictures)} pictures")

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(1 if options.device == "cpu" else _AT_ONCE):
                group.create_task(visitor())
    finally:
        await service.close()
    return told
