"""`python -m recipes.paint_data --data DATA --out OUT`: render the painter's shards."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from recipes.paint_data.prepare import PHOTO_SHARE, PaintDataOptions, prepare_shards

_WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


def main() -> None:
    """Read the arguments, render, print the counts."""
    parser = argparse.ArgumentParser(description="Render pictures with prompts for the painter.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the image sets, flat or in images/"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=_WEIGHTS / "tokenizer.json")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--per-shard", type=int, default=1000)
    parser.add_argument("--photographs", nargs="*", choices=list(PHOTO_SHARE), default=list(PHOTO_SHARE))
    parser.add_argument("--seed", type=int, default=0)
    values = vars(parser.parse_args())
    started = time.time()
    manifest = prepare_shards(PaintDataOptions(**values | {"photographs": tuple(values["photographs"])}))
    sys.stdout.write(json.dumps({**manifest, "seconds": round(time.time() - started, 1)}) + "\n")


if __name__ == "__main__":
    main()
