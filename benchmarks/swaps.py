"""Models that take turns in 8 GB of a card's memory: how long a change takes, and whether memory comes back.

    python benchmarks/swaps.py [--turns 50] [--json]
    python benchmarks/swaps.py --tiny --device cpu

All models of `gpu_shapes` stand in one memory ledger of 8 GiB, as open models do in the product (`OpenHome`),
with torch's allocator capped at the same, and a device that says it is so large. In each turn every modality
is asked for one piece of work in the same order: language (8B shape, int4), painting (SDXL shape), listening,
speaking, detecting, embedding, vision. The ledger decides what makes room, and weights rest in pinned memory
of the machine.
Told of each model: seconds to be ready, from asking for memory until the work begins, median and most after
the first turn; the ways out and back that are a part of it, the first, for which memory is pinned, and the
median; and of the pair language and painting, both directions alone.

At the end of each turn the ledger is asked for all of its memory, so that everything is put away, and the
card's memory in use is noted; at the very end everything is let go. Memory comes back where the last turn's
figure is within 2 % of the cap of the second turn's, and the one after letting go within 2 % of the
beginning's.

Weights are random, of the true shape. The first load makes them on the device, which is told apart: no disk
is read.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu_common import (  # noqa: E402
    CAP_BYTES,
    GIB,
    cap_memory,
    free_all,
    machine,
    new_parser,
    tell,
    wait,
)
from benchmarks.gpu_paint import PROMPT  # noqa: E402
from benchmarks.gpu_painters import painter, sdxl  # noqa: E402
from benchmarks.gpu_shapes import language_model, other_networks  # noqa: E402
from localgpt.compute.memory import Budget, CudaDevice, Ledger, Need, Size, device_of, reserve_bytes  # noqa: E402
from localgpt.compute.memory.device import Holder  # noqa: E402
from localgpt.compute.memory.state import Place  # noqa: E402
from localgpt.runtime.footprint import measure  # noqa: E402
from localgpt.runtime.open.base import OpenCheckpoint  # noqa: E402
from localgpt.runtime.open.home import OpenHome  # noqa: E402
from localgpt.runtime.open.paint_fast import switches_of  # noqa: E402
from localgpt.tasks import CompleteRequest, ModelStatus, PaintRequest, SamplingOptions  # noqa: E402

HOST_BYTES = 40 * GIB
BACK = 0.02  # of the cap
OTHER_WORK_BYTES = GIB // 2
_MOST_FAILURES = 3  # then no more turns are begun
_TURNS_PART = 0.85  # of the time; what is left is for the pair and for letting go


class NetworkModel:
    """A network that is asked for one piece of work; as much of an `OpenModel` as a home needs.

    Args:
        name: of the model.
        network: with random weights.
        work: what is done with it.
    """

    notices: tuple[str, ...] = ()
    cache_bytes = 0
    dtype = "float16"

    def __init__(self, name: str, network: Any, work: Callable[[Any], Any]) -> None:
        self.id, self.network, self._work = name, network, work
        self._footprint = measure(network)

    @property
    def modules(self) -> dict[str, Any]:
        """The network."""
        return {"network": self.network}

    def status(self) -> ModelStatus:
        """What it is."""
        return ModelStatus(
            id=self.id,
            tasks=(),
            num_params=self._footprint.num_params,
            weight_bytes=self._footprint.weight_bytes,
            context_len=0,
            num_image_tokens=0,
            created=0,
            licence="none: random numbers",
        )

    def work(self) -> Any:
        """One piece of work."""
        return self._work(self.network)

    def drop_caches(self) -> None:
        """There are none."""

    def release(self) -> None:
        """Let go of the network."""
        self.network = None


@dataclass
class Actor:
    """One model that takes turns."""

    home: OpenHome
    request: Any = None
    ready_s: list[float] = field(default_factory=list)
    work_s: list[float] = field(default_factory=list)

    @property
    def spent_s(self) -> str:
        """Of the last turn: until it was ready, and the work."""
        return " + ".join(
            f"{seconds[-1]:.2f}" if seconds else "none" for seconds in (self.ready_s, self.work_s)
        )


class CappedCard(CudaDevice):
    """A card of 8 GiB, as the allocator's cap makes one; what the ledger was not told of counts, too."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.moves: dict[tuple[str, Place, Place], list[float]] = {}  # seconds, by model and places

    def total_bytes(self) -> int:
        """All of the cap."""
        return CAP_BYTES

    def move(self, holder: Holder, piece: str, source: Place, target: Place) -> float:
        """Have a piece moved, and remember how long it took."""
        took_s = super().move(holder, piece, source, target)
        self.moves.setdefault((getattr(holder, "name", ""), source, target), []).append(took_s)
        return took_s

    def free_bytes(self) -> int:
        """What may still be allocated."""
        return max(0, CAP_BYTES - torch.cuda.memory_allocated(self.id))


