"""Units and small exact conversions; standard library only."""

from __future__ import annotations

__all__ = ["GIB", "KIB", "MIB", "exact_div", "format_bytes"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


def exact_div(numerator: int, denominator: int) -> int:
    """Integer quotient of a division that must leave no remainder.

    Raises:
        ValueError: `numerator` is not a multiple of `denominator`.
    """
    quotient, remainder = divmod(numerator, denominator)
    if remainder:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return quotient


def format_bytes(num_bytes: int) -> str:
    """Human-readable binary size, for example `format_bytes(1536) == "1.5 KiB"`."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
