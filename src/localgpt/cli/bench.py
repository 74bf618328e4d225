"""`localgpt bench decode`: tokens a second beside transformers, interleaved in one process.

Each side makes the same number of tokens after a prompt of the same length, one sequence, always the
likeliest token; a rate counts the whole call, prompt included. With `--device`, our decoder there is one side
more. The peer is MPT of `transformers` (ALiBi, no
biases, tied head) with our numbers of layers, heads, widths and entries, random weights, float32 and eager
attention: the values of weights do not change the time.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localgpt.cli.console import print_json, progress, write_text
from localgpt.cli.options import DeviceOption, JsonOption, ModelOption, settings_of
from localgpt.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from localgpt.engine.runner import CachedDecoder
    from localgpt.media.text.tokenizer import Tokenizer
    from localgpt.models.decoder import Decoder, DecoderConfig
    from localgpt.runtime.speed import Generate

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    """Measure speed on this machine."""
    if context.invoked_subcommand is None:
        write_text(context.get_help())


@app.command("decode")
def decode(
    tokens: Annotated[
        int, typer.Option("--tokens", metavar="N", min=2, max=1024, help="Tokens to make.")
    ] = 128,
    prompt_tokens: Annotated[
        int, typer.Option("--prompt-tokens", metavar="N", min=1, max=1024, help="Tokens to read first.")
    ] = 32,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, help="Medians are taken over these.")
    ] = 5,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")] = 2,
    random: Annotated[
        bool, typer.Option("--random", help="Random weights of the embedded model's shape.")
    ] = False,
    json: JsonOption = False,
    model: ModelOption = None,
    device: DeviceOption = None,
) -> None:
    """Tokens a second on the CPU: ours int8, ours float32, transformers float32 eager.

    With --device, ours on that device too.
    Close what else runs, and look at the load average that is printed beside the figures.
    """
    import torch

    load_before = os.getloadavg() if hasattr(os, "getloadavg") else None
    torch.set_num_threads(threads)
    place = _place_of(device, random)
    with progress("Loading the models"):
        pair = _random_pair() if random else _loaded_pair(settings_of(model=model).model)
        sides = {
            "ours_int8": _our_generate(pair.int8, pair.tokenizer),
            "ours_fp32": _our_generate(pair.float32, pair.tokenizer),
            "fp32_eager": _peer_generate(pair.float32.config),
        }
        if place is not None:
            sides["ours_device"] = _our_generate(_decoder_on(place, model), pair.tokenizer)
    prompt = [(17 * place) % 1000 for place in range(prompt_tokens)]
    with progress("Measuring"):
        rates = _measure(sides, prompt, tokens, rounds)
    report = _report(rates) | {
        "tokens": tokens,
        "prompt_tokens": prompt_tokens,
        "rounds": rounds,
        "threads": threads,
        "device": place,
        "weights": "random" if random else pair.name,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "kernel": pair.kernel,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "load_average": load_before and [round(value, 2) for value in load_before],
    }
    if json:
        print_json(report)
        return
    for line in _as_lines(report):
        write_text(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The same decoder twice."""

    name: str
    int8: CachedDecoder  # the one that answers here
    float32: Decoder
    tokenizer: Tokenizer | None

    @property
    def kernel(self) -> str:
        """What decodes in int8: an instruction set of our kernel, or "torch"."""
        return getattr(self.int8, "path", "torch")


def _loaded_pair(model: str | None) -> _Pair:
    import torch

    from localgpt.checkpoints import load_family, resolve_family

    float32 = load_family(resolve_family(model), dtype=torch.float32)
    int8 = _decoder_on("cpu", model)
    return _Pair(name=float32.info.id, int8=int8, float32=float32.decoder, tokenizer=float32.tokenizer)


