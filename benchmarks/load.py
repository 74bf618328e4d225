"""A server under load: speed by number of streams, ten times too many requests, and what disconnects leave.

    python benchmarks/load.py [--model FOLDER] [--streams 1 4 16 64] [--requests 2] [--max-tokens 128]
    python benchmarks/load.py --overload [--seconds 60]
    python benchmarks/load.py --disconnects 2000

The server is a process of its own on this machine, with its defaults and a data folder that is thrown away;
so the clients take some of its processor time. Memory and descriptors are those of the server and of its
models' process together. Tokens are counted as pieces of the stream, by the time they
arrive. Long answers are asked for, as in a conversation; `--max-tokens 16` shows how it fares with short
ones, whose requests come many times faster. `--overload` finds the peak first, then begins requests at ten
times the rate that was answered at the peak, whatever becomes of them. `--disconnects` closes streams after a
random number of pieces and then looks for what is left: answers under way, sockets, tasks of the event loop.
(Descriptors that are no sockets are counted too; the store keeps up to fifteen connections to its file for
reuse.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.served import Served

TOPICS = ("rain", "bread", "the moon", "rivers", "clocks", "winter", "birds", "trains", "salt", "glass")
OVERLOAD = 10
PATIENCE_S = 600.0


@dataclass(slots=True)
class Stream:
    """What came of one request: when it began, when each piece arrived, and how it ended."""

    begun: float
    status: int = 0  # 0: no answer at all
    pieces: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end."""
        return self.status == 200 and self.failure is None


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one number of streams."""

    num_streams: int
    tokens_per_s: float
    requests_per_s: float
    ttft_p50_ms: float
    ttft_p95_ms: float
    gap_p50_ms: float
    gap_p95_ms: float
    errors: dict[str, int]
    resident_mib: float


class Client:
    """Asks for streams.

    Args:
        url: the server's.
        max_tokens: of each answer.
    """

    def __init__(self, url: str, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)  # each request its own
        self._http = httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False, limits=limits)
        self._num_asked = 0

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ask(self, stop_after: int | None = None) -> Stream:
        """Read one answer, or its first pieces.

        Args:
            stop_after: close the connection after so many pieces; 0 as soon as the status is there.
        """
        self._num_asked += 1
        topic = TOPICS[self._num_asked % len(TOPICS)]
        text = f"Write a long story about {topic}, for day {self._num_asked}."
        body = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self._max_tokens,
            "seed": self._num_asked,
            "temperature": 1.0,
            "stream": True,
        }
        stream = Stream(begun=time.monotonic())
        try:
            async with self._http.stream("POST", "/v1/chat/completions", json=body) as reply:
                stream.status = reply.status_code
                if reply.status_code == 200 and stop_after != 0:
                    await self._read(reply, stream, stop_after)
        except httpx.HTTPError as error:
            stream.failure = type(error).__name__
        return stream

    async def _read(self, reply: httpx.Response, stream: Stream, stop_after: int | None) -> None:
        async with aclosing(reply.aiter_lines()) as lines:
            async for line in lines:
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    stream.failure = event["error"]["code"] or event["error"]["type"]
                elif any(choice["delta"].get("content") for choice in event["choices"]):
                    stream.pieces.append(time.monotonic())
                    if stop_after is not None and len(stream.pieces) >= stop_after:
                        return


async def measure(server: Served, client: Client, num_streams: int, num_requests: int) -> Row:
    """Keep so many streams open, each asking anew when its answer has ended."""
    begun = time.monotonic()

    async def ask_again() -> list[Stream]:
        return [await client.ask() for _ in range(num_requests)]

    streams = list(chain.from_iterable(await asyncio.gather(*(ask_again() for _ in range(num_streams)))))
    seconds = time.monotonic() - begun
    firsts = [stream.pieces[0] - stream.begun for stream in streams if stream.pieces]
    gaps = [
        later - earlier
        for stream in streams
        for earlier, later in zip(stream.pieces, stream.pieces[1:], strict=False)
    ]
    return Row(
        num_streams=num_streams,
        tokens_per_s=sum(len(stream.pieces) for stream in streams) / seconds,
        requests_per_s=sum(stream.is_whole for stream in streams) / seconds,
        ttft_p50_ms=1000 * quantile(firsts, 0.5),
        ttft_p95_ms=1000 * quantile(firsts, 0.95),
        gap_p50_ms=1000 * quantile(gaps, 0.5),
        gap_p95_ms=1000 * quantile(gaps, 0.95),
        errors=dict(errors_of(streams)),
        resident_mib=server.resident_mib(),
    )


def errors_of(streams: Iterable[Stream]) -> Counter[str]:
    """How often what went wrong: a status, or what broke an answer off."""
    return Counter(stream.failure or str(stream.status) for stream in streams if not stream.is_whole)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values does not exceed; 0 of none."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * share) - 1]


async def overload(server: Served, client: Client, *, num_streams: int, seconds: float) -> dict[str, Any]:
    """Ten times the requests that the peak answers, begun evenly, whatever becomes of them."""
    num_requests = max(3, 24 // num_streams)
    peak = await measure(server, client, num_streams, num_requests)
    interval_s = 1 / (OVERLOAD * max(peak.requests_per_s, 0.1))
    tasks: list[asyncio.Task[Stream]] = []
    begun, own_s, server_s = time.monotonic(), time.process_time(), server.processor_s()
    while (now := time.monotonic()) < begun + seconds:
        while len(tasks) * interval_s <= now - begun:
            tasks.append(asyncio.create_task(client.ask()))
        await asyncio.sleep(interval_s)
    ended = time.monotonic()
    busy = {"clients": time.process_time() - own_s, "server": server.processor_s() - server_s}
    streams = await asyncio.gather(*tasks)  # those that wait in the queue are served yet
    num_tokens = sum(begun <= piece < ended for stream in streams for piece in stream.pieces)
    statuses = Counter(str(stream.status) for stream in streams)
    goodput = num_tokens / (ended - begun)
    return {
        "peak_tokens_per_s": peak.tokens_per_s,
        "seconds": ended - begun,
        "offered_requests_per_s": len(tasks) / (ended - begun),
        "tokens_per_s": goodput,
        "share_of_peak": goodput / peak.tokens_per_s if peak.tokens_per_s else 0.0,
        "statuses": dict(statuses),
        "others": sum(num for status, num in statuses.items() if status not in ("200", "429", "503")),
        "broken_off": dict(Counter(stream.failure for stream in streams if stream.failure)),
        "cores_busy": {who: round(spent / (ended - begun), 2) for who, spent in busy.items()},
        "resident_mib": server.resident_mib(),
    }


async def disconnects(server: Served, client: Client, *, number: int, seed: int = 0) -> dict[str, Any]:
    """Close streams at random; what is held before and after should be the same."""
    num_clients = min(number, 12)
    for _ in range(2):  # what is kept for reuse, such as the store's connections, is opened now
        await asyncio.gather(*(client.ask(1) for _ in range(num_clients)))
    before = await server.held_at_rest()
    chance = random.Random(seed)
    stops = iter([chance.randrange(6) for _ in range(number)])
    statuses: Counter[str] = Counter()

    async def ask_again() -> None:
        for stop_after in stops:
            stream = await client.ask(stop_after)
            statuses[stream.failure or str(stream.status)] += 1

    await asyncio.gather(*(ask_again() for _ in range(num_clients)))
    after = await server.held_at_rest()
    left = {name: after[name] - before[name] for name in before}
    return {"number": number, "statuses": dict(statuses), "before": before, "after": after, "left": left}


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start the server, measure what was asked for, and stop it."""
    with tempfile.TemporaryDirectory() as folder:
        extra = ("--model", str(options.model)) if options.model else ()
        server = Served(Path(folder), *extra)
        try:
            await server.ready()
            client = Client(server.url, options.max_tokens)
            await client.ask()  # the first answer touches the weights
            result: dict[str, Any] = {"load_average": list(os.getloadavg())}
            if options.streams:
                rows = [await measure(server, client, num, options.requests) for num in options.streams]
                result["rows"] = [asdict(row) for row in rows]
            if options.overload:
                batch = (await server.status())["max_batch_size"]
                result["overload"] = await overload(
                    server, client, num_streams=batch + 2, seconds=options.seconds
                )
            if options.disconnects:
                result["disconnects"] = await disconnects(server, client, number=options.disconnects)
            await client.close()
            result["exit_status"] = server.stop()
        finally:
            server.kill()
    return result


