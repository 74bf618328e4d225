"""Wordings of questions about photographs, in training and in evaluation, which share none.

English slots: `{an}` noun with article, `{a}` noun, `{ns}` plural, `{ing}` activity, `{colour}` the word
colour in either spelling. Chinese slots: `{a}` noun, `{m}` measure word, `{ing}` activity.
"""

from __future__ import annotations

import random

from localgpt.media.text.template import DESCRIBE_PROMPTS
from recipes.scenes.wordings import EVALUATION as SCENE_EVALUATION

__all__ = ["EVALUATION", "TRAINING", "draw_photo_wording"]

Table = dict[str, dict[str, tuple[str, ...]]]

_ENDINGS: Table = {
    "yesno": {
        "en": (
            " Answer yes or no.", " Yes or no?", " Reply with yes or no.", " Just yes or no, please.",
            " Only yes or no.",
        ),
        "zh": ("请回答是或否。", "只回答是或不是。", "是还是不是？", "用是或否回答。"),
    },
    "count": {
        "en": (" Answer with a number.", " Just the number.", " Reply with a digit.", " A number is enough."),
        "zh": ("只回答数字。", "用数字回答。", "请只给出数字。", "回答一个数字即可。"),
    },
    "word": {
        "en": (" Answer with one word.", " One word, please.", " Reply with a single word.", " In one word."),
        "zh": ("用一个词回答。", "请用一个词回答。", "一个词就行。"),
    },
}  # fmt: skip
_EVALUATION_ENDINGS: Table = {
    "yesno": {
        "en": (" Say yes or no.", " Please say only yes or no."),
        "zh": ("答是或否就行。", "仅回答是或者不是。"),
    },
    "count": {
        "en": (" Give only a number.", " State just a number."),
        "zh": ("只答数字就行。", "给出数字就好。"),
    },
    "word": {"en": (" Give a one-word answer.",), "zh": ("答一个词即可。",)},
}
_ENDING_OF = {
    "there": "yesno", "there_mass": "yesno", "doing_yesno": "yesno", "count": "count", "colour": "word",
    "animal": "word",
}  # fmt: skip
_PREFIX = {
    "en": (
        "Look at the photo. ", "Look at this picture. ", "In this photo: ", "Please tell me: ",
        "Quick question: ", "I can't see well. ",
    ),
    "zh": ("看这张照片。", "请看图：", "看图回答：", "请告诉我：", "请问，", "我看不清，"),
}  # fmt: skip