class Stage:
    """All models in one ledger.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.cap = cap_memory(self.device)
        self.card = CappedCard(args.device) if self.device.type == "cuda" else None
        device = self.card or device_of(args.device)
        budget = Budget(nbytes=CAP_BYTES - reserve_bytes(device), host_bytes=HOST_BYTES)
        self.ledger = Ledger(device, budget)
        self.actors = {name: self._new(name, load) for name, load in self._loads().items()}

    def _loads(self) -> dict[str, Callable[[OpenCheckpoint], Any]]:
        device, tiny = self.device, self.args.tiny
        shape = "tiny" if tiny else "8b"
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        level = switches_of("exact", "cuda:0" if device.type == "cuda" else "cpu")
        loads: dict[str, Callable[[OpenCheckpoint], Any]] = {
            "language": lambda _: language_model(shape, device, quantize="int4", fast="exact"),
            "paint": lambda _: painter(sdxl(device, dtype, tiny=tiny), device, level),
        }
        for name, make in other_networks(device, tiny=tiny).items():
            loads[name] = lambda _, name=name, make=make: NetworkModel(name, *make())  # type: ignore[misc]
        return loads

    def _new(self, name: str, load: Callable[[OpenCheckpoint], Any]) -> Actor:
        checkpoint = OpenCheckpoint(folder=Path(), id=name, kind="language", device=str(self.device))
        nbytes = 1 if self.args.tiny else GUESSES[name]
        requests = {
            "language": CompleteRequest(
                id="1", prompt="random words", options=SamplingOptions(temperature=0.0, max_tokens=16)
            ),
            "paint": PaintRequest(
                id="1",
                prompt=PROMPT,
                width=self.side,
                height=self.side,
                num_steps=2,
                seed=1,
                guidance_scale=5.0,
            ),
        }
        return Actor(OpenHome(checkpoint, nbytes, self.ledger, load), requests.get(name))

    @property
    def side(self) -> int:
        """Pixels of a picture."""
        return 64 if self.args.tiny else 1024

    async def ask(self, name: str) -> None:
        """One piece of work, as the service of open models has it done."""
        actor, home = self.actors[name], self.actors[name].home
        start = time.perf_counter()
        async with self.ledger.reserve(self._need(actor, (Size(shape="loading", nbytes=0),))):
            model: Any = home.model
            sizes = (
                model.sizes(actor.request) if actor.request else (Size(shape="one", nbytes=OTHER_WORK_BYTES),)
            )
        async with self.ledger.reserve(self._need(actor, sizes)) as reservation:
            wait(self.device)
            actor.ready_s.append(time.perf_counter() - start)
            start = time.perf_counter()
            with torch.inference_mode():
                if actor.request is None:
                    model.work()
                else:
                    model.answer(actor.request, lambda event: None, lambda: False, reservation.size)
            wait(self.device)
            actor.work_s.append(time.perf_counter() - start)
        home.tell_cache()

    def _need(self, actor: Actor, sizes: tuple[Size, ...]) -> Need:
        home = actor.home
        dtype = home.model.dtype if home.model is not None else "none"
        return Need(
            name=f"work with {home.name}", model=home.name, dtype=dtype, sizes=sizes, residents=(home.name,)
        )

    def moves_of(self, name: str) -> dict[str, float]:
        """Seconds of one model's way out to the machine's memory and back: the first time, and the median."""
        ways: dict[str, tuple[Place, Place]] = {"out": ("device", "host"), "in": ("host", "device")}
        found = {}
        for label, places in ways.items():
            if seconds := () if self.card is None else self.card.moves.get((name, *places), ()):
                found[f"{label}_first_s"] = round(seconds[0], 3)
                found[f"{label}_s"] = round(statistics.median(seconds), 3)
        return found

    def used_bytes(self) -> int:
        """Of the card by this process's allocator; of the ledger elsewhere."""
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        return self.ledger.state().bytes_in("device")

    async def cleared_bytes(self) -> int:
        """What is in use once the ledger was asked for all of its memory, and put everything away."""
        everything = Size(shape="everything", nbytes=self.ledger.budget.nbytes)
        need = Need(name="all of the memory", model="none", dtype="none", sizes=(everything,))
        async with self.ledger.reserve(need) as reservation:
            reservation.meter = None  # nothing is done, so nothing is learned
            free_all(self.device)
            if self.device.type != "cuda":
                return self.ledger.state().bytes_in("device")
            return self.used_bytes()

    def let_all_go(self) -> None:
        """Free everything."""
        for actor in self.actors.values():
            actor.home.let_go()
            self.ledger.let_go(actor.home.name)
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if self.device.type == "cuda" and clear is not None:
            clear()  # 32 MiB for each stream that ever multiplied: the library's, and no model's
        free_all(self.device)


