"""The facts of every country, and the spelling of its name inside a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["CONTINENTS_ZH", "Country", "load_countries", "possessive", "sentence_case"]

CONTINENTS_ZH = {
    "Africa": "非洲",
    "Asia": "亚洲",
    "Europe": "欧洲",
    "North America": "北美洲",
    "South America": "南美洲",
    "Oceania": "大洋洲",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """One country; `area_km2` in square kilometres, `neighbours` by code."""

    code: str
    en: str
    zh: str
    capital_en: str
    capital_zh: str
    continent: str
    aliases_en: tuple[str, ...]
    aliases_zh: tuple[str, ...]
    currency_en: str
    currency_zh: str
    languages_en: tuple[str, ...]
    languages_zh: tuple[str, ...]
    neighbours: tuple[str, ...]
    area_km2: int
    population: int
    adjective: str


@lru_cache(maxsize=1)
def load_countries() -> tuple[Country, ...]:
    """All 194 countries in the order of the table."""
    file = Path(__file__).parents[1] / "data" / "countries.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    for row in rows:
        row.update({key: tuple(value) for key, value in row.items() if isinstance(value, list)})
    return tuple(Country(**row) for row in rows)


def possessive(name: str) -> str:
    """`France` to `France's`, `the Netherlands` to `the Netherlands'`."""
    return name + ("'" if name.endswith("s") else "'s")


def sentence_case(text: str) -> str:
    """With a capital letter at the start."""
    return text[:1].upper() + text[1:]
