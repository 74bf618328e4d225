"""Quality of listening and speaking as shipped: word errors, silence, voices, speed.

    python benchmarks/quality_speech.py --data DATA [--part listen|speak] [--voice DATA] [--model FOLDER]
        [--real FOLDER] [--unpruned FOLDER] [--rescore] [--limit N] [--threads 2]

DATA holds the raw speech sets. What is measured is told by `benchmarks/speech/heard.py` and
`benchmarks/speech/spoken.py`; the latter needs the prepared data of the voice as --voice.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.speech.heard import Listened, add_options, measure_heard  # noqa: E402
from benchmarks.speech.spoken import Measured, measure_spoken  # noqa: E402


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description="Measure listening and speaking.")
    add_options(parser)
    parser.add_argument("--part", choices=("listen", "speak"), help="default: both")
    parser.add_argument("--voice", type=Path, help="prepared data of the voice; needed to speak")
    values = vars(parser.parse_args())
    part, voice = values.pop("part"), values.pop("voice")
    if part != "listen" and voice is None:
        parser.error("the speaking part needs --voice; --part listen leaves it out")
    figures: dict[str, Any] = {}
    if part != "speak":
        figures["listen"] = measure_heard(Listened(**values))
    if part != "listen":
        asked = {name: values[name] for name in ("model", "device", "limit")}
        figures["speak"] = measure_spoken(Measured(data=voice, sets=values["data"], **asked))
    print(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