def show(result: dict[str, Any]) -> None:
    """Print a table for the streams, and other figures one a line."""
    print("load average at the start:", " ".join(f"{value:.1f}" for value in result["load_average"]))
    for part in ("overload", "disconnects"):
        for name, value in result.get(part, {}).items():
            print(f"{part}: {name}: {value:.2f}" if isinstance(value, float) else f"{part}: {name}: {value}")
    if "rows" not in result:
        return
    print("| streams | tokens/s | TTFT p50 / p95 ms | between tokens p50 / p95 ms | errors | memory MiB |")
    print("|---|---|---|---|---|---|")
    for row in result["rows"]:
        print(
            f"| {row['num_streams']} | {row['tokens_per_s']:.1f} "
            f"| {row['ttft_p50_ms']:.0f} / {row['ttft_p95_ms']:.0f} "
            f"| {row['gap_p50_ms']:.0f} / {row['gap_p95_ms']:.0f} "
            f"| {row['errors'] or 'none'} | {row['resident_mib']:.0f} |"
        )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Read the options, measure, print."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--model", type=Path, help="a family's folder; default: the shipped weights")
    parser.add_argument("--streams", type=int, nargs="+", help="default: 1 4 16 64")
    parser.add_argument("--requests", type=int, default=2, help="of each stream, one after the other")
    parser.add_argument("--max-tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--disconnects", type=int, default=0, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if not (options.streams or options.overload or options.disconnects):
        options.streams = [1, 4, 16, 64]
    result = asyncio.run(run(options))
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return result


if __name__ == "__main__":
    main()
