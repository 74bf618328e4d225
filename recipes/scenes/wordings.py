"""Wordings of questions about scenes, in training and in evaluation, which share none.

A wording is a form with `{slots}`; one that asks for a word is answered with a word, others with a sentence
or, now and then, a word. English slots: `{a}` and `{b}` nouns, `{an}` noun with article, `{ns}` plural, `{r}`
relation ("to the left of"), `{colour}` the word colour in either spelling, `{c}` a colour, `{acn}` colour and
noun with article. Chinese slots: `{a}`, `{b}`, `{m}` measure word, `{r}` relation ("左边"), `{c}` a colour.
"""

from __future__ import annotations

import random

__all__ = ["EVALUATION", "TRAINING", "draw_wording"]

Table = dict[str, dict[str, tuple[str, ...]]]

_SUFFIX = {
    "en": {
        "colour": (
            " Answer with one word.",
            " One word, please.",
            " Just the {colour}.",
            " Reply with a single word.",
        ),
        "count": (
            " Answer with a number.",
            " Just the number.",
            " Reply with a digit.",
            " A number is enough.",
        ),
        "yesno": (" Answer yes or no.", " Yes or no?", " Reply with yes or no.", " Just yes or no, please."),
        "what": (
            " Answer with one word.",
            " One word, please.",
            " Just the name.",
            " Reply with a single word.",
        ),
        "relation": (" Answer with one word.", " One word, please.", " Reply with a single word."),
    },
    "zh": {
        "colour": ("用一个词回答。", "只说颜色。", "请用一个词回答。", "只回答颜色。"),
        "count": ("只回答数字。", "用数字回答。", "请只给出数字。", "回答一个数字即可。"),
        "yesno": ("请回答是或不是。", "只回答是或否。", "是还是不是？", "用是或否回答。"),
        "what": ("用一个词回答。", "只说名称。", "请用一个词回答。"),
        "relation": ("用一个词回答。", "请用一个词回答。", "只说方位。"),
    },
}
_EVALUATION_SUFFIX = {
    "en": {
        "colour": (" Name only the {colour}.", " Give a one-word answer."),
        "count": (" Give only a number.", " State just a number."),
        "yesno": (" Say yes or no.", " Please say only yes or no."),
        "what": (" Give a one-word answer.", " Name it only."),
        "relation": (" Give a one-word answer.", " Name only the side."),
    },
    "zh": {
        "colour": ("只给出颜色。", "答一个词就行。"),
        "count": ("只答数字就行。", "给出数字就好。"),
        "yesno": ("答是或否就行。", "仅回答是或者不是。"),
        "what": ("只给出名称。", "答一个词就行。"),
        "relation": ("只给出方位。", "答一个词就行。"),
    },
}
_PREFIX = {
    "en": (
        "Look at the picture. ",
        "Look at this image. ",
        "In this picture: ",
        "Please tell me: ",
        "I have a question. ",
    ),
    "zh": ("看这张图片。", "请看图：", "看图回答：", "请告诉我：", "请问，"),
}
_SUFFIX_KIND = {
    "colour": "colour", "colour_many": "colour", "background": "colour", "count": "count",
    "count_colour": "count", "total": "count", "presence": "yesno", "presence_colour": "yesno",
    "relation_yesno": "yesno", "what": "what", "which": "what", "extreme": "what", "further": "what",
    "where": "relation", "side_level": "relation", "side_upright": "relation", "half_level": "relation",
    "half_upright": "relation",
}  # fmt: skip

