"""Quality of the picture models as shipped: captions, retrieval, questions about photographs and scenes.

    python benchmarks/quality_vision.py --data DATA [--model FOLDER] [--device cuda] [--limit N] [--json]

Captions: the product's describe prompts at temperature 0 on flickr8k `val`, made with a copy of its rules in
large batches or, with `--served`, by its own service picture after picture; CIDEr (not times 100) and
BLEU-4 of pycocoevalcap over lower-cased words without punctuation, Chinese over characters, document
frequencies from the references; again for the same pictures stretched to 4:3 and 3:4. Retrieval: R@1 and
R@5 among all of val. Photographs: 400 yes/no and counting questions (`vision/photos.py`), beside the best
constant answer of each kind and beside the same questions about a grey picture. Scenes: questions about
colour, count and relation on rendered val scenes. A float checkpoint of a training run is measured with
`--training-folder`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402

from benchmarks.vision.answers import says  # noqa: E402
from benchmarks.vision.captions import score_captions  # noqa: E402
from benchmarks.vision.generate import Answerer, Ask, Pixels  # noqa: E402
from benchmarks.vision.models import load_measured  # noqa: E402
from benchmarks.vision.photos import PhotoQuestion, photo_questions  # noqa: E402
from benchmarks.vision.retrieval import embed_texts, recalls  # noqa: E402
from benchmarks.vision.rows import CaptionedSet, grey_pixels, stretched  # noqa: E402
from benchmarks.vision.scenes import is_right, read_scenes  # noqa: E402
from benchmarks.vision.served import describe_served  # noqa: E402
from benchmarks.vision.tally import accuracy_by, majority_by  # noqa: E402
from localgpt.media.text.template import DESCRIBE_PROMPTS  # noqa: E402

PARTS = ("captions", "retrieval", "photos", "scenes")
LANGUAGES = ("en", "zh")
SHAPES = {"4:3": 4 / 3, "3:4": 3 / 4}
CAPTION_TOKENS = 64  # what the product takes for `describe`
NUM_SCENES = 320


@dataclass(slots=True)
class Measure:
    """One run: the models, the pictures, and what was found so far."""

    answerer: Answerer
    parts: tuple[str, ...]
    pictures: CaptionedSet
    languages: tuple[str, ...] = LANGUAGES  # of captions
    stretches: bool = True
    describe: Callable[[list[bytes], str], list[str]] | None = None  # who makes captions, if not the answerer
    figures: dict[str, Any] = field(default_factory=dict)
    replies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a step and note its seconds."""
        started = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - started, 1)
        return result


def measure_photographs(run: Measure) -> None:
    """Captions, retrieval and questions together, since each picture is read once."""
    size, rows = run.answerer.image_size, run.pictures.rows
    numbers = range(len(rows)) if {"captions", "retrieval"} & set(run.parts) else []
    languages = run.languages if "captions" in run.parts and run.describe is None else ()
    asks = [
        Ask(n, DESCRIBE_PROMPTS[language], CAPTION_TOKENS, is_description=True)
        for language in languages
        for n in numbers
    ]
    questions = photo_questions(rows) if "photos" in run.parts else []
    asked = [(q, language) for language in LANGUAGES for q in questions]
    asks += [Ask(q.picture, q.texts[language]) for q, language in asked]
    loader = run.pictures.loader(size)
    if "captions" in run.parts and run.describe is not None:
        note_served(run, run.describe)
        numbers = numbers if "retrieval" in run.parts else []
    replies = run.timed("photographs", lambda: run.answerer.answers(asks, loader, numbers))
    for place, language in enumerate(languages):
        told = replies[place * len(rows) : (place + 1) * len(rows)]
        note_captions(run, language, "as stored", told)
    if "retrieval" in run.parts:
        images = torch.stack([run.answerer.vectors[n] for n in numbers])
        run.figures["retrieval"] = run.timed("retrieval", lambda: measure_retrieval(run, images))
    if run.stretches and "en" in languages:
        english = asks[languages.index("en") * len(rows) :][: len(rows)]
        for shape, ratio in SHAPES.items():
            load = run.pictures.stretched_loader(size, ratio)
            told = run.timed(shape, partial(run.answerer.answers, english, load))
            note_captions(run, "en", shape, told)
    if questions:
        grey = [Ask(0, q.texts[language]) for q, language in asked]
        blank = run.timed("blank", lambda: run.answerer.answers(grey, lambda _: grey_pixels(size)))
        run.figures["photos"] = judge_photos(run, asked, replies[len(languages) * len(rows) :], blank)


