"""Names of models that are somewhere else."""

from __future__ import annotations

from typing import Final

__all__ = ["UPSTREAM_PREFIX", "split_upstream"]

UPSTREAM_PREFIX: Final = "upstream:"


def split_upstream(model: str) -> tuple[str, str] | None:
    """NAME and MODEL of `upstream:NAME/MODEL`; None for any other name, MODEL empty where there is none."""
    if not model.startswith(UPSTREAM_PREFIX):
        return None
    name, _, rest = model.removeprefix(UPSTREAM_PREFIX).partition("/")
    return name, rest
