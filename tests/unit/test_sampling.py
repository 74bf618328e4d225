"""Choosing tokens: greedy, seeded, filtered, and the same in a batch as alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from localgpt.errors import InputError
from localgpt.sampling.tokens import (
    Choice,
    check_logit_bias,
    likelihood,
    new_generator,
    sample_token,
    sample_tokens,
    token_probs,
)
from localgpt.tasks.options import SamplingOptions, TokenBias


def choice(
    seed: int = 0, *, seen: tuple[int, ...] = (), banned: torch.Tensor | None = None, **options: Any
) -> Choice:
    values: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, **options}
    return Choice(options=SamplingOptions(**values), generator=new_generator(seed), seen=seen, banned=banned)


def some_logits(rows: int = 1, size: int = 50) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(1)) * 3


def test_temperature_zero_is_the_argmax_and_draws_nothing() -> None:
    logits = some_logits()[0]
    greedy = choice(temperature=0.0)
    before = greedy.generator.get_state()
    assert sample_token(logits, greedy) == int(logits.argmax())
    assert torch.equal(before, greedy.generator.get_state())


def test_a_seed_reproduces_and_seeds_differ() -> None:
    logits = some_logits()[0]

    def draws(seed: int) -> list[int]:
        row = choice(seed)
        return [sample_token(logits, row) for _ in range(20)]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)


def test_no_seed_means_a_fresh_one() -> None:
    assert new_generator(None).initial_seed() != new_generator(None).initial_seed()


def test_batched_equals_single() -> None:
    logits = some_logits(5)
    kinds = [
        {"temperature": 0.0},
        {"temperature": 0.5},
        {"top_k": 3},
        {"top_p": 0.4},
        {"temperature": 1.7, "top_k": 9},
    ]
    together = [choice(seed, **kind) for seed, kind in enumerate(kinds)]
    alone = [choice(seed, **kind) for seed, kind in enumerate(kinds)]
    for _ in range(10):
        assert sample_tokens(logits, together) == [
            sample_token(row, row_choice) for row, row_choice in zip(logits, alone, strict=True)
        ]


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    logits = torch.log(torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]))
    assert token_probs(logits, choice(top_k=2)).nonzero()[:, 0].tolist() == [0, 1]
    assert token_probs(logits, choice(top_p=0.6)).nonzero()[:, 0].tolist() == [0, 1]
    assert token_probs(logits, choice(top_p=0.01)).nonzero()[:, 0].tolist() == [0]
    assert torch.allclose(token_probs(logits, choice(top_k=2)), torch.tensor([4 / 7, 3 / 7, 0, 0, 0]))
    # top-p counts within what top-k left: 0.4 / 0.7 already passes 0.5.
    assert token_probs(logits, choice(top_k=2, top_p=0.5)).nonzero()[:, 0].tolist() == [0]


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([0.5, 0.25, 0.2, 0.05]))
    row = choice(7)
    counts = torch.bincount(torch.tensor([sample_token(logits, row) for _ in range(4000)]), minlength=4)
    assert torch.allclose(counts / 4000, token_probs(logits, choice()), atol=0.03)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_banned_tokens_never_come(temperature: float) -> None:
    logits = some_logits(1, 8)[0]
    banned = torch.ones(8, dtype=torch.bool)
    banned[int(logits.argmin())] = False
    assert sample_token(logits, choice(temperature=temperature, banned=banned)) == int(logits.argmin())


def test_repetition_penalty_counts_the_answers_own_tokens() -> None:
    logits = torch.tensor([2.0, 1.9, -1.0])
    assert sample_token(logits, choice(temperature=0.0, seen=(0,))) == 0
    assert sample_token(logits, choice(temperature=0.0, seen=(0,), repetition_penalty=1.1)) == 1
    assert logits.tolist() == pytest.approx([2.0, 1.9, -1.0])  # the caller's logits are left alone
    penalised = token_probs(logits, choice(seen=(2,), repetition_penalty=2.0))
    assert penalised[2] < token_probs(logits, choice())[2]


def test_frequency_counts_and_presence_does_not() -> None:
    """logit - count * frequency_penalty - [count > 0] * presence_penalty, as OpenAI defines them."""
    logits = torch.zeros(4)
    seen = (1, 2, 2, 2)
    probs = token_probs(logits, choice(seen=seen, frequency_penalty=0.5))
    assert torch.allclose(probs, torch.softmax(torch.tensor([0.0, -0.5, -1.5, 0.0]), dim=0))
    probs = token_probs(logits, choice(seen=seen, presence_penalty=2.0))
    assert torch.allclose(probs, torch.softmax(torch.tensor([0.0, -2.0, -2.0, 0.0]), dim=0))
    probs = token_probs(logits, choice(seen=seen, frequency_penalty=-1.0, presence_penalty=0.5))
    assert torch.allclose(probs, torch.softmax(torch.tensor([0.0, 0.5, 2.5, 0.0]), dim=0))
    assert torch.equal(logits, torch.zeros(4))
    assert torch.equal(
        token_probs(logits, choice(frequency_penalty=2.0)), token_probs(logits, choice())
    )  # nothing was said yet


def test_penalties_come_before_biases_and_bans_beat_both() -> None:
    logits = torch.tensor([4.0, 1.0, 1.0])
    bias = (
        TokenBias(token_id=0, bias=3.0),
        TokenBias(token_id=1, bias=-1.0),
        TokenBias(token_id=1, bias=-1.0),
    )
    probs = token_probs(
        logits, choice(seen=(0,), repetition_penalty=2.0, frequency_penalty=1.0, logit_bias=bias)
    )
    assert torch.allclose(probs, torch.softmax(torch.tensor([4 / 2 - 1 + 3, 1.0 - 2.0, 1.0]), dim=0))
    banned = torch.tensor([True, False, False])
    forced = (TokenBias(token_id=0, bias=100.0),)
    assert token_probs(logits, choice(banned=banned, logit_bias=forced))[0] == 0


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_bias_of_100_forces_and_of_minus_100_bans(temperature: float) -> None:
    logits = some_logits()[0]
    least, most = int(logits.argmin()), int(logits.argmax())
    forced = choice(temperature=temperature, logit_bias=(TokenBias(token_id=least, bias=100.0),))
    assert {sample_token(logits, forced) for _ in range(10)} == {least}
    banned = choice(temperature=temperature, logit_bias=(TokenBias(token_id=most, bias=-100.0),))
    assert most not in {sample_token(logits, banned) for _ in range(50)}


@pytest.mark.parametrize("token_id", [-1, 50])
def test_a_bias_outside_the_vocabulary_is_refused(token_id: int) -> None:
    check_logit_bias((TokenBias(token_id=0, bias=1.0), TokenBias(token_id=49, bias=1.0)), 50)
    with pytest.raises(InputError, match="from 0 to 49") as caught:
        check_logit_bias((TokenBias(token_id=0, bias=1.0), TokenBias(token_id=token_id, bias=1.0)), 50)
    assert caught.value.param == "logit_bias"


def test_likelihood_is_the_log_softmax_of_the_raw_logits() -> None:
    logits = torch.log(torch.tensor([0.5, 0.125, 0.25, 0.125])) + 7
    found = likelihood(logits, 3, num_top=2)
    assert found.token_id == 3
    assert found.logprob == pytest.approx(math.log(0.125))
    assert [token_id for token_id, _ in found.top] == [0, 2]
    assert [logprob for _, logprob in found.top] == pytest.approx([math.log(0.5), math.log(0.25)])
    assert likelihood(logits, 0, num_top=0).top == ()


def test_options_are_checked() -> None:
    with pytest.raises(InputError) as caught:
        SamplingOptions(repetition_penalty=0.5)
    assert caught.value.param == "repetition_penalty"
