"""Decoder, encoder and projector as one module: built, filled, kept."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from localgpt.checkpoints import Family, FamilyInfo
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.models.projector import Projector, ProjectorConfig
from recipes.common import RunOptions
from recipes.places import place_table

__all__ = ["JointModel"]


class JointModel(nn.Module):
    """The three members that are tuned together.

    The projector's places start as sines and cosines of row and column, so that near places look alike and
    left and right differ in one direction everywhere; they are learned from there.
    """

    def __init__(self, decoder: DecoderConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        side = encoder.grid_size
        self.decoder = Decoder(decoder)
        self.decoder.init_weights()
        self.encoder = JointEncoder(encoder).to(memory_format=torch.channels_last)
        self.projector = Projector(
            ProjectorConfig(n_feature=encoder.n_feature, n_embd=decoder.n_embd, n_image_token=side * side)
        )
        with torch.no_grad():
            self.projector.positions.copy_(place_table(side, decoder.n_embd))

    def load_pretrained(self, options: RunOptions) -> None:
        """Weights from `options.init`, the projector's if it is there; waits for them where that is asked."""
        assert options.init is not None
        while options.wait_for_init and not (options.init / "ready").exists():
            time.sleep(0.2)
        state = load_file(options.init / "decoder.safetensors")
        self.decoder.load_state_dict({**state, "lm_head.weight": state["wte.weight"]})
        self.encoder.load_state_dict(load_file(options.init / "encoder.safetensors"))
        if (options.init / "projector.safetensors").exists():
            self.projector.load_state_dict(load_file(options.init / "projector.safetensors"))

    def save(self, folder: Path) -> None:
        """Write the three members and their configs; a reader never sees half of them."""
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        members = {"decoder": self.decoder, "encoder": self.encoder, "projector": self.projector}
        for name, member in members.items():
            state = {k: v.contiguous() for k, v in member.state_dict().items() if k != "lm_head.weight"}
            save_file(state, part / f"{name}.safetensors")
            (part / f"{name}.json").write_text(json.dumps(member.config.to_dict()), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)

    def as_family(self, tokenizer: Tokenizer) -> Family:
        """The members as the product holds them, to be asked while they learn."""
        info = FamilyInfo(id="training/joint", licence="unknown", created=0, path=Path())
        return Family(
            info=info, tokenizer=tokenizer, decoder=self.decoder, encoder=self.encoder,
            projector=self.projector,
        )  # fmt: skip
