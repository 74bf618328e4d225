"""Quality of the embedded painter: objects, colours and places, by exact tests and a judge trained apart.

    python benchmarks/quality_paint.py --data DATA --judge FOLDER [--model FOLDER] [--device cuda] [--json]

200 names of the icon set, 100 things in colours half of which training never showed on them, 200 relations
of two things half of which it never showed; each in English and in Chinese, painted at native size with seeds
of their own. `paint/seeing.py` says what counts as right. Beside them: the judge's accuracy on augmented real
icons; the same tests on compositions of real icons, which is the best a painter can reach; and on pictures of
other prompts, which is what chance reaches. Relations are painted with words bound to their places and
without, at equal steps: the ratio with its 95 % interval (pairs resampled) and the time beside it; where more
than 60 % are right without, rows of three things take their place. `--sheets FOLDER` writes contact sheets;
`--latency` prints the seconds to the first stage and to a picture of 512 pixels. The judge is what
`python -m recipes.run icon_judge` left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.paint.seeing import Eye  # noqa: E402
from benchmarks.paint.sheets import write_sheets  # noqa: E402
from benchmarks.paint.wanted import (  # noqa: E402
    Wanted,
    wanted_colours,
    wanted_objects,
    wanted_relations,
    wanted_rows,
)
from localgpt.checkpoints import resolve_family  # noqa: E402
from localgpt.media.image import decode_image  # noqa: E402
from localgpt.runtime.members import load_member  # noqa: E402
from localgpt.runtime.open.base import OpenCheckpoint, OpenModel  # noqa: E402
from localgpt.tasks import PaintPreview, PaintRequest, PaintResult  # noqa: E402
from recipes.icon_judge import IconBank, accuracy  # noqa: E402
from recipes.judge_model import load_judge  # noqa: E402
from recipes.paint_data.composing import place_things  # noqa: E402
from recipes.paint_data.prepare import load_named  # noqa: E402

LANGUAGES = ("en", "zh")
Picture = NDArray[np.uint8]
_NATIVE = 192
_ENOUGH = 0.6  # of relations right without binding: rows of three are compared instead
_NUM_DRAWS = 2000


@dataclass(slots=True)
class Measure:
    """One run: the painter, the eye, and what was found so far."""

    painter: OpenModel
    eye: Eye
    steps: int | None
    side: int
    sheets: Path | None
    figures: dict[str, Any] = field(default_factory=dict)

    def paint(self, prompt: str, seed: int, *, binds_words: bool = False) -> tuple[Picture, float]:
        """A picture and the seconds it took."""
        request = PaintRequest(
            id=str(seed), prompt=prompt, seed=seed, num_steps=self.steps, binds_words=binds_words,
            width=self.side, height=self.side,
        )  # fmt: skip
        started = time.perf_counter()
        size = self.painter.sizes(request)[0]
        result = self.painter.answer(request, lambda _: None, lambda: False, size)
        assert isinstance(result, PaintResult)
        return decode_image(result.images[0].data), time.perf_counter() - started

    def judge_set(
        self, name: str, wanted: list[Wanted], language: str, *, binds_words: bool = False
    ) -> tuple[list[bool], float]:
        """Paint and judge a set: whether each is right, and the median seconds of a picture."""
        pictures, seconds = [], []
        for number, one in enumerate(wanted):
            picture, took = self.paint(one.prompts[language], 1000 + number, binds_words=binds_words)
            pictures.append(picture)
            seconds.append(took)
        rights = self.seen(f"{name}_{language}", pictures, wanted)
        if self.sheets is not None:
            prompts = [one.prompts[language] for one in wanted]
            write_sheets(self.sheets, f"{name}_{language}", pictures, prompts, rights)
        return rights, statistics.median(seconds)

    def seen(self, name: str, pictures: list[Picture], wanted: list[Wanted]) -> list[bool]:
        """Judge pictures, and note the parts of the judgement."""
        seen = [self.eye.look(picture, one) for picture, one in zip(pictures, wanted, strict=True)]
        rights = [one.is_right for one in seen]
        told = {"right": share(rights), "recognised": share([all(one.recognised) for one in seen])}
        if any(one.things[0].colour for one in wanted):
            told["colour"] = share([one.has_colours for one in seen])
        for kind, is_new in (("new", True), ("seen", False)):
            some = [right for right, one in zip(rights, wanted, strict=True) if one.is_new == is_new]
            if some and len(some) < len(rights):
                told[f"right_{kind}"] = share(some)
        self.figures[name] = told
        return rights


def share(rights: list[bool]) -> float:
    """Of the right ones."""
    return round(sum(rights) / max(1, len(rights)), 4)


def ratio_interval(bound: list[bool], free: list[bool], *, seed: int = 0) -> tuple[float, float, float]:
    """How many times as often the first are right, and its 95 % interval over resampled pairs."""
    pairs = np.array([bound, free], dtype=np.float64)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(bound), size=(_NUM_DRAWS, len(bound)))
    sums = pairs[:, draws].sum(axis=2)
    low, high = np.percentile(sums[0] / np.maximum(sums[1], 1), [2.5, 97.5])
    return float(pairs[0].sum() / max(1.0, pairs[1].sum())), float(low), float(high)


def compare_binding(run: Measure, relations: list[Wanted], rows: Callable[[], list[Wanted]]) -> None:
    """Relations with words bound and without, or rows of three where those are too easy."""
    free, free_s = run.judge_set("relations_free", relations, "en")
    wanted, name = relations, "relations"
    if share(free) > _ENOUGH:
        wanted, name = rows(), "rows"
        free, free_s = run.judge_set("rows_free", wanted, "en")
    bound, bound_s = run.judge_set(f"{name}_bound", wanted, "en", binds_words=True)
    ratio, low, high = ratio_interval(bound, free)
    run.figures["binding"] = {
        "set": name, "free": share(free), "bound": share(bound), "ratio": round(ratio, 3),
        "low": round(low, 3), "high": round(high, 3), "time": round(bound_s / free_s, 3),
    }  # fmt: skip


def measure_limits(run: Measure, sets: dict[str, list[Wanted]]) -> None:
    """The same tests on compositions of real icons, and on pictures of other prompts."""
    for name, wanted in sets.items():
        rng = random.Random(name)
        pictures = [place_things(rng, list(one.things), list(one.relations)) for one in wanted]
        run.seen(f"{name}_real", pictures, wanted)
        run.seen(f"{name}_chance", pictures[1:] + pictures[:1], wanted)


def measure_latency(run: Measure, *, repeats: int = 5) -> None:
    """Seconds to the first stage and to the finished picture of 512 pixels, medians."""
    first, whole = [], []
    for number in range(repeats + 1):
        request = PaintRequest(
            id="1",
            prompt="a red apple",
            seed=number,
            num_steps=run.steps,
            num_previews=3,
            width=512,
            height=512,
        )
        shown: list[float] = []
        started = time.perf_counter()

        def emit(event: object, began: float = started, times: list[float] = shown) -> None:
            if isinstance(event, PaintPreview):
                times.append(time.perf_counter() - began)

        run.painter.answer(request, emit, lambda: False, run.painter.sizes(request)[0])
        if number:  # the first one warms up
            first.append(shown[0])
            whole.append(time.perf_counter() - started)
    run.figures["latency"] = {
        "first_stage_s": round(statistics.median(first), 3),
        "picture_512_s": round(statistics.median(whole), 3),
        "threads": torch.get_num_threads(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for."""
    path = resolve_family(options.model)
    checkpoint = OpenCheckpoint(folder=path, id=f"{path.name}#painter", kind="paint", device=options.device)
    icons = load_named(options.data, workers=options.workers)
    judge = load_judge(options.judge, options.device)
    bank = IconBank(icons, judge.config.size, options.device)
    if set(judge.config.names) != set(bank.names):
        raise SystemExit(f"{options.judge} knows other names than {options.data}; train it on the same icons")
    painter = load_member(checkpoint)
    run = Measure(painter, Eye(judge, options.device), options.steps, options.side, options.sheets)
    run.figures["judge"] = accuracy(judge, bank, num_tests=2)
    sets = {
        "objects": wanted_objects(icons, options.limit or 200),
        "colours": wanted_colours(icons, options.limit or 100),
        "relations": wanted_relations(icons, options.limit or 200),
    }
    measure_limits(run, sets)
    for name, wanted in sets.items():
        for language in LANGUAGES:
            run.judge_set(name, wanted, language, binds_words=name == "relations")
    compare_binding(run, sets["relations"], lambda: wanted_rows(icons, options.limit or 100))
    if options.latency:
        measure_latency(run)
    return run.figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the image sets")
    parser.add_argument("--judge", type=Path, required=True, help="what the recipe icon_judge left")
    parser.add_argument("--model", help="family (default: the embedded one)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, help="of each picture (default: the painter's own)")
    parser.add_argument("--side", type=int, default=_NATIVE, help="pixels of the judged pictures")
    parser.add_argument("--limit", type=int, help="pictures of each set, for trials")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that cut icons out"
    )
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--latency", action="store_true", help="seconds to the first stage and to 512 pixels")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
        return
    for name, told in figures.items():
        values = "  ".join(f"{key} {value}" for key, value in told.items())
        sys.stdout.write(f"{name:24} {values}\n")


if __name__ == "__main__":
    main()
