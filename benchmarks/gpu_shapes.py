"""Networks of the true shapes with random weights, made on the device: nothing is downloaded or copied there.

Shapes are those of the published configurations: Llama 3.1 8B, Llama 3.2 1B, Whisper large-v3-turbo,
MMS-TTS, RT-DETR R50, CLIP ViT-L/14, Qwen2-VL 2B's language part; painters are in `gpu_painters`. "tiny"
gives the same classes in a few channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from localgpt.runtime.open.base import Fast, OpenCheckpoint
from localgpt.runtime.open.language import LanguageModel
from localgpt.runtime.open.quantized import Placing, empty_network
from localgpt.runtime.open.weights import LoadedNetwork

__all__ = [
    "clip_tokenizer",
    "language_model",
    "leave_no_zeros",
    "llama_config",
    "making",
    "other_networks",
    "random_network",
    "random_quantized",
    "tiny_detector",
]

_SPREAD: Final = 0.02  # of random weights, as transformers begins with
_LLAMAS: Final[dict[str, dict[str, Any]]] = {
    "8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
    "1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 384,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
}


@contextmanager
def making(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Have networks be made on a device, in a dtype, with the same random numbers each time."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def llama_config(shape: str) -> Any:
    """Of "8b", "1b" or "tiny"."""
    from transformers import LlamaConfig

    return LlamaConfig(
        **_LLAMAS[shape], max_position_embeddings=8192, bos_token_id=None, eos_token_id=257, pad_token_id=257
    )


def random_network(
    config: Any, device: torch.device, dtype: torch.dtype, name: str = "LlamaForCausalLM"
) -> Any:
    """A network of transformers with random weights."""
    import transformers

    with making(device, dtype):
        network = getattr(transformers, name)(config)
    network = network.to(device, dtype).eval().requires_grad_(False)
    leave_no_zeros(network)
    return network


def random_quantized(config: Any, device: torch.device, bits: Any, tensors: Any = None) -> Any:
    """A network whose decoder is int8 or int4, quantized matrix by matrix as a folder's is.

    Args:
        config: of the network.
        device: where it shall be.
        bits: of the weights.
        tensors: pairs of name and tensor; None for random ones.
    """
    network = empty_network(config, "AutoModelForCausalLM")
    place = Placing(network, str(device), bits)
    for name, tensor in tensors or _random_tensors(network, device):
        place.put(name, tensor)
    network.tie_weights()
    missing = [name for name, tensor in network.named_parameters() if tensor.is_meta]
    assert not missing, missing
    return network.to(device).eval().requires_grad_(False)


def _random_tensors(network: Any, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    for name, tensor in list(network.named_parameters()):
        made = torch.ones(tensor.shape, device=device, dtype=torch.bfloat16)
        if tensor.ndim > 1:
            made.normal_(std=_SPREAD, generator=generator)
        yield name, made


def language_model(
    shape: str, device: torch.device, *, quantize: Any, fast: Fast, network: Any = None
) -> Any:
    """Our open language model over a random network."""
    config = llama_config(shape)
    if network is None:
        network = (
            random_network(config, device, torch.bfloat16)
            if quantize == "none"
            else random_quantized(config, device, quantize)
        )
    checkpoint = OpenCheckpoint(
        folder=Path(),
        id=f"random/llama-{shape}",
        kind="language",
        device=str(device),
        quantize=quantize,
        fast=fast,
    )
    loaded = LoadedNetwork(network=network, dtype=torch.bfloat16, notices=())
    return LanguageModel(checkpoint, loaded, _byte_tokenizer())


def _byte_tokenizer() -> Any:
    """One token for each byte; the first 256 of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {piece: number for number, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|begin|>", "<|end|>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")


def clip_tokenizer() -> Any:
    """Letters; ids far below those of the vocabulary that networks of the true shapes have."""
    from transformers import CLIPTokenizer

    letters = [*map(chr, range(97, 123)), *"0123456789,."]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def other_networks(
    device: torch.device, *, tiny: bool
) -> dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]]:
    """Networks of the other modalities: name to what makes one, and what one piece of work with it is."""
    import transformers as hub

    dtype = torch.float16 if device.type == "cuda" else torch.float32

    def whisper() -> tuple[Any, Callable[[Any], Any]]:
        size = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1} if tiny else {}
        full = {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 4} | size
        heads, wide = (4, 64) if tiny else (20, 5120)
        config = hub.WhisperConfig(
            **full,
            num_mel_bins=128,
            vocab_size=51866,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=wide,
            decoder_ffn_dim=wide,
        )
        network = random_network(config, device, dtype, "WhisperForConditionalGeneration")
        mel = torch.randn(1, 128, 3000, device=device, dtype=dtype)
        ids = torch.full((1, 8), 50258, device=device)
        return network, lambda model: model(input_features=mel, decoder_input_ids=ids).logits

    def vits() -> tuple[Any, Callable[[Any], Any]]:
        size = {"hidden_size": 16, "num_hidden_layers": 1, "ffn_dim": 32, "flow_size": 16} if tiny else {}
        if tiny:
            size |= {"upsample_initial_channel": 64, "num_attention_heads": 2}
        network = random_network(hub.VitsConfig(**size), device, torch.float32, "VitsModel")
        ids = torch.arange(40, device=device)[None] % 30 + 1
        return network, lambda model: model(input_ids=ids).waveform

    def detector() -> tuple[Any, Callable[[Any], Any]]:
        config = hub.RTDetrConfig() if not tiny else tiny_detector()
        network = random_network(config, device, torch.float32, "RTDetrForObjectDetection")
        side = 64 if tiny else 640
        pixels = torch.rand(1, 3, side, side, device=device)
        return network, lambda model: model(pixel_values=pixels).logits

    def clip() -> tuple[Any, Callable[[Any], Any]]:
        small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
        vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        vision |= {"num_attention_heads": 16, "patch_size": 14, "image_size": 224, "projection_dim": 768}
        text = {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        }
        config = hub.CLIPConfig(
            text_config=text | (small if tiny else {}),
            vision_config=vision | (small if tiny else {}),
            projection_dim=768,
        )
        network = random_network(config, device, dtype, "CLIPModel")
        pixels = torch.randn(4, 3, 224, 224, device=device, dtype=dtype)
        return network, lambda model: model.vision_model(pixel_values=pixels).pooler_output

    def vision() -> tuple[Any, Callable[[Any], Any]]:
        shape = (
            _LLAMAS["tiny"]
            if tiny
            else {
                "vocab_size": 151936,
                "hidden_size": 1536,
                "intermediate_size": 8960,
                "num_hidden_layers": 28,
                "num_attention_heads": 12,
                "num_key_value_heads": 2,
            }
        )
        network = random_network(hub.Qwen2Config(**shape), device, dtype, "Qwen2ForCausalLM")
        ids = torch.arange(256, device=device)[None]
        return network, lambda model: model(input_ids=ids, use_cache=False, logits_to_keep=1).logits

    return {"listen": whisper, "speak": vits, "detect": detector, "embed": clip, "vision": vision}


def tiny_detector(**more: Any) -> Any:
    """An RT-DETR in a few channels, for pictures of 64 x 64."""
    import transformers as hub

    backbone = hub.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    return hub.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_queries=20,
        num_denoising=0,
        **more,
    )


def leave_no_zeros(network: Any) -> None:
    """Fill matrices that are the same number all over, as some networks begin: zeros would be faster."""
    for parameter in network.parameters():
        if parameter.ndim < 2 or parameter.is_meta:  # of a shape alone, to count with
            continue
        some = parameter.detach().flatten()[:4096].float()
        if some.numel() > 1 and float(some.max()) == float(some.min()):
            parameter.normal_(std=_SPREAD)
