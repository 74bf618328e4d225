"""Quality of the language decoder as shipped: held-out bits per byte, and the committed question sets.

    python benchmarks/quality_language.py --data DATA [--model FOLDER] [--limit N] [--no-books] [--json]

Bits per byte: total nats of all held-out rows (the rule of `recipes.text_data.rows`) over the UTF-8 bytes of
their contents, English and Chinese together, in bits. Every token after `<|bos|>` counts, role tokens and
`<|end|>` and all turns included. Each row starts a context of its own; rows longer than a window of 2,048
tokens are read in windows that move by 1,024, and each token is scored once, by the first window that holds
it. Questions: greedy answers (temperature 0) without a system turn; right when an accepted answer occurs in
the reply.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from localgpt.checkpoints import load_family, resolve_family  # noqa: E402
from localgpt.media.text.template import render_chat, render_document  # noqa: E402
from localgpt.media.text.tokenizer import Tokenizer  # noqa: E402
from localgpt.media.text.vocabulary import END_ID, PAD_ID  # noqa: E402
from localgpt.models.decoder import Decoder  # noqa: E402
from recipes.text_data.rows import TextRow, is_held_out, read_rows  # noqa: E402

WINDOW = 2048
STRIDE = 1024
QUESTIONS = ROOT / "benchmarks" / "questions"
SETS = ("factbook_en", "factbook_zh", "sums", "identity")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One held-out row: the group it is counted in, its token ids, the bytes of its contents."""

    group: str  # "articles", "books" or "dialogues"
    language: str
    token_ids: list[int]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens [start, end) of a row, of which those from `first` on are scored."""

    row: int
    token_ids: list[int]
    first: int


def held_out_rows(data_dir: Path, tokenizer: Tokenizer) -> list[HeldOut]:
    """All held-out rows of the four text sets."""
    found: list[HeldOut] = []
    english_keys = None
    for name in ("pretrain_en", "pretrain_zh", "sft_en", "sft_zh"):
        rows = read_rows(data_dir, name, english_keys=english_keys if name == "sft_zh" else None)
        if name == "sft_en":
            english_keys = [row.key for row in rows if row.src == "xdailydialog"]
        found += [
            HeldOut(_group(row), name[-2:], _render(row, tokenizer), row.num_bytes)
            for row in rows
            if is_held_out(row.key)
        ]
    return found


def _group(row: TextRow) -> str:
    if row.messages:
        return "dialogues"
    return "books" if row.src == "books" else "articles"


def _render(row: TextRow, tokenizer: Tokenizer) -> list[int]:
    if row.messages:
        turns = [(role, [content]) for role, content in row.messages]
        return render_chat(tokenizer, turns, add_assistant=False)
    return render_document(tokenizer, row.text)


def windows_of(number: int, token_ids: list[int]) -> Iterator[Window]:
    """The windows of one row; together they score every token but the first once."""
    scored = 1
    start = 0
    while scored < len(token_ids):
        end = min(start + WINDOW, len(token_ids))
        yield Window(number, token_ids[start:end], scored - start)
        scored, start = end, start + STRIDE


@torch.inference_mode()
def score_rows(decoder: Decoder, rows: Sequence[HeldOut], device: str, *, batch_tokens: int) -> list[float]:
    """Nats of each row, in order."""
    nats = [0.0] * len(rows)
    windows = [w for number, row in enumerate(rows) for w in windows_of(number, row.token_ids)]
    windows.sort(key=lambda w: len(w.token_ids))
    at, done, started = 0, 0, time.time()
    while at < len(windows):
        size = max(1, batch_tokens // len(windows[min(at + 31, len(windows) - 1)].token_ids))
        batch = windows[at : at + size]
        at += size
        width = max(len(w.token_ids) for w in batch)
        inputs = torch.tensor(
            [w.token_ids + [PAD_ID] * (width - len(w.token_ids)) for w in batch], device=device
        )
        losses = _token_nats(decoder, inputs)
        for window, line in zip(batch, losses, strict=True):
            nats[window.row] += float(line[window.first - 1 : len(window.token_ids) - 1].double().sum())
        done += inputs.numel()
        _progress(f"{at}/{len(windows)} windows, {done / (time.time() - started):.0f} tokens/s")
    return nats


def _token_nats(decoder: Decoder, inputs: torch.Tensor) -> torch.Tensor:
    """(B, T) int64 to (B, T - 1) float32: the loss of each token after the first."""
    hidden = decoder.hidden(decoder.embed(inputs[:, :-1]))
    pieces = []
    for piece, targets in zip(hidden.split(256, dim=1), inputs[:, 1:].split(256, dim=1), strict=True):
        logits = decoder.logits(piece)  # (B, t, V), in pieces because V is large
        pieces.append(F.cross_entropy(logits.transpose(1, 2), targets, reduction="none"))
    return torch.cat(pieces, dim=1)


def bits_per_byte(rows: Sequence[HeldOut], nats: Sequence[float]) -> dict[str, dict[str, float]]:
    """Figures by group, and by group and language."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    for row, value in zip(rows, nats, strict=True):
        for name in (row.group, f"{row.group}_{row.language}"):
            for place, amount in enumerate((value, row.num_bytes, len(row.token_ids) - 1, 1)):
                sums[name][place] += amount
    return {
        name: {
            "bits_per_byte": value / num_bytes / 0.6931471805599453,
            "nats_per_token": value / num_tokens,
            "bytes": num_bytes,
            "tokens": num_tokens,
            "rows": num_rows,
        }
        for name, (value, num_bytes, num_tokens, num_rows) in sorted(sums.items())
    }