TRAINING: Table = {
    "place": {
        "en": (
            "Where is the {a}?", "Where in the picture is the {a}?", "Where can I find the {a}?",
            "In which part of the picture is the {a}?", "where is the {a}", "Whereabouts is the {a}?",
            "In which corner or part of the image is the {a}?", "Where do you see the {a}?",
            "Tell me where the {a} is.", "Which part of the picture shows the {a}?",
        ),
        "zh": (
            "{a}在哪里？", "{a}在图片的什么地方？", "{a}在图中哪个位置？", "{a}在图片的哪个部分？",
            "哪里可以看到{a}？", "{a}在哪儿", "告诉我{a}在哪里。", "图片的哪个地方有{a}？",
            "{a}位于图片的什么位置？",
        ),
    },
    "colour": {
        "en": (
            "What {colour} is the {a}?", "Which {colour} is the {a}?", "What is the {colour} of the {a}?",
            "What {colour} does the {a} have?", "Tell me the {colour} of the {a}.",
            "The {a} is what {colour}?", "What {colour} is the {a} in the picture?",
            "what {colour} is the {a}", "In what {colour} is the {a}?", "Name the {colour} of the {a}.",
            "Can you tell me what {colour} the {a} is?", "{colour} of the {a}?",
            "What's the {colour} of the {a}?", "Which {colour} has the {a}?",
            "How would you name the {a}'s {colour}?",
        ),
        "zh": (
            "{a}是什么颜色的？", "{a}是什么颜色？", "{a}的颜色是什么？", "这{m}{a}是什么颜色的？",
            "图中的{a}是什么颜色的？", "请说出{a}的颜色。", "图里的{a}是什么颜色？", "{a}是哪种颜色的？",
            "{a}什么颜色", "{a}有什么颜色？", "图片里{a}的颜色是什么？", "你能告诉我{a}是什么颜色吗？",
            "那{m}{a}是什么颜色？",
        ),
    },
    "colour_many": {
        "en": (
            "What {colour} are the {ns}?", "Which {colour} are the {ns}?",
            "What is the {colour} of the {ns}?", "What {colour} do the {ns} have?",
            "Tell me the {colour} of the {ns}.", "what {colour} are the {ns}",
            "What {colour} are the {ns} in this picture?", "The {ns} are what {colour}?",
        ),
        "zh": (
            "这些{a}是什么颜色的？", "{a}是什么颜色的？", "{a}都是什么颜色？", "图中的{a}是什么颜色的？",
            "这些{a}的颜色是什么？", "请说出这些{a}的颜色。", "图里这些{a}是哪种颜色的？",
        ),
    },
    "background": {
        "en": (
            "What {colour} is the background?", "What is the {colour} of the background?",
            "Which {colour} is the background?", "What {colour} is behind the objects?",
            "Tell me the background {colour}.", "What {colour} does the background have?",
            "On what {colour} do the things stand?", "What is the background {colour}?",
            "what {colour} is the background", "Name the {colour} of the background.",
        ),
        "zh": (
            "背景是什么颜色的？", "背景是什么颜色？", "背景的颜色是什么？", "图片的背景是什么颜色？",
            "请说出背景的颜色。", "这张图的背景色是什么？", "后面的背景是什么颜色的？", "底色是什么颜色？",
            "背景什么颜色",
        ),
    },
    "count": {
        "en": (
            "How many {ns} are there?", "How many {ns} do you see?", "How many {ns} can you see?",
            "Count the {ns}.", "How many {ns} are in the picture?", "How many {ns} are in this image?",
            "how many {ns}", "Number of {ns}?", "How many {ns} does the picture show?",
            "Tell me how many {ns} there are.", "How many {ns} are shown?", "Please count the {ns}.",
            "How many {ns} do you count?", "What number of {ns} is there?",
            "Can you count the {ns} in this picture?",
        ),
        "zh": (
            "有几{m}{a}？", "图中有几{m}{a}？", "有多少{m}{a}？", "图片里有几{m}{a}？", "你看到几{m}{a}？",
            "数一数有几{m}{a}。", "图里一共有几{m}{a}？", "能看到几{m}{a}？", "几{m}{a}",
            "图上有多少{m}{a}？", "请数一数图中的{a}。", "这张图里有几{m}{a}？", "一共有多少{m}{a}？",
            "{a}有几{m}？", "{a}的数量是多少？",
        ),
    },
    "count_colour": {
        "en": (
            "How many {c} {ns} are there?", "How many of the {ns} are {c}?", "Count the {c} {ns}.",
            "How many {c} {ns} do you see?", "How many {c} {ns} are in the picture?",
            "Number of {c} {ns}?", "How many {ns} are {c}?", "how many {c} {ns}",
        ),
        "zh": (
            "有几{m}{c}的{a}？", "图中有几{m}{c}的{a}？", "{c}的{a}有几{m}？", "你看到几{m}{c}的{a}？",
            "数一数有几{m}{c}的{a}。", "有多少{m}{a}是{c}的？", "{c}的{a}一共有多少{m}？",
        ),
    },
    "total": {
        "en": (
            "How many objects are there?", "How many things are in the picture?",
            "How many objects do you see?", "Count the objects.", "How many things are there altogether?",
            "How many items can you see?", "What is the total number of objects?",
            "How many objects does this picture show?", "how many things",
            "How many objects are there in all?",
        ),
        "zh": (
            "图中有几个物体？", "一共有几样东西？", "有多少个物体？", "图片里有几个东西？",
            "数一数有几个物体。", "总共有多少个物体？", "你看到几样东西？", "物体一共有几个？",
            "这张图里共有几个物体？",
        ),
    },
    "presence": {
        "en": (
            "Is there {an}?", "Is there {an} in the picture?", "Do you see {an}?", "Can you see {an}?",
            "Is there {an} here?", "Does the picture show {an}?", "Does this image contain {an}?",
            "is there {an}", "Is {an} in the picture?", "Are there any {ns}?",
            "Are there any {ns} in the picture?", "Can you spot {an}?", "Does the picture have {an} in it?",
            "Is {an} shown?", "Do you see any {ns} here?",
        ),
        "zh": (
            "有{a}吗？", "图中有{a}吗？", "图片里有{a}吗？", "有没有{a}？", "你看到{a}了吗？",
            "图里有没有{a}？", "这张图里有{a}吗？", "能看到{a}吗？", "图上有{a}吗？", "图中是否有{a}？",
            "这里有{a}吗？", "里面有{a}吗？", "画面中有没有{a}？", "是不是有{a}？",
        ),
    },
    "presence_colour": {
        "en": (
            "Is there {acn}?", "Is there {acn} in the picture?", "Do you see {acn}?", "Can you see {acn}?",
            "Does the picture show {acn}?", "Are there any {c} {ns}?", "Is {acn} in this image?",
            "Can you spot {acn}?", "is there {acn}", "Do you see any {c} {ns}?",
        ),
        "zh": (
            "有{c}的{a}吗？", "图中有{c}的{a}吗？", "图片里有没有{c}的{a}？", "你看到{c}的{a}了吗？",
            "有没有{c}的{a}？", "这张图里有{c}的{a}吗？", "图中是否有{c}的{a}？", "能看到{c}的{a}吗？",
        ),
    },
    "relation_yesno": {
        "en": (
            "Is the {a} {r} the {b}?", "Is the {a} {r} the {b} in the picture?",
            "Does the {a} stand {r} the {b}?", "Do you see the {a} {r} the {b}?", "is the {a} {r} the {b}",
            "Is it true that the {a} is {r} the {b}?", "The {a} is {r} the {b}. Is that right?",
            "Is the {a} placed {r} the {b}?", "Can you see the {a} {r} the {b}?",
            "Does the picture show the {a} {r} the {b}?", "The {a} is {r} the {b}, isn't it?",
            "Do you find the {a} {r} the {b}?", "Am I right that the {a} is {r} the {b}?",
            "Can the {a} be found {r} the {b}?", "Tell me if the {a} is {r} the {b}.",
            "Is the {a} somewhere {r} the {b}?", "Does the {a} lie {r} the {b}?",
            "Would the {a} be {r} the {b}?",
        ),
        "zh": (
            "{a}在{b}的{r}吗？", "{a}是在{b}的{r}吗？", "{a}是不是在{b}的{r}？", "图中{a}在{b}的{r}吗？",
            "{a}位于{b}的{r}吗？", "{a}是否在{b}的{r}？", "{a}在不在{b}的{r}？", "{b}的{r}是{a}吗？",
            "{a}在{b}{r}，对吗？", "图里的{a}在{b}的{r}吗？", "{b}的{r}有{a}吗？", "在{b}的{r}能看到{a}吗？",
            "你看{a}在{b}的{r}吗？", "{a}在{b}的{r}，是吗？", "能在{b}的{r}找到{a}吗？",
            "告诉我{a}是否在{b}的{r}。", "{a}放在{b}的{r}吗？",
        ),
    },
    "where": {
        "en": (
            "Where is the {a} relative to the {b}?", "Where is the {a}, seen from the {b}?",
            "Where is the {a} compared to the {b}?", "On which side of the {b} is the {a}?",
            "In which direction from the {b} is the {a}?", "Where does the {a} stand relative to the {b}?",
            "Is the {a} left of, right of, above or below the {b}?",
            "How is the {a} placed relative to the {b}?", "where is the {a} relative to the {b}",
            "What is the position of the {a} relative to the {b}?",
            "Where is the {a} with respect to the {b}?", "Which way from the {b} is the {a}?",
            "Seen from the {b}, where is the {a}?", "From the {b}, in which direction lies the {a}?",
            "Tell me on which side of the {b} the {a} is.", "Where does the {a} lie, relative to the {b}?",
            "Going from the {b} to the {a}, which way is it?", "Relative to the {b}, where is the {a}?",
            "Is the {a} above, below, left of or right of the {b}?", "Which side of the {b} is the {a} on?",
            "Say where the {a} is, relative to the {b}.", "Which way is it from the {b} to the {a}?",
            "If you stand at the {b}, where is the {a}?",
        ),
        "zh": (
            "{a}在{b}的哪边？", "{a}在{b}的什么位置？", "{a}相对于{b}在哪里？", "{a}在{b}的哪个方向？",
            "相对{b}来说，{a}在哪儿？", "{a}位于{b}的哪一侧？", "{a}在{b}的左边、右边、上面还是下面？",
            "从{b}看，{a}在哪边？", "{a}在{b}的什么方位？", "图中{a}在{b}的哪一边？",
            "相对于{b}，{a}在什么方向？", "{b}的哪一边是{a}？", "{a}在{b}的上下左右哪一边？",
            "说说{a}相对{b}的位置。", "从{b}出发，{a}在哪个方向？", "{a}处于{b}的哪一侧？",
            "{b}的哪个方向有{a}？", "告诉我{a}在{b}的哪边。", "看{b}，{a}在它的哪边？",
        ),
    },
    "side_level": {
        "en": (
            "Is the {a} left or right of the {b}?", "Is the {a} to the left or to the right of the {b}?",
            "Is the {a} right or left of the {b}?", "Does the {a} stand left or right of the {b}?",
            "Left or right: on which side of the {b} is the {a}?", "The {a}: left or right of the {b}?",
            "Is the {a} to the right or to the left of the {b}?", "is the {a} left or right of the {b}",
        ),
        "zh": (
            "{a}在{b}的左边还是右边？", "{a}在{b}的右边还是左边？", "{a}在{b}的左侧还是右侧？",
            "{a}是在{b}的左面还是右面？", "{b}的左边还是右边是{a}？", "左还是右：{a}在{b}的哪边？",
        ),
    },
    "side_upright": {
        "en": (
            "Is the {a} above or below the {b}?", "Is the {a} below or above the {b}?",
            "Is the {a} over or under the {b}?", "Does the {a} stand above or below the {b}?",
            "Above or below: where from the {b} is the {a}?", "The {a}: above or below the {b}?",
            "is the {a} above or below the {b}", "Is the {a} higher up or lower down than the {b}?",
        ),
        "zh": (
            "{a}在{b}的上面还是下面？", "{a}在{b}的下面还是上面？", "{a}在{b}的上方还是下方？",
            "{a}是在{b}的上边还是下边？", "{b}的上面还是下面是{a}？", "上还是下：{a}在{b}的哪边？",
        ),
    },
    "further": {
        "en": (
            "Which is further {e}, the {a} or the {b}?", "What is further {e}: the {a} or the {b}?",
            "Which of the two is further {e}, the {a} or the {b}?",
            "The {a} or the {b}: which is further {e}?",
            "What lies further {e}, the {a} or the {b}?", "Which one is further {e}, the {a} or the {b}?",
        ),
        "zh": (
            "{a}和{b}哪个更{e}？", "哪个更{e}，{a}还是{b}？", "更{e}的是{a}还是{b}？",
            "{a}跟{b}相比，谁更{e}？", "{a}与{b}，哪一个更{e}？",
        ),
    },
    "half_level": {
        "en": (
            "Is the {a} in the left or the right half?",
            "Is the {a} in the left or right half of the picture?",
            "In which half is the {a}, left or right?", "Is the {a} on the left side or the right side?",
            "Left or right half: where is the {a}?",
        ),
        "zh": (
            "{a}在图片的左半边还是右半边？", "{a}在左半边还是右半边？", "左半边还是右半边有{a}？",
            "{a}是在图的左半边，还是右半边？",
        ),
    },
    "half_upright": {
        "en": (
            "Is the {a} in the upper or the lower half?",
            "Is the {a} in the upper or lower half of the picture?",
            "In which half is the {a}, upper or lower?", "Upper or lower half: where is the {a}?",
            "Is the {a} in the lower or the upper half?",
        ),
        "zh": (
            "{a}在图片的上半部还是下半部？", "{a}在上半部还是下半部？", "上半部还是下半部有{a}？",
            "{a}是在图的上半部，还是下半部？",
        ),
    },
    "which": {
        "en": (
            "What is {r} the {b}?", "What stands {r} the {b}?", "Which object is {r} the {b}?",
            "What do you see {r} the {b}?", "What thing is {r} the {b}?", "what is {r} the {b}",
            "Name the object {r} the {b}.", "What is shown {r} the {b}?",
            "Which thing can be seen {r} the {b}?", "What is there {r} the {b}?",
            "What can be found {r} the {b}?", "Tell me what is {r} the {b}.", "What lies {r} the {b}?",
            "Which item is {r} the {b}?", "What do you find {r} the {b}?", "What is the thing {r} the {b}?",
            "Can you name what is {r} the {b}?",
        ),
        "zh": (
            "{b}的{r}是什么？", "{b}{r}有什么？", "什么在{b}的{r}？", "在{b}{r}的是什么？",
            "{b}的{r}有什么东西？", "图中{b}的{r}是什么？", "哪个物体在{b}的{r}？", "请说出{b}{r}的东西。",
            "在{b}的{r}有什么？", "{b}的{r}能看到什么？", "告诉我{b}的{r}是什么。", "位于{b}{r}的是什么？",
            "{b}的{r}放着什么？", "什么东西在{b}的{r}？",
        ),
    },
    "what": {
        "en": (
            "What is this?", "What do you see?", "What is in the picture?", "What does the picture show?",
            "what is this", "What object is this?", "What is shown here?", "What can you see in this image?",
            "Name the object.", "What's this?", "Which thing is this?", "Can you tell me what this is?",
            "What thing is in this picture?", "Identify the object in the picture.", "What is that?",
        ),
        "zh": (
            "这是什么？", "图中是什么？", "图片里是什么？", "你看到了什么？", "这是什么东西？",
            "图里有什么？", "这张图里是什么？", "请说出图中的物体。", "图上画的是什么？", "这个是什么？",
            "图片里的东西叫什么？", "你能告诉我这是什么吗？",
        ),
    },
    "extreme": {
        "en": (
            "Which object is {e}?", "What is {e}?", "Which thing is {e}?", "What object is {e}?",
            "Name the object that is {e}.", "Of all the objects, which is {e}?",
            "What is the thing that is {e}?", "Which one is {e}?",
        ),
        "zh": (
            "{e}的是什么？", "哪个物体{e}？", "{e}的物体是什么？", "{e}的东西是什么？", "请说出{e}的物体。",
            "什么东西{e}？", "图中{e}的是什么？",
        ),
    },
    "describe": {
        "en": (
            "Describe this picture.", "Describe the picture.", "Describe this image.",
            "What is in this picture?", "What can you see here?", "Please describe the image.",
            "Tell me what you see.", "Give a caption for this picture.", "What does this image show?",
            "Can you describe this picture?", "Write a caption.", "Say what is in the image.",
            "What is happening in this picture?", "Describe what you see.", "Caption this image.",
            "What's in the picture?",
        ),
        "zh": (
            "描述这张图片。", "请描述这张图片。", "描述一下这张图。", "图片里有什么？", "这张图片里有什么？",
            "说说你看到了什么。", "请描述图中的内容。", "给这张图写一句说明。", "这张图展示了什么？",
            "能描述一下这张图片吗？", "图上有什么？", "用一句话描述图片。", "请说说图片的内容。",
            "你在图里看到了什么？",
        ),
    },
}  # fmt: skip

