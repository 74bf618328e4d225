"""The painter's network and the upsampler: any size, words that matter, fast path and plain one agree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from localgpt.models.encoder import TextEncoder
from localgpt.models.painter import Attending, Painter, PainterConfig, Upsampler
from localgpt.sampling.diffusion.enlarging import enlarge
from tests import tiny


@pytest.fixture(scope="module")
def painter() -> Painter:
    return tiny.make_painter()


def asked(painter: Painter, **values: Tensor) -> Tensor:
    torch.manual_seed(0)
    config = painter.config
    features = values.pop("features", torch.randn(2, 5, config.n_feature))
    words = painter.read(features, torch.ones(2, 5, dtype=torch.bool))
    side = values.pop("side", torch.tensor(config.size))
    given = {
        "pixels": torch.randn(2, 3, int(side), int(side), generator=torch.Generator().manual_seed(1)),
        "sigma": torch.tensor([0.5, 1.0]),
        "span": torch.zeros(2),
    }
    with torch.no_grad():
        return painter(*(given | values).values(), *words)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_it_paints_at_any_size_of_whole_patches(painter: Painter, side: int) -> None:
    assert asked(painter, side=torch.tensor(side)).shape == (2, 3, side, side)


def test_words_level_and_span_matter(painter: Painter) -> None:
    plain = asked(painter)
    for values in (
        {"features": torch.ones(2, 5, painter.config.n_feature)},
        {"sigma": torch.tensor([0.4, 0.9])},
        {"span": torch.tensor([0.5, 0.5])},
    ):
        assert (asked(painter, **values) - plain).abs().max() > 1e-3


def test_words_that_are_not_there_do_not_matter(painter: Painter) -> None:
    features = torch.randn(1, 6, painter.config.n_feature)
    is_word = torch.tensor([[True, True, False, False, False, False]])
    words, is_there = painter.read(features, is_word)
    again = painter.read(features[:, :2], is_word[:, :2])
    assert is_there.tolist() == [[True, True, True, False, False, False, False]]
    pixels, level = torch.randn(1, 3, 32, 32), torch.ones(1)
    with torch.no_grad():
        first = painter(pixels, level, level * 0, words, is_there)
        second = painter(pixels, level, level * 0, *again)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_the_plain_path_of_attention_gives_the_same_and_its_maps(painter: Painter) -> None:
    words, is_there = painter.read(torch.randn(2, 3, painter.config.n_feature), torch.ones(2, 3) > 0)
    pixels, level = torch.randn(2, 3, 32, 32), torch.full((2,), 0.7)
    attending = Attending(keeps_maps=True)
    with torch.no_grad():
        plain = painter(pixels, level, level * 0, words, is_there, attending)
        fast = painter(pixels, level, level * 0, words, is_there)
    torch.testing.assert_close(plain, fast, atol=1e-5, rtol=1e-4)
    assert len(attending.maps) == painter.config.n_layer
    for found in attending.maps:
        assert found.shape == (2, 16, 4)
        torch.testing.assert_close(found.sum(dim=2), torch.ones(2, 16))


def test_told_attention_looks_elsewhere(painter: Painter) -> None:
    words, is_there = painter.read(torch.randn(1, 3, painter.config.n_feature), torch.ones(1, 3) > 0)
    pixels, level = torch.randn(1, 3, 32, 32), torch.ones(1)
    bias = torch.zeros(1, 16, 4)
    bias[:, :8, 1] = 6.0
    shares = []
    for told in (None, bias):
        attending = Attending(bias=told, keeps_maps=True)
        with torch.no_grad():
            painter(pixels, level, level * 0, words, is_there, attending)
        shares.append(torch.stack(attending.maps).mean(dim=0)[0, :8, 1].mean())
    assert shares[1] > shares[0] + 0.2


def test_a_token_is_read_with_its_place_and_meaning() -> None:
    tower = TextEncoder(tiny.ENCODER).eval()
    ids, lengths = torch.tensor([[5, 6, 7, 0], [5, 6, 0, 0]]), torch.tensor([3, 2])
    with torch.no_grad():
        features = tower.token_features(ids, lengths)
        shorter = tower.token_features(ids[1:, :2], lengths[1:])
    assert features.shape == (2, 4, 2 * tiny.ENCODER.n_text_embd)
    assert features[0, 3].abs().max() == 0 and features[1, 2:].abs().max() == 0
    torch.testing.assert_close(features[1:, :2], shorter)


def test_tiles_enlarge_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    upsampler = tiny.make_upsampler()
    pixels = torch.rand(1, 3, 56, 56) * 2 - 1
    with torch.no_grad():
        whole = upsampler(pixels).clamp(-1, 1)
    parts: list[int] = []
    monkeypatch.setattr("localgpt.sampling.diffusion.enlarging.TILE", 20)
    tiled = enlarge(upsampler, pixels, 112, before_tile=lambda: parts.append(1))
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    assert len(parts) == 9
    assert enlarge(upsampler, pixels, 150).shape == (1, 3, 150, 150)
    assert enlarge(upsampler, pixels, 40).shape == (1, 3, 40, 40)


def test_the_margin_of_a_tile_is_all_that_counts() -> None:
    upsampler = Upsampler(PainterConfig())
    for parameter in upsampler.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    pixels = torch.rand(1, 3, 64, 64)
    changed = pixels.clone()
    changed[..., 0] += 1.0
    with torch.no_grad():
        moved = (upsampler(changed) - upsampler(pixels)).abs().amax(dim=(0, 1, 2)) > 0
    assert int(moved.nonzero().max()) < 2 * (Upsampler.margin + 1)


def test_the_embedded_size_fits_its_share_of_the_family() -> None:
    config = PainterConfig()
    with torch.device("meta"):
        parts = (Painter(config), Upsampler(config))
    assert sum(p.numel() for part in parts for p in part.parameters()) < 55_000_000  # int8: a byte each
    assert PainterConfig.from_dict({**config.to_dict(), "other": 1}) == config
