"""The whole family in one run on one or two GPUs: pre-training side by side, joint tuning together, export.

    python -m recipes.family --data DATA --out OUT [--pretrain-minutes 12] [--joint-minutes 10]

With two GPUs the decoder and the encoder are pre-trained at the same time, and joint tuning runs on both;
with one GPU everything runs one after the other. Each step is the recipe of that name (see
`recipes.registry`), with its own log and record below OUT; the family's folder is OUT/weights.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

MEMBERS = ("decoder", "encoder")


def recipe_command(name: str, args: argparse.Namespace, *more: str, num_processes: int = 1) -> list[str]:
    """The command that runs one recipe."""
    launcher = [sys.executable]
    if num_processes > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={num_processes}", "--standalone"]
    command = ["-m", "recipes.run", name, "--data", str(args.data), "--out", str(args.out / name)]
    return [*launcher, *command, "--size", args.size, "--seed", str(args.seed), *more]


def run_beside(commands: Sequence[list[str]]) -> None:
    """Run commands at the same time, the first on GPU 0, the second on GPU 1, and so on.

    Raises:
        CalledProcessError: one failed; the others are ended.
    """
    running = [
        subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": str(number)})
        for number, command in enumerate(commands)
    ]
    try:
        for process, command in zip(running, commands, strict=True):
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, command)
    finally:
        for process in running:
            process.terminate()


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description="Train the whole family.")
    parser.add_argument("--data", type=Path, required=True, help="text and picture data, and tokenizer.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pretrain-minutes", type=float, default=12.0)
    parser.add_argument("--joint-minutes", type=float, default=10.0)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip-pretraining", action="store_true", help="go on from OUT/init")
    args = parser.parse_args()
    num_gpus = torch.cuda.device_count()
    init = args.out / "init"
    if not args.skip_pretraining:
        minutes = ("--minutes", str(args.pretrain_minutes))
        commands = [recipe_command(name, args, *minutes) for name in MEMBERS]
        for group in [commands] if num_gpus > 1 else [[command] for command in commands]:
            run_beside(group)
        init.mkdir(parents=True, exist_ok=True)
        for name in MEMBERS:
            for suffix in ("safetensors", "json"):
                shutil.copyfile(args.out / name / f"{name}.{suffix}", init / f"{name}.{suffix}")
    more = ("--minutes", str(args.joint_minutes), "--init", str(init))
    subprocess.run(recipe_command("joint", args, *more, num_processes=max(1, num_gpus)), check=True)
    export = recipe_command("export", args, "--init", str(args.out / "joint"))
    export[export.index("--out") + 1] = str(args.out / "weights")
    subprocess.run(export, check=True)


if __name__ == "__main__":
    main()
