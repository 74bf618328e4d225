"""The whole family in one run on one or two GPUs: pre-training side by side, joint tuning together, export.

    python -m recipes.family --data DATA --out OUT [--raw SETS] [--pretrain-minutes 12] [--joint-minutes 10]

DATA holds what `recipes.text_data` wrote, and `tokenizer.json`. Pictures are prepared there too while the
decoder is already learning, when `--raw` names the picture sets. With two GPUs the decoder and the encoder
are pre-trained at the same time and end together, and joint tuning runs on both: it starts early, compiles
beside them and waits. With one GPU everything runs one after the other. Each step is the recipe of that name
(see `recipes.registry`), with its own log and record below OUT; the family's folder is OUT/weights, and
OUT/done says that all is over.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

EARLY_S = 110.0  # joint tuning starts so long before pre-training ends


class Family:
    """One run; commands go to files `NAME.log` in the output folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, Path(args.out)
        self.init = self.out / "init"
        self.num_gpus = torch.cuda.device_count()
        self.running: list[subprocess.Popen[bytes]] = []
        self.init.mkdir(parents=True, exist_ok=True)

    def start(self, log: str, command: list[str], **variables: str) -> subprocess.Popen[bytes]:
        """Start a command in the background."""
        with (self.out / f"{log}.log").open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **variables}
            )
        self.running.append(process)
        return process

    def finish(self, *awaited: subprocess.Popen[bytes], until: float = math.inf) -> None:
        """Wait for commands to end, or for a moment to come.

        Args:
            awaited: none of them only waits.
            until: seconds since the epoch.

        Raises:
            CalledProcessError: any command that runs has failed, awaited or not.
        """
        while time.time() < until and (not awaited or any(p.poll() is None for p in awaited)):
            self._check()
            time.sleep(0.2)
        self._check()

    def _check(self) -> None:
        for process in self.running:
            if process.poll():
                raise subprocess.CalledProcessError(process.returncode, process.args)

    def recipe(self, name: str, more: Mapping[str, object], *, num_processes: int = 1) -> list[str]:
        """The command that runs one recipe; an option whose value is None stands alone."""
        launcher = [sys.executable]
        if num_processes > 1:
            launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={num_processes}", "--standalone"]
        options = {"data": self.args.data, "out": self.out / name, "size": self.args.size, **more}
        words = [w for key, value in options.items() for w in (f"--{key}", value) if w is not None]
        return [*launcher, "-m", "recipes.run", name, "--seed", str(self.args.seed), *map(str, words)]

    def pretrain(self) -> subprocess.Popen[bytes] | None:
        """Decoder and encoder; gives the joint process that already waits for them, if there is one."""
        deadline = time.time() + 60 * self.args.pretrain_minutes
        length: dict[str, object] = {"until": deadline}
        if self.num_gpus < 2:
            length = {"minutes": self.args.pretrain_minutes}
        decoder = self.start("decoder", self.recipe("decoder", length), CUDA_VISIBLE_DEVICES="0")
        if self.args.raw:
            command = [sys.executable, "-m", "recipes.vision_data", "--data", str(self.args.raw)]
            command += ["--out", str(self.args.data), "--workers", str(max(1, (os.cpu_count() or 2) - 4))]
            self.finish(self.start("vision_data", command))
        if self.num_gpus < 2:
            self.finish(decoder)
            self.finish(self.start("encoder", self.recipe("encoder", length)))
            return None
        encoder = self.start("encoder", self.recipe("encoder", length), CUDA_VISIBLE_DEVICES="1")
        self.finish(until=deadline - EARLY_S)
        joint = self.start_joint(waits=True)
        self.finish(decoder, encoder)
        return joint

    def start_joint(self, *, waits: bool) -> subprocess.Popen[bytes]:
        """Joint tuning on all GPUs."""
        more: dict[str, object] = {"init": self.init, "minutes": self.args.joint_minutes}
        if waits:
            more["wait-for-init"] = None
        return self.start("joint", self.recipe("joint", more, num_processes=max(1, self.num_gpus)))

    def run(self) -> None:
        """All steps; when one fails, what else runs is ended."""
        try:
            self._run()
        finally:
            for process in self.running:
                process.terminate()

    def _run(self) -> None:
        joint = self.pretrain()
        for name in ("decoder", "encoder"):
            for suffix in ("safetensors", "json"):
                shutil.copyfile(self.out / name / f"{name}.{suffix}", self.init / f"{name}.{suffix}")
        (self.init / "ready").touch()
        self.finish(joint or self.start_joint(waits=False))
        export = self.recipe("export", {"init": self.out / "joint", "out": self.out / "weights"})
        self.finish(self.start("export", export))
        (self.out / "done").touch()


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description="Train the whole family.")
    parser.add_argument("--data", type=Path, required=True, help="prepared data and tokenizer.json")
    parser.add_argument("--raw", type=Path, help="picture sets, to be prepared into DATA first")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pretrain-minutes", type=float, default=12.0)
    parser.add_argument("--joint-minutes", type=float, default=10.0)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    Family(parser.parse_args()).run()


if __name__ == "__main__":
    main()
