"""In which numbers an open checkpoint runs, from how it is stored, where it runs and what was asked for."""

from __future__ import annotations

from typing import Final

import torch

__all__ = ["STAYS", "choose_dtype"]

# Parts of the names of what stays as it is when a network is quantized.
STAYS: Final = ("visual", "vision", "lm_head", "embed", "wte", "wpe", "router")

_HALVES = (torch.float16, torch.bfloat16)


def choose_dtype(stored: torch.dtype | None, *, device: str, fp16: bool) -> tuple[torch.dtype, str | None]:
    """The dtype of the weights, and what to tell where it is not what was asked for.

    A GPU takes half precision as it is stored, and float16 where it was asked for. A CPU multiplies float16
    slowly and bfloat16 well, so it takes bfloat16 as stored or instead of float16 where half precision was
    asked for, and float32 for the rest.

    Args:
        stored: what the checkpoint says; None where it does not.
        device: as torch names it.
        fp16: half precision was asked for.
    """
    if device != "cpu":
        if fp16:
            return torch.float16, None
        return (stored if stored in _HALVES else torch.float32), None
    if fp16:
        return torch.bfloat16, "half precision on a CPU is bfloat16, since float16 is slow there"
    return (torch.bfloat16 if stored == torch.bfloat16 else torch.float32), None
