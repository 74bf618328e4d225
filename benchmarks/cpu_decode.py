"""Tokens a second of the embedded decoder on the CPU, beside torch, transformers and llama.cpp.

    python benchmarks/cpu_decode.py [--llama-python PYTHON] [--rounds 7] [--tokens 128] [--json]

All sides have the same weights, the same prompt, the same number of threads and always take the likeliest
token. They are measured in turn, again and again in one run, so that what else happens on the machine meets
all of them; medians are printed. A rate counts from an answer's first token to its last, not the reading of
the prompt. Ours go through the engine, as answers of the server do. Between the sides the memory is read as
fast as it goes; a side's share of that is the time which reading its weights, and the keys and values of half
the way, would take, of the time it takes.

* ours: what answers here, the C++ kernel where it is built; torch with its int8 layers; torch in float32.
* transformers: MPT of the same shape in float32, `generate`.
* llama.cpp: the GGUF export in Q8_0 (8.5 bits a weight; ours are 8) and Q4_0 (4.5 bits), in a process of its
  own, with or without its flash attention, whichever is faster in a short trial. `--llama-python` names a
  Python that has llama-cpp-python; without it, this one is taken if it has it.

`several at once`: tokens a second of all sequences together, of the kernel and of torch's int8 layers.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from localgpt.checkpoints import load_family, resolve_family
from localgpt.checkpoints.family import Family
from localgpt.checkpoints.gguf import GgufDtype, export_gguf
from localgpt.compute.native.library import open_library
from localgpt.engine.engine import Engine
from localgpt.engine.runner import ModelRunner
from localgpt.engine.runner_protocol import CachedDecoder
from localgpt.engine.sequence import GenerationRequest
from localgpt.errors import BackendError
from localgpt.media.text.tokenizer import StreamDecoder, Tokenizer
from localgpt.media.text.vocabulary import FIRST_SPECIAL_ID
from localgpt.runtime.footprint import measure
from localgpt.runtime.loading import LoadOptions, load_models, plan_load
from localgpt.tasks import SamplingOptions

Rate = Callable[[list[int], int], float]  # prompt, tokens -> tokens a second

LABELS = {
    "ours_kernel": "ours, C++ kernel, int8",
    "ours_torch_int8": "ours, torch int8",
    "ours_torch_fp32": "ours, torch float32",
    "transformers_fp32": "transformers float32",
    "llama_q8_0": "llama.cpp Q8_0",
    "llama_q4_0": "llama.cpp Q4_0",
}
READ_BYTES = 480 << 20
BATCH_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are measured; `bytes_a_token` is what it reads of weights, keys and values."""

    rate: Rate
    bytes_a_token: float


def engine_rate(decoder: CachedDecoder, tokenizer: Tokenizer, num_slots: int = 1) -> Rate:
    """Through the engine, `num_slots` equal answers at once; tokens a second of all together."""
    engine = Engine(ModelRunner(decoder, num_slots=num_slots), lambda: StreamDecoder(tokenizer))
    banned = torch.zeros(decoder.config.vocab_size, dtype=torch.bool)
    banned[FIRST_SPECIAL_ID:] = True  # never the end
    options = SamplingOptions(temperature=0.0)

    def rate(prompt: list[int], num_tokens: int) -> float:
        for _ in range(num_slots):
            engine.submit(
                GenerationRequest(
                    token_ids=prompt, options=options, max_tokens=num_tokens + num_slots,
                    banned_first=banned, banned=banned,
                )
            )  # fmt: skip
        with torch.inference_mode():
            while len(engine.step()) < num_slots:
                pass  # prompts are read one after another
            made, began = 0, time.perf_counter()
            while made < num_slots * (num_tokens - 1):
                made += len(engine.step())
            seconds = time.perf_counter() - began
            while engine.has_work:
                engine.step()
        return made / seconds

    return rate


def transformers_rate(decoder: Any) -> Rate:
    """`generate` of an MPT of the same shape; its weights are random, which changes no time."""
    import transformers

    config = decoder.config
    peer: Any = transformers.MptForCausalLM(
        transformers.MptConfig(
            d_model=config.n_embd, n_heads=config.n_head, n_layers=config.n_layer, expansion_ratio=4,
            max_seq_len=config.context_len, vocab_size=config.vocab_size, use_cache=True,
            bos_token_id=None, eos_token_id=None,
        )
    ).eval()  # fmt: skip

    class Clock(transformers.generation.streamers.BaseStreamer):
        """Notes when each token came."""

        times: list[float]

        def put(self, value: torch.Tensor) -> None:
            """Called with the prompt, then with each token."""
            self.times.append(time.perf_counter())

        def end(self) -> None:
            """Nothing is left to be done."""

    def rate(prompt: list[int], num_tokens: int) -> float:
        clock = Clock()
        clock.times = []
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            peer.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False,
                pad_token_id=0, streamer=clock,
            )  # fmt: skip
        _, *times = clock.times  # the prompt comes first
        return (len(times) - 1) / (times[-1] - times[0])

    return rate


