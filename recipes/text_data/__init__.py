"""Deterministic preparation of all text the language model learns from and is measured on.

`python -m recipes.text_data --data DATA --out OUT` writes token streams; see `recipes.text_data.prepare`.
"""

from __future__ import annotations
