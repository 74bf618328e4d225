"""Whisper's network in our hands: a window of sound to tokens, their probabilities, and when they are said.

Differences from transformers' `generate`, which the tests compare with: a window may be shorter than the 30
seconds the network was trained on (`encode`), any token can be the last, and all probabilities are kept.

Shape legend: M mel bins, F frames of 10 ms, C width, V vocabulary, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localgpt.errors import CancelledRequestError
from localgpt.runtime.open.cache import cache_argument
from localgpt.runtime.open.listen_tokens import ListenTokens

__all__ = ["Decoded", "align", "decode_window", "detect_language", "encode"]

_FIRST_BY: Final = 50  # timestamps: what is said first begins within a second
_MEDIAN: Final = 7  # frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What was written of a window."""

    token_ids: tuple[int, ...]  # timestamps included, without the end
    logprobs: tuple[float, ...]
    avg_logprob: float  # of the tokens and the end
    no_speech_prob: float


def encode(network: Any, mel: Tensor) -> Tensor:
    """A window's features; the network's own encoder takes full windows alone.

    Args:
        network: WhisperForConditionalGeneration.
        mel: (1, M, F), F even and at most that of a full window.

    Returns:
        (1, F / 2, C).
    """
    encoder = network.model.encoder
    gelu = torch.nn.functional.gelu
    hidden = gelu(encoder.conv2(gelu(encoder.conv1(mel)))).permute(0, 2, 1)  # (1, F / 2, C)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    features: Tensor = encoder.layer_norm(hidden)
    return features


def detect_language(network: Any, features: Tensor, tokens: ListenTokens) -> str | None:
    """The likeliest language of a window; None where the network knows one alone."""
    if not tokens.languages:
        return None
    logits = _Steps(network, features).logits([tokens.start])[-1]
    ids = list(tokens.languages.values())
    return list(tokens.languages)[int(logits[ids].argmax())]


