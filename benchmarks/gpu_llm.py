"""Tokens a second of an open language model of 8B shape in int4 under 8 GB, beside transformers in bfloat16.

    python benchmarks/gpu_llm.py [--tokens 128] [--rounds 3] [--parts cap,plain,kernels,compiled,peers]
    python benchmarks/gpu_llm.py --tiny --device cpu        # tiny random models, to see that it all runs

Ours goes through the open model as an answer is made (greedy): `int4` replays each token as a CUDA graph,
the level `--fast exact`, of fused kernels where its path says so; `int4, compiled` captures what
torch.compile made of it (`--fast compiled`); `int4, plain` launches kernel by kernel (`--fast off`). First
they answer alone under a cap of torch's allocator, which proves that they fit; then the cap is lifted, since
the peers need 16 GB, and `int4`, `int4, plain` and transformers' `generate` in bfloat16 with its growing
cache are measured in turn. What a compiler has to make first comes after them, so that it takes nothing from
them where time is short: ours under the cap again, and transformers with its static cache, which it compiles
by itself.

`kernels` are single products of one row with a matrix of the widest layer, of each kind of weights by
torch's kernel, by Triton's (with other tiles, too) and by the plain path, as graphs over more matrices than
fit into a card's cache.

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
from localgpt.compute.graphs import Captured, capture_graph  # noqa: E402
from localgpt.nn import few_rows  # noqa: E402
from localgpt.nn.linear import quantize_weight  # noqa: E402
from localgpt.nn.weight_only import (  # noqa: E402
    Int4WeightLinear,
    Int8WeightLinear,
    Kernel,
    quantize_groups,
)
from localgpt.tasks import CompleteRequest, SamplingOptions  # noqa: E402

PROMPT_TOKENS = 64
_REPEATS = 4  # of all matrices, in one timing
PARTS = ("cap", "plain", "kernels", "compiled", "peers")
_TILES = few_rows.TILES
OTHER_TILES = {
    "int8, triton": ((4, 1024, 4), (8, 512, 4)),
    "int4 wide, triton": ((16, 4, 0), (8, 4, 1), (8, 4, 0), (8, 2, 1), (32, 4, 1)),
    "int4 deep, triton": ((8, 2, 0), (8, 4, 1), (4, 4, 1), (4, 2, 1), (16, 2, 1)),
    "int4, triton": ((8, 4, 0), (16, 4, 1), (4, 4, 1), (8, 2, 1)),
}
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


class Bench:
    """Sides, their rounds and what is found.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.shape = "tiny" if args.tiny else args.shape
        self.num_tokens = 8 if args.tiny else args.tokens
        self.until = time.perf_counter() + args.seconds
        self.rounds = Rounds(self.device, 1 if args.tiny else args.rounds, self.until)
        self.reads: dict[str, int] = {}
        self.paths: dict[str, str] = {}  # how our sides made their tokens
        self.found: dict[str, Any] = {"machine": machine(self.device), "shape": self.shape}
        self.network: Any = None  # ours

    def ours(self, name: str) -> Callable[[], int]:
        """One of our sides; all share one network."""
        fast: Any = OURS[name]
        model = language_model(self.shape, self.device, quantize="int4", fast=fast, network=self.network)
        self.network = model.network
        self.reads[name] = read_bytes(self.network)
        self.found.setdefault("weights_gib", {})["int4"] = round(model.status().weight_bytes / GIB, 3)
        answer = answering(model, self.num_tokens)

        def side() -> int:
            made = answer()
            self.paths[name] = "kernel by kernel" if model._fixed is None else model._fixed.path
            return made

        return side

    def peer(self) -> Any:
        """The network of transformers."""
        network = random_network(llama_config(self.shape), self.device, torch.bfloat16)
        nbytes = sum(one.nbytes for one in network.parameters())
        self.found["weights_gib"]["bfloat16"] = round(nbytes / GIB, 3)
        return network

    def under_cap(self, sides: dict[str, Callable[[], int]]) -> None:
        """Each of ours once, alone in 8 GB: the peak, which has to stay below."""
        found = self.found.setdefault("under_the_cap", {})
        for name, side in sides.items():
            with peak_of(self.device) as peak:
                rounds = Rounds(self.device, 0, self.until)
                rounds.run({name: side})
            row = {"first_seconds": round(rounds.first[name], 2)} if rounds.first else rounds.row(name)
            found[name] = peak | row
            if (peak["reserved_gib"] or 0) > CAP_BYTES / GIB:
                found[name] = {"failed": f"{peak['reserved_gib']} GiB were reserved, more than the cap"}


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; what a compiler has to make first comes last."""
    parts = set(args.parts.split(","))
    if unknown := parts - set(PARTS):
        sys.exit(f"--parts has {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    bench = Bench(args)
    found, device = bench.found, bench.device
    found["cap"] = cap_memory(device)
    with peak_of(device) as making:
        sides = {name: bench.ours(name) for name in ("int4", *(["int4, plain"] if "plain" in parts else []))}
    found["making_int4"] = making
    if "cap" in parts:
        bench.under_cap(sides)
    lift_cap(device)
    if "peers" in parts:
        network = bench.peer()
        bench.reads["transformers bf16, eager"] = read_bytes(network)
        sides["transformers bf16, eager"] = generating(network, bench.num_tokens, None)
        del network
    bench.rounds.run(sides)
    names = list(sides)
    sides.clear()
    free_all(device)
    bandwidth = copy_bytes_per_s(device, *([1 << 22] if args.tiny else []))
    free_all(device)
    if "kernels" in parts:
        found["kernels"] = kernels(device, bandwidth, tiny=args.tiny)
        print(f"kernels: {found['kernels']}", file=sys.stderr, flush=True)
    if not args.tiny:  # a compiler takes minutes for nothing there
        names += compiled_sides(bench, parts)
    free_all(device)
    found |= {
        "tokens": bench.num_tokens,
        "prompt_tokens": PROMPT_TOKENS,
        "copy_gb_per_s": round(bandwidth / 1e9, 1),
    }
    found["sides"] = {
        name: side_row(bench.rounds, name, bench.num_tokens, bench.reads[name], bandwidth)
        | ({"path": bench.paths[name]} if name in bench.paths else {})
        for name in names
    }
    return found


@torch.inference_mode()
def kernels(device: torch.device, bandwidth: float, *, tiny: bool) -> dict[str, Any]:
    """Microseconds of one product, and what of the weights is read in a second, as a share of a copy."""
    n_out, n_in, num = (64, 128, 2) if tiny else (14336, 4096, 8)
    rows = [torch.randn(1, size, device=device, dtype=torch.bfloat16) for size in (n_in, n_out)]
    found: dict[str, Any] = {}
    sides = [(name, {}, make) for name, make in _layers(n_out, n_in, device).items()]
    for name, _, make in tuple(sides):
        sides += [
            (f"{name} {tile}", {name.partition(",")[0].removesuffix(" wide"): tile}, make)
            for tile in OTHER_TILES.get(name, ())  # what the choice of `few_rows` is to be held against
        ]
    for name, tiles, make in sides:
        layers = [make() for _ in range(num)]
        few_rows.TILES = _TILES | tiles
        rounds = Rounds(device, 3 if tiles else 5, time.perf_counter() + 20)
        rounds.run({name: _repeated(layers, rows["deep" in name])})
        if seconds := rounds.seconds(name):
            seconds /= num * _REPEATS
            nbytes = sum(one.nbytes for one in (*layers[0].parameters(), *layers[0].buffers()))
            rate = round(nbytes / seconds / bandwidth, 3)
            found[name] = {"microseconds": round(seconds * 1e6, 2), "share_of_copy": rate}
        else:
            found[name] = rounds.row(name)
        del layers
        free_all(device)
    few_rows.TILES = _TILES
    return found


def _layers(n_out: int, n_in: int, device: torch.device) -> dict[str, Callable[[], torch.nn.Module]]:
    def weight(n_out: int = n_out, n_in: int = n_in) -> torch.Tensor:
        return torch.randn(n_out, n_in, device=device, dtype=torch.bfloat16)

    def plain() -> torch.nn.Module:
        layer = torch.nn.Linear(n_in, n_out, bias=False, device=device, dtype=torch.bfloat16)
        return layer.requires_grad_(False)

    def int8(kernel: Kernel) -> torch.nn.Module:
        return Int8WeightLinear(*quantize_weight(weight()), kernel=kernel)

    def int4(kernel: Kernel, matrix: torch.Tensor | None = None) -> torch.nn.Module:
        matrix = weight() if matrix is None else matrix
        return Int4WeightLinear(*quantize_groups(matrix, 64), kernel=kernel)

    by_triton = {
        "int8, triton": lambda: int8("triton"),
        "int4 wide, triton": lambda: int4("triton"),
        "int4, triton": lambda: int4("triton", weight(n_in, n_in)),
        "int4 deep, triton": lambda: int4("triton", weight(n_in, n_out)),  # of so many inputs
    }
    return {
        "bfloat16": plain,
        "int8, torch": lambda: int8("torch"),
        "int8, plain": lambda: int8("plain"),
        "int4, torch": lambda: int4("torch"),
        "int4, plain": lambda: int4("plain"),
    } | (by_triton if few_rows.is_there and device.type == "cuda" else {})


def _repeated(layers: list[torch.nn.Module], row: torch.Tensor) -> Callable[[], None]:
    def once() -> list[torch.Tensor]:
        return [layer(row) for layer in layers]

    made: list[Captured] = []

    def run() -> None:
        if row.device.type == "cuda" and not made:
            made.append(capture_graph(once, row.device))
        for _ in range(_REPEATS):
            if made:
                made[0].graph.replay()
            else:
                once()

    return run


def compiled_sides(bench: Bench, parts: set[str]) -> list[str]:
    """Ours under the cap, alone, then the peer; their names."""
    names = []
    if "compiled" in parts:
        names.append(name := "int4, compiled")
        cap_memory(bench.device)
        side = bench.ours(name)
        if "cap" in parts:
            bench.under_cap({name: side})
        bench.rounds.run({name: side})
        lift_cap(bench.device)
        del side
        free_all(bench.device)
    if "peers" in parts:
        names.append(name := "transformers bf16, static cache")
        network = bench.peer()
        bench.reads[name] = read_bytes(network)
        bench.rounds.run({name: generating(network, bench.num_tokens, "static")})
    return names


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
            f"{side['times_eager'] or float('nan'):.2f} x eager  {side.get('path', '')}"
        )
        lines.append(f"{name:34} {told}")
    lines += [f"{name:34} {row}" for name, row in found.get("kernels", {}).items()]
    lines.append(f"peaks under the cap: {found.get('under_the_cap')}")
    lines.append(str(found["machine"]))
    tell(found, args, lines)


if __name__ == "__main__":
    main()
