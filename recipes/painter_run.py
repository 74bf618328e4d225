"""The whole painter in one command: data, judge, painter, upsampler, export, figures, in the minutes given.

    python -m recipes.painter_run --raw RAW --out OUT [--family FOLDER] [--minutes 24]

Shards are rendered on all cores but two while the judge and then the painter learn. What is there already is
not made again, and a painter that was interrupted goes on, so that the same command with the minutes that are
left finishes a run. OUT gets `shards`, `judge`, `painter` with its sheets, `upsampler`, `family` (a copy of
the family with the member "painter"), `quality_paint.json`, contact sheets in `contact`, and `summary.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from recipes.paint_data.shards import shard_path
from recipes.painter import PainterRun
from recipes.steps import StepFailedError, Steps

ROOT = Path(__file__).resolve().parents[1]
JUDGE_SHARE = 0.14  # of the time
UPSAMPLER_SHARE = 0.06
FIGURES_SHARE = 0.16  # for export, figures and contact sheets
_RENDERING = (
    "paint_data",
)  # once there are enough pictures, its failure costs no more than the rest of them


class PainterFamily:
    """One run; every step writes `NAME.log` in the output folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        paths = (str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))
        self.steps = Steps(self.out, PYTHONPATH=os.pathsep.join(filter(None, paths)))
        self.started = time.time()
        self.end = args.until or self.started + 60 * args.minutes
        self.summary: dict[str, Any] = {"command": " ".join(sys.argv), "problems": []}
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def at(self, share_left: float) -> float:
        """The moment at which this share of the time is left, in seconds since the epoch."""
        return self.end - share_left * (self.end - self.started)

    def recipe(self, name: str, folder: str, **options: object) -> None:
        """Start a recipe."""
        command = [sys.executable, "-m", "recipes.run", name, "--out", str(self.out / folder)]
        command += ["--size", self.args.size, "--seed", str(self.args.seed)]
        self.steps.start(name, command + [word for k, v in options.items() for word in (f"--{k}", str(v))])

    def render(self) -> None:
        """Shards, in the background."""
        args, shards = self.args, self.out / "shards"
        command = [sys.executable, "-m", "recipes.paint_data", "--data", str(args.raw), "--out", str(shards)]
        command += ["--tokenizer", str(args.family / "tokenizer.json"), "--seed", str(args.seed)]
        command += ["--pictures", str(args.pictures), "--held-out", str(args.held_out)]
        command += ["--per-shard", str(args.per_shard), "--photographs", *args.photographs]
        command += ["--workers", str(max(1, (os.cpu_count() or 1) - 2))]
        shards.mkdir(exist_ok=True)
        self.steps.start("paint_data", command)

    def learn(self) -> None:
        """The judge, the painter, the upsampler."""
        if not (self.out / "judge" / "judge.safetensors").exists():
            until = self.started + JUDGE_SHARE * (self.end - self.started)
            self.recipe("icon_judge", "judge", data=self.args.raw, until=until)
            self.steps.finish("icon_judge")
        shards = self.out / "shards"
        if not (self.out / "painter" / "painter.safetensors").exists():
            until = self.at(UPSAMPLER_SHARE + FIGURES_SHARE)
            self.steps.wait_for(self.enough())
            self.recipe("painter", "painter", data=shards, init=self.args.family, until=until)
            self.steps.finish("painter", bearing=_RENDERING)
        if not (self.out / "upsampler" / "upsampler.safetensors").exists():
            self.recipe("upsampler", "upsampler", data=shards, until=self.at(FIGURES_SHARE))
            self.steps.finish("upsampler", bearing=_RENDERING)
        if self.steps.has_failed("paint_data"):
            self.summary["problems"].append(
                f"not all pictures were rendered (see {self.out / 'paint_data.log'})"
            )

    def enough(self) -> Path:
        """The shard with which there are enough pictures to begin; later ones only add to them."""
        num = -(-PainterRun.of_size(self.args.size).least_pictures // self.args.per_shard)
        return shard_path(
            self.out / "shards", "train", min(num, -(-self.args.pictures // self.args.per_shard)) - 1
        )

    def export(self) -> None:
        """A copy of the family with the member."""
        for suffix in ("json", "safetensors"):
            name = f"upsampler.{suffix}"
            shutil.copyfile(self.out / "upsampler" / name, self.out / "painter" / name)
        family = self.out / "family"
        if not family.exists():
            shutil.copytree(self.args.family, family)
        shutil.rmtree(family / "painter", ignore_errors=True)
        command = [sys.executable, "-m", "recipes.run", "painter_export", "--data", str(self.out / "shards")]
        command += ["--init", str(self.out / "painter"), "--out", str(family)]
        self.steps.start("painter_export", command, out=self.out / "painter_export.json")
        self.steps.finish("painter_export", bearing=_RENDERING)

    def measure(self) -> None:
        """The figures of the benchmark; what is not over in time is told."""
        command = [sys.executable, str(ROOT / "benchmarks" / "quality_paint.py"), "--json", "--latency"]
        command += ["--data", str(self.args.raw), "--judge", str(self.out / "judge")]
        command += ["--model", str(self.out / "family"), "--device", self.device]
        command += ["--sheets", str(self.out / "contact")]
        if self.args.limit:
            command += ["--limit", str(self.args.limit)]
        figures = self.out / "quality_paint.json"
        self.steps.start("quality_paint", command, out=figures)
        late = self.end if self.device == "cuda" else time.time() + 600.0
        problems = self.steps.settle("quality_paint", until=late)
        self.summary["problems"] += problems.values()
        if not problems:
            self.summary["quality_paint"] = json.loads(figures.read_text(encoding="utf-8"))

    def run(self) -> int:
        """All steps; 0, or 1 where the summary tells of a problem."""
        try:
            self.render()
            self.learn()
            self.export()
            if self.args.measures:
                self.measure()
        except StepFailedError as error:
            self.summary["problems"].append(str(error))
        finally:
            self.steps.end_all()
            self.summary["minutes"] = round((time.time() - self.started) / 60, 2)
            for name in ("judge", "painter", "upsampler"):
                if (record := self.out / name / "record.json").exists():
                    self.summary[name] = json.loads(record.read_text(encoding="utf-8"))
            text = json.dumps(self.summary, indent=1) + "\n"
            (self.out / "summary.json").write_text(text, encoding="utf-8")
        for problem in self.summary["problems"]:
            print(problem, file=sys.stderr)  # noqa: T201 - recipes are programs
        return int(bool(self.summary["problems"]))


def main(arguments: list[str] | None = None) -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description="Train, export and measure the painter.")
    parser.add_argument("--raw", type=Path, required=True, help="folder with the image sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--family", type=Path, default=ROOT / "weights", help="whose text tower is read")
    parser.add_argument("--minutes", type=float, default=24.0, help="of wall clock, figures included")
    parser.add_argument("--until", type=float, help="seconds since the epoch, instead of minutes")
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--per-shard", type=int, default=1000)
    parser.add_argument("--photographs", nargs="*", default=["flickr8k", "scenes6"])
    parser.add_argument("--limit", type=int, help="pictures of each measured set, for trials")
    parser.add_argument("--no-measure", dest="measures", action="store_false")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # steps are ended, the summary is written
    sys.exit(PainterFamily(args).run())


if __name__ == "__main__":
    main()