@torch.inference_mode()
def greedy_answers(
    decoder: Decoder, tokenizer: Tokenizer, questions: Sequence[str], device: str, *, max_tokens: int = 64
) -> list[str]:
    """Answers at temperature 0, eight questions at a time."""
    answers: list[str] = []
    for at in range(0, len(questions), 8):
        batch = questions[at : at + 8]
        prompts = [render_chat(tokenizer, [("user", [question])]) for question in batch]
        cache = decoder.new_cache(len(batch), device=device, dtype=_float_dtype(decoder))
        latest = []
        for slot, prompt in enumerate(prompts):
            embeddings = decoder.embed(torch.tensor([prompt], device=device))[0]
            latest.append(int(decoder.prefill(embeddings, None, cache, slot=slot, start=0).argmax()))
        replies: list[list[int]] = [[] for _ in batch]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        slots = torch.arange(len(batch), device=device)
        running = [True] * len(batch)
        for _ in range(max_tokens):
            for number, token_id in enumerate(latest):
                running[number] = running[number] and token_id != END_ID
                if running[number]:
                    replies[number].append(token_id)
            if not any(running):
                break
            logits = decoder.decode_step(torch.tensor(latest, device=device), cache, slots, lengths)
            latest, lengths = logits.argmax(dim=1).tolist(), lengths + 1
        answers += [tokenizer.decode(reply) for reply in replies]
        _progress(f"{len(answers)}/{len(questions)} answers")
    return answers


def _float_dtype(decoder: Decoder) -> torch.dtype:
    return next(p.dtype for p in decoder.parameters() if p.is_floating_point())


def is_right(reply: str, accepted: Sequence[str]) -> bool:
    """Whether an accepted answer occurs in the reply: as a whole word, number or run of Chinese."""
    reply = "".join(c for c in unicodedata.normalize("NFKD", reply) if not unicodedata.combining(c))
    for answer in accepted:
        if answer.isdigit():
            pattern = rf"(?<!\d){answer}(?!\d)"
        elif answer.isascii():
            pattern = rf"(?<![A-Za-z]){re.escape(answer)}(?:s|es)?(?![A-Za-z])"
        else:
            pattern = re.escape(unicodedata.normalize("NFKD", answer))
        told = reply.rpartition("=")[2] if answer.isdigit() else reply
        if re.search(pattern, told, re.IGNORECASE):
            return True
    return False


def run_questions(decoder: Decoder, tokenizer: Tokenizer, device: str, limit: int | None) -> dict[str, Any]:
    """Right answers of each set, by kind where it has kinds, and all replies."""
    figures: dict[str, Any] = {}
    for name in SETS:
        lines = (QUESTIONS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:limit]
        rows = [json.loads(line) for line in lines]
        replies = greedy_answers(decoder, tokenizer, [row["question"] for row in rows], device)
        rights = [is_right(reply, row["answers"]) for row, reply in zip(rows, replies, strict=True)]
        by_fact: dict[str, list[bool]] = defaultdict(list)
        for row, right in zip(rows, rights, strict=True):
            by_fact[row.get("fact", "all")].append(right)
        figures[name] = {
            "right": sum(rights),
            "of": len(rows),
            "by_fact": {fact: f"{sum(values)}/{len(values)}" for fact, values in by_fact.items()},
            "replies": [
                {"question": row["question"], "reply": reply, "answers": row["answers"], "right": right}
                for row, reply, right in zip(rows, replies, rights, strict=True)
            ],
        }
    return figures


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Held-out bits per byte and the question sets.")
    parser.add_argument("--data", type=Path, help="data folder; without it only the questions are asked")
    parser.add_argument("--model", help="family folder; absent means the embedded one")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="default: as served (int8 on a CPU)"
    )
    parser.add_argument("--limit", type=int, help="at most so many rows of each group, questions of each set")
    parser.add_argument("--no-books", action="store_true", help="leave out the one long book")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--replies", action="store_true", help="print every reply")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    family = load_family(
        resolve_family(args.model),
        device=args.device,
        dtype=getattr(torch, args.dtype) if args.dtype else None,
    )
    decoder, tokenizer = family.decoder, family.tokenizer
    figures: dict[str, Any] = {"window": WINDOW, "stride": STRIDE}
    if args.data:
        rows = [
            row for row in held_out_rows(args.data, tokenizer) if not (args.no_books and row.group == "books")
        ]
        if args.limit:
            groups = {
                group: [row for row in rows if row.group == group]
                for group in ("articles", "books", "dialogues")
            }
            rows = [row for group in groups.values() for row in group[: args.limit]]
        nats = score_rows(decoder, rows, args.device, batch_tokens=args.batch_tokens)
        figures["held_out"] = bits_per_byte(rows, nats)
    figures["questions"] = run_questions(decoder, tokenizer, args.device, args.limit)
    _progress("")
    sys.stdout.write(
        json.dumps(figures, ensure_ascii=False, indent=1) + "\n" if args.json else _table(figures, args)
    )


def _table(figures: dict[str, Any], args: argparse.Namespace) -> str:
    lines = [f"window {WINDOW} tokens, stride {STRIDE}, every row from its own start"]
    for name, row in figures.get("held_out", {}).items():
        lines.append(
            f"{name:14} {row['bits_per_byte']:.4f} bits/byte  {row['nats_per_token']:.3f} nats/token  "
            f"{row['rows']:.0f} rows, {row['bytes']:.0f} bytes, {row['tokens']:.0f} tokens"
        )
    for name, row in figures["questions"].items():
        facts = " ".join(f"{fact} {count}" for fact, count in row["by_fact"].items())
        lines.append(f"{name:14} {row['right']}/{row['of']} right  ({facts})")
        if args.replies:
            lines += [
                f"   {'+' if r['right'] else '-'} {r['question']} -> {r['reply']}" for r in row["replies"]
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
