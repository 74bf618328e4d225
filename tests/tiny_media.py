"""Small random checkpoints of the true classes that paint, listen, speak and detect, saved as safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_shapes import clip_tokenizer, tiny_detector

__all__ = ["PAINTERS", "write_detector", "write_listener", "write_painter", "write_voice"]

PAINTERS = ("sd15", "sdxl", "turbo", "sd3", "flux")


def write_painter(name: str, folder: Path) -> Path:
    """A diffusers folder of one of `PAINTERS`; its autoencoder halves each side, so 64 pixels are 32 x 32."""
    torch.manual_seed(0)
    make = {"sd15": _sd15, "turbo": _turbo, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux}[name]
    make().save_pretrained(folder, safe_serialization=True)
    return folder


def _clip_config(vocab_size: int, width: int = 32, **more: Any) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=width,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        pad_token_id=vocab_size - 1,
        **more,
    )


def _autoencoder(channels: int = 4, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=8,
        sample_size=64,
        **more,
    ).eval()


def _unet(width: int = 32, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
        **more,
    ).eval()


def _sd15(scheduler: Any = None) -> Any:
    from diffusers import PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel

    tokenizer = clip_tokenizer()
    return StableDiffusionPipeline(
        vae=_autoencoder(),
        text_encoder=CLIPTextModel(_clip_config(len(tokenizer))).eval(),
        tokenizer=tokenizer,
        unet=_unet(),
        scheduler=scheduler
        or PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
            set_alpha_to_one=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _turbo() -> Any:
    from diffusers import EulerDiscreteScheduler

    return _sd15(
        EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="trailing",
            steps_offset=1,
        )
    )


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    config = _clip_config(len(tokenizer), hidden_act="gelu")
    unet = _unet(
        64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80,
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        vae=_autoencoder(force_upcast=True),
        text_encoder=CLIPTextModel(config).eval(),
        text_encoder_2=CLIPTextModelWithProjection(config).eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    )


def _t5() -> tuple[Any, Any]:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    pieces = ["<pad>", "</s>", "<unk>", *map(chr, range(97, 123))]
    words = Tokenizer(models.WordLevel({piece: n for n, piece in enumerate(pieces)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
    config = T5Config(
        vocab_size=len(pieces),
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=1,
        num_heads=4,
        is_encoder_decoder=False,
    )
    return tokenizer, T5EncoderModel(config).eval()


def _sd3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    config = _clip_config(len(tokenizer), hidden_act="gelu")
    t5_tokenizer, t5 = _t5()
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=16,
        pos_embed_max_size=64,
    ).eval()
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(16, shift_factor=0.05, scaling_factor=1.5),
        text_encoder=CLIPTextModelWithProjection(config).eval(),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(config).eval(),
        tokenizer_2=tokenizer,
        text_encoder_3=t5,
        tokenizer_3=t5_tokenizer,
    )


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel

    tokenizer = clip_tokenizer()
    t5_tokenizer, t5 = _t5()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_autoencoder(shift_factor=0.05, scaling_factor=1.5),
        text_encoder=CLIPTextModel(_clip_config(len(tokenizer))).eval(),
        tokenizer=tokenizer,
        text_encoder_2=t5,
        tokenizer_2=t5_tokenizer,
    )


LISTENER_SECONDS = 1.0  # of a full window


def write_listener(folder: Path, *, languages: bool = True) -> Path:
    """A Whisper folder: windows of one second, a token for every byte, two languages or English alone."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    tokenizer = _whisper_tokenizer()
    ids = tokenizer.get_vocab()
    torch.manual_seed(0)
    network = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer),
            num_mel_bins=8,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_source_positions=50,
            max_target_positions=48,
            pad_token_id=ids["<|endoftext|>"],
            bos_token_id=ids["<|endoftext|>"],
            eos_token_id=ids["<|endoftext|>"],
            decoder_start_token_id=ids["<|startoftranscript|>"],
        )
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)  # so that what is heard matters
    generation = network.generation_config
    generation._from_model_config = False  # or what follows is not read again
    generation.is_multilingual = languages
    generation.lang_to_id = {f"<|{code}|>": ids[f"<|{code}|>"] for code in ("en", "zh")}
    generation.task_to_id = {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}
    generation.no_timestamps_token_id = ids["<|notimestamps|>"]
    generation.max_initial_timestamp_index = 50
    generation.alignment_heads = [[1, 0], [1, 2]]
    generation.suppress_tokens = [ids["!"], *(ids[f"<|{name}|>"] for name in _NEVER)]
    generation.begin_suppress_tokens = [ids["\u0120"], ids["<|endoftext|>"]]
    network.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    return folder


_NEVER = (
    "startoftranscript", "en", "zh", "translate", "transcribe", "startoflm", "startofprev", "nospeech",
)  # fmt: skip


def _whisper_tokenizer() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import WhisperTokenizer

    vocab = {piece: number for number, piece in enumerate(sorted(ByteLevel.alphabet()))}
    vocab["<|endoftext|>"] = len(vocab)
    tokenizer = WhisperTokenizer(vocab=vocab, merges=[])
    times = [f"<|{number * 0.02:.2f}|>" for number in range(51)]
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [f"<|{name}|>" for name in (*_NEVER, "notimestamps")]}
    )
    tokenizer.add_tokens(times, special_tokens=False)
    return tokenizer


def write_voice(folder: Path, *, num_speakers: int = 1, **tokenizer: Any) -> Path:
    """A VITS folder: letters of English at 16 kHz."""
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    letters = [*"_abcdefghijklmnopqrstuvwxyz '-", "<unk>"]
    folder.mkdir(parents=True)
    vocab = folder / "made.json"
    vocab.write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    how = {"language": "eng", "normalize": True, "phonemize": False, "pad_token": "_", **tokenizer}
    VitsTokenizer(str(vocab), **how).save_pretrained(folder)
    vocab.unlink()
    torch.manual_seed(0)
    VitsModel(
        VitsConfig(
            vocab_size=len(letters),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=32,
            flow_size=16,
            spectrogram_bins=17,
            upsample_initial_channel=32,
            upsample_rates=(8, 8),
            upsample_kernel_sizes=(16, 16),
            resblock_kernel_sizes=(3,),
            resblock_dilation_sizes=((1, 3),),
            prior_encoder_num_flows=1,
            duration_predictor_num_flows=1,
            wavenet_dilation_rate=1,
            prior_encoder_num_wavenet_layers=1,
            posterior_encoder_num_wavenet_layers=1,
            num_speakers=num_speakers,
            speaker_embedding_size=16 if num_speakers > 1 else 0,
        )
    ).eval().save_pretrained(folder, safe_serialization=True)
    return folder


LABELS = ("cat", "dog", "traffic light")


def write_detector(folder: Path) -> Path:
    """An RT-DETR folder of three kinds of objects, for pictures of 64 x 64."""
    from transformers import RTDetrForObjectDetection, RTDetrImageProcessor

    torch.manual_seed(0)
    network = RTDetrForObjectDetection(
        tiny_detector(
            id2label=dict(enumerate(LABELS)), label2id={label: number for number, label in enumerate(LABELS)}
        )
    ).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "class_embed" in name or "score_head" in name:
                parameter.normal_(std=2.0)  # so that kinds and scores differ
    network.save_pretrained(folder, safe_serialization=True)
    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder
