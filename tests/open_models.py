"""Small random open checkpoints of the true classes, written as their makers write them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from tests import tiny

SPECIALS = ("<|end|>", "<|start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
TEMPLATE = (
    "{%- if tools %}<|start|>system\n{{ tools | tojson }}<|end|>{% endif -%}"
    "{%- for message in messages %}<|start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{%- for part in message.content %}"
    "{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}"
    "{%- endfor %}{% endif %}"
    "{%- for call in message.tool_calls or [] %}"
    "<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
    "<|end|>\n{% endfor -%}"
    "{%- if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
CONTEXT_LEN = 512
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
EYES = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}


@cache
def make_backend() -> tokenizers.Tokenizer:
    """A byte-level BPE of a few hundred pieces."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    backend.train_from_iterator(tiny.TEXTS * 5, trainer)
    backend.add_tokens([tokenizers.AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return backend


def write_tokenizer(folder: Path, *, template: str | None = TEMPLATE) -> tokenizers.Tokenizer:
    """Write `tokenizer.json`, `tokenizer_config.json` and the chat template."""
    backend = make_backend()
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return backend


def write_llama(folder: Path, *, seed: int = 0, template: str | None = TEMPLATE, **changes: Any) -> Path:
    """A Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    backend = write_tokenizer(folder, template=template)
    padded = {"vocab_size": backend.get_vocab_size() + 3}  # as networks have it, to some multiple
    config = LlamaConfig(**decoder_config(backend) | padded | changes)
    return write_network(folder, LlamaForCausalLM, config, seed=seed)


def decoder_config(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    """What the decoders of two layers here have in common."""
    return {
        "vocab_size": backend.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT_LEN,
        "eos_token_id": backend.token_to_id("<|end|>"),
        "bos_token_id": None,
    }


def write_network(folder: Path, network_class: Any, config: Any, *, seed: int = 0) -> Path:
    """Random weights, large enough that greedy answers vary with the prompt."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = network_class(config)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder)
    return folder


def write_qwen_vl(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2.5-VL of two layers and its picture processor."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    backend = write_tokenizer(folder)
    config = Qwen2_5_VLConfig(
        text_config=decoder_config(backend) | {"rope_parameters": ROPE},
        vision_config=EYES
        | {
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=backend.token_to_id("<|image_pad|>"),
        vision_start_token_id=backend.token_to_id("<|vision_start|>"),
        vision_end_token_id=backend.token_to_id("<|vision_end|>"),
    )
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 56 * 56,
        "max_pixels": 112 * 112,
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return write_network(folder, Qwen2_5_VLForConditionalGeneration, config, seed=seed)


def write_qwen3_vl(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen3-VL of two layers, the first of whose eyes reaches into its decoder."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    backend = write_tokenizer(folder)
    config = Qwen3VLConfig(
        text_config=decoder_config(backend) | {"head_dim": 8, "rope_parameters": ROPE},
        vision_config=EYES
        | {
            "patch_size": 16,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        },
        image_token_id=backend.token_to_id("<|image_pad|>"),
        vision_start_token_id=backend.token_to_id("<|vision_start|>"),
        vision_end_token_id=backend.token_to_id("<|vision_end|>"),
    )
    processor = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": {"shortest_edge": 64 * 64, "longest_edge": 128 * 128},
        "patch_size": 16,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return write_network(folder, Qwen3VLForConditionalGeneration, config, seed=seed)


def write_gemma3(folder: Path, *, seed: int = 0) -> Path:
    """A Gemma 3 of two layers, one of which slides, whose pictures are four tokens each."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    backend = write_tokenizer(folder, template=TEMPLATE.replace(picture, "<|vision_start|>"))
    config = Gemma3Config(
        text_config=decoder_config(backend)
        | {
            "head_dim": 8,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=backend.token_to_id("<|vision_start|>"),
        eoi_token_index=backend.token_to_id("<|vision_end|>"),
        image_token_index=backend.token_to_id("<|image_pad|>"),
    )
    processor = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return write_network(folder, Gemma3ForConditionalGeneration, config, seed=seed)


def write_clip(folder: Path) -> Path:
    """A CLIP of one layer a side, with a window of 16 tokens."""
    from transformers import CLIPConfig, CLIPModel

    backend = write_tokenizer(folder)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["bos_token"] = "<|start|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    layer = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **layer,
            "vocab_size": backend.get_vocab_size(),
            "max_position_embeddings": 16,
            "eos_token_id": backend.token_to_id("<|end|>"),
            "bos_token_id": backend.token_to_id("<|start|>"),
        },
        vision_config={**layer, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return write_network(folder, CLIPModel, config)


def write_siglip(folder: Path, *, is_second: bool = False) -> Path:
    """A SigLIP of one layer a side, with a window of 16 tokens; its second version has Gemma's tokenizer."""
    from transformers import SiglipConfig, SiglipModel

    backend = write_tokenizer(folder)
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["tokenizer_class"] = "GemmaTokenizer" if is_second else "SiglipTokenizer"
    described["pad_token"] = "<|start|>" if is_second else "<|end|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    layer = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**layer, "vocab_size": backend.get_vocab_size(), "max_position_embeddings": 16},
        vision_config={**layer, "image_size": 32, "patch_size": 8},
    )
    processor = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return write_network(folder, SiglipModel, config)


def write_embedder(name: str, folder: Path) -> Path:
    """A model that makes vectors of texts, in the form of sentence-transformers: bert, roberta or qwen3.

    BERT pools by the mean. RoBERTa takes the first token, writes texts small and ends with a dense layer.
    Qwen 3 takes the last token, behind a prompt.
    """
    import transformers

    backend = write_tokenizer(folder, template=None)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"vocab_size": backend.get_vocab_size(), "max_position_embeddings": 64}
    kinds: dict[str, tuple[Any, dict[str, Any], str]] = {
        "bert": (transformers.BertModel, {}, "pooling_mode_mean_tokens"),
        "roberta": (transformers.XLMRobertaModel, {"pad_token_id": 1}, "pooling_mode_cls_token"),
        "qwen3": (
            transformers.Qwen3Model,
            {"num_key_value_heads": 2, "head_dim": 8},
            "pooling_mode_lasttoken",
        ),
    }
    network_class, more, pooling = kinds[name]
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described["pad_token"] = backend.id_to_token(1)
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    parts = ["Transformer", "Pooling", *(["Dense"] if name == "roberta" else []), "Normalize"]
    modules = [
        {
            "idx": number,
            "type": f"sentence_transformers.models.{part}",
            "path": f"{number}_{part}" if number else "",
        }
        for number, part in enumerate(parts)
    ]
    _write_json(folder / "modules.json", modules)
    flags = {mode: mode == pooling for _, _, mode in kinds.values()}
    _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **flags})
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": 40 if name == "bert" else 512, "do_lower_case": name == "roberta"},
    )
    if name == "qwen3":
        prompts = {"prompts": {"say": "Say: "}, "default_prompt_name": "say"}
        _write_json(folder / "config_sentence_transformers.json", prompts)
    if name == "roberta":
        _write_dense(folder / "2_Dense")
    return write_network(folder, network_class, network_class.config_class(**shape | more))


def _write_dense(folder: Path) -> None:
    from safetensors.torch import save_file

    activation = "torch.nn.modules.activation.Tanh"
    told = {"in_features": 32, "out_features": 24, "bias": True, "activation_function": activation}
    _write_json(folder / "config.json", told)
    random = torch.Generator().manual_seed(0)
    tensors = {"weight": torch.randn(24, 32, generator=random), "bias": torch.randn(24, generator=random)}
    save_file({f"linear.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")


def _write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
