"""Tokens a second of an open language model of 8B shape in int4 under 8 GB, beside transformers in bfloat16.

    python benchmarks/gpu_llm.py [--tokens 128] [--rounds 3] [--parts cap,plain,compiled,peers] [--json]
    python benchmarks/gpu_llm.py --tiny --device cpu        # tiny random models, to see that it all runs

Ours goes through the open model as an answer is made (greedy): `int4` replays each token as a CUDA graph,
the level `--fast exact`; `int4, compiled` captures what torch.compile made of it (`--fast compiled`);
`int4, plain` launches kernel by kernel (`--fast off`). First they answer alone under a cap of torch's
allocator, which proves that they fit; then the cap is lifted, since the peers need 16 GB, and all are
measured in turn: transformers' `generate` in bfloat16 with its growing cache, and with its static cache,
which it compiles by itself.

A rate counts a whole answer, with the reading of its prompt of 64 tokens. Beside each: the bytes of the
weights that a token reads (without the table of embeddings) times its rate, as a share of what a copy on
this device moves. Weights are random, of the true shape and never zero.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_common import (  # noqa: E402
    CAP_BYTES,
    GIB,
    Rounds,
    cap_memory,
    copy_bytes_per_s,
    free_all,
    lift_cap,
    machine,
    new_parser,
    peak_of,
    tell,
)
from benchmarks.gpu_shapes import language_model, llama_config, random_network  # noqa: E402
from localgpt.tasks import CompleteRequest, SamplingOptions  # noqa: E402

PROMPT_TOKENS = 64
PARTS = ("cap", "plain", "compiled", "peers")
OURS = {"int4": "exact", "int4, compiled": "compiled", "int4, plain": "off"}


def answering(model: Any, num_tokens: int) -> Callable[[], int]:
    """An answer of so many tokens by our open model."""
    request = CompleteRequest(
        id="1",
        prompt=("random words " * PROMPT_TOKENS)[:PROMPT_TOKENS],
        options=SamplingOptions(temperature=0.0, max_tokens=num_tokens),
    )

    def answer() -> int:
        with torch.inference_mode():
            result = model.answer(request, lambda event: None, lambda: False, model.sizes(request)[0])
        model._prefix.clear()  # the prompt is read anew each time, as the peers do
        made = int(result.usage.completion_tokens)
        if made != num_tokens:
            raise RuntimeError(f"the answer has {made} tokens instead of {num_tokens}")
        if told := [notice for notice in model.notices if "one kernel at a time" in notice]:
            raise RuntimeError(told[0])
        return made

    return answer


def generating(network: Any, num_tokens: int, cache: str | None) -> Callable[[], int]:
    """The same by transformers."""
    options = {} if cache is None else {"cache_implementation": cache}
    token_ids = torch.arange(PROMPT_TOKENS, device=network.device)[None] % 256

    def generate() -> int:
        with torch.inference_mode():
            made = network.generate(
                token_ids,
                attention_mask=torch.ones_like(token_ids),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=0,
                **options,
            )
        return int(made.shape[1]) - PROMPT_TOKENS

    return generate


def read_bytes(network: Any) -> int:
    """Of the weights that one token reads: all but the table of embeddings."""
    table = network.get_input_embeddings().weight
    tensors = {tensor.data_ptr(): tensor for tensor in (*network.parameters(), *network.buffers())}
    tied = network.get_output_embeddings().weight.data_ptr() == table.data_ptr()
    total = sum(tensor.nbytes for tensor in tensors.values())
    return total if tied else total - table.nbytes


def new_sides(
    args: argparse.Namespace, device: torch.device, parts: set[str], num_tokens: int
) -> dict[str, Any]:
    """Our models by side; they share one network."""
    shape = "tiny" if args.tiny else args.shape
    wanted = ["int4", *(["int4, plain"] if "plain" in parts else [])]
    if "compiled" in parts and not args.tiny:  # a compiler takes minutes for nothing there
        wanted.append("int4, compiled")
    models: dict[str, Any] = {}
    network = None
    for name in wanted:
        fast: Any = OURS[name]
        model = language_model(shape, device, quantize="int4", fast=fast, network=network)
        network = model.network
        models[name] = model
    return models


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    device, began = torch.device(args.device), time.perf_counter()
    parts = set(args.parts.split(","))
    if unknown := parts - set(PARTS):
        sys.exit(f"--parts has {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    num_tokens = 8 if args.tiny else args.tokens
    found: dict[str, Any] = {"machine": machine(device), "shape": "tiny" if args.tiny else args.shape}
    found["cap"] = cap_memory(device)
    with peak_of(device) as making:
        models = new_sides(args, device, parts, num_tokens)
    found["making_int4"] = making
    found["weights_gib"] = {"int4": round(models["int4"].status().weight_bytes / GIB, 3)}
    sides = {name: answering(model, num_tokens) for name, model in models.items()}
    if "cap" in parts:
        found["under_the_cap"] = under_cap(sides, device, args)
    lift_cap(device)
    reads = {name: read_bytes(model.network) for name, model in models.items()}
    if "peers" in parts:
        network = random_network(llama_config(found["shape"]), device, torch.bfloat16)
        found["weights_gib"]["bfloat16"] = round(sum(one.nbytes for one in network.parameters()) / GIB, 3)
        sides["transformers bf16, eager"] = generating(network, num_tokens, None)
        if not args.tiny:
            sides["transformers bf16, static cache"] = generating(network, num_tokens, "static")
        reads |= {name: read_bytes(network) for name in sides if name.startswith("transformers")}
    rounds = Rounds(device, 1 if args.tiny else args.rounds, began + args.seconds)
    rounds.run(sides)
    bandwidth = copy_bytes_per_s(device, *([1 << 22] if args.tiny else []))
    found |= {
        "tokens": num_tokens,
        "prompt_tokens": PROMPT_TOKENS,
        "copy_gb_per_s": round(bandwidth / 1e9, 1),
    }
    found["sides"] = {name: side_row(rounds, name, num_tokens, reads[name], bandwidth) for name in sides}
    free_all(device)
    return found


def under_cap(
    sides: dict[str, Callable[[], int]], device: torch.device, args: argparse.Namespace
) -> dict[str, Any]:
    """Each of ours once, alone in 8 GB: the peak, which has to stay below."""
    found: dict[str, Any] = {}
    for name, side in sides.items():
        with peak_of(device) as peak:
            rounds = Rounds(device, 0, 0.0)
            rounds.run({name: side})
        found[name] = {"failed": rounds.failed[name]} if rounds.failed else peak
        if (peak["reserved_gib"] or 0) > CAP_BYTES / GIB:
            found[name] = {"failed": f"{peak['reserved_gib']} GiB were reserved, more than the cap"}
    return found


def side_row(rounds: Rounds, name: str, num_tokens: int, nbytes: int, bandwidth: float) -> dict[str, Any]:
    """What is told of a side."""
    row = rounds.row(name)
    if "failed" in row:
        return row
    rate = num_tokens / row["seconds"]
    eager = rounds.seconds("transformers bf16, eager")
    return row | {
        "tokens_per_s": round(rate, 1),
        "share_of_copy": round(rate * nbytes / bandwidth, 3),
        "times_eager": round(eager / row["seconds"], 2) if eager else None,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--shape", choices=("8b", "1b"), default="8b")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args(arguments)
    found = report(args)
    lines = [f"Llama {found['shape']}, {found['tokens']} tokens after {PROMPT_TOKENS}, cap {found['cap']}"]
    for name, side in found["sides"].items():
        told = side.get("failed") or (
            f"{side['tokens_per_s']:9.1f} tokens/s  {side['share_of_copy']:.0%} of copy  "
            f"{side['times_eager'] or float('nan'):.2f} x eager"
        )
        lines.append(f"{name:34} {told}")
    lines.append(f"peaks under the cap: {found.get('under_the_cap')}")
    lines.append(str(found["machine"]))
    tell(found, args, lines)


if __name__ == "__main__":
    main()
