"""What a model takes of a card's memory in float32, half precision, int8 and int4, and its drift.

    python benchmarks/memory_ladder.py [--shape 1b] [--json]
    python benchmarks/memory_ladder.py --tiny --device cpu

One Llama in five precisions, from the same random weights, each loaded alone: bytes allocated and reserved
once it is there, and at the peak of reading 512 tokens; the drift of its logits from float32 as
Kullback-Leibler divergence (nats a token) and as the share of positions whose likeliest token is the same.
Then the U-Net of Stable Diffusion XL's shape in float32 and float16: bytes, and the drift of one step in
decibels.

Weights are random, of the true shape: bytes are those of a trained model, drift is not. Random logits are
nearly flat, so that a little rounding changes which is likeliest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_common import GIB, free_all, machine, new_parser, peak_of, tell  # noqa: E402
from benchmarks.gpu_painters import sdxl  # noqa: E402
from benchmarks.gpu_shapes import llama_config, random_network, random_quantized  # noqa: E402

NUM_TOKENS = 512
RUNGS = ("float32", "float16", "bfloat16", "int8", "int4")


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Climb it."""
    device = torch.device(args.device)
    found: dict[str, Any] = {"machine": machine(device), "shape": "tiny" if args.tiny else args.shape}
    found["language"] = language_rungs(found["shape"], device)
    found["painting"] = painting_rungs(device, tiny=args.tiny)
    return found


@torch.inference_mode()
def language_rungs(shape: str, device: torch.device) -> dict[str, Any]:
    """The Llama in each precision."""
    config = llama_config(shape)
    ids = torch.randint(0, 256, (1, NUM_TOKENS), generator=torch.Generator().manual_seed(0)).to(device)
    found: dict[str, Any] = {}
    expected: Tensor | None = None
    for name in RUNGS:
        free_all(device)
        before = allocated(device)
        network = rung(config, device, name)
        free_all(device)
        row: dict[str, Any] = weights_row(network)
        row["loaded_gib"] = (
            None if before is None else round((allocated(device) or 0) / GIB - before / GIB, 4)
        )
        with peak_of(device) as peak:
            logits = network(input_ids=ids, use_cache=False).logits[0].float().cpu()
        row["peak"] = peak
        if not bool(torch.isfinite(logits).all()):
            row["failed"] = "the logits are no numbers"
        elif expected is None:
            expected = logits
        else:
            row |= drift(expected, logits)
        found[name] = row
        del network
    full = found["float32"]["weight_bytes"]
    for row in found.values():
        row["saved"] = round(1 - row["weight_bytes"] / full, 3)
    return found


def rung(config: Any, device: torch.device, name: str) -> Any:
    """A network in a precision, of the same weights as the others."""
    if name in ("int8", "int4"):
        return random_quantized(config, device, name, _same_tensors(config, device))
    network = random_network(config, device, torch.float32)
    for parameter in network.parameters():  # not what turns positions into angles, as transformers loads it
        parameter.data = parameter.data.to(getattr(torch, name))
    return network


def _same_tensors(config: Any, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    network = random_network(config, device, torch.float32)
    yield from list(network.named_parameters())


def drift(expected: Tensor, logits: Tensor) -> dict[str, float]:
    """How far logits (T, V) are from others."""
    told, said = expected.log_softmax(-1), logits.log_softmax(-1)
    return {
        "divergence_nats": float(f"{float((told.exp() * (told - said)).sum(-1).mean()):.3g}"),
        "same_likeliest": round(float((told.argmax(-1) == said.argmax(-1)).float().mean()), 4),
    }


@torch.inference_mode()
def painting_rungs(device: torch.device, *, tiny: bool) -> dict[str, Any]:
    """The U-Net in float32 and in float16; bfloat16 instead where there is no card."""
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    found: dict[str, Any] = {}
    expected: Tensor | None = None
    for dtype in (torch.float32, half):
        free_all(device)
        before = allocated(device)
        unet: Any = sdxl(device, torch.float32, tiny=tiny).unet.to(dtype)
        free_all(device)
        side = 32 if tiny else 128
        inputs = _step_inputs(unet, side, device, dtype)
        row: dict[str, Any] = weights_row(unet)
        row["loaded_gib"] = (
            None if before is None else round((allocated(device) or 0) / GIB - before / GIB, 4)
        )
        with peak_of(device) as peak:
            out = unet(**inputs, return_dict=False)[0].float().cpu()
        row["peak"] = peak
        if expected is None:
            expected = out
        else:
            error = float(((out - expected) ** 2).mean())
            row["step_db"] = round(10 * float(torch.log10(expected.pow(2).mean() / max(error, 1e-30))), 1)
        found[str(dtype).removeprefix("torch.")] = row
        del unet, inputs
    names = list(found)
    full, less = (found[name]["weight_bytes"] for name in names)
    found[names[1]]["saved"] = round(1 - less / full, 3)
    peaks = [found[name]["peak"]["allocated_gib"] for name in names]
    if all(peaks):
        found[names[1]]["saved_at_the_peak"] = round(1 - peaks[1] / peaks[0], 3)
    return found


def _step_inputs(unet: Any, side: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return {
        "sample": random(2, 4, side, side),
        "timestep": torch.tensor(500, device=device),
        "encoder_hidden_states": random(2, 77, config.cross_attention_dim),
        "added_cond_kwargs": {"text_embeds": random(2, pooled), "time_ids": torch.ones(2, 6, device=device)},
    }


def weights_row(network: Any) -> dict[str, Any]:
    """What is told of parameters and buffers."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*network.parameters(), *network.buffers())}
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    return {"weight_bytes": nbytes, "weights_gib": round(nbytes / GIB, 4)}


def allocated(device: torch.device) -> int | None:
    """Bytes on a card now; None elsewhere."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--shape", choices=("8b", "1b"), default="1b")
    args = parser.parse_args(arguments)
    found = report(args)
    lines = [f"Llama {found['shape']}:", *(f"  {name:9} {row}" for name, row in found["language"].items())]
    lines += ["U-Net of SDXL:", *(f"  {name:9} {row}" for name, row in found["painting"].items())]
    tell(found, args, [*lines, str(found["machine"])])


if __name__ == "__main__":
    main()
