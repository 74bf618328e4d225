"""Derives `recipes/data/countries.json`: the facts of every country the generators and questions stand on.

    python -m recipes.text_data.derive_countries --data DATA

Names of currencies and languages come from CLDR (through `babel`), numbers and neighbours from the factbook,
capitals in Chinese from the hand-written `recipes/data/capitals.tsv`. Run it by hand; the result is
committed, so that training machines need no `babel`.
"""

from __future__ import annotations

import argparse
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

from babel import Locale
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

from recipes.text_data.rows import read_json_rows

DATA = Path(__file__).parents[1] / "data"
FACTBOOK_NAMES = {
    "CG": "Congo (Brazzaville)",
    "CD": "DRC",
    "CI": "Côte d'Ivoire",
    "CV": "Cabo Verde",
    "MM": "Burma",
    "FM": "Federated States of Micronesia",
    "CZ": "Czechia",
    "VA": "Holy See (Vatican City)",
    "DO": "The Dominican",
    "GM": "The Gambia",
    "BS": "The Bahamas",
}
# Where CLDR lists more than the languages of state, fewer, or under a name few would use.
LANGUAGES = {
    "DZ": "ar",
    "KM": "ar fr",
    "ER": "ti ar en",
    "ET": "am",
    "TN": "ar",
    "UG": "en sw",
    "AU": "en",
    "US": "en",
    "MX": "es",
    "VA": "it la",
    "NZ": "en mi",
    "AZ": "az",
    "UZ": "uz",
    "BN": "ms",
    "BA": "bs hr sr",
    "ME": "sr",
    "RS": "sr",
    "NO": "no",
    "ML": "fr",
    "GQ": "es fr pt",
    "NG": "en",
    "ZA": "en af zu xh",
    "BI": "rn fr",
    "FJ": "en fj",
    "EC": "es",
    "PE": "es qu",
    "KZ": "kk ru",
    "KG": "ky ru",
    "BY": "be ru",
    "PK": "ur en",
    "IQ": "ar ku",
    "IL": "he",
    "SD": "ar en",
    "LS": "st en",
    "LU": "lb fr de",
    "IN": "hi en",
    "ZW": "en sn nd",
    "MG": "mg fr",
    "CH": "de fr it",
    "PH": "fil en",
    "AF": "ps prs",
    "SZ": "en ss",
    "RW": "rw en fr",
}
LANGUAGE_NAMES = {
    "prs": ("Dari", "达里语"),
    "nd": ("Ndebele", "恩德贝莱语"),
    "bn": ("Bengali", "孟加拉语"),
    "dv": ("Dhivehi", "迪维希语"),
    "ky": ("Kyrgyz", "吉尔吉斯语"),
    "ko": ("Korean", "韩语"),
    "st": ("Sesotho", "塞索托语"),
    "mi": ("Maori", "毛利语"),
    "tet": ("Tetum", "德顿语"),
    "ny": ("Chichewa", "齐切瓦语"),
    "na": ("Nauruan", "瑙鲁语"),
    "tvl": ("Tuvaluan", "图瓦卢语"),
    "rn": ("Kirundi", "隆迪语"),
    "tzm": ("Tamazight", "塔马齐格特语"),
    "gil": ("Gilbertese", "基里巴斯语"),
}
CURRENCIES = {"ZW": "ZWG", "PA": "PAB", "HT": "HTG", "BT": "BTN", "LS": "LSL", "NA": "NAD"}
CURRENCY_NAMES = {
    "ZWG": ("Zimbabwe gold", "津巴布韦金"),
    "BAM": ("convertible mark", "可兑换马克"),
    "GBP": ("pound sterling", "英镑"),
    "ILS": ("Israeli new shekel", "以色列新谢克尔"),
    "TOP": ("Tongan pa'anga", "汤加潘加"),
    "SLE": ("Sierra Leonean leone", "塞拉利昂利昂"),
    "STN": ("Sao Tome and Principe dobra", "圣多美和普林西比多布拉"),
    "TTD": ("Trinidad and Tobago dollar", "特立尼达和多巴哥元"),
    "MMK": ("Burmese kyat", "缅元"),
    "KGS": ("Kyrgyzstani som", "吉尔吉斯斯坦索姆"),
    "AFN": ("Afghan afghani", "阿富汗尼"),
    "GYD": ("Guyanese dollar", "圭亚那元"),
    "NIO": ("Nicaraguan cordoba", "尼加拉瓜科多巴"),
    "CRC": ("Costa Rican colon", "哥斯达黎加科朗"),
    "ISK": ("Icelandic krona", "冰岛克朗"),
    "VES": ("Venezuelan bolivar", "委内瑞拉玻利瓦尔"),
    "BOB": ("boliviano", "玻利维亚诺"),
    "USD": ("US dollar", "美元"),
    "EUR": ("euro", "欧元"),
    "CNY": ("Chinese yuan (renminbi)", "人民币"),
    "XOF": ("West African CFA franc", "西非法郎"),
    "XAF": ("Central African CFA franc", "中非法郎"),
}
BORDER_NAMES = {
    "Republic of the Congo": "CG",
    "Democratic Republic of the Congo": "CD",
    "DROC": "CD",
    "DRC": "CD",
    "Burma": "MM",
    "Cote d'Ivoire": "CI",
    "Czechia": "CZ",
    "Czech Republic": "CZ",
    "Holy See": "VA",
    "Vatican City": "VA",
    "US": "US",
    "UK": "GB",
    "UAE": "AE",
    "Turkey (Turkiye)": "TR",
    "Macedonia": "MK",
    "Swaziland": "SZ",
    "Cabo Verde": "CV",
    "Congo (Brazzaville)": "CG",
    "The Gambia": "GM",
    "Timor-Leste": "TL",
    "Dominican Republic": "DO",
}