def note_served(run: Measure, describe: Callable[[list[bytes], str], list[str]]) -> None:
    """Captions by the product's service, of the files as they are stored, and stretched."""
    files = [run.pictures.data(number) for number in range(len(run.pictures.rows))]
    for language in run.languages:
        told = run.timed(f"served {language}", partial(describe, files, language))
        note_captions(run, language, "as stored", told)
    for shape, ratio in SHAPES.items() if run.stretches and "en" in run.languages else ():
        told = run.timed(
            f"served {shape}", partial(describe, [stretched(data, ratio) for data in files], "en")
        )
        note_captions(run, "en", shape, told)


def note_captions(run: Measure, language: str, shape: str, told: list[str]) -> None:
    """Score one set of captions and keep it."""
    references = run.pictures.captions(language)
    scores = score_captions(told, references, language)
    run.figures.setdefault("captions", {}).setdefault(language, {})[shape] = scores
    if shape == "as stored":
        files = [row["file"] for row in run.pictures.rows]
        run.replies[f"captions_{language}"] = [
            {"file": file, "reply": reply, "reference": wanted[0] if wanted else ""}
            for file, reply, wanted in zip(files, told, references, strict=True)
        ]


def measure_retrieval(run: Measure, images: torch.Tensor) -> dict[str, dict[str, float]]:
    """Recalls in both languages, among all captions of the pictures."""
    figures = {}
    for language in LANGUAGES:
        groups = run.pictures.captions(language)
        texts = embed_texts(run.answerer.family, [text for group in groups for text in group])
        owners = torch.tensor([n for n, group in enumerate(groups) for _ in group])
        figures[language] = recalls(images, texts, owners)
    return figures


