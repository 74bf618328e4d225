"""How soon the page is there, in a headless Chromium against a real server with the shipped weights.

    python benchmarks/first_paint.py [--runs 9] [--url http://127.0.0.1:8000] [--json]

For each run a browser of its own opens the page: once with nothing in its cache (`first`), and once again
(`again`). `paint` is the first contentful paint as the browser itself reports it, in milliseconds from the
navigation; `ready` is when a message can be written. `answer` is from pressing Enter on a first question
until its first words are drawn. The table also says what was transferred and what all assets weigh, gzipped.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.cold_start import PATIENCE_S, machine
from localgpt.server.gateway import STATIC_DIR

QUESTION = "What is the capital of France?"
WHAT = {
    "first_paint": "first visit: first contentful paint",
    "first_ready": "first visit: a message can be written",
    "again_paint": "next visit: first contentful paint",
    "again_ready": "next visit: a message can be written",
    "answer": "Enter to the first words of an answer",
}
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PAINTED = """() => new Promise((done) => new PerformanceObserver((list) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) done(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""
TRANSFERRED = """() => ["resource", "navigation"].flatMap((type) => performance.getEntriesByType(type))
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""


@contextlib.contextmanager
def served(url: str | None) -> Iterator[str]:
    """The address of the server: the one given, or a fresh one whose models are loaded."""
    if url is not None:
        yield url.rstrip("/")
        return
    script = Path(sys.executable).with_name("localgpt")
    command = [str(script)] if script.is_file() else [sys.executable, "-m", "localgpt"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*command, "serve", "--port", "0", "--data-dir", folder, "--log-level", "warning"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = next(
                word for line in process.stdout for word in line.split() if word.startswith("http")
            )
            with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=PATIENCE_S):
                yield address.rstrip("/")
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def open_page(context: BrowserContext, url: str) -> tuple[Page, dict[str, float]]:
    """Open the page and give its times in milliseconds since the navigation began."""
    page = context.new_page()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("textarea#message")
    ready = page.evaluate("performance.now()")
    return page, {"paint": page.evaluate(PAINTED), "ready": ready, "bytes": page.evaluate(TRANSFERRED)}


def time_visits(browser: Browser, url: str) -> dict[str, float]:
    """One run: a first visit, another one, a question."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    page, first = open_page(context, url)
    page.wait_for_load_state("networkidle")
    page.close()
    page, again = open_page(context, url)
    page.wait_for_load_state("networkidle")
    skip = page.get_by_role("button", name="Skip", exact=True)
    if skip.is_visible():
        skip.click()
    page.fill("textarea#message", QUESTION)
    begun = page.evaluate("performance.now()")
    page.press("textarea#message", "Enter")
    page.wait_for_selector("article.answered .prose", timeout=1000 * PATIENCE_S)
    answer = page.evaluate("performance.now()") - begun
    context.close()
    return {
        **{f"first_{name}": value for name, value in first.items()},
        **{f"again_{name}": value for name, value in again.items()},
        "answer": answer,
    }


def measure(url: str | None, runs: int) -> dict[str, Any]:
    """All figures: medians and single runs, in milliseconds."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("no Chromium on the PATH: install chromium")
    load_before = os.getloadavg()
    with served(url) as address, sync_playwright() as playwright:
        visits = []
        for _ in range(runs + 1):
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            visits.append(time_visits(browser, address))
            browser.close()
    visits = visits[1:]  # the one before them loaded the weights and warmed the file cache
    return {
        "medians": {name: statistics.median(visit[name] for visit in visits) for name in visits[0]},
        "visits": visits,
        "runs": runs,
        "assets": {
            path.name: len(gzip.compress(path.read_bytes(), 9))
            for path in sorted(STATIC_DIR.rglob("*"))
            if path.is_file()
        },
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    place, medians, visits = figures["machine"], figures["medians"], figures["visits"]
    before, after = (figures["load_average"][when][0] for when in ("before", "after"))
    told = io.StringIO()
    print(f"{place['date']}, {place['processor']}, {place['cores']} cores, {place['system']}", file=told)
    print(f"medians of {figures['runs']} runs (smallest to largest)", file=told)
    print(f"load average {before:.2f} before, {after:.2f} after\n", file=told)
    for name, what in WHAT.items():
        values = [visit[name] for visit in visits]
        print(f"{medians[name]:7.0f} ms   {what} ({min(values):.0f} to {max(values):.0f})", file=told)
    print(f"{medians['first_bytes'] / 1000:7.0f} kB   transferred by the first visit", file=told)
    print(f"{medians['again_bytes'] / 1000:7.0f} kB   transferred by the next visit", file=told)
    print(f"{sum(figures['assets'].values()) / 1000:7.0f} kB   all assets, gzipped", file=told)
    return told.getvalue()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Milliseconds until the page is there.")
    parser.add_argument("--url", help="a running server; absent means a fresh one with the shipped weights")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = measure(args.url, args.runs)
    print(json.dumps(figures, indent=1) if args.json else table(figures), end="\n" if args.json else "")


if __name__ == "__main__":
    main()
