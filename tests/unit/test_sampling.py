"""Choosing tokens: greedy, seeded, filtered, and the same in a batch as alone."""

from __future__ import annotations

import pytest
import torch

from localgpt.errors import InputError
from localgpt.sampling.tokens import Choice, new_generator, sample_token, sample_tokens, token_probs
from localgpt.tasks.options import SamplingOptions


def choice(
    seed: int = 0, *, seen: tuple[int, ...] = (), banned: torch.Tensor | None = None, **options: float
) -> Choice:
    values = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, **options}
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


def test_options_are_checked() -> None:
    with pytest.raises(InputError) as caught:
        SamplingOptions(repetition_penalty=0.5)
    assert caught.value.param == "repetition_penalty"
