"""Seconds a picture of Stable Diffusion XL's shape, ours beside diffusers, and what each switch does.

    python benchmarks/gpu_paint.py [--parts cap,turbo,steps,flops,switches,compiled] [--steps 30] [--json]
    python benchmarks/gpu_paint.py --tiny --device cpu

* `cap`: ours alone under 8 GB of torch's allocator: seconds, and the most that was reserved.
* `turbo`: SD-Turbo's shape at 512, one step, 1, 2 and 4 pictures at once, under the same cap: pictures a
  second.
* `steps`: 1024 x 1024, float16, guidance, equal steps, the autoencoder's decoder included: diffusers as it
  is and ours `exact`, in turn. No step cache.
* `switches`: each switch of `--fast` alone against the plain path in turn, and together, with what it does
  to the picture in decibels; for switches that keep the mathematics that is rounding. Beside them what is no
  switch: fewer steps, and matrices multiplied in 8 bits of floating point (`Float8Linear`).
* `compiled`: diffusers at its fastest (channels last, fused projections, torch.compile of the U-Net) and ours
  `compiled`, in turn after both were made, which takes minutes; that is why it comes last.
* `flops`: counted by torch, as a share of what a matrix product reaches here, and from that a PROJECTION of
  an RTX 3060's time. Nothing was measured on such a card.

A picture goes from its words to pixels of 8 bits in the machine's memory; a PNG is written on neither side.
The same prompt is painted each time, so text encoders that are remembered are not run again: diffusers runs
them. Weights are random, of the true shape and never zero, so pictures show nothing, and decibels tell of
rounding and of left-out work, not of what somebody would see.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_common import (  # noqa: E402
    CAP_BYTES,
    GIB,
    Rounds,
    cap_memory,
    free_all,
    lift_cap,
    machine,
    matmul_flops,
    new_parser,
    peak_of,
    psnr,
    tell,
)
from benchmarks.gpu_painters import copy_of, painter, sdxl, to_float8, turbo  # noqa: E402
from localgpt.runtime.footprint import measure  # noqa: E402
from localgpt.runtime.open import paint_batch as paint_module  # noqa: E402
from localgpt.runtime.open.paint_fast import FastSwitches, switches_of  # noqa: E402
from localgpt.tasks import PaintRequest  # noqa: E402

PARTS = ("cap", "turbo", "steps", "flops", "switches", "compiled")
PROMPT = "a lighthouse on a cliff above the sea in the evening"
SWITCHES: dict[str, dict[str, Any]] = {
    "channels last": {"channels_last": True},
    "fused projections": {"fused_projections": True},
    "tuned convolutions": {"tuned_convolutions": True},
    "texts remembered": {"remembers_texts": True},
    "graphs": {"graphs": True},
    "half autoencoder": {"half_autoencoder": True},
    "guidance for 75 %": {"guided_part": 0.75},
    "inner blocks on every 2nd step": {"full_every": 2},
    "inner blocks on every 3rd step": {"full_every": 3},
}
RTX_3060 = {"fp32 accumulation": 25.6e12, "fp16 accumulation": 51.2e12}  # dense float16, of the data sheet
Picture = np.ndarray[Any, Any]


class Bench:
    """Shapes, steps and clock of one run.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.is_cuda = self.device.type == "cuda"
        self.dtype = torch.float16 if self.is_cuda else torch.float32
        self.until = time.perf_counter() + args.seconds
        self.side = 64 if args.tiny else 1024
        self.steps = 4 if args.tiny else args.steps
        self.rounds = 1 if args.tiny else args.rounds
        self.eager: tuple[float | None, Picture | None] = None, None  # diffusers' seconds and picture

    def beside_eager(self, rounds: Rounds, name: str) -> dict[str, Any]:
        """What is told of a side, beside diffusers as it is."""
        row, (seconds, picture) = rounds.row(name), self.eager
        if "seconds" in row and seconds:
            row["times_eager"] = round(seconds / row["seconds"], 3)
        if "seconds" in row and picture is not None:
            row["psnr_to_eager_db"] = psnr(rounds.last[name], picture)
        return row

    def new_rounds(self, rounds: int | None = None) -> Rounds:
        """A clock for sides in turn."""
        return Rounds(self.device, self.rounds if rounds is None else rounds, self.until)

    def request(
        self, num_steps: int, *, side: int, num_images: int = 1, guidance: float = 5.0
    ) -> PaintRequest:
        """The same picture each time."""
        return PaintRequest(
            id="1",
            prompt=PROMPT,
            width=side,
            height=side,
            is_progressive=False,  # as the pipelines of diffusers do
            num_steps=num_steps,
            guidance_scale=guidance,
            seed=1,
            num_images=num_images,
        )

    def ours(self, model: Any, request: PaintRequest, plan: int = 0) -> Callable[[], Picture]:
        """Painting by our painter; what comes is the pictures, (B, H, W, 3) uint8."""

        def paint() -> Picture:
            pictures: list[Picture] = []

            def keep(image: Picture) -> bytes:
                pictures.append(image)
                return b""

            plain = paint_module.encode_png
            paint_module.encode_png = keep  # type: ignore[assignment]
            try:
                with torch.inference_mode():
                    model.answer(request, lambda event: None, lambda: False, model.sizes(request)[plan])
            finally:
                paint_module.encode_png = plain
            return np.stack(pictures)

        return paint

    def theirs(self, pipeline: Any, request: PaintRequest) -> Callable[[], Picture]:
        """Painting by diffusers."""
        pipeline.set_progress_bar_config(disable=True)

        def paint() -> Picture:
            images = pipeline(
                request.prompt,
                width=request.width,
                height=request.height,
                num_inference_steps=request.num_steps,
                guidance_scale=request.guidance_scale,
                num_images_per_prompt=request.num_images,
                generator=[torch.Generator().manual_seed(1 + n) for n in range(request.num_images)],
            ).images
            return np.stack([np.asarray(image) for image in images])

        return paint

    def switches(self, fast: Any) -> FastSwitches:
        """Those of a level; what only a card has is left out elsewhere."""
        return switches_of(fast, "cuda:0" if self.is_cuda else "cpu")


