"""`localgpt ask` with timers around its parts; `cold_start.py` starts it as a process of its own.

    python benchmarks/timed_ask.py MARKS.json ask photo.jpg "What is this?" [OPTION ...]

Runs the command line as it is and writes when each part began and ended, in seconds since the epoch.
"""

import time

STARTED = time.time()  # before anything else is imported

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import AsyncGenerator, Callable  # noqa: E402
from contextlib import aclosing  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from localgpt.cli.main import main  # noqa: E402

MARKS: dict[str, float] = {"started": STARTED, "picture": 0.0}


def spans(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose beginning and end are marked."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        MARKS[f"{name}_begins"] = time.time()
        result = work(*args, **kwargs)
        MARKS[f"{name}_ends"] = time.time()
        return result

    return timed


def adds(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose seconds are added up."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.time()
        result = work(*args, **kwargs)
        MARKS[name] += time.time() - began
        return result

    return timed


def streams(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same stream of events; its request, first text and end are marked."""

    async def timed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        MARKS["asked"] = time.time()
        async with aclosing(work(*args, **kwargs)) as events:
            async for event in events:
                if type(event).__name__ == "TextDelta":
                    MARKS.setdefault("first_text", time.time())
                yield event
                MARKS["answered"] = time.time()

    return timed


def put_timers() -> None:
    """Put the timers around loading, reading a picture and answering."""
    from localgpt.runtime import loading
    from localgpt.runtime.local import LocalService
    from localgpt.runtime.pictures import PictureReader

    loading.load_service = spans("load", loading.load_service)
    LocalService.stream = streams(LocalService.stream)  # type: ignore[method-assign]
    for method in ("read_pixels", "read"):
        setattr(PictureReader, method, adds("picture", getattr(PictureReader, method)))


if __name__ == "__main__":
    put_timers()
    status = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(MARKS), encoding="utf-8")
    sys.exit(status)
