"""Run one recipe: what `localgpt train` does, for machines without the command line's libraries.

python -m recipes.run NAME --data DATA --out OUT [--init INIT] [--steps N | --minutes M] [--size tiny]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipes.common import RunOptions
from recipes.registry import RECIPES, run_recipe


def main() -> None:
    """Parse the options, run, print the figures."""
    parser = argparse.ArgumentParser(description="Run one training recipe.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--until", type=float, help="seconds since the epoch, instead of minutes")
    parser.add_argument("--wait-for-init", action="store_true", help="wait for INIT/ready")
    parser.add_argument("--peak", type=float, default=1.0, help="factor on the learning rates")
    parser.add_argument("--freeze-embedding", action="store_true", help="leave the token embedding as it is")
    parser.add_argument("--like", type=Path, help="repeat unchanged tensors of this family byte for byte")
    parser.add_argument("--branch", action="store_true", help="measure six GPU minutes beside the run")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    values = vars(parser.parse_args())
    figures = run_recipe(values.pop("name"), RunOptions(**values))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