def cap_part(bench: Bench) -> dict[str, Any]:
    """Ours in 8 GB, by the first of its plans that fits; what is too large by our reckoning is not tried."""
    found: dict[str, Any] = {"cap": cap_memory(bench.device), "steps": bench.steps, "too_large": []}
    request, exact = bench.request(bench.steps, side=bench.side), bench.switches("exact")
    with peak_of(bench.device) as making:
        model = painter(sdxl(bench.device, bench.dtype, tiny=bench.args.tiny), bench.device, exact)
    weights = measure(*model.modules.values()).weight_bytes
    for plan, size in enumerate(model.sizes(request)):
        needs = {"weights_gib": round(weights / GIB, 2), "estimated_gib": round(size.nbytes / GIB, 2)}
        if weights + size.nbytes > CAP_BYTES and plan + 1 < len(model.sizes(request)):
            found["too_large"].append(f"{size.shape}: {needs}")
            continue
        rounds = bench.new_rounds(1)
        free_all(bench.device)
        with peak_of(bench.device) as peak:
            rounds.run({"ours": bench.ours(model, request, plan)})
        failed = rounds.failed.get("ours", "")
        if "OutOfMemory" in failed or "out of memory" in failed:
            found["too_large"].append(f"{size.shape}: {needs}, {peak}, {failed}")
            model.drop_caches()
            continue
        found |= {"plan": size.shape, "needs": needs, "making": making, "peak": peak} | rounds.row("ours")
        found["told"] = told = list(model.notices)
        has_graphs = not any("one kernel at a time" in text for text in told)
        found["switches"] = "exact" if has_graphs else "exact, without graphs"
        if (peak["reserved_gib"] or 0) > CAP_BYTES / GIB:
            found["failed"] = "more was reserved than the cap allows"
        return found
    return found | {"making": making, "failed": f"nothing fits: {'; '.join(found['too_large'])}"}


def turbo_part(bench: Bench) -> dict[str, Any]:
    """Pictures a second of SD-Turbo's shape under the cap."""
    side = 64 if bench.args.tiny else 512
    found: dict[str, Any] = {"cap": cap_memory(bench.device), "side": side, "steps": 1}
    base = turbo(bench.device, bench.dtype, tiny=bench.args.tiny)
    model = painter(copy_of(base), bench.device, bench.switches("exact"), "random/sd-turbo")
    for num in (1, 2) if bench.args.tiny else (1, 2, 4):
        request = bench.request(1, side=side, num_images=num, guidance=0.0)
        rounds = bench.new_rounds(1 if bench.args.tiny else 10)
        with peak_of(bench.device) as peak:
            rounds.run({"ours": bench.ours(model, request), "diffusers": bench.theirs(base, request)})
        rows = {name: rounds.row(name) for name in ("ours", "diffusers")}
        for row in rows.values():
            if "seconds" in row:
                row["images_per_s"] = round(num / row["seconds"], 2)
        found[f"batch {num}"] = rows | {"peak": peak}
    return found


