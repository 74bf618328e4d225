"""A tiny family of random models, made in a moment: the real classes at toy sizes."""

from __future__ import annotations

import io
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from PIL import Image

from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import VOCAB_SIZE
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.models.encoder import EncoderConfig, JointEncoder
from localgpt.models.painter import Painter, PainterConfig, Upsampler
from localgpt.models.projector import Projector, ProjectorConfig
from recipes.tokenizer import train_tokenizer

M = TypeVar("M", bound=torch.nn.Module)

TEXTS = (
    "The capital of France is Paris. Who are you? I am LocalGPT. Describe this picture. What is this?",
    "法国的首都是巴黎。你是谁？我是一个本地的助手。描述这张图片。这是什么？",
    "a dog runs on the green grass, two red apples, 12 + 34 = 46",
)

DECODER = DecoderConfig(vocab_size=VOCAB_SIZE, n_layer=2, n_embd=32, n_head=4, context_len=128)
ENCODER = EncoderConfig(
    image_size=64, stage_blocks=(1, 1, 1, 1), stem_width=8, embed_dim=16, n_pool_head=2,
    n_token_embd=8, n_text_embd=16, n_text_layer=1, n_text_head=2, text_context_len=16,
)  # fmt: skip
PROJECTOR = ProjectorConfig(
    n_feature=ENCODER.n_feature, n_embd=DECODER.n_embd, n_image_token=ENCODER.grid_size**2
)

PAINTER = PainterConfig(
    size=64, patch_size=8, n_patch_embd=8, n_embd=32, n_layer=2, n_head=2, n_smooth=4,
    n_feature=2 * ENCODER.n_text_embd, n_text_embd=16, n_text_layer=1, n_text_head=2, text_len=16,
    n_upsampler=8, n_upsampler_block=1,
)  # fmt: skip


@cache
def make_tokenizer() -> Tokenizer:
    """A tokenizer of a few hundred pieces; the same object every time."""
    return train_tokenizer(iter(TEXTS * 5))


def make_decoder(seed: int = 0, config: DecoderConfig = DECODER) -> Decoder:
    """A decoder with large random weights, so that its greedy answers vary with the prompt."""
    return _randomised(Decoder(config), seed, std=0.3)


def make_encoder(seed: int = 1) -> JointEncoder:
    """An encoder with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return JointEncoder(ENCODER).eval()


def make_projector(seed: int = 2) -> Projector:
    """A projector with random weights."""
    return _randomised(Projector(PROJECTOR), seed, std=0.3)


def make_painter(seed: int = 3) -> Painter:
    """A painter with random weights, without gradients."""
    return _randomised(Painter(PAINTER), seed, std=0.15).requires_grad_(False)


def make_upsampler(seed: int = 4) -> Upsampler:
    """An upsampler with random weights, without gradients."""
    return _randomised(Upsampler(PAINTER), seed, std=0.05).requires_grad_(False)


def make_family(*, sees: bool = True) -> Any:
    """A family as `checkpoints.load_family` gives it; one that does not see has no encoder."""
    return SimpleNamespace(
        tokenizer=make_tokenizer(),
        decoder=make_decoder(),
        encoder=make_encoder() if sees else None,
        projector=make_projector() if sees else None,
        info=SimpleNamespace(id="local/tiny", licence="Apache-2.0", created=0),
    )


def make_photo(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (48, 32)) -> bytes:
    """PNG bytes of a picture: a coloured disc-like square on white."""
    image = Image.new("RGB", size, (255, 255, 255))
    image.paste(colour, (size[0] // 4, size[1] // 4, 3 * size[0] // 4, 3 * size[1] // 4))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _randomised(model: M, seed: int, *, std: float) -> M:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return model.eval()
