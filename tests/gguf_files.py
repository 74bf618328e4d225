"""Small random GGUF files of networks that llama.cpp knows, with the weights of transformers' own classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests import open_models

CONTEXT_LEN = 512
# transformers' name of a layer's part to llama.cpp's.
_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write_qwen2(folder: Path, *, template: str | None = open_models.TEMPLATE) -> tuple[Path, Path]:
    """The same Qwen2 as a folder of the hub and as a GGUF file."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    backend = open_models.write_tokenizer(folder / "hub", template=template)
    config = Qwen2Config(
        vocab_size=backend.get_vocab_size(),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LEN,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        eos_token_id=backend.token_to_id("<|end|>"),
        bos_token_id=None,
    )
    hub = open_models.write_network(folder / "hub", Qwen2ForCausalLM, config, seed=3)
    network = Qwen2ForCausalLM.from_pretrained(hub, dtype=torch.float32)
    path = folder / "tiny-qwen2.gguf"
    _write(path, network, backend, template)
    return hub, path


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "capital", "of", "france", "a", "small", "cat", "##s")
_BERT_PARTS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_BERT_WHOLE = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}


def write_bert(folder: Path) -> tuple[Path, Path]:
    """The same BERT that embeds texts as a folder of the hub and as a GGUF file."""
    import gguf
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    hub = open_models.write_network(folder / "hub", BertModel, config, seed=5)
    network = BertModel.from_pretrained(hub, dtype=torch.float32)
    path = folder / "tiny-bert.gguf"
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    phantom = [
        word[2:] if word.startswith("##") else word if word[0] == "[" else f"\u2581{word}" for word in WORDS
    ]
    writer.add_token_list(phantom)
    controls = [gguf.TokenType.CONTROL if word[0] == "[" else gguf.TokenType.NORMAL for word in WORDS]
    writer.add_token_types(controls)
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_eos_token_id(3)
    for name, tensor in network.state_dict().items():
        if (told := _bert_name(name)) is not None:
            writer.add_tensor(told, np.ascontiguousarray(tensor.float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hub, path


def bert_vectors(hub: Path, texts: tuple[str, ...]) -> list[list[float]]:
    """Unit vectors of texts of known words: the mean over all tokens, by transformers."""
    from transformers import BertModel

    network = BertModel.from_pretrained(hub, dtype=torch.float32).eval()
    vectors = []
    for text in texts:
        ids = torch.tensor([[2, *(WORDS.index(word) for word in text.split()), 3]])
        with torch.no_grad():
            mean = network(input_ids=ids).last_hidden_state[0].mean(0)
        vectors.append(torch.nn.functional.normalize(mean, dim=0).tolist())
    return vectors


def _bert_name(name: str) -> str | None:
    """What llama.cpp calls a tensor; None for what it does not have."""
    if not name.startswith("encoder."):
        return _BERT_WHOLE.get(name)
    _, _, layer, rest = name.split(".", 3)
    part, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{_BERT_PARTS[part]}.{kind}"


def _write(path: Path, network: Any, backend: Any, template: str | None) -> None:
    import gguf

    config = network.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_license("apache-2.0")
    writer.add_context_length(CONTEXT_LEN)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    model = json.loads(backend.to_str())["model"]
    pieces = sorted(backend.get_vocab(), key=backend.token_to_id)
    kinds = [gguf.TokenType.NORMAL] * len(pieces)
    for token in open_models.SPECIALS:
        kinds[backend.token_to_id(token)] = gguf.TokenType.CONTROL
    for token in open_models.MARKS:
        kinds[backend.token_to_id(token)] = gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in model["merges"]])
    writer.add_eos_token_id(backend.token_to_id("<|end|>"))
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)
    for name, tensor in network.state_dict().items():
        writer.add_tensor(_name(name), np.ascontiguousarray(tensor.float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    _, _, layer, rest = name.split(".", 3)
    part, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{_PARTS[part]}.{kind}"
