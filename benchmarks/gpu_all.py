"""All benchmarks for graphics cards, the most valuable first, into one folder: twenty minutes, or less.

    python benchmarks/gpu_all.py --out FOLDER [--device cuda:0] [--seconds 580] [--only gpu_llm,swaps]
    python benchmarks/gpu_all.py --out FOLDER --tiny --device cpu

Each part is a process of its own with a limit of its own, its share of `--seconds`, so that one that hangs or
fails takes nothing from the others; what a part leaves of its time goes to those after it. Where a card is
there for ten minutes at a time, `--only` puts them into several calls: `gpu_llm,gpu_decode,memory_ladder`,
`gpu_paint`, `swaps`. In the folder: `PART.json` of each,
`log.txt` of what all of them said on the way (figures of a part that was stopped are there), `summary.json`
of how each ended. Ends with status 1 if any failed.

It needs torch with CUDA or ROCm, and transformers and diffusers of the versions that this repository names,
which may travel as pure-Python wheels; where the embedded weights are not there, `gpu_decode` takes random
ones of their shape. Neither the network
nor a download is used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "transformers", "diffusers", "safetensors", "tokenizers", "numpy", "PIL")
_SPARE_S = 5.0  # between a part's own limit and its end by force
_LEAST_S = 15.0  # less is not worth beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One benchmark: what is run, and what it would take to be complete."""

    name: str
    arguments: tuple[str, ...]
    seconds: float  # where there is less or more, all get the same share of it
    has_clock: bool = True  # takes --seconds
    tiny: tuple[str, ...] = ("--tiny",)


PARTS: tuple[Part, ...] = (
    Part(name="gpu_llm", arguments=("benchmarks/gpu_llm.py",), seconds=240),
    Part(
        name="gpu_decode",
        arguments=("benchmarks/gpu_decode.py", "--rounds", "3", "--compile"),
        seconds=120,
        tiny=("--dry",),
    ),
    Part(name="gpu_paint", arguments=("benchmarks/gpu_paint.py",), seconds=480),
    Part(name="swaps", arguments=("benchmarks/swaps.py",), seconds=300),
    Part(name="memory_ladder", arguments=("benchmarks/memory_ladder.py",), seconds=60),
)


def has_weights() -> bool:
    """Whether the embedded decoder is there, whole: a tree may travel without its weights."""
    shards = list((ROOT / "weights" / "decoder").glob("decoder-*-of-*.safetensors"))
    return bool(shards) and len(shards) == int(shards[0].stem.rpartition("-")[2])


def lacking(device: str) -> list[str]:
    """What is missing before anything can be measured."""
    found = [f"the package {name}" for name in NEEDED if find_spec(name) is None]
    if not found and device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            found.append("a CUDA or ROCm device (or --tiny --device cpu)")
    return found


def run_part(part: Part, args: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Run one, and say how it ended."""
    command = [sys.executable, *part.arguments, "--device", args.device, "--json"]
    command += part.tiny if args.tiny else ()
    command += [] if has_weights() or part.name != "gpu_decode" else ["--random"]
    command += ["--seconds", f"{max(1.0, limit_s - 3 * _SPARE_S):.0f}"] if part.has_clock else []
    start = time.perf_counter()
    out = Path(args.out) / f"{part.name}.json"
    with (
        out.open("w", encoding="utf-8") as sink,
        (Path(args.out) / "log.txt").open("a", encoding="utf-8") as log,
    ):
        log.write(f"\n== {' '.join(command[1:])}, at most {limit_s:.0f} s\n")
        log.flush()
        try:
            status = subprocess.run(
                command, cwd=ROOT, env=_environment(), stdout=sink, stderr=log, timeout=limit_s, check=False
            ).returncode
            ended = "done" if status == 0 else f"failed with status {status}; see log.txt"
        except subprocess.TimeoutExpired:
            ended = f"failed: stopped after {limit_s:.0f} s; log.txt has what was measured until then"
    if ended == "done" and not _is_json(out):
        ended = "failed: no figures were printed"
    return {"ended": ended, "seconds": round(time.perf_counter() - start, 1), "command": command[1:]}


def _environment() -> dict[str, str]:
    """This tree's package, whether it is installed or not."""
    others = os.environ.get("PYTHONPATH", "")
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "src"), others)))}


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


def run_all(args: argparse.Namespace, parts: Sequence[Part] = PARTS) -> dict[str, Any]:
    """Run the parts in order while there is time."""
    until = time.perf_counter() + args.seconds
    wanted = args.only.split(",") if args.only else [part.name for part in parts]
    if unknown := set(wanted) - {part.name for part in parts}:
        sys.exit(
            f"--only has {', '.join(sorted(unknown))}; expected some of {', '.join(p.name for p in parts)}"
        )
    found: dict[str, Any] = {}
    spare = 0.0
    asked = [part for part in parts if part.name in wanted]
    share = args.seconds / sum(part.seconds for part in asked)
    for part in asked:
        left = until - time.perf_counter()
        limit = min(left, part.seconds * share + spare)
        if limit < min(_LEAST_S, part.seconds):
            found[part.name] = {"ended": "failed: there was no time left to begin it", "seconds": 0.0}
        else:
            found[part.name] = run_part(part, args, limit)
            spare = max(0.0, limit - found[part.name]["seconds"])
        told = found[part.name]
        print(f"{part.name:14} {told['seconds']:6.1f} s  {told['ended']}", flush=True)
        (Path(args.out) / "summary.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder for the results; made if it is not there")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=580.0, help="for all of it")
    parser.add_argument("--only", help="names of parts, with commas between")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to see that all of it runs")
    args = parser.parse_args(arguments)
    if missing := lacking(args.device):
        sys.exit(f"this needs {', '.join(missing)}")
    Path(args.out).mkdir(parents=True, exist_ok=True)
    found = run_all(args)
    if any(part["ended"] != "done" for part in found.values()):
        sys.exit("not all parts are done; see summary.json and log.txt")


if __name__ == "__main__":
    main()
