"""`python -m recipes.vision_data --data DATA --out OUT`: prepare all picture sets."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from recipes.vision_data.prepare import SETS, PrepareOptions, prepare


def main() -> None:
    """Read the arguments, prepare, print the counts."""
    parser = argparse.ArgumentParser(description="Prepare pictures, captions and questions.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the image sets, flat or in images/"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scenes", type=int, default=40_000, help="training scenes to render")
    parser.add_argument("--sample", type=float, default=1.0, help="share of pictures to make, for trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    args = parser.parse_args()
    started = time.time()
    options = PrepareOptions(
        data=args.data, out=args.out, workers=args.workers, scenes=args.scenes, sample=args.sample,
        seed=args.seed, sets=tuple(args.sets),
    )  # fmt: skip
    for name, counts in prepare(options)["sets"].items():
        sys.stdout.write(
            f"{name:18} {counts['pictures']:6} pictures ({counts['train']} train) "
            f"{counts['turns_en']:7} English and {counts['turns_zh']:7} Chinese turns "
            f"{counts['bytes'] / 1e6:8.1f} MB\n"
        )
    sys.stdout.write(f"{time.time() - started:.1f} s\n")


if __name__ == "__main__":
    main()
