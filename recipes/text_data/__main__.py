"""`python -m recipes.text_data --data DATA --out OUT`: prepare all text."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from recipes.text_data.prepare import DEFAULT_TOKENIZER, prepare


def main() -> None:
    """Read the arguments, prepare, print the counts."""
    parser = argparse.ArgumentParser(description="Prepare token streams from the text sets.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the text sets, flat or in text/"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tokenizer", type=Path, default=DEFAULT_TOKENIZER)
    parser.add_argument(
        "--no-noncommercial", action="store_true", help="leave out rows whose licence says NC"
    )
    parser.add_argument("--sample", type=float, default=1.0, help="share of rows to keep, for trials")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.time()
    manifest = prepare(
        args.data,
        args.out,
        workers=args.workers,
        tokenizer=args.tokenizer,
        use_noncommercial=not args.no_noncommercial,
        sample=args.sample,
        seed=args.seed,
    )
    for name, counts in manifest["streams"].items():
        sys.stdout.write(
            f"{name:18} {counts['rows']:8} rows {counts['tokens']:10} tokens {counts['bytes']:11} bytes\n"
        )
    sys.stdout.write(f"{time.time() - started:.1f} s\n")


if __name__ == "__main__":
    main()