TRAINING: Table = {
    "there": {
        "en": (
            "Is there {an} in the picture?", "Is there {an} in this photo?", "Do you see {an}?",
            "Can you see {an} here?", "Does the picture show {an}?", "Does this image contain {an}?",
            "Is {an} in the photo?", "is there {an}", "Are there any {ns}?",
            "Are there any {ns} in the picture?", "Can you spot {an}?", "Is {an} shown in the image?",
            "Do you see any {ns} in this picture?", "Is there {an}?", "Does the photo have {an} in it?",
            "Is {an} visible?", "Can {an} be seen in this photo?", "Are any {ns} to be seen?",
        ),
        "zh": (
            "图中有{a}吗？", "图片里有{a}吗？", "照片里有{a}吗？", "有没有{a}？", "你看到{a}了吗？",
            "图里有没有{a}？", "这张图里有{a}吗？", "能看到{a}吗？", "图上有{a}吗？", "图中是否有{a}？",
            "这里有{a}吗？", "照片里有没有{a}？", "画面中有没有{a}？", "有{a}吗？", "图片中能看到{a}吗？",
        ),
    },
    "there_mass": {
        "en": (
            "Is there {a} in the picture?", "Is there any {a} in this photo?", "Do you see {a}?",
            "Can you see any {a} here?", "Does the picture show {a}?", "Does this image contain {a}?",
            "is there {a}", "Is {a} visible?", "Is there any {a}?", "Can you spot any {a}?",
            "Is {a} shown in the image?", "Do you see any {a} in this picture?",
        ),
        "zh": (
            "图中有{a}吗？", "图片里有{a}吗？", "照片里有{a}吗？", "有没有{a}？", "你看到{a}了吗？",
            "图里有没有{a}？", "这张图里有{a}吗？", "能看到{a}吗？", "图上有{a}吗？", "图中是否有{a}？",
        ),
    },
    "doing_yesno": {
        "en": (
            "Is the {a} {ing}?", "Is the {a} {ing} in this picture?", "Do you see the {a} {ing}?",
            "is the {a} {ing}", "Can you see whether the {a} is {ing}?", "Is it true that the {a} is {ing}?",
            "Does the photo show the {a} {ing}?", "The {a} is {ing}, right?",
            "Is the {a} in the photo {ing}?", "Can we see the {a} {ing}?",
            "Does it look like the {a} is {ing}?",
        ),
        "zh": (
            "{a}在{ing}吗？", "图中的{a}在{ing}吗？", "{a}是在{ing}吗？", "{a}是不是在{ing}？",
            "照片里的{a}在{ing}吗？", "{a}正在{ing}吗？", "{a}是否在{ing}？", "图片里{a}正在{ing}吗？",
            "这{m}{a}在{ing}吗？", "{a}在{ing}，对吗？",
        ),
    },
    "count": {
        "en": (
            "How many {ns} are there?", "How many {ns} do you see?", "How many {ns} can you see?",
            "Count the {ns}.", "How many {ns} are in the picture?", "How many {ns} are in this photo?",
            "how many {ns}", "Number of {ns}?", "How many {ns} does the photo show?",
            "Tell me how many {ns} there are.", "How many {ns} are shown?", "How many {ns} are in the image?",
            "How many {ns} are visible?",
        ),
        "zh": (
            "有几{m}{a}？", "图中有几{m}{a}？", "有多少{m}{a}？", "照片里有几{m}{a}？", "你看到几{m}{a}？",
            "数一数有几{m}{a}。", "图里一共有几{m}{a}？", "能看到几{m}{a}？", "图上有多少{m}{a}？",
            "{a}有几{m}？", "这张照片里有多少{m}{a}？",
        ),
    },
    "colour": {
        "en": (
            "What {colour} is the {a}?", "Which {colour} is the {a}?", "What is the {colour} of the {a}?",
            "What's the {colour} of the {a}?", "Tell me the {colour} of the {a}.",
            "What {colour} does the {a} have?", "what {colour} is the {a}",
            "Can you tell me what {colour} the {a} is?", "The {a} is what {colour}?",
            "What {colour} is the {a} in this photo?", "Name the {colour} of the {a}.",
        ),
        "zh": (
            "{a}是什么颜色的？", "{a}是什么颜色？", "{a}的颜色是什么？", "图中的{a}是什么颜色的？",
            "照片里的{a}是什么颜色？", "请说出{a}的颜色。", "{a}是哪种颜色的？", "{a}什么颜色",
            "你能告诉我{a}是什么颜色吗？", "这{m}{a}是什么颜色的？",
        ),
    },
    "doing": {
        "en": (
            "What is the {a} doing?", "What's the {a} doing?", "What is the {a} doing in this picture?",
            "what is the {a} doing", "Tell me what the {a} is doing.", "What does the {a} do?",
            "Can you tell me what the {a} is doing?", "What can you see the {a} doing?",
            "In the photo, what is the {a} doing?", "What is happening with the {a}?",
        ),
        "zh": (
            "{a}在做什么？", "{a}在干什么？", "图中的{a}在做什么？", "照片里的{a}在干什么？",
            "{a}正在做什么？", "这{m}{a}在做什么？", "请说说{a}在做什么。", "{a}在干嘛？",
            "图片里{a}在干什么？", "你能看出{a}在做什么吗？",
        ),
    },
    "animal": {
        "en": (
            "What animal is this?", "What animal is in the picture?", "Which animal do you see?",
            "What kind of animal is it?", "What animal does the photo show?", "what animal is this",
            "Name the animal.", "Which animal is shown here?", "What sort of animal can you see?",
            "Can you name the animal in the picture?",
        ),
        "zh": (
            "这是什么动物？", "图中是什么动物？", "照片里有什么动物？", "你看到了什么动物？",
            "图片里是哪种动物？", "这是哪种动物？", "请说出图中的动物。", "图上的动物是什么？",
            "这个动物叫什么？", "能看出是什么动物吗？",
        ),
    },
    "place": {
        "en": (
            "Where is this?", "Where was this photo taken?", "Where are they?", "What place is this?",
            "Where does this take place?", "What is the setting?", "where is this",
            "Can you tell where this is?", "Where was the picture taken?", "What kind of place do you see?",
            "Where does this scene happen?",
        ),
        "zh": (
            "这是在哪里？", "这张照片是在哪里拍的？", "这是什么地方？", "照片的地点是哪里？", "他们在哪里？",
            "这里是哪里？", "图中是什么地方？", "能看出这是在哪儿吗？", "这是在什么地方拍的？",
            "场景在哪里？",
        ),
    },
    "describe": {
        "en": (
            "Describe the picture.", "Describe this image.", "Describe the photo.",
            "What is in this picture?", "What can you see here?", "Please describe the image.",
            "Tell me what you see.", "Give a caption for this photo.", "What does this image show?",
            "Can you describe this picture?", "Write a caption.", "What is happening here?",
            "What is happening in this picture?", "Describe what you see.", "Caption this image.",
            "What's in the photo?", "Describe this photo in one sentence.",
            "What's going on in this picture?", "What do you see in this image?",
            "Say in one sentence what the photo shows.", "Please write a short caption.", "describe this",
        ),
        "zh": (
            "请描述这张图片。", "描述一下这张图。", "图片里有什么？", "这张照片里有什么？",
            "说说你看到了什么。", "描述这张照片。", "请描述图中的内容。", "给这张照片写一句说明。",
            "这张图展示了什么？", "能描述一下这张图片吗？", "图上有什么？", "用一句话描述图片。",
            "请说说照片的内容。", "图中发生了什么？", "你在图里看到了什么？", "这张照片拍的是什么？",
            "请用一句话说说这张图。", "看图说话。",
        ),
    },
}  # fmt: skip

