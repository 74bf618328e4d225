"""Questions about what something is, answered by the first sentence of its article (training rows only)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from recipes.text_data.noise import casual
from recipes.text_data.rows import TextRow
from recipes.text_data.sequences import Parts, chat

__all__ = ["knowledge_sequences"]

THING_EN = (
    "What is {t}?",
    "what is {t}",
    "What's {t}?",
    "Tell me about {t}.",
    "What do you know about {t}?",
    "Explain {t}.",
    "Define {t}.",
    "Describe {t} in one sentence.",
    "Can you tell me what {t} is?",
    "{t}?",
    "What does {t} mean?",
    "Give me a short description of {t}.",
)
PERSON_EN = (
    "Who is {t}?",
    "Who was {t}?",
    "who is {t}",
    "Tell me about {t}.",
    "What do you know about {t}?",
    "{t}?",
    "Do you know {t}?",
    "Can you tell me who {t} was?",
)
THING_ZH = (
    "{t}是什么？",
    "什么是{t}？",
    "介绍一下{t}。",
    "你知道{t}吗？",
    "请解释{t}。",
    "{t}",
    "说说{t}。",
    "请问{t}是什么？",
    "{t}指的是什么？",
    "用一句话介绍{t}。",
)
PERSON_ZH = ("{t}是谁？", "谁是{t}？", "介绍一下{t}。", "你知道{t}吗？", "请问{t}是谁？", "说说{t}。")
MAX_CHARS = {"en": 220, "zh": 90}
MAX_TITLE = {"en": 40, "zh": 14}
_END_EN = re.compile(r"(?<![A-Z .][A-Z])(?<! St)(?<! Dr)(?<! Mr)\.(?= [A-Z]|\n|$)")
_PERSON_EN = re.compile(
    r"\(.*?\b(born|\d{4}\s*[–-])|\b(was|is) an? .*\b(player|politician|actor|actress|singer|writer|poet)\b"
)
_PERSON_ZH = re.compile(r"（.*?年|运动员|政治人物|演员|歌手|作家|球员|将领|学者|诗人")


def knowledge_sequences(rows: Iterable[TextRow], language: str, *, seed: int = 0) -> Iterator[Parts]:
    """Two questions on each article that opens with a usable definition."""
    rng = random.Random(f"knowledge-{seed}-{language}")
    for row in rows:
        if row.src not in ("enwiki", "zhwiki"):
            continue
        title, _, body = row.text.partition("\n")
        title, body = title.strip(), body.strip()
        sentence = _first_sentence(title, body, language)
        if sentence is None:
            continue
        person = bool((_PERSON_EN if language == "en" else _PERSON_ZH).search(sentence))
        forms = {
            ("en", True): PERSON_EN,
            ("en", False): THING_EN,
            ("zh", True): PERSON_ZH,
            ("zh", False): THING_ZH,
        }
        for form in rng.sample(forms[language, person], 2):
            question = casual(form, rng, typo=0.03).format(t=title)
            question = question.lower() if rng.random() < 0.08 else question
            yield chat([("user", question), ("assistant", sentence)])


def _first_sentence(title: str, body: str, language: str) -> str | None:
    """The definition an article opens with; None where it does not open with one."""
    if (
        len(title) > MAX_TITLE[language]
        or len(title) < 2
        or "(" in title
        or "列表" in title
        or title.startswith("List")
    ):
        return None
    if language == "en":
        end = _END_EN.search(body)
        sentence = body[: end.end()] if end else ""
        is_definition = re.search(r"\b(is|was|are|were) (an?|the|one|any|used|known)\b", sentence[:160])
        opening = re.sub(r"^(the|an?) ", "", sentence.lower())
        starts = opening.startswith(title.lower().split(" ")[0])
    else:
        end_at = body.find("。")
        sentence = body[: end_at + 1] if end_at > 0 else ""
        is_definition = re.search(r"是|为|指", sentence[:40])
        starts = sentence.startswith(title)
    if (
        not is_definition
        or not starts
        or "\n" in sentence
        or "，）" in sentence
        or "（，" in sentence
        or "(;" in sentence
    ):
        return None
    return sentence if len(sentence.encode()) >= 20 and len(sentence) <= MAX_CHARS[language] else None
