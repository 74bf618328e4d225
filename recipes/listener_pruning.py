"""Structured pruning of a recogniser's feed-forward layers: whole hidden units go, the rest learns on.

A unit counts by how loud it is on training speech and by what its output weighs: the mean of |activation|
times the norm of its column in the second matrix (after Sun et al. 2023, arXiv:2306.11695, here for whole
units). Units are ranked across all layers after each layer's scores were divided by their mean, and every
layer keeps a quarter at least.

`listener_prune` takes the `latest/` of `listener` as `init`, prunes, goes on learning for a few minutes, and
its record has size and errors before, right after, and at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from localgpt.errors import ConfigError
from localgpt.models.recognizer import Recognizer, RecognizerConfig
from recipes.common import RunLog, RunOptions
from recipes.listener import ListenerRun, ListenerTraining, load_listener

__all__ = ["keep_units", "prune_feed_forward", "prune_listener", "unit_scores"]

KEEP = 0.7  # of all hidden units
_STEP = 32  # hidden units of a layer are a multiple of this, which kernels like
_LEAST_SHARE = 0.25
_NUM_BATCHES = 24
_MINUTES = 5.0
_PEAK = 0.4  # of the learning rate of training


def prune_listener(options: RunOptions) -> dict[str, Any]:
    """Prune and go on learning; see the module docstring.

    Raises:
        ConfigError: `init` does not name what `listener` left.
    """
    if options.init is None or not (options.init / "listener.safetensors").is_file():
        raise ConfigError("listener_prune goes on from a trained listener: pass its latest folder as --init")
    run = ListenerRun.of_size(options.size)
    run = replace(run, easy_steps=0, lr=run.lr * _PEAK * options.peak)
    log = RunLog(options, "listener_prune")
    torch.set_float32_matmul_precision("high")
    trained = load_listener(options.init, options.device)
    before = ListenerTraining(options, replace(run, config=trained.config), trained)
    table = {"before": _row(before)}
    log.write(**table)
    scores = unit_scores(before, num_batches=_NUM_BATCHES if options.size == "full" else 2)
    pruned = prune_feed_forward(trained, scores, KEEP)
    del before  # its samples leave the device
    training = ListenerTraining(options, replace(run, config=pruned.config), pruned)
    table["pruned"] = _row(training)
    log.write(**{"pruned": table["pruned"]})
    figures = training.go(options.budget(_MINUTES), log)
    table["after"] = _row(training)
    figures |= {"steps": training.step, "hours": training.pool.describe()}
    figures |= {"n_ff": pruned.config.sizes_ff, "table": table}
    log.finish(**figures)
    return figures


def unit_scores(training: ListenerTraining, *, num_batches: int) -> list[Tensor]:
    """How much each hidden unit counts, for each feed-forward layer in order: (n_ff,) each, mean 1."""
    layers = _layers(training.network)
    sums = [torch.zeros(layer.proj.weight.shape[1], device=layer.proj.weight.device) for layer in layers]
    training.network.eval()
    with torch.no_grad(), _watched(layers, sums):
        for _ in range(num_batches):
            batch = training.pool.draw(training.rng, is_easy=True).to(training.options.device)
            training.losses(batch, training.pool, is_easy=True)
    training.network.train()
    scores = [
        total * layer.proj.weight.detach().norm(dim=0) for total, layer in zip(sums, layers, strict=True)
    ]
    return [(score / score.mean().clamp(min=1e-12)).cpu() for score in scores]


@contextmanager
def _watched(layers: list[Any], sums: list[Tensor]) -> Iterator[None]:
    """Add up how loud each hidden unit is while the network runs."""

    def watch(total: Tensor) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            total.add_(inputs[0].detach().float().abs().flatten(0, -2).mean(dim=0))

        return add

    hooks = [
        layer.proj.register_forward_pre_hook(watch(total)) for layer, total in zip(layers, sums, strict=True)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def keep_units(scores: list[Tensor], keep: float) -> list[Tensor]:
    """Which units stay in each layer, in their order: about `keep` of all, by score.

    Args:
        scores: of each layer's units.
        keep: share of all, above 0 to 1.
    """
    least = torch.cat(scores).sort(descending=True).values
    threshold = least[min(len(least) - 1, round(keep * len(least)))]
    kept = []
    for score in scores:
        num = max(int((score > threshold).sum()), round(_LEAST_SHARE * len(score)))
        step = min(_STEP, len(score))
        num = min(len(score), max(step, round(num / step) * step))
        kept.append(score.topk(num).indices.sort().values)
    return kept


def prune_feed_forward(network: Recognizer, scores: list[Tensor], keep: float) -> Recognizer:
    """A recogniser with the same weights but for the hidden units that count least.

    Args:
        network: stays as it is.
        scores: of `unit_scores`.
        keep: share of all hidden units, above 0 to 1.
    """
    kept = keep_units(scores, keep)
    sizes = [len(units) for units in kept]
    n_ff = tuple(zip(sizes[::2], sizes[1::2], strict=True))
    config: RecognizerConfig = replace(network.config, n_ff=n_ff)
    pruned = Recognizer(config)
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    names = [name for name, module in network.named_modules() if name.endswith((".ff_1", ".ff_2"))]
    for name, units in zip(names, kept, strict=True):
        state[f"{name}.fc.weight"] = state[f"{name}.fc.weight"][units]
        state[f"{name}.proj.weight"] = state[f"{name}.proj.weight"][:, units]
    pruned.load_state_dict(state)
    return pruned


def _layers(network: Recognizer) -> list[Any]:
    return [module for name, module in network.named_modules() if name.endswith((".ff_1", ".ff_2"))]


def _row(training: ListenerTraining) -> dict[str, float]:
    """Parameters, bytes in int8, and errors of held-out sets."""
    parameters = list(training.network.parameters())
    matrices = sum(p.numel() for p in parameters if p.dim() >= 2)
    others = sum(p.numel() for p in parameters) - matrices
    size = {"num_params": matrices + others, "int8_mb": round((matrices + 2 * others) / 1e6, 2)}
    return size | training.dev_errors()