@contextmanager
def llama_rate(python: str, path: Path, threads: int, info: dict[str, Any]) -> Iterator[Rate]:
    """The faster of llama.cpp with and without flash attention, found by a short trial."""
    script = Path(__file__).with_name("llama_decode.py")
    with ExitStack() as stack:
        children = []
        for flash in "01":
            child = stack.enter_context(
                subprocess.Popen(
                    [python, str(script), str(path), str(threads), flash],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
            )  # fmt: skip
            stack.callback(child.kill)
            info |= answer_of(child)
            children.append(child)
        tried = [max(asked(child, [[1, 2, 3], 16]) for _ in range(3)) for child in children]
        best = tried.index(max(tried))
        children[1 - best].kill()
        info[f"{path.stem}_flash_attention"] = best == 1
        yield lambda prompt, num_tokens: asked(children[best], [prompt, num_tokens])


def asked(child: subprocess.Popen[str], request: object) -> float:
    assert child.stdin is not None
    child.stdin.write(json.dumps(request) + "\n")
    child.stdin.flush()
    return float(answer_of(child))


def answer_of(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        sys.exit(f"llama.cpp ended without an answer: {child.args!r}")
    return json.loads(line)


class Memory:
    """Reads 480 MiB with the kernel library; GB/s."""

    def __init__(self, threads: int) -> None:
        self._library, self._threads = open_library(), threads
        self._buffer = torch.ones(READ_BYTES, dtype=torch.uint8)

    def rate(self) -> float:
        """Read all of it once."""
        began = time.perf_counter()
        self._library.read(ctypes.c_void_p(self._buffer.data_ptr()), READ_BYTES, 480, self._threads)
        return READ_BYTES / (time.perf_counter() - began) / 1e9


def exported(family: Family, folder: Path, dtype: GgufDtype) -> Path:
    path = folder / f"llama_{dtype}.gguf"
    export_gguf(family.decoder, family.tokenizer, path, dtype=dtype)
    return path


def measured(sides: dict[str, Side], memory: Memory | None, prompt: list[int], args: Any) -> dict[str, Any]:
    """Rounds of all sides in turn; the memory is read before each of them."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    reads: list[float] = []
    for side in sides.values():
        side.rate(prompt, 16)
    for _ in range(args.rounds):
        for name, side in sides.items():
            reads += [] if memory is None else [memory.rate()]
            rates[name].append(side.rate(prompt, args.tokens))
    return {"rates": rates, "reads_gb_s": reads}


def several_at_once(
    decoders: dict[str, CachedDecoder], tokenizer: Tokenizer, prompt: list[int], args: Any
) -> Any:
    """Of each decoder, by batch size: median tokens a second of all sequences."""
    table: dict[str, dict[int, float]] = {name: {} for name in decoders}
    for size in BATCH_SIZES:
        sides = {name: engine_rate(decoder, tokenizer, size) for name, decoder in decoders.items()}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(args.rounds + 1):
            for name, rate in sides.items():
                found = rate(prompt, 8 if number == 0 else args.tokens // 2)
                rates[name] += [found] if number else []
        for name, values in rates.items():
            table[name][size] = round(statistics.median(values), 1)
    return table


def summary(found: dict[str, Any], sides: dict[str, Side]) -> dict[str, Any]:
    reads = found["reads_gb_s"]
    speed = statistics.median(reads) if reads else None
    report: dict[str, Any] = {
        "read_gb_s": speed and round(speed, 1),
        "read_gb_s_best": round(max(reads), 1) if reads else None,
    }
    for name, side in sides.items():
        rate = statistics.median(found["rates"][name])
        report[name] = {
            "tokens_a_second": round(rate, 1),
            "all_rounds": [round(value, 1) for value in found["rates"][name]],
            "mb_a_token": round(side.bytes_a_token / 1e6, 1),
            "share_of_read": speed and round(rate * side.bytes_a_token / speed / 1e9, 2),
        }
    for peer in ("llama_q8_0", "llama_q4_0", "ours_torch_int8", "ours_torch_fp32", "transformers_fp32"):
        if peer in report:
            ours = report["ours_kernel"]["tokens_a_second"]
            report[f"kernel_over_{peer}"] = round(ours / report[peer]["tokens_a_second"], 2)
    return report


def main() -> None:
    args = arguments()
    load_before = [round(value, 2) for value in os.getloadavg()]
    if not args.json:
        print(f"load average {' '.join(map(str, load_before))}", flush=True)
    torch.set_num_threads(args.threads)
    path = resolve_family(args.model)
    fast = load_models(plan_load(LoadOptions(model=args.model, device="cpu")))
    int8, float32 = load_family(path), load_family(path, dtype=torch.float32)
    config, tokenizer = int8.decoder.config, int8.tokenizer
    cached = 2 * config.n_layer * config.n_embd * (args.prompt_tokens + args.tokens / 2)
    num_weights = measure(float32.decoder).num_params
    prompt = [(17 * place) % 1000 for place in range(args.prompt_tokens)]
    llama: dict[str, Any] = {}
    with ExitStack() as stack:
        sides = {
            "ours_kernel": Side(engine_rate(fast.decoder, tokenizer), num_weights + 4 * cached),
            "ours_torch_int8": Side(engine_rate(int8.decoder, tokenizer), num_weights + 4 * cached),
            "ours_torch_fp32": Side(engine_rate(float32.decoder, tokenizer), 4 * (num_weights + cached)),
            "transformers_fp32": Side(transformers_rate(float32.decoder), 4 * (num_weights + cached)),
        }
        if python := args.llama_python or (sys.executable if find_spec("llama_cpp") else None):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for dtype, bits in (("q8_0", 8.5), ("q4_0", 4.5)):
                file = exported(float32, folder, dtype)  # type: ignore[arg-type]
                rate = stack.enter_context(llama_rate(python, file, args.threads, llama))
                sides[f"llama_{dtype}"] = Side(rate, num_weights * bits / 8 + 2 * cached)  # keys in float16
        try:
            memory = Memory(args.threads)
        except BackendError as error:
            memory = None
            print(f"the memory is not measured: {error}", file=sys.stderr)
        found = measured(sides, memory, prompt, args)
    report = summary(found, sides) | {
        "several_at_once": several_at_once(
            {"ours_kernel": fast.decoder, "ours_torch_int8": int8.decoder}, tokenizer, prompt, args
        ),
        "kernel": getattr(fast.decoder, "path", "torch: the kernel is not built"),
        "tokens": args.tokens,
        "prompt_tokens": args.prompt_tokens,
        "rounds": args.rounds,
        "threads": args.threads,
        "weights": int8.info.id,
        "cpu": f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "llama": llama,
        "load_average": load_before,
    }
    print(json.dumps(report, indent=1)) if args.json else print("\n".join(as_lines(report)))


def as_lines(report: dict[str, Any]) -> list[str]:
    lines = [f"{'':<24} tokens/s  (lowest to highest)  MB a token  share of read"]
    for name, label in LABELS.items():
        if name in report:
            side = report[name]
            rounds = f"({min(side['all_rounds'])} to {max(side['all_rounds'])})"
            share = "unknown" if side["share_of_read"] is None else f"{side['share_of_read']:.0%}"
            lines.append(
                f"{label:<24} {side['tokens_a_second']:8.1f}  {rounds:<21} "
                f"{side['mb_a_token']:10.1f}  {share}"
            )
    ratios = {name: value for name, value in report.items() if name.startswith("kernel_over_")}
    lines += [f"the kernel is {value} times {LABELS[name[12:]]}" for name, value in ratios.items()]
    lines.append(f"memory read: median {report['read_gb_s']} GB/s, best {report['read_gb_s_best']} GB/s")
    for name, row in report["several_at_once"].items():
        sizes = ", ".join(f"{size}: {rate}" for size, rate in row.items())
        lines.append(f"several at once, {LABELS[name]}: {sizes}")
    settled = ("kernel", "tokens", "prompt_tokens", "rounds", "threads", "weights", "cpu", "torch")
    return [*lines, ", ".join(f"{name} {report[name]}" for name in (*settled, "transformers", "llama"))]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-python", metavar="PYTHON", help="a Python that has llama-cpp-python")
    parser.add_argument("--model", help="a model folder; default: the embedded family")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
