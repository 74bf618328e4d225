"""Checkpoints as transformers writes them come over as they are, and are read from where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    VitsConfig,
    VitsModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from tests.hub.conftest import PullNow
from tests.hub.hub_server import HubServer, Repo


def make_llama() -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=64,
        )
    )


def make_whisper() -> PreTrainedModel:
    return WhisperForConditionalGeneration(
        WhisperConfig(
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            d_model=16,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            vocab_size=64,
            num_mel_bins=8,
            max_source_positions=50,
            pad_token_id=1,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
        )
    )


def make_vits() -> PreTrainedModel:
    return VitsModel(
        VitsConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=32,
            vocab_size=38,
            flow_size=16,
            spectrogram_bins=17,
            upsample_initial_channel=32,
            prior_encoder_num_flows=1,
            posterior_encoder_num_wavenet_layers=1,
        )
    )


@pytest.mark.parametrize("make", [make_llama, make_whisper, make_vits])
def test_a_checkpoint_of_transformers(
    hub: HubServer, pull_now: PullNow, tmp_path: Path, make: Callable[[], PreTrainedModel]
) -> None:
    torch.manual_seed(0)
    model = make().eval()
    model.save_pretrained(tmp_path / "made", max_shard_size="20KB")
    files = {path.name: path.read_bytes() for path in sorted((tmp_path / "made").iterdir())}
    hub.repos["maker/true"] = Repo(files)
    pulled = pull_now("maker/true")
    assert {file.path for file in pulled.manifest.files} == set(files)
    again = type(model).from_pretrained(pulled.folder, local_files_only=True, use_safetensors=True)
    for (name, one), (_, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name
