"""Tokens a second of one stream on a graphics card: our decoder, and transformers on a Llama of equal size.

    python benchmarks/gpu_decode.py [--device cuda:0] [--fp16] [--tokens 256] [--rounds 5] [--compile]
        [--tiles]
    python benchmarks/gpu_decode.py --device cpu --dry      # tiny random models, to see that all of it runs

Ours, each through the engine as an answer is made (greedy, with the bans of a chat): `eager` launches kernel
by kernel over the slots that are busy; `fixed` does the same in fixed shapes; `graph` replays a whole token
as one CUDA graph; `graph, fused` one of few kernels of our own, which is what the server does on CUDA and
ROCm; `graph, compiled` captures what torch.compile made of the step (`--compile`); `graph, 8 rows` is what
`--use-cache` runs. `device` is the graph alone, without the engine, and `device, fused` and
`device, compiled` the same of those two. `parity` is how far the fused logits are from the plain ones.
transformers has a Llama of the same depth, width, heads, vocabulary and about the same bytes, with random
weights: `generate` with its dynamic cache, and with its static cache, which it compiles on a card by itself.

All are interleaved in one run, the fused first and those that are compiled last; the first round is not
counted; medians. Beside each: the weights' bytes times its tokens a second, as a share of what a copy on this
device moves.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_common import Rounds, copy_bytes_per_s, machine  # noqa: E402
from benchmarks.gpu_fused import one_slot_cache, parity, plain_steps, tile_times  # noqa: E402
from benchmarks.gpu_shapes import leave_no_zeros, making  # noqa: E402
from localgpt.compute import resolve_device  # noqa: E402
from localgpt.engine.runner import ModelRunner  # noqa: E402
from localgpt.engine.static_steps import SlotWork, StaticSteps, static_logits  # noqa: E402
from localgpt.models.decoder import Decoder, DecoderConfig  # noqa: E402
from localgpt.nn.kv_cache import KVCache  # noqa: E402
from localgpt.runtime.footprint import measure  # noqa: E402
from localgpt.runtime.loading import LoadOptions, load_models, plan_load  # noqa: E402
from localgpt.runtime.speed import Generate, through_engine  # noqa: E402

TINY = DecoderConfig(n_layer=2, n_embd=64, n_head=4, context_len=256)


@dataclass
class Side:
    """One way to make tokens."""

    generate: Generate
    weight_bytes: int
    is_compiled: bool = False  # before it first runs, for a minute


def on_the_device(steps: StaticSteps) -> Generate:
    """Steps in fixed shapes, one after another, and nothing else."""

    def generate(prompt: Sequence[int], num_tokens: int) -> int:
        token_id = prompt[-1]
        for position in range(len(prompt), len(prompt) + num_tokens):
            work = SlotWork(slot=0, position=position, token_ids=[token_id], is_chain=True)
            token_id = steps.run([work], [position])[0].likeliest[0]
        return num_tokens

    return generate


def compiled_steps(decoder: Decoder, cache: KVCache | None = None) -> StaticSteps:
    """Steps that are compiled before they are captured."""
    compiled = torch.compile(static_logits, dynamic=False)

    def logits(*arguments: Any) -> Tensor:
        made: Tensor = compiled(*arguments)
        return made

    return StaticSteps(decoder, cache or one_slot_cache(decoder), logits=logits)


def compiled_runner(decoder: Decoder) -> ModelRunner:
    """A runner of such steps."""
    runner = ModelRunner(decoder, num_slots=1, is_static=True)
    runner._steps = compiled_steps(decoder, runner.cache)  # type: ignore[arg-type]
    return runner


def fused_sides(decoder: Decoder) -> dict[str, Side]:
    """Those of our own kernels; none where they are not used, which a warning explains."""
    steps = StaticSteps(decoder, one_slot_cache(decoder))
    if not steps.is_fused:
        return {}
    weight_bytes = measure(decoder).weight_bytes
    runner = ModelRunner(decoder, num_slots=1, is_static=True)
    return {
        "ours, device, fused": Side(on_the_device(steps), weight_bytes),
        "ours, graph, fused": Side(through_engine(runner), weight_bytes),
    }


def our_sides(decoder: Decoder, *, compiles: bool) -> dict[str, Side]:
    """Our ways of making tokens."""
    is_cuda = decoder.device.type == "cuda"
    fixed = ModelRunner(decoder, num_slots=1, is_static=True)
    fixed._steps = plain_steps(decoder, fixed.cache, captures=False)  # type: ignore[arg-type]
    runners = {"eager": ModelRunner(decoder, num_slots=1, is_static=False), "fixed": fixed}
    if is_cuda:
        graph = runners["graph"] = ModelRunner(decoder, num_slots=1, is_static=True)
        graph._steps = plain_steps(decoder, graph.cache)  # type: ignore[arg-type]
        runners["graph, 8 rows"] = ModelRunner(decoder, num_slots=1, is_static=True, checks_drafts=True)
    weight_bytes = measure(decoder).weight_bytes
    sides = fused_sides(decoder) if is_cuda else {}
    sides["ours, device"] = Side(on_the_device(plain_steps(decoder)), weight_bytes)
    sides |= {f"ours, {name}": Side(through_engine(runner), weight_bytes) for name, runner in runners.items()}
    if compiles:
        runner, steps = compiled_runner(decoder), compiled_steps(decoder)
        sides["ours, graph, compiled"] = Side(through_engine(runner), weight_bytes, is_compiled=True)
        sides["ours, device, compiled"] = Side(on_the_device(steps), weight_bytes, is_compiled=True)
    return sides


def peer_sides(config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> dict[str, Side]:
    """Transformers on a Llama of the same size."""
    import transformers

    peer: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.n_embd,
            intermediate_size=8 * config.n_embd // 3 // 16 * 16,  # three matrices instead of two
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.n_head,
            max_position_embeddings=config.context_len,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    peer = peer.to(device, dtype).eval()
    weight_bytes = sum(parameter.nbytes for parameter in peer.parameters())

    def generate_with(cache: str | None) -> Generate:
        options = {} if cache is None else {"cache_implementation": cache}

        def generate(prompt: Sequence[int], num_tokens: int) -> int:
            token_ids = torch.tensor([list(prompt)], device=device)
            with torch.inference_mode():
                made = peer.generate(
                    token_ids,
                    attention_mask=torch.ones_like(token_ids),
                    max_new_tokens=num_tokens,
                    min_new_tokens=num_tokens,
                    do_sample=False,
                    pad_token_id=0,
                    **options,
                )
            return int(made.shape[1]) - len(prompt)

        return generate

    return {
        "transformers, eager": Side(generate_with(None), weight_bytes),
        "transformers, static cache": Side(
            generate_with("static"), weight_bytes, is_compiled=device.type == "cuda"
        ),
    }


def run_rounds(sides: dict[str, Side], prompt: Sequence[int], num_tokens: int, found: Rounds) -> None:
    """Measure each side, in turning order; those that a compiler makes come last, where time is short."""

    def run(side: Side) -> int:
        made = side.generate(prompt, num_tokens)
        if made != num_tokens:
            raise RuntimeError(f"{made} tokens were made instead of {num_tokens}")
        return made

    for is_compiled in (False, True):
        found.run(
            {name: partial(run, side) for name, side in sides.items() if side.is_compiled == is_compiled}
        )


def side_row(rounds: Rounds, name: str, num_tokens: int, side: Side, bandwidth: float) -> dict[str, Any]:
    """What is told of a side."""
    row = rounds.row(name)
    if "failed" in row:
        return row
    rate = num_tokens / row["seconds"]
    return {
        "tokens_per_s": round(rate, 1),
        "least": round(num_tokens / row["most"], 1),
        "most": round(num_tokens / row["least"], 1),
        "rounds": row["rounds"],
        "first_seconds": row["first_seconds"],
        "share_of_copy": round(rate * side.weight_bytes / bandwidth, 3),
    }


def random_decoder(device: torch.device, dtype: torch.dtype) -> tuple[Decoder, str]:
    """One of the embedded decoder's shape, whose weights need not be there; no matrix is zero."""
    values = json.loads((ROOT / "weights" / "decoder" / "config.json").read_text(encoding="utf-8"))
    with making(device, torch.float32):
        decoder = Decoder(DecoderConfig(**values))
        decoder.init_weights()
    leave_no_zeros(decoder.requires_grad_(False))
    return decoder.to(device, dtype).eval(), str(device)  # all of it: slopes are made on the host


