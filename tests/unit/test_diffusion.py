"""Flow matching: pictures are their seeds, guidance and leaps, and words that keep to their places."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from localgpt.errors import CancelledRequestError
from localgpt.media.text.prompts import clean_prompt, token_spans
from localgpt.models.encoder import TextEncoder
from localgpt.models.painter import Attending, direction
from localgpt.sampling.diffusion.binding import Binder, BindingOptions, Bound
from localgpt.sampling.diffusion.flow import Flow, Words, levels, noise_of, renoised
from localgpt.sampling.diffusion.places import read_places
from localgpt.sampling.diffusion.reading import read_prompt
from tests import tiny


def words_of(num: int, length: int = 3, seed: int = 0) -> Words:
    painter = tiny.make_painter()
    features = torch.randn(1, length, painter.config.n_feature, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return Words(*painter.read(features, torch.ones(1, length) > 0)).repeated(num)


def nothing(step: int, clean: Tensor) -> None:
    """Nobody watches."""


def flow_of(num: int, **values: object) -> Flow:
    painter = tiny.make_painter()
    return Flow(denoiser=painter, words=words_of(num), patch_size=painter.config.patch_size, **values)  # type: ignore[arg-type]


def noise(*seeds: int, side: int = 32) -> Tensor:
    return noise_of([torch.Generator().manual_seed(seed) for seed in seeds], side, torch.device("cpu"))


def test_levels_fall_from_noise_to_picture() -> None:
    assert levels(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    shifted = levels(4, shift=2.0)
    assert shifted[0] == 1.0 and shifted[-1] == 0.0
    assert all(more > even for more, even in zip(shifted[1:-1], levels(4)[1:-1], strict=True))
    assert levels(2, first=0.6, shift=3.0)[0] == pytest.approx(0.6)


def test_steps_follow_a_straight_line_to_its_end() -> None:
    """With a painter that always expects the same picture, any number of steps ends there."""
    picture = torch.rand(1, 3, 8, 8)

    def knows(*_: object) -> Tensor:
        return picture

    flow = Flow(denoiser=knows, words=words_of(1))
    for num in (1, 3, 10):
        torch.testing.assert_close(flow.run(noise(5, side=8), levels(num), nothing), picture)
    half = renoised(picture, noise(6, side=8), 0.5)
    velocity = direction(half, picture, torch.tensor([0.5]))
    torch.testing.assert_close(half - 0.5 * velocity, picture)


def test_a_batch_of_four_is_four_pictures() -> None:
    sigmas = levels(4)
    batch = flow_of(4).run(noise(1, 2, 3, 4), sigmas, nothing)
    for number in range(4):
        alone = flow_of(1).run(noise(number + 1), sigmas, nothing)
        torch.testing.assert_close(batch[number : number + 1], alone, atol=1e-4, rtol=1e-4)
    again = flow_of(4).run(noise(1, 2, 3, 4), sigmas, nothing)
    assert torch.equal(batch, again)


def test_guidance_leads_away_from_what_is_not_meant() -> None:
    sigmas = levels(2)
    plain = flow_of(1).run(noise(1), sigmas, nothing)
    other = words_of(1, length=5, seed=9)
    same = flow_of(1, against=other, guidance_scale=1.0).run(noise(1), sigmas, nothing)
    assert torch.equal(plain, same)
    guided = flow_of(1, against=other, guidance_scale=3.0)
    once = guided.expected(noise(1), 1.0, 1.0)
    said, against = (
        Flow(denoiser=guided.denoiser, words=words).expected(noise(1), 1.0, 1.0)
        for words in (guided.words, other)
    )
    torch.testing.assert_close(once, against + 3 * (said - against), atol=1e-4, rtol=1e-4)
    watched = guided.expected(noise(1), 1.0, 1.0, Attending(keeps_maps=True))  # one call after the other
    torch.testing.assert_close(watched, once, atol=1e-4, rtol=1e-4)


def test_leaps_ask_for_the_end_of_the_step() -> None:
    spans: list[float] = []
    painter = tiny.make_painter()

    def listens(pixels: Tensor, sigma: Tensor, span: Tensor, *rest: object) -> Tensor:
        spans.append(float(span[0]))
        return painter(pixels, sigma, span, *rest)  # type: ignore[no-any-return]

    for leaps in (False, True):
        Flow(denoiser=listens, words=words_of(1), leaps=leaps).run(noise(1), levels(2), nothing)
    assert spans == [0.0, 0.0, 0.5, 0.5]


def test_cancelling_ends_within_one_step() -> None:
    seen: list[int] = []

    def stops(step: int, clean: Tensor) -> None:
        seen.append(step)
        raise CancelledRequestError("enough")

    with pytest.raises(CancelledRequestError):
        flow_of(1).run(noise(1), levels(8), stops)
    assert seen == [1]


def test_bound_words_are_looked_for_in_their_places() -> None:
    things = (Bound((1,), (0.0, 0.0, 0.5, 1.0)), Bound((2,), (0.5, 0.0, 1.0, 1.0)))
    energies = []
    for options in (
        BindingOptions(bias=0.0, gradient=0.0),
        BindingOptions(bias=0.0, gradient=0.3, num_gradients=4, until=0.0),
        BindingOptions(bias=4.0, gradient=0.0, until=0.0),
    ):
        binder = Binder(things, options, keeps_maps=True)
        flow_of(1, guide=binder).run(noise(3), levels(3), nothing)
        maps = binder.maps(4)
        assert maps.shape == (1, 4, 4, 4)
        torch.testing.assert_close(maps.sum(dim=1), torch.ones(1, 4, 4))
        energies.append(float(binder.energy(maps.flatten(2).mT)))
        assert (binder.seconds > 0) == (options.gradient > 0)
    assert energies[1] < energies[0] and energies[2] < 0.5 * energies[0]


def test_a_judge_is_listened_to() -> None:
    asked: list[tuple[int, ...]] = []

    def likes_dark(clean: Tensor) -> Tensor:
        asked.append(tuple(clean.shape))
        return clean.mean(dim=(1, 2, 3)) * 1000

    means = []
    for judge in (None, likes_dark):
        options = BindingOptions(bias=0.0, gradient=0.5, until=0.0)
        binder = Binder((Bound((1,), (0.0, 0.0, 1.0, 1.0)),), options, judge=judge)
        means.append(float(flow_of(2, guide=binder).run(noise(3, 4), levels(2), nothing).mean()))
    assert means[1] < means[0] and asked == [(2, 3, 32, 32)] * 2


def test_a_place_has_its_share_of_the_grid() -> None:
    mask = Bound((1,), (0.25, 0.0, 1.0, 0.5)).mask(2, torch.device("cpu"))
    assert mask.tolist() == [0.5, 1.0, 0.0, 0.0]
    assert math.isclose(float(Bound((1,), (0, 0, 1, 1)).mask(5, torch.device("cpu")).sum()), 25.0)


LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
UP, DOWN = (0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("prompt", "placed"),
    [
        ("a red cube left of a blue ball", {"a red cube": LEFT, "a blue ball": RIGHT}),
        ("There is an apple to the right of a dog.", {"an apple": RIGHT, "a dog": LEFT}),
        ("a cat above a dog on a green background", {"a cat": UP, "a dog": DOWN}),
        ("A cat is below two dogs", {"A cat": DOWN, "two dogs": UP}),
        ("一个红色的苹果在一只狗的左边", {"一个红色的苹果": LEFT, "一只狗": RIGHT}),
        ("一只狗的上方有一只猫。", {"一只狗": DOWN, "一只猫": UP}),
        ("绿色背景上的一只猫在一只狗的右边", {"一只猫": RIGHT, "一只狗": LEFT}),
        ("图中有一只猫在狗的下面", {"一只猫": DOWN, "狗": UP}),
        (
            "a cat left of a dog and above a ball",
            {"a cat": (0.0, 0.0, 0.5, 0.5), "a dog": RIGHT, "a ball": DOWN},
        ),
        ("a red apple", {}),
        ("a cat left of", {}),
        ("", {}),
    ],
)
def test_places_are_read_from_words(prompt: str, placed: dict[str, tuple[float, ...]]) -> None:
    assert {prompt[one.start : one.end]: one.box for one in read_places(prompt)} == placed


@pytest.mark.parametrize("prompt", ["a cat, a dog and a ball from left to right", "从左到右是猫、狗和球"])
def test_rows_are_read(prompt: str) -> None:
    found = read_places(prompt)
    assert [round(one.box[0], 3) for one in found] == [0.0, 0.333, 0.667]
    assert len({prompt[one.start : one.end] for one in found}) == 3


def test_one_text_has_one_form() -> None:
    assert clean_prompt(" A red  apple.\n") == clean_prompt("a red apple") == "a red apple"
    assert clean_prompt("I see a cat!") == "i see a cat" and clean_prompt("T-shirt") == "T-shirt"
    assert clean_prompt("一只猫。") == "一只猫"


def test_tokens_know_their_characters() -> None:
    text = "a 猫 left of 狗"
    tokenizer = tiny.make_tokenizer()
    pieces = [tokenizer.piece(token) for token in tokenizer.encode(text)]
    spans = token_spans(pieces, text)
    assert len(spans) == len(pieces)
    assert spans[0][0] == 0 and spans[-1][1] == len(text)
    for piece, (start, end) in zip(pieces, spans, strict=True):
        assert piece in text[start:end].encode()


@pytest.mark.parametrize("num_tokens", [8, 16, 60])
def test_a_prompt_is_cut_where_tower_or_painter_end(num_tokens: int) -> None:
    painter, tokenizer = tiny.make_painter(), tiny.make_tokenizer()
    tower = TextEncoder(replace(tiny.ENCODER, text_context_len=num_tokens)).eval()
    prompt = read_prompt(painter, tower, tokenizer, "a cat left of a dog " * 8)
    kept = min(num_tokens, painter.config.text_len)
    assert len(prompt.spans) == kept and prompt.words.features.shape[1] == 1 + kept
    assert prompt.num_left_out > 0
    assert all(number <= kept for _, tokens in prompt.named() for number in tokens)
    assert read_prompt(painter, tower, tokenizer, " ").words.features.shape[1] == 1