EVALUATION: Table = {
    "place": {
        "en": ("Could you point out whereabouts one finds the {a}?", "At what spot does the {a} appear?"),
        "zh": ("请问{a}出现在哪个角落或部位？", "请指出{a}处于画面何处。"),
    },
    "colour": {
        "en": (
            "Could you say which {colour} the {a} is?", "The {a} here has what {colour}?",
            "What would you say is the {a}'s {colour}?",
        ),
        "zh": ("请问{a}的颜色是哪一种？", "画面里的{a}呈现什么颜色？", "你觉得{a}是什么颜色的？"),
    },
    "colour_many": {
        "en": ("Could you say which {colour} the {ns} are?", "All the {ns} here have what {colour}?"),
        "zh": ("请问这些{a}的颜色是哪一种？", "画面里的{a}都呈现什么颜色？"),
    },
    "background": {
        "en": (
            "Could you say which {colour} lies behind everything?",
            "What {colour} was used for the background?",
        ),
        "zh": ("画面的背景用了什么颜色？", "请问背景是哪一种颜色？"),
    },
    "count": {
        "en": (
            "Could you say how many {ns} appear here?", "How many {ns} would you count here?",
            "In total, how many {ns} appear?",
        ),
        "zh": ("请问画面中出现了几{m}{a}？", "你能数出几{m}{a}？", "画面里总共出现了多少{m}{a}？"),
    },
    "count_colour": {
        "en": ("Could you say how many {c} {ns} appear here?", "In total, how many {c} {ns} appear?"),
        "zh": ("请问画面中出现了几{m}{c}的{a}？", "你能数出几{m}{c}的{a}？"),
    },
    "total": {
        "en": ("Could you say how many objects appear here?", "In total, how many objects would you count?"),
        "zh": ("请问画面中总共出现了几个物体？", "你能数出几个物体？"),
    },
    "presence": {
        "en": (
            "Does {an} appear here?", "Would you say there is {an} in it?",
            "Could one find {an} in this scene?",
        ),
        "zh": ("画面里出现{a}了吗？", "请问能不能找到{a}？", "你觉得画面里有{a}吗？"),
    },
    "presence_colour": {
        "en": ("Does {acn} appear here?", "Would you say there is {acn} in it?"),
        "zh": ("画面里出现{c}的{a}了吗？", "请问能不能找到{c}的{a}？"),
    },
    "relation_yesno": {
        "en": (
            "Would you say the {a} is {r} the {b}?", "Looking at the scene, is the {a} {r} the {b}?",
            "Does the {a} appear {r} the {b}?",
        ),
        "zh": ("你觉得{a}在{b}的{r}吗？", "请问{a}处在{b}的{r}吗？", "画面里，{a}是不是位于{b}的{r}？"),
    },
    "where": {
        "en": (
            "Could you say where the {a} is as seen from the {b}?",
            "Starting at the {b}, which way is the {a}?",
        ),
        "zh": ("请问{a}处在{b}的哪个方位？", "以{b}为准，{a}在哪一边？"),
    },
    "which": {
        "en": ("Could you say what appears {r} the {b}?", "Which object appears {r} the {b}?"),
        "zh": ("请问{b}的{r}出现了什么？", "画面里，处在{b}{r}的是什么？"),
    },
    "what": {
        "en": ("Could you say what appears here?", "What would you call this object?"),
        "zh": ("请问画面里出现的是什么？", "这个物体应该叫什么？"),
    },
    "extreme": {
        "en": ("Could you say which object is {e}?", "Among everything here, what is {e}?"),
        "zh": ("请问画面里{e}的是哪个物体？", "所有物体中，{e}的是哪一个？"),
    },
    "describe": {
        "en": ("Describe this picture.",),
        "zh": ("描述这张图片。",),
    },
}  # fmt: skip


def draw_wording(
    rng: random.Random, kind: str, language: str, *, evaluation: bool = False
) -> tuple[str, bool]:
    """A wording with its slots, and whether it asks for a word instead of a sentence.

    Args:
        rng: decides the form, and whether a few words stand before and behind it.
        kind: a key of `TRAINING`.
        language: "en" or "zh".
        evaluation: take a held-out form and ending; `describe` is the product's own prompt in both.
    """
    form = rng.choice((EVALUATION if evaluation else TRAINING)[kind][language])
    suffixes = (_EVALUATION_SUFFIX if evaluation else _SUFFIX)[language].get(_SUFFIX_KIND.get(kind, ""), ())
    if suffixes and rng.random() < 0.3:
        return form + ("" if form[-1] in ".?。？" else "?" if language == "en" else "？") + rng.choice(
            suffixes
        ), True
    if not evaluation and kind != "describe" and rng.random() < 0.06:
        form = rng.choice(_PREFIX[language]) + form
    return form, False
