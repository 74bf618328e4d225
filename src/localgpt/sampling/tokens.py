"""Choosing the next token by penalties, biases, bans, temperature and cuts; and telling how likely it was.

Notable:
- Rows of a batch are chosen one by one with their own generators, so a request's tokens do not depend on what
  else runs beside it, and one draw is used per token, so a seed reproduces an answer.
- Temperature 0 is greedy and uses no randomness.
- The order is that of the Hugging Face processors: repetition penalty, frequency and presence penalty, logit
  bias, bans, temperature, top-k, then top-p over what top-k left. So a ban beats any bias.
- Penalties count the answer's own tokens, never the prompt's: an answer should be free to use the words of
  its question.
- Log probabilities are those of the raw logits, before all of the above: what the model held, not what the
  caller made of it.

Shape legend: B batch, V vocabulary, U different tokens of an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from localgpt.errors import InputError
from localgpt.tasks.options import SamplingOptions, TokenBias

__all__ = [
    "Choice",
    "Likelihood",
    "check_logit_bias",
    "is_plain_greedy",
    "likelihood",
    "new_generator",
    "sample_token",
    "sample_tokens",
    "token_probs",
]


@dataclass(slots=True, kw_only=True)
class Choice:
    """What one row's next token depends on besides its logits."""

    options: SamplingOptions
    generator: torch.Generator  # on the CPU; advanced by one draw a token unless greedy
    seen: Sequence[int] = ()  # tokens of the answer so far, for the penalties
    banned: Tensor | None = None  # (V,) bool, True = never choose


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely the model held one token, and which ones it held likeliest."""

    token_id: int
    logprob: float  # natural logarithm
    top: tuple[tuple[int, float], ...]  # token ids and logprobs, likeliest first


def new_generator(seed: int | None) -> torch.Generator:
    """A CPU generator; None seeds it from the operating system."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
    return generator


def sample_token(logits: Tensor, choice: Choice) -> int:
    """Choose one token.

    Args:
        logits: (V,) floating point, any device; not changed.
        choice: options, generator, tokens so far, bans.

    Returns:
        The token id.
    """
    logits = _adjusted(logits, choice)
    if choice.options.temperature == 0:
        return int(logits.argmax())
    probs, token_ids = _candidates(logits, choice.options)
    draw = torch.rand(1, generator=choice.generator, dtype=torch.float64)
    cumulative = probs.double().cumsum(0)
    place = int(torch.searchsorted(cumulative, draw * cumulative[-1], right=True))
    return int(token_ids[min(place, len(token_ids) - 1)])


def is_plain_greedy(options: SamplingOptions) -> bool:
    """Whether the next token is the likeliest one that is not banned, whatever was said before."""
    has_penalty = options.frequency_penalty or options.presence_penalty
    is_plain = (options.repetition_penalty or 1.0) == 1.0 and not has_penalty and not options.logit_bias
    return options.temperature == 0 and is_plain


def sample_tokens(logits: Tensor, choices: Sequence[Choice]) -> list[int]:
    """Choose one token for each row of (B, V) logits; row b is `sample_token(logits[b], choices[b])`."""
    return [sample_token(row, choice) for row, choice in zip(logits, choices, strict=True)]


def token_probs(logits: Tensor, choice: Choice) -> Tensor:
    """The (V,) float32 distribution `sample_token` draws from, on the CPU; greedy is all on one token."""
    logits = _adjusted(logits, choice)
    full = torch.zeros(logits.shape[0], dtype=torch.float32)
    if choice.options.temperature == 0:
        full[int(logits.argmax())] = 1.0
        return full
    probs, token_ids = _candidates(logits, choice.options)
    full[token_ids] = probs / probs.sum()
    return full


def likelihood(logits: Tensor, token_id: int, *, num_top: int) -> Likelihood:
    """How likely (V,) raw logits make a token, beside the `num_top` likeliest ones."""
    logprobs = torch.log_softmax(logits.float(), dim=0)
    values, token_ids = logprobs.topk(num_top)
    top = tuple(zip(token_ids.tolist(), values.tolist(), strict=True))
    return Likelihood(token_id, float(logprobs[token_id]), top)


def check_logit_bias(biases: Sequence[TokenBias], vocab_size: int) -> None:
    """Refuse a bias on a token that is not there.

    Raises:
        InputError: a token id is outside the vocabulary; `param` is "logit_bias".
    """
    for bias in biases:
        if not 0 <= bias.token_id < vocab_size:
            raise InputError(
                f"logit_bias names token {bias.token_id}, expected one from 0 to {vocab_size - 1}, which is "
                "the model's vocabulary",
                param="logit_bias",
            )


def _adjusted(logits: Tensor, choice: Choice) -> Tensor:
    """Logits (V,) float32 after penalties, biases and bans."""
    logits = _penalised(logits.float(), choice)
    if biases := choice.options.logit_bias:
        token_ids = torch.tensor([bias.token_id for bias in biases], device=logits.device)
        values = torch.tensor([bias.bias for bias in biases], dtype=logits.dtype, device=logits.device)
        logits = logits.index_add(0, token_ids, values)
    if choice.banned is not None:
        logits = logits.masked_fill(choice.banned, float("-inf"))
    return logits


def _penalised(logits: Tensor, choice: Choice) -> Tensor:
    """Logits (V,) float32 after the three penalties."""
    options = choice.options
    repetition = options.repetition_penalty or 1.0
    has_penalty = repetition != 1.0 or options.frequency_penalty or options.presence_penalty
    if not has_penalty or not choice.seen:
        return logits
    said = Counter(choice.seen)
    seen = torch.tensor(list(said), device=logits.device)  # (U,)
    counts = torch.tensor(list(said.values()), device=logits.device)  # (U,)
    values = logits[seen]
    if repetition != 1.0:
        # CTRL, Keskar et al. 2019, arXiv:1909.05858, section 4.1. Differs: only tokens of the answer count.
        values = torch.where(values > 0, values / repetition, values * repetition)
    values = values - counts * options.frequency_penalty - options.presence_penalty
    return logits.index_copy(0, seen, values)


def _candidates(logits: Tensor, options: SamplingOptions) -> tuple[Tensor, Tensor]:
    """Probabilities (K,) in falling order, not renormalised after top-p, and their token ids (K,)."""
    num = min(options.top_k, logits.shape[0]) if options.top_k else logits.shape[0]
    values, token_ids = logits.topk(num)
    values, token_ids = values.cpu(), token_ids.cpu()
    probs = torch.softmax((values - values[0]) / options.temperature, dim=0)
    if options.top_p < 1.0:
        before = probs.cumsum(0) - probs  # mass of all likelier tokens
        num_kept = max(1, int((before < options.top_p).sum()))
        probs, token_ids = probs[:num_kept], token_ids[:num_kept]
    return probs, token_ids
