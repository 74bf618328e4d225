"""Speech in pieces beside speech as a whole, and our way through a VITS network beside transformers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from localgpt.sampling.voice import (
    Pace,
    VoiceFrames,
    decode_pieces,
    frame_reach,
    make_frames,
    samples_per_frame,
)

SHAPES = {
    "ours": {
        "upsample_rates": (8, 8, 4, 2),
        "upsample_kernel_sizes": (16, 16, 8, 4),
        "resblock_kernel_sizes": (3, 7),
        "resblock_dilation_sizes": ((1, 3), (1, 3)),
    },
    "mms": {"upsample_rates": (8, 8, 2, 2), "upsample_kernel_sizes": (16, 16, 4, 4)},
    "odd": {"upsample_rates": (4, 3), "upsample_kernel_sizes": (9, 6)},
}


def make_network(shape: str = "mms", **more: Any) -> Any:
    from transformers import VitsConfig, VitsModel

    torch.manual_seed(0)
    config = VitsConfig(
        **{
            "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "ffn_dim": 16, "flow_size": 16, "upsample_initial_channel": 64, "prior_encoder_num_flows": 2,
            "prior_encoder_num_wavenet_layers": 1, "posterior_encoder_num_wavenet_layers": 1,
            "duration_predictor_num_flows": 2, "sampling_rate": 8000, "num_speakers": 2,
            "speaker_embedding_size": 8, "spectrogram_bins": 9, **SHAPES[shape], **more,
        }
    )  # fmt: skip
    network = VitsModel(config).eval()
    with torch.no_grad():
        for parameter in network.decoder.parameters():
            parameter.mul_(3.0)  # so that neighbours are heard
    return network


@torch.inference_mode()
@pytest.mark.parametrize("shape", list(SHAPES))
def test_pieces_are_the_whole(shape: str) -> None:
    network = make_network(shape)
    frames = VoiceFrames(latents=torch.randn(1, 16, 71), speaker=torch.randn(1, 8, 1))
    whole = network.decoder(frames.latents, frames.speaker)[0, 0]
    pieces = list(decode_pieces(network, frames, Pace(first_s=0.1, longest_s=0.5)))
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-5)
    assert whole.abs().max() > 0.1
    if shape == "odd":
        assert len(pieces) == 1  # its samples are at no frame's place
        return
    assert len(pieces) > 1 and len(whole) == 71 * samples_per_frame(network.config)
    assert len(pieces[0]) == round(0.1 * 8000 / samples_per_frame(network.config)) * samples_per_frame(
        network.config
    )


@torch.inference_mode()
def test_what_is_out_of_reach_is_not_heard() -> None:
    """The reach is enough, and not much more than that."""
    network = make_network("ours")
    latents = torch.randn(1, 16, 60)
    hop, reach = samples_per_frame(network.config), frame_reach(network.config)
    changed = latents.clone()
    changed[..., 30] += 5.0
    moved = (network.decoder(latents)[0, 0] - network.decoder(changed)[0, 0]).abs() > 1e-6
    touched = moved.nonzero()[:, 0] // hop
    assert 30 - reach <= int(touched.min()) and int(touched.max()) <= 30 + reach
    assert int(touched.max()) >= 30 + reach - 4


@torch.inference_mode()
@pytest.mark.parametrize("stochastic", [True, False])
@pytest.mark.parametrize("speaker_id", [None, 1])
def test_frames_are_those_of_transformers(stochastic: bool, speaker_id: int | None) -> None:
    more = {} if speaker_id is not None else {"num_speakers": 1, "speaker_embedding_size": 0}
    network = make_network(use_stochastic_duration_prediction=stochastic, **more)
    ids = torch.tensor([[0, 3, 0, 7, 0, 9, 0, 20, 0]])
    for speed in (1.0, 0.5):
        network.speaking_rate = network.config.speaking_rate * speed
        torch.manual_seed(5)
        theirs = network(ids, speaker_id=speaker_id)
        torch.manual_seed(5)
        frames = make_frames(network, ids, speaker_id=speaker_id, speed=speed)
        assert torch.allclose(frames.latents, theirs.spectrogram, atol=1e-6)
        ours = torch.cat(list(decode_pieces(network, frames)))
        assert torch.allclose(ours, theirs.waveform[0], atol=1e-5)