GUESSES = {
    "language": 6 * GIB,
    "paint": 7 * GIB,
    "listen": 2 * GIB,
    "speak": GIB // 4,
    "detect": GIB // 4,
    "embed": 2 * GIB,  # transformers makes both halves in float32 first
    "vision": 4 * GIB,
}


async def play(stage: Stage, turns: int, until: float) -> dict[str, Any]:
    """All modalities in turn, then language and painting alone."""
    began, used = stage.used_bytes(), []
    failures: list[str] = []
    done = 0

    async def ask(name: str) -> None:
        try:
            await stage.ask(name)
        except Exception as error:  # noqa: BLE001 - told below; one failure is one too many
            traceback.print_exc()
            line = (str(error).strip().splitlines() or [""])[0]
            failures.append(f"turn {done + 1}, {name}: {type(error).__name__}: {line[:300]}")
        if failures:  # after the error, which holds what its frames held
            free_all(stage.device)

    for _ in range(turns):
        if (done and time.perf_counter() > until) or len(failures) > _MOST_FAILURES:
            break
        for name in stage.actors:
            await ask(name)
        used.append(await stage.cleared_bytes())
        done += 1
        spent = {name: actor.spent_s for name, actor in stage.actors.items()}
        print(f"turn {done}: {used[-1] / GIB:.3f} GiB, {spent}", file=sys.stderr, flush=True)
    table = {name: row_of(actor) | stage.moves_of(name) for name, actor in stage.actors.items()}
    pair = await both_ways(stage) if not failures else {}
    stage.let_all_go()
    after = stage.used_bytes()
    found: dict[str, Any] = {"turns": done, "turns_asked": turns, "table": table, "pair": pair}
    found["used_gib"] = [round(nbytes / GIB, 3) for nbytes in used]
    found["before_gib"], found["after_gib"] = round(began / GIB, 3), round(after / GIB, 3)
    drift = abs(used[-1] - used[min(1, len(used) - 1)]) / CAP_BYTES if used else 1.0
    left = max(0, after - began) / CAP_BYTES
    found |= {"drift_of_cap": round(drift, 4), "left_of_cap": round(left, 4)}
    if failures:
        found |= {"failures": failures, "failed": f"{len(failures)} times; the first: {failures[0]}"}
    elif max(drift, left) > BACK:
        found["failed"] = f"memory did not come back: {drift:.1%} between turns, {left:.1%} after letting go"
    return found


async def both_ways(stage: Stage, rounds: int = 3) -> dict[str, Any]:
    """Language and painting, one after the other."""
    names = ("language", "paint")
    start = {name: len(stage.actors[name].ready_s) for name in names}
    for _ in range(rounds):
        for name in names:
            await stage.ask(name)
    return {
        f"to {name}": [round(value, 3) for value in stage.actors[name].ready_s[start[name] :]]
        for name in names
    }


def row_of(actor: Actor) -> dict[str, Any]:
    """What is told of a model."""
    ready, work = actor.ready_s[1:] or actor.ready_s, actor.work_s[1:] or actor.work_s
    if not ready:
        return {}
    return {
        "weights_gib": round(actor.home.nbytes / GIB, 3),
        "ready_s": round(statistics.median(ready), 4),
        "ready_most_s": round(max(ready), 4),
        "first_s": round(actor.ready_s[0], 2),
        "work_s": round(statistics.median(work), 4) if work else None,
    }


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Play it."""
    device = torch.device(args.device)
    found: dict[str, Any] = {"machine": machine(device)}
    stage = Stage(args)
    found["cap"] = stage.cap
    turns = min(args.turns, 2) if args.tiny else args.turns
    try:
        found["swaps"] = asyncio.run(play(stage, turns, time.perf_counter() + _TURNS_PART * args.seconds))
    finally:
        with suppress(RuntimeError):
            stage.ledger.close()
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = new_parser(__doc__ or "")
    parser.add_argument("--turns", type=int, default=50)
    args = parser.parse_args(arguments)
    found = report(args)
    swaps = found["swaps"]
    lines = [f"{swaps['turns']} turns of {swaps['turns_asked']}, cap {found['cap']}"]
    lines += [f"  {name:9} {row}" for name, row in swaps["table"].items()]
    lines += [f"  {name}: {seconds}" for name, seconds in swaps["pair"].items()]
    lines += [f"  {key}: {swaps[key]}" for key in ("used_gib", "drift_of_cap", "left_of_cap")]
    tell(found, args, [*lines, str(found["machine"])])


if __name__ == "__main__":
    main()
