"""Made questions about units, weekdays, months, numbers in words and comparisons, in both languages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from recipes.text_data.noise import casual
from recipes.text_data.sequences import Parts, chat

__all__ = ["measure_sequences"]

Pair = tuple[str, str]

# from, to, factor, and the same in Chinese
UNITS = (
    ("kilometres", "metres", 1000, "公里", "米"),
    ("metres", "centimetres", 100, "米", "厘米"),
    ("centimetres", "millimetres", 10, "厘米", "毫米"),
    ("kilograms", "grams", 1000, "千克", "克"),
    ("tonnes", "kilograms", 1000, "吨", "千克"),
    ("litres", "millilitres", 1000, "升", "毫升"),
    ("hours", "minutes", 60, "小时", "分钟"),
    ("minutes", "seconds", 60, "分钟", "秒"),
    ("days", "hours", 24, "天", "小时"),
    ("weeks", "days", 7, "周", "天"),
    ("years", "months", 12, "年", "个月"),
    ("feet", "inches", 12, "英尺", "英寸"),
    ("yards", "feet", 3, "码", "英尺"),
    ("pounds", "ounces", 16, "磅", "盎司"),
    ("dozen", "pieces", 12, "打", "个"),
)
UNIT_FORMS = {
    "en": (
        "How many {to} are {n} {of}?",
        "How many {to} are in {n} {of}?",
        "Convert {n} {of} to {to}.",
        "{n} {of} in {to}?",
        "What is {n} {of} in {to}?",
        "{n} {of} to {to}",
        "Please convert {n} {of} into {to}.",
        "{n} {of} = ? {to}",
    ),
    "zh": (
        "{n}{of}等于多少{to}？",
        "{n}{of}是多少{to}？",
        "把{n}{of}换算成{to}。",
        "{n}{of}有多少{to}？",
        "{n}{of}=？{to}",
        "请把{n}{of}换成{to}。",
    ),
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS_ZH = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
HAN = "零一二三四五六七八九"


def measure_sequences(*, seed: int = 0, scale: float = 1.0) -> Iterator[Parts]:
    """All made questions of this kind; `scale` shrinks the number for tests."""
    rng = random.Random(f"measures-{seed}")
    makers: tuple[tuple[Callable[[random.Random], Pair], int], ...] = (
        (_unit, 5000),
        (_temperature, 700),
        (_weekday, 2500),
        (_month, 1500),
        (_number_word, 1600),
        (_compare, 1600),
        (_parity, 700),
        (_leap_year, 400),
        (_sequence, 900),
        (_letters, 800),
    )
    for maker, count in makers:
        for _ in range(max(1, round(count * scale))):
            question, answer = maker(rng)
            yield chat([("user", casual(question, rng, typo=0.03)), ("assistant", answer)])


def _unit(rng: random.Random) -> Pair:
    of, to, factor, of_zh, to_zh = rng.choice(UNITS)
    count, back = rng.randint(1, 20), rng.random() < 0.3
    if rng.random() < 0.5:
        values = {"n": count, "of": of, "to": to, "r": f"{count * factor}"}
        if back:
            values = {"n": count * factor, "of": to, "to": of, "r": f"{count}"}
        question = rng.choice(UNIT_FORMS["en"])
        return question.format(**values), "{n} {of} are {r} {to}.".format(**values)
    values = {"n": count, "of": of_zh, "to": to_zh, "r": f"{count * factor}"}
    if back:
        values = {"n": count * factor, "of": to_zh, "to": of_zh, "r": f"{count}"}
    return rng.choice(UNIT_FORMS["zh"]).format(**values), "{n}{of}等于{r}{to}。".format(**values)


def _temperature(rng: random.Random) -> Pair:
    celsius = 5 * rng.randint(-4, 20)
    fahrenheit = celsius * 9 // 5 + 32
    return rng.choice(
        (
            (f"What is {celsius} degrees Celsius in Fahrenheit?", f"{celsius} °C is {fahrenheit} °F."),
            (f"Convert {celsius} °C to °F.", f"{celsius} °C is {fahrenheit} °F."),
            (f"{fahrenheit} °F in Celsius?", f"{fahrenheit} °F is {celsius} °C."),
            (f"{celsius}摄氏度等于多少华氏度？", f"{celsius}摄氏度等于{fahrenheit}华氏度。"),
            (f"{fahrenheit}华氏度是多少摄氏度？", f"{fahrenheit}华氏度等于{celsius}摄氏度。"),
        )
    )


def _weekday(rng: random.Random) -> Pair:
    day, step = rng.randrange(7), rng.randint(1, 10)
    later, before = (day + step) % 7, (day - step) % 7
    after, prior = (day + 1) % 7, (day - 1) % 7
    return rng.choice(
        (
            (
                f"If today is {DAYS[day]}, what day is it in {step} days?",
                f"If today is {DAYS[day]}, in {step} days it is {DAYS[later]}.",
            ),
            (
                f"Today is {DAYS[day]}. What day was it {step} days ago?",
                f"{step} days ago it was {DAYS[before]}.",
            ),
            (f"What day comes after {DAYS[day]}?", f"{DAYS[after]} comes after {DAYS[day]}."),
            (f"Which day is before {DAYS[day]}?", f"{DAYS[prior]} is the day before {DAYS[day]}."),
            (f"Today is {DAYS[day]}. What is tomorrow?", f"Tomorrow is {DAYS[after]}."),
            (f"今天是{DAYS_ZH[day]}，{step}天后是星期几？", f"{step}天后是{DAYS_ZH[later]}。"),
            (f"今天是{DAYS_ZH[day]}，{step}天前是星期几？", f"{step}天前是{DAYS_ZH[before]}。"),
            (f"{DAYS_ZH[day]}的后一天是星期几？", f"{DAYS_ZH[day]}的后一天是{DAYS_ZH[after]}。"),
            (f"今天是{DAYS_ZH[day]}，明天呢？", f"明天是{DAYS_ZH[after]}。"),
        )
    )


def _month(rng: random.Random) -> Pair:
    place = rng.randrange(12)
    name, days = MONTHS[place], LENGTHS[place]
    leap = " In a leap year it has 29." if place == 1 else ""
    leap_zh = "闰年有29天。" if place == 1 else ""
    return rng.choice(
        (
            (f"How many days does {name} have?", f"{name} has {days} days.{leap}"),
            (f"How many days are there in {name}?", f"{name} has {days} days.{leap}"),
            (f"Which month comes after {name}?", f"{MONTHS[(place + 1) % 12]} comes after {name}."),
            (f"Which month is before {name}?", f"{MONTHS[(place - 1) % 12]} comes before {name}."),
            (f"What number is the month {name}?", f"{name} is month number {place + 1}."),
            (f"What is month number {place + 1}?", f"Month number {place + 1} is {name}."),
            (f"{place + 1}月有多少天？", f"{place + 1}月有{days}天。{leap_zh}"),
            (f"{place + 1}月的下一个月是几月？", f"{place + 1}月的下一个月是{(place + 1) % 12 + 1}月。"),
        )
    )


def _number_word(rng: random.Random) -> Pair:
    number = rng.randint(0, 99)
    word, han = _in_english(number), _in_chinese(number)
    return rng.choice(
        (
            (f"Write {number} in words.", f"{number} is written {word}."),
            (f"How do you spell the number {number}?", f"{number} is spelled {word}."),
            (f"Write {word} as a number.", f"{word.capitalize()} is {number}."),
            (f"{number}用汉字怎么写？", f"{number}写作{han}。"),
            (f"{han}用数字怎么写？", f"{han}写作{number}。"),
        )
    )


def _compare(rng: random.Random) -> Pair:
    a, b = rng.sample(range(1000), 2)
    high, low = max(a, b), min(a, b)
    return rng.choice(
        (
            (f"Which is bigger, {a} or {b}?", f"{high} is bigger than {low}."),
            (f"Which number is smaller: {a} or {b}?", f"{low} is smaller than {high}."),
            (f"Is {a} greater than {b}?", f"{'Yes' if a > b else 'No'}, {high} is greater than {low}."),
            (f"{a}和{b}哪个大？", f"{high}比{low}大。"),
            (f"{a}和{b}哪个小？", f"{low}比{high}小。"),
        )
    )


def _parity(rng: random.Random) -> Pair:
    number = rng.randint(0, 999)
    word, han = ("odd", "奇数") if number % 2 else ("even", "偶数")
    return rng.choice(
        (
            (f"Is {number} even or odd?", f"{number} is {word}."),
            (f"{number}是奇数还是偶数？", f"{number}是{han}。"),
        )
    )


def _leap_year(rng: random.Random) -> Pair:
    year = rng.randint(1900, 2100)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return rng.choice(
        (
            (
                f"Is {year} a leap year?",
                f"{'Yes' if is_leap else 'No'}, {year} is {'' if is_leap else 'not '}a leap year.",
            ),
            (
                f"{year}年是闰年吗？",
                f"{'是的' if is_leap else '不是'}，{year}年{'是' if is_leap else '不是'}闰年。",
            ),
        )
    )


def _sequence(rng: random.Random) -> Pair:
    start, step = rng.randint(0, 30), rng.randint(1, 10)
    shown = ", ".join(str(start + step * i) for i in range(4))
    following = start + step * 4
    return rng.choice(
        (
            (f"What comes next: {shown}?", f"The next number is {following}."),
            (f"Continue the sequence: {shown}", f"The next number is {following}."),
            (f"找规律：{shown}，下一个数是什么？", f"下一个数是{following}。"),
        )
    )


def _letters(rng: random.Random) -> Pair:
    word = rng.choice(
        ("apple", "table", "garden", "window", "planet", "river", "bread", "house", "yellow", "music")
    )
    place = rng.randrange(26)
    letter, following = chr(97 + place).upper(), chr(97 + (place + 1) % 26).upper()
    return rng.choice(
        (
            (f'How many letters are in the word "{word}"?', f'The word "{word}" has {len(word)} letters.'),
            (f'What is the first letter of "{word}"?', f'The first letter of "{word}" is {word[0]}.'),
            (f'Spell "{word}".', f"{'-'.join(word.upper())}."),
            (
                f"Which letter comes after {letter if place < 25 else 'A'}?",
                f"{following if place < 25 else 'B'} comes after {letter if place < 25 else 'A'}.",
            ),
            (f"“{word}”有几个字母？", f"“{word}”有{len(word)}个字母。"),
        )
    )


def _in_english(number: int) -> str:
    if number < 20:
        return ONES[number]
    return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")


def _in_chinese(number: int) -> str:
    if number < 10:
        return HAN[number]
    tens, ones = divmod(number, 10)
    return ("" if tens == 1 else HAN[tens]) + "十" + (HAN[ones] if ones else "")
