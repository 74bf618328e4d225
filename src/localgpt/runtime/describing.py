"""Which requests ask for a description of a picture and nothing else; `drafting` tells those by consensus."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from localgpt.media.text.template import DESCRIBE_PROMPTS
from localgpt.runtime.conversation import language_of, text_of
from localgpt.runtime.questions import AnswerRequest
from localgpt.tasks import ChatRequest, DescribeRequest, ImagePart, TextPart

__all__ = ["asks_to_describe", "picture_to_describe", "with_plain_wish"]

_EN: Final = r"(?:(?:this|the|my) )?(?:picture|photo|photograph|image)"
_ZH: Final = r"(?:[这那]?一?[张幅个])?(?:图片|照片|图像|相片|画面|图)"
_MOST_CHARS: Final = 100  # of a wish
# Whole wishes, in small letters, without the marks at their end. What asks for more is another question.
# What may repeat can be read in one way only: a text that could be cut in many would be tried in all of them.
_WISH_EN: Final = re.compile(
    rf"(?:please |can you |could you |tell me |say )*(?:in one sentence )?(?:"
    rf"(?:describe|caption) (?:{_EN}|this|it|what you see|what is (?:here|there))"
    rf"|what (?:do |can )?you see(?: here| (?:in|on) {_EN})?"
    rf"|what(?:'s| is) (?:in|on|shown (?:in|on)) {_EN}"
    rf"|what(?:'s| is) (?:happening|going on)(?: here| in {_EN})?"
    rf"|what {_EN} shows|what does {_EN} show"
    rf"|(?:write|give)(?: me)? (?:a|one) (?:short )?(?:caption|description)(?: (?:for|of) {_EN})?"
    r")(?: for me| in one sentence|,? please)*"
)
_WISH_ZH: Final = re.compile(
    r"(?:请|麻烦|能|可以|你|帮我|给我|用一句话)*(?:"
    rf"(?:描述|形容|介绍|说说|讲讲)(?:一下|下)?(?:{_ZH}(?:[里中]?的?内容)?|你看到了?的?(?:什么|内容)?)"
    rf"|(?:说说|告诉我)?你?在?(?:{_ZH}[里中上]?面?)?能?看[到见]了?些?什么"
    rf"|{_ZH}(?:[里中上]面?)?都?(?:有|是|展示了?|发生了|拍的是|画的是)些?什么"
    r"|看图说话"
    rf"|(?:给|为){_ZH}(?:写|配)(?:一[句个段])?(?:说明|描述|标题)"
    r")[吗呢]?"
)


def picture_to_describe(request: AnswerRequest) -> ImagePart | None:
    """The picture that a request wants described and nothing else; None for all other requests.

    In a chat that is the only picture of the last turn, without words or with such that ask for a
    description, where the answer is free text without log probabilities.
    """
    if isinstance(request, DescribeRequest):
        return request.image
    if not isinstance(request, ChatRequest) or not request.messages:
        return None
    if request.options.top_logprobs is not None:
        return None
    if request.answer_format.kind != "text" or (request.tools and request.tool_choice.mode != "none"):
        return None
    last = request.messages[-1]
    pictures = [part for part in last.content if isinstance(part, ImagePart)]
    if last.role != "user" or len(pictures) != 1 or not asks_to_describe(text_of(last)):
        return None
    return pictures[0]


def with_plain_wish(request: AnswerRequest) -> AnswerRequest:
    """The same request, whose last turn wishes for a description in the words that serve the models best."""
    if not isinstance(request, ChatRequest) or not (words := text_of(request.messages[-1]).strip()):
        return request  # the prompt itself has them
    last = request.messages[-1]
    pictures = tuple(part for part in last.content if isinstance(part, ImagePart))
    wish = TextPart(text=DESCRIBE_PROMPTS[language_of(words)])
    return replace(request, messages=(*request.messages[:-1], replace(last, content=(*pictures, wish))))


def asks_to_describe(words: str) -> bool:
    """Whether words beside a picture ask for its description; no words do."""
    if len(words.strip()) > _MOST_CHARS:
        return False
    wish = " ".join(words.lower().replace("’", "'").split()).strip(" .?!。？！")
    return not wish or bool(_WISH_EN.fullmatch(wish)) or bool(_WISH_ZH.fullmatch(wish.replace(" ", "")))