EVALUATION: Table = {
    "there": {
        "en": (
            "Does {an} appear in this photograph?", "Would you say there is {an} in it?",
            "Could one find {an} in this scene?",
        ),
        "zh": ("画面里出现{a}了吗？", "请问能不能找到{a}？", "你觉得画面里有{a}吗？"),
    },
    "there_mass": {
        "en": ("Does any {a} appear in this photograph?", "Would you say there is {a} in it?"),
        "zh": ("画面里出现{a}了吗？", "请问能不能找到{a}？"),
    },
    "doing_yesno": {
        "en": ("Would you say the {a} is {ing}?", "Does the {a} appear to be {ing}?"),
        "zh": ("你觉得{a}在{ing}吗？", "看起来{a}在{ing}吗？"),
    },
    "count": SCENE_EVALUATION["count"],
    "colour": {
        "en": ("Could you say which {colour} the {a} is?", "The {a} here has what {colour}?"),
        "zh": ("请问{a}的颜色是哪一种？", "你觉得{a}是什么颜色的？"),
    },
    "doing": {
        "en": ("What would you say the {a} is up to?", "Could you say what the {a} does here?"),
        "zh": ("请问{a}这时在做些什么？", "你觉得{a}在忙什么？"),
    },
    "animal": {
        "en": ("Could you say which animal appears here?", "What would you call this animal?"),
        "zh": ("请问画面里出现的是哪种动物？", "你会怎么称呼这种动物？"),
    },
    "place": {
        "en": ("In what surroundings was this taken?", "Could you say where they might be?"),
        "zh": ("请问这是在怎样的地方？", "你觉得这是在哪里拍摄的？"),
    },
    "describe": {"en": (DESCRIBE_PROMPTS["en"],), "zh": (DESCRIBE_PROMPTS["zh"],)},
}  # fmt: skip


def draw_photo_wording(
    rng: random.Random, kind: str, language: str, *, evaluation: bool = False
) -> tuple[str, bool]:
    """A wording with its slots, and whether it asks for a word instead of a sentence.

    Args:
        rng: decides the form, and whether a few words stand before and behind it.
        kind: a key of `TRAINING`.
        language: "en" or "zh".
        evaluation: take a held-out form and ending; `describe` is the product's own prompt there, and every
            third time in training.
    """
    if kind == "describe" and rng.random() < 0.35:
        return DESCRIBE_PROMPTS[language], False
    form = rng.choice((EVALUATION if evaluation else TRAINING)[kind][language])
    ending = _ENDING_OF.get(kind)
    if ending and rng.random() < 0.35:
        endings = (_EVALUATION_ENDINGS if evaluation else _ENDINGS)[ending][language]
        closed = form if form[-1] in ".?。？" else form + ("?" if language == "en" else "？")
        return closed + rng.choice(endings), True
    if not evaluation and kind != "describe" and rng.random() < 0.06:
        form = rng.choice(_PREFIX[language]) + form
    return form, False
