"""From nothing to an answer and to the page: whole processes, medians of several runs.

    python benchmarks/cold_start.py [--model FOLDER] [--photo FILE] [--runs 5] [--evict] [--json]

`ask`: seconds of `localgpt ask photo.jpg "What is this?"` from the start of the process to its end. Where
they go is measured in further runs of the same command with timers around its parts (`timed_ask.py`),
interleaved with the plain ones. `serve`: seconds from the start of `localgpt serve` until `/health`
answers, until the page with its scripts and styles is delivered, and until `/ready` says that the models
are loaded. The kernel's file cache stays warm from run to run; `--evict` asks the kernel before each run to
forget the weights and the installed packages.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

QUESTION = "What is this?"
PARTS = {
    "interpreter": "Python starts",
    "imports": "imports, arguments, checks of the model's folder",
    "weights": "weights are read and put in place",
    "picture": "the photograph is decoded and encoded",
    "first_text": "prompt is read, first text",
    "text": "the rest of the answer",
    "end": "models are freed, the process ends",
}
EVENTS = {"health": "/health answers", "page": "the page is delivered", "ready": "the models are loaded"}
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What every run shares: options of the command, the photograph, a folder for state, files to forget."""

    options: tuple[str, ...]
    photo: Path
    folder: Path
    evicted: tuple[Path, ...]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the processes: state in a folder of its own."""
        return {**os.environ, "LOCALGPT_HOME": str(self.folder / "home")}

    def forget(self) -> None:
        """Ask the kernel to drop the files from its cache."""
        for root in self.evicted:
            for path in [root] if root.is_file() else filter(Path.is_file, root.rglob("*")):
                handle = os.open(path, os.O_RDONLY)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(handle)


def draw_photo(path: Path) -> None:
    """A rendered landscape of the size of a phone's photograph, as JPEG."""
    height, width = 1536, 2048
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    picture = np.stack([110 + 110 * y, 160 + 60 * y, 235 - 40 * y], axis=2)  # the sky
    hill = y > 0.62 + 0.06 * np.sin(7 * x) + 0.03 * np.sin(19 * x + 1)
    picture[hill] = np.stack([60 + 40 * y, 140 - 50 * y, 50 + 10 * x], axis=2)[hill]
    picture[(x - 0.75) ** 2 + (0.75 * (y - 0.22)) ** 2 < 0.005] = (255, 230, 120)  # the sun
    grain = np.random.default_rng(0).normal(0, 6, size=(height, width, 1))
    Image.fromarray((picture + grain).clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)


def time_ask(setting: Setting) -> float:
    """Seconds of one whole process.

    Raises:
        subprocess.CalledProcessError: the command failed; its standard error is shown.
    """
    setting.forget()
    began = time.time()
    _run([*_command(), "ask", str(setting.photo), QUESTION, *setting.options], setting)
    return time.time() - began


def time_parts(setting: Setting) -> dict[str, float]:
    """Seconds of each part of one process; together they are the whole."""
    setting.forget()
    marks_file = setting.folder / "marks.json"
    script = Path(__file__).with_name("timed_ask.py")
    began = time.time()
    command = [sys.executable, str(script), str(marks_file), "ask", str(setting.photo), QUESTION]
    _run([*command, *setting.options], setting)
    ended = time.time()
    marks = json.loads(marks_file.read_text(encoding="utf-8"))
    first = marks.get("first_text", marks["answered"])
    return {
        "interpreter": marks["started"] - began,
        "imports": marks["load_begins"] - marks["started"],
        "weights": marks["load_ends"] - marks["load_begins"],
        "picture": marks["picture"],
        "first_text": first - marks["load_ends"] - marks["picture"],
        "text": marks["answered"] - first,
        "end": ended - marks["answered"],
    }


def time_imports(setting: Setting, *, most: int = 8) -> dict[str, float]:
    """Seconds spent in the modules of each top-level package (`python -X importtime`), the largest first."""
    code = "import localgpt.cli.main, localgpt.runtime.loading"
    told = _run([sys.executable, "-X", "importtime", "-c", code], setting)
    seconds: dict[str, float] = defaultdict(float)
    for micros, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", told):
        top = name.partition(".")[0]
        seconds[top if top not in sys.stdlib_module_names else "standard library"] += int(micros) / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1])[:most])


def time_serve(setting: Setting) -> dict[str, float]:
    """Seconds until each of `EVENTS`.

    Raises:
        RuntimeError: the server ended or did not get there in two minutes.
    """
    setting.forget()
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    with _server(setting, port) as (process, began):
        seconds = {}
        checks = (partial(_answers, address + "/health"), partial(_delivers_page, address + "/"))
        for name, check in zip(EVENTS, (*checks, partial(_answers, address + "/ready")), strict=True):
            _wait(process, check)
            seconds[name] = time.time() - began
        return seconds