def plain(text: str) -> str:
    """Without accents, so that a fact has one spelling."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def read_capitals() -> list[dict[str, Any]]:
    """The hand-written table."""
    rows = []
    for line in (DATA / "capitals.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, en, zh, capital_en, capital_zh, continent, more_en, more_zh = line.split("|")
            rows.append(
                {
                    "code": code,
                    "en": en,
                    "zh": zh,
                    "capital_en": capital_en,
                    "capital_zh": capital_zh,
                    "continent": continent,
                    "aliases_en": [x for x in more_en.split(",") if x],
                    "aliases_zh": [x for x in more_zh.split(",") if x],
                }
            )
    return rows


def currency(code: str) -> tuple[str, str]:
    """The currency's English and Chinese name."""
    unit = CURRENCIES.get(code) or get_territory_currencies(code)[-1]
    if unit in CURRENCY_NAMES:
        return CURRENCY_NAMES[unit]
    english = plain(str(Locale("en").currencies[unit])).split(" ")
    return " ".join([*english[:-1], english[-1].lower()]), str(Locale("zh").currencies[unit])


def languages(code: str) -> list[tuple[str, str]]:
    """The official languages' English and Chinese names."""
    codes = LANGUAGES[code].split() if code in LANGUAGES else get_official_languages(code)
    english, chinese = Locale("en").languages, Locale("zh").languages
    return [LANGUAGE_NAMES.get(c) or (plain(english[c]), str(chinese[c])) for c in codes]


def number(text: Any) -> int | None:
    """The first number of a factbook entry."""
    text = text.get("text", "") if isinstance(text, dict) else str(text or "")
    found = re.search(r"([\d,]+(?:\.\d+)?)( million| billion)?", text)
    if not found:
        return None
    scale = {None: 1, " million": 10**6, " billion": 10**9}[found[2]]
    return round(float(found[1].replace(",", "")) * scale)


def neighbours(facts: dict[str, Any], by_name: dict[str, str]) -> list[str]:
    """Codes of the countries at the land border, as far as the table has them."""
    borders = facts.get("Geography", {}).get("Land boundaries", {})
    text = borders.get("border countries", "") if isinstance(borders, dict) else ""
    codes = []
    for part in re.split(r";", re.sub(r"\(.*?\)", "", text if isinstance(text, str) else "")):
        name = plain(re.sub(r"[\d,.]+ km.*", "", part)).strip().removeprefix("the ")
        code = BORDER_NAMES.get(name) or by_name.get(name.lower())
        if code and code not in codes:
            codes.append(code)
    return codes


def main() -> None:
    """Write `countries.json`."""
    parser = argparse.ArgumentParser(description="Derive recipes/data/countries.json.")
    parser.add_argument("--data", type=Path, required=True)
    book = {row["name"]: row["facts"] for row in read_json_rows(parser.parse_args().data, "factbook")}
    countries = read_capitals()
    by_name = {plain(c["en"]).removeprefix("the ").lower(): c["code"] for c in countries}
    for country in countries:
        code = country["code"]
        facts = book[FACTBOOK_NAMES.get(code, country["en"].removeprefix("the "))]
        country["currency_en"], country["currency_zh"] = currency(code)
        country["languages_en"], country["languages_zh"] = map(list, zip(*languages(code), strict=True))
        country["neighbours"] = neighbours(facts, by_name)
        country["area_km2"] = number(facts.get("Geography", {}).get("Area", {}).get("total"))
        people = facts.get("People and Society", {}).get("Population", {})
        country["population"] = number(people.get("total"))
        adjective = facts.get("People and Society", {}).get("Nationality", {}).get("adjective", "")
        country["adjective"] = re.split(r"[,;(]| or ", plain(str(adjective)))[0].strip()
    by_code = {country["code"]: country for country in countries}
    for country in countries:  # the factbook forgets a few borders on one side
        for other in country["neighbours"]:
            if country["code"] not in by_code[other]["neighbours"]:
                by_code[other]["neighbours"].append(country["code"])
    lines = ",\n".join(json.dumps(country, ensure_ascii=False) for country in countries)
    (DATA / "countries.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