def load_decoder(args: argparse.Namespace) -> tuple[Decoder, str]:
    """The decoder to measure, and what device it is on."""
    if args.dry:
        place = resolve_device(args.device).device
        torch.manual_seed(0)
        return Decoder(replace(TINY)).eval().to(torch.device(place)), place
    if args.random:
        return random_decoder(torch.device(args.device), torch.float16 if args.fp16 else torch.bfloat16)
    plan = plan_load(LoadOptions(model=args.model, device=args.device, fp16=args.fp16))
    if not plan.device.startswith("cuda"):
        sys.exit(f"{args.device} is {plan.device} here; expected a CUDA or ROCm device, or --dry")
    decoder = load_models(plan).decoder
    assert isinstance(decoder, Decoder)
    return decoder, plan.device


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    decoder, place = load_decoder(args)
    config, device = decoder.config, decoder.device
    num_tokens = min(args.tokens, 24) if args.dry else args.tokens
    dtype = next(decoder.parameters()).dtype
    rounds = Rounds(device, 1 if args.dry else args.rounds, time.perf_counter() + args.seconds)
    sides = our_sides(decoder, compiles=args.compile) | peer_sides(config, dtype, device)
    same = parity(decoder)
    prompt = [1 + number % 200 for number in range(64)]
    run_rounds(sides, prompt, num_tokens, rounds)
    bandwidth = copy_bytes_per_s(device, 1 << 24) if args.dry else copy_bytes_per_s(device)
    found = {name: side_row(rounds, name, num_tokens, side, bandwidth) for name, side in sides.items()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    return {
        "sides": found,
        "device": place,
        "name": name,
        "machine": machine(device)
        | ({} if args.random else {"weights": "ours the model's, the peer's random"}),
        "parity": same,
        **({"tiles, microseconds": tile_times(decoder)} if args.tiles else {}),
        "dtype": str(dtype).removeprefix("torch."),
        "tokens": num_tokens,
        "copy_gb_per_s": round(bandwidth / 1e9, 1),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "dry": args.dry,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Tokens a second of one stream on a graphics card.")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--fp16", action="store_true", help="instead of bfloat16")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after so long, tell what there is")
    parser.add_argument("--tiles", action="store_true", help="and the fused kernels in other tiles")
    parser.add_argument("--compile", action="store_true", help="one more way: the step through torch.compile")
    parser.add_argument("--model", help="family folder; absent means the embedded one")
    parser.add_argument("--random", action="store_true", help="random weights of the embedded one's shape")
    parser.add_argument("--dry", action="store_true", help="tiny random models and one round")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = report(args)
    if found["dry"]:
        print("a dry run of tiny random models: figures mean nothing", file=sys.stderr)
    if args.json:
        print(json.dumps(found))
    else:
        for name, side in found["sides"].items():
            if "failed" in side:
                print(f"{name:28} {side['failed']}")
                continue
            print(
                f"{name:28} {side['tokens_per_s']:9.1f} tokens/s  ({side['least']} to {side['most']})  "
                f"{side['share_of_copy']:.0%} of copy"
            )
        print(f"parity: {found['parity']}")
        print(
            f"{found['tokens']} tokens after 64, {found['dtype']}, {found['device']} ({found['name']}), copy "
            f"{found['copy_gb_per_s']} GB/s, torch {found['torch']}, transformers {found['transformers']}"
        )
    if failed := [name for name, side in found["sides"].items() if "failed" in side]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
