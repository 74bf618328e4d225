"""The recogniser over a stream gives what it gives over the whole recording under the chunks' mask."""

from __future__ import annotations

import pytest
import torch

from localgpt.models.recognizer import Recognizer, RecognizerConfig

CONFIG = RecognizerConfig(
    num_units=12, num_mel_bins=8, n_layer=4, n_embd=16, n_head=2,
    n_ff=((24, 32), (8, 16), (24, 24), (16, 40)), kernel_size=5, chunk=4, num_left=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Recognizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Recognizer(CONFIG).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=torch.Generator().manual_seed(parameter.numel()))
    return network


def mel(num_frames: int, num_rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_rows, 8, num_frames, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_frames", [2, 8, 42, 80])
@torch.inference_mode()
def test_chunks_are_the_whole(network: Recognizer, num_frames: int) -> None:
    whole = mel(num_frames, 2)
    expected, _ = network(whole, chunk=CONFIG.chunk)
    state, pieces = network.new_state(2), []
    for piece in whole.split(2 * CONFIG.chunk, dim=2):
        logits, state = network.step(piece, state)
        pieces.append(logits)
    assert state.position == num_frames // 2
    assert torch.allclose(torch.cat(pieces, dim=1), expected, atol=1e-4)
    assert all(cache.keys.shape[2] <= CONFIG.chunk * CONFIG.num_left for cache in state.blocks)


@torch.inference_mode()
def test_without_chunks_later_sound_is_heard(network: Recognizer) -> None:
    whole, changed = mel(80), mel(80)
    changed[..., 60:] += 1.0
    early, other = (network(one)[0][:, :20] for one in (whole, changed))
    assert not torch.allclose(early, other, atol=1e-3)
    early, other = (network(one, chunk=CONFIG.chunk)[0][:, :20] for one in (whole, changed))
    assert torch.allclose(early, other, atol=1e-5)


@torch.inference_mode()
def test_padding_changes_nothing(network: Recognizer) -> None:
    short, long = mel(40, seed=1), mel(80, seed=2)
    padded = torch.cat([torch.nn.functional.pad(short, (0, 40), value=3.0), long])
    logits, first = network(padded, torch.tensor([20, 40]))
    assert torch.allclose(logits[:1, :20], network(short)[0], atol=1e-4)
    assert torch.allclose(logits[1:], network(long)[0], atol=1e-4)
    assert torch.allclose(first[1:], network(long)[1], atol=1e-4) and not torch.allclose(first, logits)


def test_the_config_is_kept_whole() -> None:
    import json

    told = json.loads(json.dumps(CONFIG.to_dict()))
    assert RecognizerConfig.from_dict({**told, "other": 1}) == CONFIG
