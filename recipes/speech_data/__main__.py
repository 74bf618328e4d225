"""`python -m recipes.speech_data texts|sound`: prepare speech."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from recipes.speech_data.prepare import SoundOptions, TextOptions, prepare_sound, prepare_texts


def main() -> None:
    """Read the arguments, prepare, print the figures."""
    parser = argparse.ArgumentParser(description="Prepare speech and words.")
    steps = parser.add_subparsers(dest="step", required=True)
    texts = steps.add_parser("texts", help="choose what is spoken and count words; needs pypinyin")
    texts.add_argument("--data", type=Path, required=True, help="folder with the speech and text sets")
    texts.add_argument("--out", type=Path, required=True)
    texts.add_argument("--seed", type=int, default=0)
    sound = steps.add_parser("sound", help="decode, speak and pack; needs soundfile, flite and espeak-ng")
    sound.add_argument("--data", type=Path, required=True, help="folder with the speech sets")
    sound.add_argument("--pack", type=Path, required=True, help="what `texts` wrote")
    sound.add_argument("--out", type=Path, required=True)
    sound.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    sound.add_argument("--english", type=int, default=60_000, help="lines that synthesisers speak")
    sound.add_argument("--chinese", type=int, default=16_000, help="sentences put together of recordings")
    sound.add_argument("--chinese-spoken", type=int, default=4_000, help="lines that espeak-ng speaks")
    sound.add_argument("--strings", type=int, default=6_000, help="rows of words at random")
    sound.add_argument("--seed", type=int, default=0)
    values = vars(parser.parse_args())
    started = time.time()
    step = values.pop("step")
    figures = (
        prepare_texts(TextOptions(**values)) if step == "texts" else prepare_sound(SoundOptions(**values))
    )
    for name, told in figures.items():
        sys.stdout.write(f"{name:18} {json.dumps(told)}\n")
    sys.stdout.write(f"{time.time() - started:.1f} s\n")


if __name__ == "__main__":
    main()