def steps_part(bench: Bench) -> dict[str, Any]:
    """Equal steps: diffusers and ours in turn."""
    base = sdxl(bench.device, bench.dtype, tiny=bench.args.tiny)
    request = bench.request(bench.steps, side=bench.side)
    exact = painter(copy_of(base), bench.device, bench.switches("exact"))
    sides = {"diffusers, eager": bench.theirs(base, request), "ours, exact": bench.ours(exact, request)}
    rounds = bench.new_rounds()
    rounds.run(sides)
    bench.eager = rounds.seconds("diffusers, eager"), rounds.last.get("diffusers, eager")
    found: dict[str, Any] = {"steps": bench.steps, "side": bench.side, "guidance": 5.0}
    found |= {name: bench.beside_eager(rounds, name) for name in sides}
    found["told"] = list(exact.notices)
    return found


def compiled_part(bench: Bench) -> dict[str, Any]:
    """The same through a compiler, one side after the other, then in turn."""
    if bench.args.tiny or bench.args.no_compile:
        return {"left_out": "a compiler takes minutes for nothing here"}
    request = bench.request(bench.steps, side=bench.side)
    ours = painter(
        sdxl(bench.device, bench.dtype, tiny=False),
        bench.device,
        bench.switches("compiled"),
        "random/painter",
    )
    peer = sdxl(bench.device, bench.dtype, tiny=False)
    peer.unet.to(memory_format=torch.channels_last)
    peer.vae.to(memory_format=torch.channels_last)
    peer.fuse_qkv_projections(vae=False)
    peer.unet.compile(fullgraph=True, dynamic=False)
    sides = {"ours, compiled": bench.ours(ours, request), "diffusers, compiled": bench.theirs(peer, request)}
    found: dict[str, Any] = {"steps": bench.steps, "side": bench.side, "guidance": 5.0}
    rounds = bench.new_rounds()
    for name, side in sides.items():  # made, and measured once, before the other one is waited for
        first = bench.new_rounds(1)
        first.run({name: side})
        found[name] = bench.beside_eager(first, name)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    rounds.run({name: side for name, side in sides.items() if "failed" not in found[name]})
    for name in rounds.times:
        found[name] = bench.beside_eager(rounds, name) | {"first_seconds": found[name]["first_seconds"]}
    found["told"] = list(ours.notices)
    return found