def judge_photos(
    run: Measure, asked: list[tuple[PhotoQuestion, str]], replies: list[str], blank: list[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy by kind for each language: of the model, of the best constant, with a grey picture."""
    figures = {}
    for language in LANGUAGES:
        mine = [n for n, (_, other) in enumerate(asked) if other == language]
        questions = [asked[n][0] for n in mine]
        kinds = [q.kind for q in questions]
        rights = {
            name: [
                says(told[n], q.spoken(language), q.kind, language, topic=q.noun(language))
                for n, q in zip(mine, questions, strict=True)
            ]
            for name, told in (("model", replies), ("blank", blank))
        }
        figures[language] = {
            "model": accuracy_by(kinds, rights["model"]),
            "majority": majority_by(kinds, [q.answer for q in questions]),
            "blank": accuracy_by(kinds, rights["blank"]),
            "num": {"all": len(kinds), **{kind: kinds.count(kind) for kind in sorted(set(kinds))}},
            "topics": accuracy_by([f"{q.kind} {q.topic}" for q in questions], rights["model"]),
        }
        run.replies[f"photos_{language}"] = [
            {
                "question": q.texts[language],
                "reply": replies[n],
                "answer": q.answer,
                "right": right,
                "blank": blank[n],
            }
            for n, q, right in zip(mine, questions, rights["model"], strict=True)
        ]
    return figures


def measure_scenes(run: Measure, data: Path, num_scenes: int) -> None:
    """Accuracy on rendered val scenes by kind of question."""
    size = run.answerer.image_size
    workers = 1 if run.answerer.device.type == "cpu" else min(8, os.cpu_count() or 1)
    scenes, questions = run.timed("rendering", partial(read_scenes, data, num_scenes, size, workers=workers))
    asks = [Ask(q.scene, q.text) for q in questions]

    def load(number: int) -> Pixels:
        return scenes[number]

    replies = run.timed("scenes", lambda: run.answerer.answers(asks, load))
    run.figures["scenes"] = {}
    for language in LANGUAGES:
        mine = [(q, reply) for q, reply in zip(questions, replies, strict=True) if q.language == language]
        kinds = [q.kind for q, _ in mine]
        rights = [is_right(q, reply) for q, reply in mine]
        run.figures["scenes"][language] = {
            "model": accuracy_by(kinds, rights),
            "majority": majority_by(kinds, [q.answer for q, _ in mine], [q.form for q, _ in mine]),
            "num": {"all": len(kinds), **{kind: kinds.count(kind) for kind in sorted(set(kinds))}},
        }
        run.replies[f"scenes_{language}"] = [
            {"question": q.text, "reply": reply, "answer": q.answer, "right": right}
            for (q, reply), right in zip(mine, rights, strict=True)
        ]


def table(run: Measure, *, show_replies: int) -> str:
    """The figures as text."""
    lines = []
    for language, shapes in run.figures.get("captions", {}).items():
        for shape, s in shapes.items():
            lines.append(f"captions {language} {shape:10} {_caption_scores(s)}")
    for language, recall in run.figures.get("retrieval", {}).items():
        lines.append(f"retrieval {language}  " + "  ".join(f"{k} {v:.4f}" for k, v in recall.items()))
    for part in ("photos", "scenes"):
        for language, by in run.figures.get(part, {}).items():
            for kind, num in by["num"].items():
                shown = "  ".join(
                    f"{name} {by[name][kind]:.3f}" for name in ("model", "majority", "blank") if name in by
                )
                lines.append(f"{part} {language} {kind:10} {shown}  of {num}")
    for name, rows in run.replies.items() if show_replies else ():
        lines.append(f"-- {name}")
        lines += ["   " + _reply_line(row) for row in rows[:show_replies]]
    lines.append("seconds: " + ", ".join(f"{name} {value}" for name, value in run.seconds.items()))
    return "\n".join(lines) + "\n"


def _caption_scores(scores: dict[str, float]) -> str:
    bleu = f"{scores['bleu4']:.4f}" if "bleu4" in scores else "skipped: pycocoevalcap is not installed"
    shown = f"CIDEr {scores['cider']:.4f}  BLEU-4 {bleu}"
    return f"{shown}  {scores['distinct']:.0%} distinct, {scores['mean_tokens']:.1f} tokens"


def _reply_line(row: dict[str, Any]) -> str:
    if "file" in row:
        return f"{row['file']}: {row['reply']}   (a person: {row['reference']})"
    return f"{'+' if row['right'] else '-'} {row['question']} -> {row['reply']}   ({row['answer']})"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description="Captions, retrieval, and questions about pictures.")
    parser.add_argument(
        "--data", type=Path, required=True, help="data folder, with the picture sets in images/"
    )
    parser.add_argument("--model", help="family folder; absent means the embedded one")
    parser.add_argument("--training-folder", type=Path, help="what recipes.joint wrote, instead of a family")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json for --training-folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--limit", type=int, help="at most so many val pictures, and scenes")
    parser.add_argument("--batch", type=int, help="pictures at once; 32 on the CPU, 256 elsewhere")
    parser.add_argument(
        "--keep", type=float, default=1.0, help="share of a picture's tokens the decoder reads"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ",".join(PARTS))
    parser.add_argument("--languages", default=",".join(LANGUAGES), help="of captions")
    parser.add_argument("--no-stretch", dest="stretches", action="store_false", help="as stored alone")
    parser.add_argument("--served", action="store_true", help="captions by the product's own service")
    parser.add_argument(
        "--replies", type=int, nargs="?", const=40, default=0, help="show so many of each kind"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.served and (args.training_folder or args.dtype):
        parser.error("--served measures a family as it is served: leave --training-folder and --dtype")
    args.parts = tuple(part for part in args.parts.split(",") if part)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)[0]!r}; known: {', '.join(PARTS)}")
    args.languages = tuple(args.languages.split(","))
    if unknown := set(args.languages) - set(LANGUAGES):
        parser.error(f"unknown language {sorted(unknown)[0]!r}; known: {', '.join(LANGUAGES)}")
    return args


def measure(args: argparse.Namespace) -> Measure:
    """Load the models and run the wanted parts."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    family = load_measured(
        args.model, args.training_folder, args.tokenizer, device=args.device, dtype=args.dtype
    )
    batch = args.batch or (32 if args.device == "cpu" else 256)
    answerer = Answerer(family, batch=batch, keep=args.keep, report=_progress)
    pictures = CaptionedSet.read(args.data, "flickr8k", limit=args.limit)
    describe = partial(describe_served, model=args.model, device=args.device, report=_progress)
    run = Measure(
        answerer, args.parts, pictures, args.languages, args.stretches, describe if args.served else None
    )
    if set(args.parts) - {"scenes"}:
        measure_photographs(run)
    if "scenes" in args.parts:
        measure_scenes(run, args.data, min(NUM_SCENES, args.limit or NUM_SCENES))
    _progress("")
    return run


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def main() -> None:
    """Measure and print."""
    args = parse()
    run = measure(args)
    if args.json:
        replies = {"replies": run.replies} if args.replies else {}
        print(json.dumps({**run.figures, "seconds": run.seconds, **replies}, ensure_ascii=False, indent=1))
    else:
        print(table(run, show_replies=args.replies), end="")


if __name__ == "__main__":
    main()
