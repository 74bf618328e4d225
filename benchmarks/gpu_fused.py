"""The fused kernels of single tokens (`compute.fused`) beside the plain path; for `gpu_decode.py`."""

from __future__ import annotations

from typing import Any

import torch

from localgpt.engine.static_steps import DRAFT_TOKENS, SlotWork, StaticSteps, static_logits
from localgpt.models.decoder import Decoder
from localgpt.nn.kv_cache import KVCache


def one_slot_cache(decoder: Decoder) -> KVCache:
    """The cache of one sequence, of the decoder's type."""
    dtype = decoder.embed(torch.zeros(1, 1, dtype=torch.int64, device=decoder.device)).dtype
    return decoder.new_cache(1, dtype=dtype, device=decoder.device, num_spare=DRAFT_TOKENS)


def parity(decoder: Decoder, num_steps: int = 64) -> dict[str, Any]:
    """The fused kernels beside the plain path over the plain path's own likeliest tokens."""
    fused, plain = StaticSteps(decoder, one_slot_cache(decoder)), plain_steps(decoder)
    if not fused.is_fused:
        return {"is_fused": False}
    token_id, num_same, worst, most = 1, 0, 0.0, 0.0
    for position in range(num_steps):
        works = [SlotWork(slot=0, position=position, token_ids=[token_id])]
        one, other = (steps.run(works, [position])[0] for steps in (fused, plain))
        worst = max(worst, float((one.logits - other.logits).abs().max()))
        most = max(most, float(other.logits.abs().max()))
        num_same += one.likeliest == other.likeliest
        [token_id] = other.likeliest
    return {
        "is_fused": fused.is_fused,
        "max_abs_difference": worst,
        "max_abs_logit": most,
        "same_likeliest": num_same / num_steps,
        "steps": num_steps,
    }


def plain_steps(
    decoder: Decoder, cache: KVCache | None = None, *, captures: bool | None = None
) -> StaticSteps:
    """Steps of torch's kernels."""
    return StaticSteps(decoder, cache or one_slot_cache(decoder), captures=captures, logits=static_logits)