@contextlib.contextmanager
def _server(setting: Setting, port: int) -> Iterator[tuple[subprocess.Popen[str], float]]:
    began = time.time()
    process = subprocess.Popen(
        [*_command(), "serve", "--port", str(port), *setting.options],
        env=setting.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process, began
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait(process: subprocess.Popen[str], is_there: Callable[[], bool]) -> None:
    began = time.time()
    while not is_there():
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {process.stderr.read() if process.stderr else ''}")
        if time.time() - began > PATIENCE_S:
            raise RuntimeError(f"the server was not there after {PATIENCE_S:.0f} s")
        time.sleep(0.01)


def _answers(url: str) -> bool:
    return _get(url) is not None


def _delivers_page(url: str) -> bool:
    """Whether the page, and every script and style it names, is delivered."""
    page = _get(url)
    if page is None:
        return False
    named = re.findall(rb'(?:src|href)="(/?[^":]+\.(?:js|css))"', page)
    return all(_get(url + name.decode().lstrip("./")) is not None for name in named)


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            body: bytes = reply.read()
            return body
    except (urllib.error.URLError, OSError):
        return None


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _command() -> list[str]:
    script = Path(sys.executable).with_name("localgpt")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "localgpt"]


def _run(command: Sequence[str], setting: Setting) -> str:
    """Run to the end and give what came on standard error."""
    done = subprocess.run(command, env=setting.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)
    return done.stderr


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": model[1].strip() if model else platform.processor(),
        "cores": cores,
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def measure(setting: Setting, runs: int) -> dict[str, Any]:
    """All figures, in seconds; medians of `runs` runs, plain ones and those with timers in turn."""
    load_before = os.getloadavg()
    time_ask(setting)  # writes compiled modules, so that the first run is like the others
    asks, parts, serves = [], [], []
    for number in range(runs):
        asks.append(time_ask(setting))
        parts.append(time_parts(setting))
        serves.append(time_serve(setting))
        _progress(f"{number + 1}/{runs} runs")
    return {
        "ask": statistics.median(asks),
        "ask_runs": asks,
        "parts": {name: statistics.median(run[name] for run in parts) for name in PARTS},
        "imports_by_package": time_imports(setting),
        "serve": {name: statistics.median(run[name] for run in serves) for name in EVENTS},
        "serve_runs": serves,
        "runs": runs,
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    place, runs = figures["machine"], figures["runs"]
    before, after = (figures["load_average"][when][0] for when in ("before", "after"))
    told = io.StringIO()
    print(f"{place['date']}, {place['processor']}, {place['cores']} cores, {place['system']}", file=told)
    print(f"Python {place['python']}, torch {place['torch']}; medians of {runs} runs", file=told)
    print(f"load average {before:.2f} before, {after:.2f} after", file=told)
    spread = f"{min(figures['ask_runs']):.2f} to {max(figures['ask_runs']):.2f}"
    print(f"\nlocalgpt ask photo.jpg   {figures['ask']:6.2f} s   ({spread})", file=told)
    for name, what in PARTS.items():
        print(f"  {name:12} {figures['parts'][name]:6.2f} s   {what}", file=told)
    packages = ", ".join(f"{name} {value:.2f}" for name, value in figures["imports_by_package"].items())
    print(f"  of the imports: {packages}", file=told)
    print("\nlocalgpt serve", file=told)
    for name, what in EVENTS.items():
        print(f"  {name:12} {figures['serve'][name]:6.2f} s   {what}", file=told)
    return told.getvalue()


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds from nothing to an answer, and to the page.")
    parser.add_argument("--model", help="family folder; absent means the embedded one")
    parser.add_argument("--device", help="as for localgpt; absent means the best there is")
    parser.add_argument("--photo", type=Path, help="a picture file; absent means a rendered landscape")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--evict", action="store_true", help="forget cached weights and packages before each run"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    options = [
        word
        for name in ("model", "device")
        if getattr(args, name)
        for word in (f"--{name}", getattr(args, name))
    ]
    weights = Path(args.model) if args.model else Path(__file__).parents[1] / "weights"
    evicted = (weights, Path(sysconfig.get_paths()["purelib"])) if args.evict else ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = args.photo or folder / "photo.jpg"
        if not args.photo:
            draw_photo(photo)
        figures = measure(Setting(tuple(options), photo, folder, evicted), args.runs)
    _progress("")
    print(json.dumps(figures, indent=1) if args.json else table(figures), end="\n" if args.json else "")


if __name__ == "__main__":
    main()
