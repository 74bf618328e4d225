"""One row of the hardware table in docs/deployment.md: what this machine does, as people who use it see it.

    python benchmarks/hardware.py [--device NAME] [--model FOLDER] [--runs 5] [--header] [--json]

`tokens/s`: of a streamed chat answer, from its first to its last token, median over different questions.
`picture s`: seconds from a photograph of 12 megapixels to its description, each photograph new.
`resident`: memory of all processes of the server after that. `start s`: from the start of `localgpt serve`
until `/ready`. Close what else runs: the load average before the run stands in the row.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.served import PATIENCE_S, Served  # noqa: E402 - found by the line above

COLUMNS = (
    "machine",
    "cores",
    "RAM",
    "system",
    "device",
    "tokens/s",
    "picture s",
    "resident",
    "start s",
    "load",
    "date",
)
QUESTIONS = (
    "Tell me about the sea.",
    "What does a baker do?",
    "Why is the sky blue?",
    "Describe a small house.",
    "What is a library?",
    "How do plants grow?",
    "What is bread made of?",
)
PHOTO_SIZE = (4000, 3000)
GIB = 2**30


def draw_photo(number: int) -> bytes:
    """A photograph that was not seen before."""
    photo = Image.new("RGB", PHOTO_SIZE, (120, 180, 240 - 5 * number))
    draw = ImageDraw.Draw(photo)
    draw.rectangle((0, 2000, *PHOTO_SIZE), fill=(60, 150, 60))
    draw.ellipse((1200 + 40 * number, 1100, 2400 + 40 * number, 2300), fill=(210, 40, 40))
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=92)
    return data.getvalue()


async def time_answer(client: httpx.AsyncClient, question: str, max_tokens: int) -> float | None:
    """Tokens a second of one answer; None where it was too short to tell."""
    body = {
        "model": "local/multimodal-base",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    times: list[float] = []
    num_tokens = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if any(choice["delta"].get("content") for choice in chunk["choices"]):
                times.append(time.perf_counter())
            if chunk.get("usage"):
                num_tokens = chunk["usage"]["completion_tokens"]
    return (num_tokens - 1) / (times[-1] - times[0]) if len(times) > 1 else None


async def time_picture(client: httpx.AsyncClient, number: int) -> float:
    """Seconds to describe one photograph."""
    image = "data:image/jpeg;base64," + base64.b64encode(draw_photo(number)).decode("ascii")
    start = time.perf_counter()
    response = await client.post("/v1/vision/describe", json={"image": image, "max_tokens": 24})
    response.raise_for_status()
    return time.perf_counter() - start


async def measure(options: Sequence[str], *, runs: int, max_tokens: int) -> dict[str, Any]:
    """Start a server, ask it, and stop it."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        served = Served(Path(folder), *options)
        try:
            await served.ready()
            start_s = time.perf_counter() - start
            async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S, trust_env=False) as client:
                await time_answer(client, "Hello.", max_tokens)  # not counted: what is only done once
                await time_picture(client, runs)
                rates = [await time_answer(client, QUESTIONS[run % len(QUESTIONS)], max_tokens)
                         for run in range(runs)]  # fmt: skip
                pictures = [await time_picture(client, run) for run in range(runs)]
            status = await served.status()
            resident_mib = served.resident_mib()
            served.stop()
        finally:
            served.kill()
    told = [rate for rate in rates if rate is not None]
    if not told:
        raise SystemExit("no answer was long enough to be timed; give another model or more tokens")
    return {
        "device": status["device"],
        "dtype": status["dtype"],
        "tokens_per_s": statistics.median(told),
        "picture_s": statistics.median(pictures),
        "resident_mib": resident_mib,
        "start_s": start_s,
    }


def machine(device: str) -> dict[str, Any]:
    """What the machine is; the name of a GPU that ran the models goes before that of the processor."""
    names = {one["device"]: one["name"] for one in _doctor()["devices"]} if device != "cpu" else {}
    name = names.get(device) or names.get(f"{device}:0") or _processor()
    return {
        "machine": name,
        "cores": os.cpu_count(),
        "ram_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _doctor() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "localgpt", "doctor", "--json"], capture_output=True, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE)):
        return " ".join(found.group(1).split())
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or "unknown"


def row(figures: dict[str, Any]) -> str:
    """As the table has it."""
    cells = (
        figures["machine"],
        figures["cores"],
        f"{figures['ram_bytes'] / GIB:.0f} GiB",
        figures["system"],
        f"{figures['device']}, {figures['dtype']}",
        f"{figures['tokens_per_s']:.0f}",
        f"{figures['picture_s']:.2f}",
        f"{figures['resident_mib']:.0f} MiB",
        f"{figures['start_s']:.1f}",
        f"{figures['load']:.1f}",
        figures["date"],
    )
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def header() -> str:
    """The two lines above the rows."""
    return f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", help="as localgpt serve takes it")
    parser.add_argument("--model", help="a family's folder; default: the embedded one")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--header", action="store_true", help="print the table's head too")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    options = [word for name in ("device", "model") if (value := getattr(given, name))
               for word in (f"--{name}", value)]  # fmt: skip
    figures = asyncio.run(measure(options, runs=given.runs, max_tokens=given.max_tokens))
    figures |= machine(figures["device"]) | {"load": load, "date": datetime.date.today().isoformat()}
    if given.json:
        print(json.dumps(figures))
    else:
        print(f"{header()}\n{row(figures)}" if given.header else row(figures))
    return figures


if __name__ == "__main__":
    main()
