"""Whether a running server speaks the OpenAI wire: the official client in strict validation on every route.

    python benchmarks/conformance.py URL [--key KEY] [--area chat ...] [--json]
    python benchmarks/conformance.py --spawn

Every documented parameter of every route is sent at least once and must be honoured, or refused with its
name; the last check proves that none was forgotten. `--spawn` starts `localgpt serve` with the shipped
weights on a free port, with a key and a data folder of its own, and ends it. Exit status 1 when a check
fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.conformance_checks.run import Outcome, all_checks, as_json, run_checks, table  # noqa: E402
from benchmarks.conformance_checks.target import Target  # noqa: E402

START_TIMEOUT_S = 120.0


def main() -> int:
    """Run the checks and print what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", help="where the server listens, without /v1")
    parser.add_argument("--spawn", action="store_true", help="start a server and end it")
    parser.add_argument("--key", help="the server's key, where it asks for one")
    parser.add_argument("--area", nargs="*", default=[], help="only these areas")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    args = parser.parse_args()
    if args.spawn == (args.url is not None):
        parser.error("give a URL or --spawn")
    with spawned() if args.spawn else contextlib.nullcontext((args.url, args.key)) as (url, key):
        outcomes = asyncio.run(ask(url.rstrip("/"), key, args.area))
    print(json.dumps(as_json(outcomes), indent=2) if args.json else table(outcomes))
    return int(any(outcome.reason is not None for outcome in outcomes))


async def ask(url: str, key: str | None, areas: list[str]) -> list[Outcome]:
    """Run the checks of some areas against a server that is ready."""
    target = Target.at(url, key=key)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while (await target.http.get("/ready")).status_code != 200:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} was not ready within {START_TIMEOUT_S:.0f} s")
            await asyncio.sleep(0.5)
        return await run_checks(all_checks(areas), target)
    finally:
        await target.close()


@contextlib.contextmanager
def spawned() -> Iterator[tuple[str, str]]:
    """A server of this checkout with the shipped weights: its URL and its key."""
    key = f"sk-{secrets.token_urlsafe(16)}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "localgpt", "serve", "--port", "0", "--data-dir", folder]
        process = subprocess.Popen(
            [*command, "--api-key", key, "--log-level", "warning"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            said = next((line for line in process.stdout if "listens on" in line), None)
            if said is None:
                raise SystemExit(f"the server did not start: exit status {process.wait()}")
            yield said.split()[-1], key
        finally:
            process.terminate()
            process.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
