"""The fused kernels of single tokens (`compute.fused`) beside the plain path; for `gpu_decode.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from localgpt.compute.fused import steps as fused
from localgpt.compute.fused.steps import Tile
from localgpt.engine.static_steps import DRAFT_TOKENS, SlotWork, StaticSteps, static_logits
from localgpt.models.decoder import Decoder
from localgpt.nn import launching
from localgpt.nn.kv_cache import KVCache

KNOBS: dict[str, tuple[Any, ...]] = {
    "_RUN_LEN": (64, 128),
    "_ATTEND_WARPS": (2, 8),
    "_QKV": (Tile(rows=4, warps=2), Tile(rows=4, warps=4), Tile(rows=8, warps=4), Tile(rows=32, warps=8)),
    "_OUT": (Tile(rows=2, warps=2), Tile(rows=4, warps=2), Tile(rows=4, warps=4), Tile(rows=8, warps=4)),
    "_UP": (Tile(rows=4, warps=2), Tile(rows=4, warps=4), Tile(rows=8, warps=8), Tile(rows=16, warps=8)),
    "_DOWN": (Tile(rows=1, warps=4), Tile(rows=2, warps=8), Tile(rows=4, warps=8)),
    "_HEAD": (Tile(rows=8, warps=4), Tile(rows=16, warps=4), Tile(rows=32, warps=8)),
    "_TOLD_WARPS": (16,),
    "_TOLD_BLOCK": (32_768,),
}
"""Other sizes to try, each alone, of what `compute.fused.steps` has at its top."""


def one_slot_cache(decoder: Decoder) -> KVCache:
    """The cache of one sequence, of the decoder's type."""
    dtype = decoder.embed(torch.zeros(1, 1, dtype=torch.int64, device=decoder.device)).dtype
    return decoder.new_cache(1, dtype=dtype, device=decoder.device, num_spare=DRAFT_TOKENS)


def parity(decoder: Decoder, num_steps: int = 64) -> dict[str, Any]:
    """The fused kernels beside the plain path over the plain path's own likeliest tokens."""
    quick, plain = StaticSteps(decoder, one_slot_cache(decoder)), plain_steps(decoder)
    if not quick.is_fused:
        return {"is_fused": False}
    token_id, num_same, worst, most = 1, 0, 0.0, 0.0
    for position in range(num_steps):
        works = [SlotWork(slot=0, position=position, token_ids=[token_id])]
        one, other = (steps.run(works, [position])[0] for steps in (quick, plain))
        worst = max(worst, float((one.logits - other.logits).abs().max()))
        most = max(most, float(other.logits.abs().max()))
        num_same += one.likeliest == other.likeliest
        [token_id] = other.likeliest
    return {
        "is_fused": quick.is_fused,
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


def tile_times(decoder: Decoder, *, positions: tuple[int, ...] = (100, 1000)) -> dict[str, Any]:
    """Microseconds of a token's graph at some positions, as shipped and with each knob turned alone."""
    found: dict[str, Any] = {"as shipped": _graph_times(decoder, positions)}
    with _turned("can_overlap", lambda device: False, of=launching):
        found["each kernel after the other"] = _graph_times(decoder, positions)
    for knob, values in KNOBS.items():
        for value in values:
            name = f"{knob} {value}"
            try:
                with _turned(knob, value):
                    found[name] = _graph_times(decoder, positions)
            except Exception as error:  # noqa: BLE001 - whatever a compiler of kernels raises is told
                found[name] = f"failed: {type(error).__name__}: {str(error)[:200]}"
    return found


def _graph_times(decoder: Decoder, positions: tuple[int, ...], num_replays: int = 200) -> list[float] | str:
    steps = StaticSteps(decoder, one_slot_cache(decoder))
    if not steps.is_fused:
        return "the fused kernels were refused"
    times = []
    for position in positions:
        steps.run([SlotWork(slot=0, position=position, token_ids=[1])], [position])
        graph = steps._shapes[steps._shape_for([SlotWork(slot=0, position=position, token_ids=[1])])].graph
        if graph is None:
            return "no graph could be captured"
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        rounds = []
        for _ in range(5):
            begin.record()
            for _ in range(num_replays):
                graph.replay()
            end.record()
            end.synchronize()
            rounds.append(begin.elapsed_time(end) / num_replays * 1000)
        times.append(round(sorted(rounds)[2], 1))
    return times


@contextmanager
def _turned(knob: str, value: Any, of: Any = fused) -> Iterator[None]:
    before = getattr(of, knob)
    setattr(of, knob, value)
    try:
        yield
    finally:
        setattr(of, knob, before)
