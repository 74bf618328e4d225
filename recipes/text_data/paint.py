"""Made requests for a picture, answered with the paint token and a prompt in the language of the request."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localgpt.media.text.template import PAINT
from recipes.text_data.noise import casual
from recipes.text_data.sequences import Parts, Turn, chat

__all__ = ["paint_sequences"]

REQUESTS = {
    "en": (
        "Draw {p}.",
        "Draw me {p}.",
        "Paint {p}.",
        "Paint me {p}.",
        "Please draw {p}.",
        "Please paint {p} for me.",
        "Can you draw {p}?",
        "Can you paint {p}?",
        "Could you draw {p} for me?",
        "Could you make a picture of {p}?",
        "Make a picture of {p}.",
        "Make an image of {p}.",
        "Create an image of {p}.",
        "Create a picture of {p}, please.",
        "Generate an image of {p}.",
        "Generate a picture of {p}.",
        "I want a picture of {p}.",
        "I'd like to see {p}.",
        "I would like a drawing of {p}.",
        "Show me a picture of {p}.",
        "Show me {p}.",
        "Give me a picture of {p}.",
        "A picture of {p}, please.",
        "An illustration of {p}, please.",
        "Sketch {p}.",
        "Illustrate {p}.",
        "Design a picture with {p}.",
        "I need an image of {p} for my story.",
        "My daughter wants a picture of {p}.",
        "Let me see {p} as a painting.",
        "Picture: {p}",
        "image of {p}",
        "draw: {p}",
        "Use your brush: {p}.",
        "Would you paint {p} for my kitchen?",
        "Now draw {p}.",
        "Surprise me with a painting of {p}.",
    ),
    "zh": (
        "画{p}。",
        "画一下{p}。",
        "请画{p}。",
        "请帮我画{p}。",
        "帮我画{p}",
        "给我画{p}。",
        "能画{p}吗？",
        "可以画{p}吗？",
        "你能给我画{p}吗？",
        "我想要{p}的图片。",
        "我想看{p}的画。",
        "生成{p}的图片。",
        "请生成一张{p}的图片。",
        "做一张{p}的图。",
        "来一张{p}的图片。",
        "来一幅{p}。",
        "创作一幅画：{p}。",
        "画图：{p}",
        "图片：{p}",
        "给孩子画{p}吧。",
        "麻烦画一张{p}的画。",
        "我需要一张{p}的插图。",
        "用画笔画出{p}。",
        "再画{p}。",
        "请绘制{p}。",
    ),
}
CHANGES = {
    "en": (
        "Make it {colour}.",
        "Now in {colour}, please.",
        "The same in {colour}.",
        "Can you make it {colour}?",
    ),
    "zh": ("换成{colour}。", "改成{colour}的。", "再来一张{colour}的。", "能变成{colour}吗？"),
}
TALK = {
    "en": (
        ("Thank you, it is lovely!", "You're welcome! Shall I paint something else?"),
        ("Can you paint?", "Yes. Tell me what you would like to see, and I'll paint it."),
        ("What can you draw?", "Animals, things, houses, landscapes and small scenes. What would you like?"),
        ("Can you make pictures?", "Yes, simple ones. Just tell me what to paint."),
        ("Which painter do you like?", "I'm a program, so I have no favourite. Many people love Van Gogh."),
    ),
    "zh": (
        ("谢谢，真好看！", "不客气！还要画点别的吗？"),
        ("你会画画吗？", "会，告诉我想看什么，我就画出来。"),
        ("你能画什么？", "动物、物品、房子、风景和小场景都可以，您想画什么？"),
        ("你能生成图片吗？", "可以，简单的图片没问题，请告诉我画什么。"),
    ),
}


def paint_sequences(*, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All made requests; `scale` shrinks the number for tests."""
    file = Path(__file__).parents[1] / "data" / "paint_words.json"
    words = json.loads(file.read_text(encoding="utf-8"))
    for language in ("en", "zh"):
        rng = random.Random(f"paint-{seed}-{language}")
        for _ in range(round(3200 * scale)):
            prompt, changed = _prompt(words, language, rng)
            turns: list[Turn] = [("user", _request(language, prompt, rng)), ("assistant", PAINT, prompt)]
            if changed and rng.random() < 0.25:
                colour = rng.choice(words["colours"])[0 if language == "en" else 1]
                turns.append(("user", rng.choice(CHANGES[language]).format(colour=colour)))
                turns.append(("assistant", PAINT, changed.replace("{colour}", colour)))
            if rng.random() < 0.2:
                question, answer = rng.choice(TALK[language])
                turns = (
                    [*turns, ("user", question), ("assistant", answer)]
                    if "?" not in question
                    else [("user", question), ("assistant", answer), *turns]
                )
            yield chat(turns)


def _request(language: str, prompt: str, rng: random.Random) -> str:
    text = casual(rng.choice(REQUESTS[language]), rng, typo=0.05).format(p=prompt)
    return text.lower() if rng.random() < 0.15 else text


def _prompt(words: dict[str, Any], language: str, rng: random.Random) -> tuple[str, str]:
    """A prompt, and the same with a slot for another colour where it has one colour."""
    if rng.random() < 0.12:
        return rng.choice(words["scenes"])[0 if language == "en" else 1], ""
    form, colours = _form(words, language, rng)
    filled = form
    for colour in colours:
        filled = filled.replace("{colour}", colour, 1)
    return filled, form if len(colours) == 1 else ""


def _form(words: dict[str, Any], language: str, rng: random.Random) -> tuple[str, list[str]]:
    place = 0 if language == "en" else 1
    draw = rng.random()
    first, second = rng.sample(words["things"], 2)
    colours = [colour[place] for colour in rng.sample(words["colours"], 2)]
    if language == "en":
        if draw < 0.25:
            thing = first[0]
            return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}", []
        if draw < 0.55:
            return f"a {{colour}} {first[0]}", colours[:1]
        if draw < 0.75:
            return f"a {{colour}} {first[0]} {rng.choice(words['places'])[0]}", colours[:1]
        if draw < 0.85:
            size = rng.choice(words["sizes"])[0]
            return f"a {size} {first[0]} {rng.choice(words['places'])[0]}", []
        relation = rng.choice(words["relations"])[0]
        return f"a {{colour}} {first[0]} {relation} a {{colour}} {second[0]}", colours
    measure, thing = first[2], first[1]
    if draw < 0.25:
        return f"一{measure}{thing}", []
    if draw < 0.55:
        return f"一{measure}{{colour}}的{thing}", colours[:1]
    if draw < 0.75:
        return f"{rng.choice(words['places'])[1]}的一{measure}{{colour}}的{thing}", colours[:1]
    if draw < 0.85:
        return f"一{measure}{rng.choice(words['sizes'])[1]}{thing}，{rng.choice(words['places'])[1]}", []
    relation = rng.choice(words["relations"])[1]
    return f"一{measure}{{colour}}的{thing}{relation}有一{second[2]}{{colour}}的{second[1]}", colours