def _random_pair() -> _Pair:
    import torch

    from localgpt.compute.native.check import int8_tensors
    from localgpt.compute.native.decoder import NativeDecoder
    from localgpt.models.decoder import Decoder, DecoderConfig
    from localgpt.nn.linear import quantize_

    generator = torch.Generator().manual_seed(0)
    float32 = Decoder(DecoderConfig()).eval()
    for parameter in float32.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02, generator=generator)
    int8: CachedDecoder
    try:
        int8 = NativeDecoder(float32.config, int8_tensors(float32))
    except BackendError:  # not compiled here
        int8 = plain = copy.deepcopy(float32)
        quantize_(plain)
    return _Pair(name="random", int8=int8, float32=float32, tokenizer=None)


def _place_of(device: str | None, random: bool) -> str | None:
    """The device of the further side; None where there is none.

    Raises:
        ConfigError: the device is unknown, is not here, or is asked for together with random weights.
    """
    from localgpt.compute import resolve_device

    if device is None:
        return None
    choice = resolve_device(device)
    if choice.notice:
        raise ConfigError(f"nothing to measure: {choice.notice.partition(';')[0]}")
    if random:
        raise ConfigError("--device measures weights of a model folder; leave --random out")
    return None if choice.device == "cpu" else choice.device  # which is measured anyway


def _decoder_on(device: str, model: str | None) -> CachedDecoder:
    """Our decoder as a service would load it there."""
    from localgpt.runtime.loading import LoadOptions, load_models, plan_load

    return load_models(plan_load(LoadOptions(model=settings_of(model=model).model, device=device))).decoder


def _our_generate(decoder: CachedDecoder, tokenizer: Tokenizer | None) -> Generate:
    """Through the engine, as an answer is made."""
    from localgpt.engine.runner import ModelRunner
    from localgpt.runtime.speed import through_engine

    return through_engine(ModelRunner(decoder, num_slots=1), tokenizer)


def _peer_generate(config: DecoderConfig) -> Generate:
    import torch
    import transformers

    peer: Any = transformers.MptForCausalLM(
        transformers.MptConfig(
            d_model=config.n_embd,
            n_heads=config.n_head,
            n_layers=config.n_layer,
            expansion_ratio=4,
            max_seq_len=config.context_len,
            vocab_size=config.vocab_size,
            use_cache=True,  # off by default in this architecture
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    peer.eval()

    def generate(prompt: Sequence[int], num_tokens: int) -> int:
        token_ids = torch.tensor([list(prompt)])
        with torch.inference_mode():
            made = peer.generate(
                token_ids,
                attention_mask=torch.ones_like(token_ids),
                max_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return int(made.shape[1]) - len(prompt)

    return generate


def _measure(
    sides: dict[str, Generate], prompt: Sequence[int], num_tokens: int, num_rounds: int
) -> dict[str, list[float]]:
    """Tokens a second of each side in each round; the first call of each is not counted."""
    for generate in sides.values():
        generate(prompt, min(8, num_tokens))
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(num_rounds):
        for name, generate in sides.items():
            start = time.perf_counter()
            made = generate(prompt, num_tokens)
            rates[name].append(made / (time.perf_counter() - start))
    return rates


def _report(rates: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {
        **medians,
        "ratio": round(medians["ours_int8"] / medians["fp32_eager"], 2),
        "all_rounds": {name: [round(value, 1) for value in values] for name, values in rates.items()},
    }


def _as_lines(report: dict[str, Any]) -> list[str]:
    names = {
        "ours_int8": "LocalGPT int8",
        "ours_fp32": "LocalGPT float32",
        "fp32_eager": "transformers float32 eager",
        "ours_device": f"LocalGPT on {report['device']}",
    }
    lines = [
        f"{label:<27} {report[key]:7.1f} tokens/s  ({min(report['all_rounds'][key])} "
        f"to {max(report['all_rounds'][key])})"
        for key, label in names.items()
        if key in report
    ]
    load = " ".join(map(str, report["load_average"] or ["unknown"]))
    return [
        *lines,
        f"int8 is {report['ratio']} times transformers.",
        f"{report['tokens']} tokens after {report['prompt_tokens']}, median of {report['rounds']} rounds, "
        f"{report['threads']} threads, {report['weights']} weights, load average {load}, {report['cpu']}, "
        f"kernel {report['kernel']}, "
        f"torch {report['torch']}, transformers {report['transformers']}",
    ]