def decode_window(
    network: Any,
    features: Tensor,
    tokens: ListenTokens,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Decoded:
    """Write down a window.

    Args:
        network: WhisperForConditionalGeneration.
        features: (1, F / 2, C) of `encode`.
        tokens: of the checkpoint.
        prompt: tokens before the transcript, its head last.
        max_tokens: most tokens that are written.
        temperature: 0 for the likeliest tokens.
        generator: of a temperature above 0; on the CPU.
        is_cancelled: asked before each token.

    Raises:
        CancelledRequestError: nobody waits any more.
    """
    steps = _Steps(network, features)
    with_timestamps = prompt[-1] != tokens.no_timestamps
    logits = steps.logits(prompt)
    at_start = torch.softmax(logits[list(prompt).index(tokens.start)], dim=-1)
    written: list[int] = []
    logprobs: list[float] = []
    row, end_logprob = logits[-1], 0.0
    while True:
        if is_cancelled():
            raise CancelledRequestError("listening was cancelled")
        allowed = _allowed(row.clone(), written, tokens, with_timestamps=with_timestamps)
        scores = torch.log_softmax(allowed, dim=-1)
        if temperature > 0.0:
            probs = torch.softmax(allowed / temperature, dim=-1)
            token = int(torch.multinomial(probs, 1, generator=generator))
        else:
            token = int(scores.argmax())
        if token == tokens.end or len(written) >= max_tokens:
            end_logprob = float(scores[tokens.end]) if token == tokens.end else 0.0
            break
        written.append(token)
        logprobs.append(float(scores[token]))
        row = steps.logits([token])[-1]
    return Decoded(
        token_ids=tuple(written),
        logprobs=tuple(logprobs),
        avg_logprob=(sum(logprobs) + end_logprob) / (len(written) + 1),
        no_speech_prob=float(at_start[tokens.no_speech]),
    )


def align(
    network: Any, features: Tensor, tokens: ListenTokens, head: Sequence[int], text_ids: Sequence[int]
) -> NDArray[np.int64]:
    """When each token of a text is said, by dynamic time warping over the cross attention.

    Args:
        network: WhisperForConditionalGeneration.
        features: (1, F / 2, C) of the window.
        tokens: of the checkpoint.
        head: tokens before the text, without timestamps.
        text_ids: T tokens of text.

    Returns:
        (T + 1,) the frame of 20 ms at which each token begins, and the last one ends.
    """
    ids = [*head, *text_ids, tokens.end]
    weights = _cross_attention(network, features, ids)  # (heads, len(ids), F / 2)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = _median((weights - mean) / std.clamp_min(1e-6))
    cost = -weights.mean(dim=0)[len(head) : -1]  # (T, F / 2)
    text_at, frame_at = _warp(cost.double().numpy())
    starts = np.flatnonzero(np.diff(text_at, prepend=-1))
    return np.append(frame_at[starts], frame_at[-1] + 1)


class _Steps:
    """The decoder, fed token by token.

    Args:
        network: WhisperForConditionalGeneration.
        features: (1, F / 2, C).
    """

    def __init__(self, network: Any, features: Tensor) -> None:
        self._network, self._features = network, features
        self._cache: Any = None
        self._cache_name = cache_argument(network.model.decoder)

    def logits(self, token_ids: Sequence[int]) -> Tensor:
        """(T, V) float32 on the CPU, of the next T tokens."""
        decoder = self._network.model.decoder
        out = decoder(
            input_ids=torch.tensor([list(token_ids)], device=self._features.device),
            encoder_hidden_states=self._features,
            use_cache=True,
            **({} if self._cache is None else {self._cache_name: self._cache}),
        )
        self._cache = getattr(out, self._cache_name)
        logits: Tensor = self._network.proj_out(out.last_hidden_state)[0].float().cpu()
        return logits


def _allowed(row: Tensor, written: Sequence[int], tokens: ListenTokens, *, with_timestamps: bool) -> Tensor:
    """Logits (V,) with what must not come next at minus infinity; changes `row`."""
    never = -torch.inf
    row[list(tokens.never)] = never
    row[tokens.no_timestamps] = never
    if not written:
        row[list(tokens.never_first)] = never
    first = tokens.first_timestamp
    if not with_timestamps:
        row[first:] = never
        return row
    times = [token for token in written if token >= first]
    was_time = bool(written) and written[-1] >= first
    is_closed = was_time and len(written) >= 2 and written[-2] < first
    if is_closed:
        row[: tokens.end] = never  # a text ended: the next one begins, or all ends
    elif was_time:
        row[first:] = never  # a text begins
    if times:  # time does not go back, and a text takes some
        row[first : times[-1] + (0 if is_closed else 1)] = never
    if not written:
        row[:first] = never
        row[first + _FIRST_BY + 1 :] = never
    scores = torch.log_softmax(row, dim=-1)
    if scores[first:].logsumexp(dim=-1) > scores[:first].max():
        row[:first] = never
    return row


def _cross_attention(network: Any, features: Tensor, token_ids: Sequence[int]) -> Tensor:
    """(heads, T, F / 2) float32 on the CPU: weights of the heads that follow what is said."""
    heads = _heads_of(network)
    decoder = network.model.decoder
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            found[layer] = output[1]

        return hook

    layers = {layer for layer, _ in heads}
    hooks = [decoder.layers[layer].encoder_attn.register_forward_hook(keep(layer)) for layer in layers]
    was = network.config._attn_implementation
    network.set_attn_implementation("eager")  # the only one that tells its weights
    try:
        decoder(
            input_ids=torch.tensor([list(token_ids)], device=features.device),
            encoder_hidden_states=features,
            use_cache=False,
        )
    finally:
        network.set_attn_implementation(was)
        for hook in hooks:
            hook.remove()
    return torch.stack([found[layer][0, head] for layer, head in heads]).float().cpu()


def _heads_of(network: Any) -> list[tuple[int, int]]:
    """Layer and head, as the checkpoint says, else all of the upper half."""
    told = getattr(network.generation_config, "alignment_heads", None)
    if told:
        return [(int(layer), int(head)) for layer, head in told]
    num = network.config.decoder_layers
    return [
        (layer, head)
        for layer in range(num // 2, num)
        for head in range(network.config.decoder_attention_heads)
    ]


def _median(weights: Tensor) -> Tensor:
    """The median of `_MEDIAN` frames around each."""
    around = _MEDIAN // 2
    if weights.shape[-1] <= around:
        return weights
    padded = torch.nn.functional.pad(weights, (around, around), mode="reflect")
    return padded.unfold(-1, _MEDIAN, 1).median(dim=-1).values


def _warp(cost: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest way from the first row and column of (T, F) to the last, one step in either or both."""
    num_rows, num_columns = cost.shape
    total = np.full((num_rows + 1, num_columns + 1), np.inf)
    total[0, 0] = 0.0
    for row in range(1, num_rows + 1):
        above, here, costs = total[row - 1].tolist(), [np.inf], cost[row - 1].tolist()
        for column in range(1, num_columns + 1):
            best = min(above[column - 1], above[column], here[column - 1])
            here.append(best + costs[column - 1])
        total[row] = here
    row, column = num_rows, num_columns
    path = [(row - 1, column - 1)]
    while row > 1 or column > 1:
        steps = ((row - 1, column - 1), (row - 1, column), (row, column - 1))
        row, column = min(steps, key=lambda step: total[step])
        path.append((row - 1, column - 1))
    rows, columns = zip(*reversed(path), strict=True)
    return np.array(rows), np.array(columns)
