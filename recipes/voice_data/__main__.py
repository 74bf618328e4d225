"""Prepare the voice's data; see `recipes.voice_data.prepare`.

python -m recipes.voice_data --data SETS --out DATA [--teacher-minutes 50] [--words 5000]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from recipes.voice_data.prepare import Wishes, prepare_voice


def main() -> None:
    """Parse the options, prepare, print the figures."""
    parser = argparse.ArgumentParser(description="Prepare recordings and texts for the voice.")
    parser.add_argument("--data", type=Path, required=True, help="folder with speech/ and text/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher-minutes", type=float, default=50.0, help="of the English synthesiser")
    parser.add_argument("--words", type=int, default=5000, help="recordings of Chinese words, at most")
    parser.add_argument("--sentences", type=int, default=12_000, help="made of Chinese words, at most")
    parser.add_argument("--shard-mib", type=float, default=56.0, help="size of each packed file, at most")
    values = vars(parser.parse_args())
    figures = prepare_voice(values.pop("data"), values.pop("out"), Wishes(**values))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
