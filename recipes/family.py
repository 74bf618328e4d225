"""The whole family in one run on one, two or four GPUs, over in a stated time.

    python -m recipes.family --data DATA --out OUT --raw SETS [--minutes 24 | --until SECONDS]
    python -m recipes.family --data DATA --out OUT --raw SETS --weights weights

SETS holds the picture and text sets; what DATA lacks of prepared text and pictures is prepared there, the
pictures while the decoder is already learning (`--await-raw`: once SETS/ready is there). Without `--weights`
decoder and encoder are pre-trained first, side by side where there are two GPUs or more; with it both are
taken from a family's folder and joint tuning goes on from them at half the peak rates. Joint tuning runs on
all GPUs: it starts early, gets ready beside the others, and waits. Then come int8, the figures of
`benchmarks/`, and OUT/summary.json; OUT/done says that all is over. Each step is the recipe of that name (see
`recipes.registry`) with its own log below OUT.

The time ends the run, never the work: joint tuning keeps its latest weights, and when it fails or is late
they are exported, the summary says so, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recipes.steps import StepFailedError, Steps

ROOT = Path(__file__).resolve().parents[1]
EVALUATE_S = 170.0  # kept for export and figures at the end
EXPORT_S = 75.0  # kept where the figures are measured elsewhere
PRETRAIN_SHARE = 0.38  # of the time for training
READY_S = 240.0  # joint tuning starts so long before pre-training ends
LATE_S = 45.0  # what joint tuning may take beyond its end, to measure itself and to write
SCENES_PER_CORE = 1250


@dataclass(frozen=True, slots=True)
class Plan:
    """Which GPUs do what, and when each part ends, in seconds since the epoch."""

    decoder_gpus: tuple[int, ...]
    encoder_gpus: tuple[int, ...]
    all_gpus: tuple[int, ...]
    decoder_end: float
    encoder_end: float
    joint_end: float
    end: float

    @classmethod
    def of(cls, num_gpus: int, *, start: float, end: float, evaluate_s: float, pretrains: bool) -> Plan:
        """Split the time: somewhat more than a third for pre-training, the rest for joint tuning.

        With one GPU decoder and encoder follow each other, the decoder taking the smaller half; with more the
        first half of the GPUs is the decoder's.
        """
        gpus = tuple(range(max(1, num_gpus)))
        half = max(1, len(gpus) // 2)
        joint_end = end - evaluate_s
        pretrain_end = start + PRETRAIN_SHARE * (joint_end - start) if pretrains else start
        if len(gpus) == 1:
            decoder_end = start + 0.45 * (pretrain_end - start)
            return cls(gpus, gpus, gpus, decoder_end, pretrain_end, joint_end, end)
        return cls(gpus[:half], gpus[half:], gpus, pretrain_end, pretrain_end, joint_end, end)


class Family:
    """One run; every command writes `NAME.log` in the output folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out, self.data = args, Path(args.out), Path(args.data)
        self.init = self.out / "init"
        self.init.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        paths = (str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", ""))
        self.steps = Steps(self.out, PYTHONPATH=os.pathsep.join(filter(None, paths)))
        self.num_gpus = torch.cuda.device_count()
        self.started = time.time()
        end = args.until or self.started + 60 * args.minutes
        evaluate_s = (EVALUATE_S if args.evaluate else EXPORT_S) if args.size == "full" else 5.0
        self.plan = Plan.of(
            self.num_gpus, start=self.started, end=end, evaluate_s=evaluate_s, pretrains=args.weights is None
        )
        self.summary: dict[str, Any] = {"command": " ".join(sys.argv), "gpus": self.num_gpus, "problems": []}

    def recipe(self, name: str, more: Mapping[str, object], *, num_processes: int = 1) -> list[str]:
        """The command that runs one recipe; an option whose value is None stands alone."""
        launcher = [sys.executable]
        if num_processes > 1:
            launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={num_processes}", "--standalone"]
        options = {"data": self.data, "out": self.out / name, "size": self.args.size, **more}
        words = [w for key, value in options.items() for w in (f"--{key}", value) if w is not None]
        return [*launcher, "-m", "recipes.run", name, "--seed", str(self.args.seed), *map(str, words)]

    def start(self, name: str, more: Mapping[str, object], gpus: tuple[int, ...]) -> None:
        """Start a recipe on some GPUs."""
        visible = ",".join(map(str, gpus)) if self.num_gpus else ""
        command = self.recipe(name, more, num_processes=len(gpus) if self.num_gpus else 1)
        self.steps.start(name, command, CUDA_VISIBLE_DEVICES=visible)

    def prepare_text(self) -> None:
        """Token streams, unless they are there."""
        tokenizer = self.data / "tokenizer.json"
        if not tokenizer.exists():
            shutil.copyfile((self.args.weights or ROOT / "weights") / "tokenizer.json", tokenizer)
        if (self.data / "heldout_dialogues.tokens.npy").exists():
            return
        command = [sys.executable, "-m", "recipes.text_data", "--data", str(self.args.raw)]
        command += ["--out", str(self.data), "--tokenizer", str(tokenizer)]
        self.steps.start("text_data", [*command, "--workers", str(os.cpu_count() or 1)])
        self.steps.finish("text_data")

    def prepare_pictures(self) -> None:
        """Picture sets, unless they are there; the raw ones may still be on their way."""
        manifest = self.data / "manifest.json"  # of text alone, until the pictures are all there
        if manifest.exists() and "sets" in json.loads(manifest.read_text(encoding="utf-8")):
            return
        self.steps.wait_for(self.args.raw / "ready" if self.args.await_raw else None)
        num_cores = os.cpu_count() or 1
        scenes = self.args.scenes or min(60_000, SCENES_PER_CORE * num_cores)
        command = [sys.executable, "-m", "recipes.vision_data", "--data", str(self.args.raw)]
        command += ["--out", str(self.data), "--scenes", str(scenes), "--workers", str(max(1, num_cores - 2))]
        self.steps.start("vision_data", command)
        self.steps.finish("vision_data")

    def pretrain(self) -> None:
        """Decoder and encoder, and joint tuning that gets ready beside them."""
        plan = self.plan
        self.start("decoder", {"until": plan.decoder_end, "branch": None}, plan.decoder_gpus)
        self.prepare_pictures()
        if len(plan.all_gpus) == 1:
            self.steps.finish("decoder")
        self.start("encoder", {"until": plan.encoder_end}, plan.encoder_gpus)
        waits = self.num_gpus > 0  # two at once would only slow each other down on a CPU
        if waits:
            self.steps.finish(until=max(time.time(), plan.encoder_end - READY_S))
            self.start_joint(waits=True)
        self.steps.finish("decoder", "encoder", bearing=("joint",) if waits else ())
        if waits and self.steps.has_failed(
            "joint"
        ):  # as it got ready beside others: on its own it may do better
            self.summary["joint_failed_beside_others"] = True
            (self.out / "joint.log").replace(self.out / "joint_beside_others.log")
            self.steps.end("joint")
            waits = False
        for name in ("decoder", "encoder"):
            for suffix in ("safetensors", "json"):
                shutil.copyfile(self.out / name / f"{name}.{suffix}", self.init / f"{name}.{suffix}")
        if (cells := self.out / "encoder" / "cells.safetensors").exists():
            shutil.copyfile(cells, self.init / "cells.safetensors")
        (self.init / "ready").touch()
        if not waits:
            self.start_joint(waits=False)

    def restore(self) -> None:
        """Joint tuning goes on from a family's folder."""
        self.steps.start("restore", self.recipe("restore", {"init": self.args.weights, "out": self.init}))
        self.prepare_pictures()
        self.start_joint(waits=True)
        self.steps.finish("restore")
        (self.init / "ready").touch()

    def start_joint(self, *, waits: bool) -> None:
        """Joint tuning on all GPUs."""
        more: dict[str, object] = {"init": self.init, "until": self.plan.joint_end}
        more["peak"] = self.args.peak or (1.0 if self.args.weights is None else 0.5)
        if waits:
            more["wait-for-init"] = None
        if self.args.freeze_embedding:
            more["freeze-embedding"] = None
        self.start("joint", more, self.plan.all_gpus)

    def tune(self) -> None:
        """Wait for joint tuning; when it fails or is late, its latest weights are taken."""
        late = self.plan.joint_end + (LATE_S if self.args.size == "full" else 600.0)
        self.summary["problems"] += self.steps.settle("joint", until=late).values()
        if not (self.out / "joint" / "latest").exists():
            raise StepFailedError(f"joint left no weights (see {self.out / 'joint.log'})")

    def export(self) -> None:
        """The family in int8, and the six-minute decoder beside it where there is one."""
        more: dict[str, object] = {"init": self.out / "joint" / "latest", "out": self.out / "weights"}
        if self.args.weights is not None:
            more["like"] = self.args.weights
        self.steps.start("export", self.recipe("export", more))
        branch = self.out / "decoder" / "branch"
        if branch.exists():
            more = {"init": branch, "out": self.out / "weights_six_minutes"}
            self.steps.start("export_six_minutes", self.recipe("export", more))
            self.steps.finish("export_six_minutes")
        self.steps.finish("export")

    def evaluate(self) -> None:
        """The figures of `benchmarks/`, side by side; what is not over in time is left out, and told."""
        device = "cuda" if self.num_gpus else "cpu"
        wanted = {name: (name, "weights") for name in ("quality_vision", "quality_language")}
        if (self.out / "weights_six_minutes").exists():
            wanted["six_minutes"] = ("quality_language", "weights_six_minutes")
        for number, (name, (script, folder)) in enumerate(wanted.items()):
            command = [
                sys.executable,
                str(ROOT / "benchmarks" / f"{script}.py"),
                "--device",
                device,
                "--json",
            ]
            command += ["--data", str(self.args.raw), "--model", str(self.out / folder)]
            if script == "quality_language":
                command.append("--no-books")
            gpu = str(number % self.num_gpus) if self.num_gpus else ""
            self.steps.start(name, command, out=self.out / f"{name}.json", CUDA_VISIBLE_DEVICES=gpu)
        end = self.plan.end if self.num_gpus else time.time() + 600.0
        problems = self.steps.settle(*wanted, until=end)
        self.summary["problems"] += problems.values()
        for name in wanted.keys() - problems.keys():
            told = json.loads((self.out / f"{name}.json").read_text(encoding="utf-8"))
            self.summary[name] = _without_replies(told)
        self.summary["below_six_minutes"] = _gains(self.summary)

    def run(self) -> int:
        """All steps; when one fails that others need, what else runs is ended.

        Returns:
            0, or 1 where the summary tells of a problem.
        """
        try:
            self.prepare_text()
            if self.args.weights is None:
                self.pretrain()
            else:
                self.restore()
            self.tune()
            self.export()
            if self.args.raw is not None and self.args.evaluate:
                self.evaluate()
        except StepFailedError as error:
            self.summary["problems"].append(str(error))
        finally:
            self.steps.end_all()
            self._write_summary()
        return int(bool(self.summary["problems"]))

    def _write_summary(self) -> None:
        for path in sorted(self.out.glob("*/record.json")):
            self.summary[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        self.summary["minutes"] = round((time.time() - self.started) / 60, 2)
        text = json.dumps(self.summary, indent=1, ensure_ascii=False) + "\n"
        (self.out / "summary.json").write_text(text, encoding="utf-8")
        (self.out / "done").touch()
        for problem in self.summary["problems"]:
            print(problem, file=sys.stderr)  # noqa: T201 - recipes are programs


def _without_replies(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures of a benchmark without what was said: the replies of the question sets are long."""
    questions = figures.get("questions", {})
    figures["questions"] = {name: {"right": q["right"], "of": q["of"]} for name, q in questions.items()}
    return {name: value for name, value in figures.items() if value}


def _gains(summary: Mapping[str, Any]) -> dict[str, float]:
    """By which share bits per byte lie below those of six GPU minutes; empty where one was not measured."""
    ours, six = (summary.get(name, {}).get("held_out", {}) for name in ("quality_language", "six_minutes"))
    return {
        group: round(1 - ours[group]["bits_per_byte"] / six[group]["bits_per_byte"], 4)
        for group in ("articles", "dialogues")
        if group in ours and group in six
    }


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description="Train the whole family.")
    parser.add_argument(
        "--data", type=Path, required=True, help="prepared data; what is missing is made there"
    )
    parser.add_argument(
        "--raw", type=Path, help="text and picture sets; also what the figures are measured on"
    )
    parser.add_argument("--await-raw", action="store_true", help="pictures come later: wait for RAW/ready")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="go on from this family instead of from nothing")
    parser.add_argument(
        "--freeze-embedding", action="store_true", help="with --weights: smaller change of files"
    )
    parser.add_argument(
        "--peak", type=float, help="factor on joint tuning's rates (1, or 0.5 with --weights)"
    )
    parser.add_argument("--minutes", type=float, default=24.0, help="of wall clock, figures included")
    parser.add_argument("--until", type=float, help="seconds since the epoch, instead of minutes")
    parser.add_argument("--scenes", type=int, help="training scenes to render (default: by the cores)")
    parser.add_argument("--no-evaluate", dest="evaluate", action="store_false")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # steps are ended and the summary is written then too
    sys.exit(Family(parser.parse_args()).run())


if __name__ == "__main__":
    main()
