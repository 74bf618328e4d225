"""Made conversations with tools: calls, their results, and questions that need no tool.

The form is described in `localgpt.media.text.template`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from localgpt.media.text.template import TOOL_CALL
from recipes.text_data.countries import load_countries
from recipes.text_data.noise import casual
from recipes.text_data.sequences import Parts, Turn, chat

__all__ = ["tool_sequences"]


@dataclass(frozen=True, slots=True)
class Case:
    """One use of a tool: what is asked, with which arguments, what comes back, what is said."""

    question: str
    arguments: dict[str, Any]
    result: str
    answer: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool definition with a maker of uses."""

    name: str
    description: str
    parameters: dict[str, str]  # name to JSON type
    make: Callable[[random.Random], Case]

    def definition(self) -> dict[str, Any]:
        """As the `tools` turn holds it."""
        properties = {name: {"type": kind} for name, kind in self.parameters.items()}
        return {
            "name": self.name,
            "description": self.description,
            "parameters": {"type": "object", "properties": properties, "required": list(self.parameters)},
        }


def tool_sequences(*, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All made conversations; `scale` shrinks the number for tests."""
    rng = random.Random(f"tools-{seed}")
    tools = _tools()
    for _ in range(round(2200 * scale)):
        shown = rng.sample(tools, rng.randint(1, 4))
        turns: list[Turn] = [("tools", json.dumps([tool.definition() for tool in shown], ensure_ascii=False))]
        if rng.random() < 0.1:
            turns.insert(0, ("system", "You are a helpful assistant."))
        draw = rng.random()
        if draw < 0.72:
            turns += _use(rng.choice(shown), rng)
            if rng.random() < 0.2:
                turns += _use(rng.choice(shown), rng)
        elif draw < 0.88:
            turns += _no_need(rng)
        else:
            missing = rng.choice([tool for tool in tools if tool not in shown])
            turns += _missing(missing, rng)
        yield chat(turns)


def _use(tool: Tool, rng: random.Random) -> list[Turn]:
    case = tool.make(rng)
    call = json.dumps({"name": tool.name, "arguments": case.arguments}, ensure_ascii=False)
    return [
        ("user", casual(case.question, rng, typo=0.03)),
        ("assistant", TOOL_CALL, call),
        ("tool", case.result),
        ("assistant", case.answer),
    ]


def _no_need(rng: random.Random) -> list[Turn]:
    country = rng.choice(load_countries())
    return rng.choice(
        (
            [
                ("user", f"What is the capital of {country.en}?"),
                ("assistant", f"The capital of {country.en} is {country.capital_en}."),
            ],
            [
                ("user", f"{country.zh}的首都是哪里？"),
                ("assistant", f"{country.zh}的首都是{country.capital_zh}。"),
            ],
            [("user", "Hello!"), ("assistant", "Hello! How can I help you?")],
            [("user", "你好"), ("assistant", "您好！有什么可以帮您？")],
            [
                ("user", "Who are you?"),
                ("assistant", "I'm LocalGPT, a small assistant that runs on your own computer."),
            ],
            [("user", "Thank you!"), ("assistant", "You're welcome!")],
            [("user", "谢谢"), ("assistant", "不客气！")],
        )
    )


def _missing(tool: Tool, rng: random.Random) -> list[Turn]:
    question = tool.make(rng).question
    answer = (
        "I have no tool for that here, sorry." if question.isascii() else "抱歉，我这里没有能做这件事的工具。"
    )
    return [("user", question), ("assistant", answer)]


CITIES = (
    ("London", "伦敦"),
    ("Paris", "巴黎"),
    ("Beijing", "北京"),
    ("Shanghai", "上海"),
    ("Tokyo", "东京"),
    ("Berlin", "柏林"),
    ("New York", "纽约"),
    ("Rome", "罗马"),
    ("Madrid", "马德里"),
    ("Sydney", "悉尼"),
    ("Cairo", "开罗"),
    ("Moscow", "莫斯科"),
    ("Chengdu", "成都"),
    ("Guangzhou", "广州"),
    ("Vienna", "维也纳"),
    ("Oslo", "奥斯陆"),
    ("Lisbon", "里斯本"),
)
NAMES = ("Anna", "Tom", "Maria", "Li Wei", "Sara", "Ben", "Mei", "Peter", "Zhang Min", "Omar")
WEATHER = (("sunny", "晴"), ("cloudy", "多云"), ("rainy", "有雨"), ("snowy", "有雪"), ("windy", "有风"))


def _weather(rng: random.Random) -> Case:
    (city, city_zh), (sky, sky_zh), degrees = rng.choice(CITIES), rng.choice(WEATHER), rng.randint(-5, 35)
    if rng.random() < 0.5:
        question = rng.choice(
            (
                "What's the weather in {c}?",
                "How is the weather in {c} today?",
                "Is it warm in {c}?",
                "weather {c}",
            )
        ).format(c=city)
        result = json.dumps({"temperature": degrees, "sky": sky})
        return Case(question, {"city": city}, result, f"In {city} it is {sky} with {degrees} degrees.")
    question = rng.choice(
        ("{c}天气怎么样？", "{c}今天天气如何？", "查一下{c}的天气", "{c}今天冷吗？")
    ).format(c=city_zh)
    result = json.dumps({"temperature": degrees, "sky": sky_zh}, ensure_ascii=False)
    return Case(question, {"city": city_zh}, result, f"{city_zh}现在{sky_zh}，气温{degrees}度。")


def _time(rng: random.Random) -> Case:
    (city, city_zh), clock = rng.choice(CITIES), f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    if rng.random() < 0.5:
        question = rng.choice(("What time is it in {c}?", "Tell me the time in {c}.", "time in {c}")).format(
            c=city
        )
        return Case(question, {"city": city}, clock, f"It is {clock} in {city}.")
    question = rng.choice(("{c}现在几点？", "现在{c}是什么时间？")).format(c=city_zh)
    return Case(question, {"city": city_zh}, clock, f"{city_zh}现在是{clock}。")


def _calculate(rng: random.Random) -> Case:
    a, b, sign = rng.randint(100, 9999), rng.randint(100, 9999), rng.choice("+-*")
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    expression = f"{a} {sign} {b}"
    if rng.random() < 0.5:
        question = rng.choice(("What is {e}?", "Calculate {e}.", "{e} = ?", "How much is {e}?")).format(
            e=expression
        )
        return Case(question, {"expression": expression}, str(value), f"{expression} = {value}.")
    question = rng.choice(("{e}等于多少？", "计算{e}", "帮我算{e}")).format(e=expression)
    return Case(question, {"expression": expression}, str(value), f"{expression} = {value}。")


def _timer(rng: random.Random) -> Case:
    minutes = rng.randint(1, 90)
    if rng.random() < 0.5:
        question = rng.choice(
            ("Set a timer for {m} minutes.", "Timer {m} minutes", "Wake me in {m} minutes.")
        )
        return Case(
            question.format(m=minutes), {"minutes": minutes}, "ok", f"The timer is set for {minutes} minutes."
        )
    question = rng.choice(("设一个{m}分钟的定时器。", "{m}分钟后提醒我", "倒计时{m}分钟")).format(m=minutes)
    return Case(question, {"minutes": minutes}, "ok", f"好的，{minutes}分钟的定时器已经设好。")


def _search(rng: random.Random) -> Case:
    topic, topic_zh = rng.choice(
        (
            ("solar panels", "太阳能板"),
            ("bread recipes", "面包做法"),
            ("hiking shoes", "登山鞋"),
            ("jazz history", "爵士乐历史"),
            ("electric cars", "电动汽车"),
            ("garden birds", "花园里的鸟"),
            ("green tea", "绿茶"),
        )
    )
    count = rng.randint(2, 40)
    if rng.random() < 0.5:
        question = rng.choice(("Search for {t}.", "Look up {t} for me.", "Find something about {t}.")).format(
            t=topic
        )
        return Case(question, {"query": topic}, f"{count} results", f"I found {count} results about {topic}.")
    question = rng.choice(("搜索{t}。", "帮我查查{t}", "找一些关于{t}的资料")).format(t=topic_zh)
    return Case(question, {"query": topic_zh}, f"{count}条结果", f"关于{topic_zh}，我找到了{count}条结果。")


def _email(rng: random.Random) -> Case:
    name, (subject, subject_zh) = (
        rng.choice(NAMES),
        rng.choice(
            (
                ("the meeting", "会议"),
                ("dinner on Friday", "周五的晚餐"),
                ("the invoice", "发票"),
                ("the holiday", "假期"),
            )
        ),
    )
    if rng.random() < 0.5:
        question = rng.choice(("Send {n} an email about {s}.", "Write an email to {n} about {s}."))
        question = question.format(n=name, s=subject)
        return Case(
            question, {"to": name, "subject": subject}, "sent", f"I sent {name} an email about {subject}."
        )
    question = rng.choice(("给{n}发一封关于{s}的邮件。", "写邮件给{n}，主题是{s}")).format(
        n=name, s=subject_zh
    )
    return Case(
        question, {"to": name, "subject": subject_zh}, "sent", f"已经给{name}发了关于{subject_zh}的邮件。"
    )


def _exchange(rng: random.Random) -> Case:
    amount, (of, of_zh), (to, to_zh) = (
        rng.randint(5, 900),
        *rng.sample(
            (("USD", "美元"), ("EUR", "欧元"), ("CNY", "人民币"), ("JPY", "日元"), ("GBP", "英镑")), 2
        ),
    )
    value = round(amount * rng.uniform(0.1, 9), 2)
    arguments = {"amount": amount, "from": of, "to": to}
    if rng.random() < 0.5:
        question = rng.choice(("Convert {a} {f} to {t}.", "How much is {a} {f} in {t}?")).format(
            a=amount, f=of, t=to
        )
        return Case(question, arguments, str(value), f"{amount} {of} is {value} {to}.")
    question = f"{amount}{of_zh}是多少{to_zh}？"
    return Case(question, arguments, str(value), f"{amount}{of_zh}是{value}{to_zh}。")


def _music(rng: random.Random) -> Case:
    kind, kind_zh = rng.choice(
        (("jazz", "爵士乐"), ("piano music", "钢琴曲"), ("rock", "摇滚"), ("a lullaby", "摇篮曲"))
    )
    if rng.random() < 0.5:
        return Case(f"Play {kind}.", {"query": kind}, "playing", f"Playing {kind} now.")
    return Case(f"播放{kind_zh}。", {"query": kind_zh}, "playing", f"正在播放{kind_zh}。")


def _event(rng: random.Random) -> Case:
    name, hour = rng.choice(NAMES), rng.randint(8, 20)
    day, day_zh = rng.choice(
        (("Monday", "星期一"), ("Wednesday", "星期三"), ("Friday", "星期五"), ("Sunday", "星期日"))
    )
    if rng.random() < 0.5:
        question = f"Put a meeting with {name} in my calendar on {day} at {hour}:00."
        arguments = {"title": f"Meeting with {name}", "day": day, "time": f"{hour}:00"}
        return Case(question, arguments, "created", f"Your meeting with {name} is on {day} at {hour}:00.")
    question = f"帮我安排{day_zh}{hour}点和{name}开会。"
    arguments = {"title": f"和{name}开会", "day": day_zh, "time": f"{hour}:00"}
    return Case(question, arguments, "created", f"已安排{day_zh}{hour}:00和{name}开会。")


def _light(rng: random.Random) -> Case:
    (room, room_zh), is_on = (
        rng.choice((("kitchen", "厨房"), ("bedroom", "卧室"), ("hall", "走廊"))),
        rng.random() < 0.5,
    )
    state = "on" if is_on else "off"
    if rng.random() < 0.5:
        question = f"Turn {state} the light in the {room}."
        return Case(
            question, {"room": room, "state": state}, "ok", f"The light in the {room} is {state} now."
        )
    word = "打开" if is_on else "关掉"
    question = f"{word}{room_zh}的灯。"
    return Case(question, {"room": room_zh, "state": state}, "ok", f"{room_zh}的灯已经{word}了。")


def _tools() -> tuple[Tool, ...]:
    text, number = "string", "integer"
    return (
        Tool("get_weather", "Current weather of a city", {"city": text}, _weather),
        Tool("get_time", "Current time in a city", {"city": text}, _time),
        Tool("calculator", "Evaluate an arithmetic expression", {"expression": text}, _calculate),
        Tool("set_timer", "Start a countdown", {"minutes": number}, _timer),
        Tool("web_search", "Search the web", {"query": text}, _search),
        Tool("send_email", "Send an email", {"to": text, "subject": text}, _email),
        Tool(
            "convert_currency",
            "Convert an amount of money",
            {"amount": "number", "from": text, "to": text},
            _exchange,
        ),
        Tool("play_music", "Play music", {"query": text}, _music),
        Tool(
            "create_event", "Add an event to the calendar", {"title": text, "day": text, "time": text}, _event
        ),
        Tool("set_light", "Switch a light on or off", {"room": text, "state": text}, _light),
    )