def switches_part(bench: Bench) -> dict[str, Any]:
    """Each switch against the plain path, in turn."""
    base = sdxl(bench.device, bench.dtype, tiny=bench.args.tiny)
    num_steps = bench.steps if bench.args.tiny else bench.args.switch_steps
    request = bench.request(num_steps, side=bench.side)
    plain = bench.ours(painter(copy_of(base), bench.device, FastSwitches()), request)
    exact = bench.switches("exact")
    together = {field: getattr(exact, field) for field in exact.__slots__}
    more = {"half_autoencoder": True, "guided_part": 0.75, "full_every": 2}
    sets = SWITCHES | {"exact, together": together, "all but compiled, together": together | more}
    found: dict[str, Any] = {"steps": num_steps, "side": bench.side}

    def measure(name: str, model: Any, other: PaintRequest) -> None:
        rounds = bench.new_rounds(1 if bench.args.tiny else bench.args.switch_rounds)
        rounds.run({"plain": plain, name: bench.ours(model, other)})
        row = rounds.row(name)
        if "seconds" in row and (before := rounds.seconds("plain")):
            row["times_plain"] = round(before / row["seconds"], 3)
            row["psnr_to_plain_db"] = psnr(rounds.last[name], rounds.last["plain"])
            row["told"] = list(model.notices)
        found[name] = row

    for name, on in sets.items():
        if not bench.is_cuda:
            on = on | {key: False for key in ("graphs", "rests_encoders", "tuned_convolutions") if key in on}
        if time.perf_counter() > bench.until:
            found[name] = {"failed": "there was no time left to measure it"}
            continue
        measure(name, painter(copy_of(base), bench.device, FastSwitches(**on)), request)
        free_all(bench.device)
    fewer = replace(request, num_steps=num_steps // 2)
    measure("half as many steps", painter(copy_of(base), bench.device, FastSwitches()), fewer)
    if bench.is_cuda and torch.cuda.get_device_capability(bench.device) >= (8, 9):
        eighth = copy_of(base)
        found["float8"] = {"layers": to_float8(eighth.unet)}
        measure("float8 matrices", painter(eighth, bench.device, FastSwitches()), request)
    return found


def flops_part(bench: Bench, seconds: float | None) -> dict[str, Any]:
    """Work of a picture, and what an RTX 3060 would take for it."""
    from torch.utils.flop_counter import FlopCounterMode

    pipeline = sdxl(bench.device, bench.dtype, tiny=bench.args.tiny)
    latent = bench.side // int(pipeline.vae_scale_factor)
    device, dtype, config = bench.device, bench.dtype, pipeline.unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    added = {
        "text_embeds": torch.randn(2, pooled, device=device, dtype=dtype),
        "time_ids": torch.ones(2, 6, device=device, dtype=dtype),
    }
    counted = []
    with torch.no_grad():
        sample = torch.randn(2, 4, latent, latent, device=device, dtype=dtype)
        words = torch.randn(2, 77, config.cross_attention_dim, device=device, dtype=dtype)
        with FlopCounterMode(display=False) as counter:
            pipeline.unet(sample, torch.tensor(500, device=device), words, added_cond_kwargs=added)
        counted.append(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            pipeline.vae.decode(sample[:1])
        counted.append(counter.get_total_flops())
    total = bench.steps * counted[0] + counted[1]
    peak = matmul_flops(device, dtype, 256 if bench.args.tiny else 8192)
    found: dict[str, Any] = {
        "step_tflop": round(counted[0] / 1e12, 6),
        "decoding_tflop": round(counted[1] / 1e12, 6),
        "picture_tflop": round(total / 1e12, 6),
        "steps": bench.steps,
        "matmul_tflops_here": round(peak / 1e12, 3),
    }
    if seconds is None:
        return found | {"projection": "none: ours, exact was not measured in this run (--parts steps,flops)"}
    share = total / (seconds * peak)
    found["share_of_matmul"] = round(share, 4)
    found["projection"] = {
        "what": "PROJECTION, not measured: an RTX 3060 at the share of its rate that was reached here",
        **{f"seconds, {name}": round(total / (rate * share), 2) for name, rate in RTX_3060.items()},
        **{f"floor in seconds, {name}": round(total / rate, 2) for name, rate in RTX_3060.items()},
    }
    return found


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the parts that were asked for; the capped ones come first, alone."""
    parts = args.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        sys.exit(f"--parts has {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    bench = Bench(args)
    found: dict[str, Any] = {"machine": machine(bench.device)}
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "cap": lambda: cap_part(bench),
        "turbo": lambda: turbo_part(bench),
        "steps": lambda: steps_part(bench),
        "flops": lambda: flops_part(bench, found.get("steps", {}).get("ours, exact", {}).get("seconds")),
        "switches": lambda: switches_part(bench),
        "compiled": lambda: compiled_part(bench),
    }
    for name, run in runs.items():
        if name not in parts:
            continue
        if name not in ("cap", "turbo"):
            lift_cap(bench.device)
        if time.perf_counter() > bench.until:
            found[name] = {"failed": "there was no time left to measure it"}
            continue
        try:
            found[name] = run()
        except Exception as error:  # noqa: BLE001 - told, and the other parts go on
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {str(error).strip()[:400]}"}
        free_all(bench.device)
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)  # is there if the next one never ends
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--switch-steps", type=int, default=16)
    parser.add_argument("--switch-rounds", type=int, default=2)
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out what a compiler has to make first"
    )
    args = parser.parse_args(arguments)
    found = report(args)
    lines = []
    for name, part in found.items():
        lines.append(f"{name}:")
        lines += [f"  {key:34} {value}" for key, value in part.items()]
    tell(found, args, lines)


if __name__ == "__main__":
    main()
