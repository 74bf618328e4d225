"""Export of the decoder to a GGUF file of architecture `mpt`, which llama.cpp runs as it is.

Notable:
- Text only: the gate of the text modality is a constant per head and layer and is multiplied into the output
  projection. Pictures need the encoder and the other gates and stay with LocalGPT.
- llama.cpp is both a faster engine for users who have it and an independent oracle: the parity test holds its
  logits against ours.
- llama.cpp as in llama-cpp-python 0.3.36 stops with an assertion when an `mpt` with query and key norms reads
  more than one token at a time. With `n_ubatch=1` (`llama-server -ub 1`) it runs; only reading the prompt is
  slower for it. See docs/decisions.
- The pre-tokenizer is named `qwen2`: it splits as ours does, but that a Han run may keep a neighbouring mark
  or letter; no merge of ours crosses that border, so token ids agree. Combining marks are the exception:
  there they are cut off their letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np
from torch import Tensor

from localgpt.errors import CheckpointError, ConfigError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import (
    BOS_ID,
    END_ID,
    FIRST_SPECIAL_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    VOCAB_SIZE,
)
from localgpt.models.decoder import Block, Decoder
from localgpt.nn.linear import Linear
from localgpt.nn.norm import LayerNorm

__all__ = ["CHAT_TEMPLATE", "GgufDtype", "export_gguf"]

GgufDtype = Literal["f32", "q8_0", "q4_0"]
_FILE_TYPES: Final = {"f32": "ALL_F32", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}

# The text part of `localgpt.media.text.template` in the words of llama.cpp (Jinja); a test compares the two.
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "<|{{ 'tool_result' if message['role'] == 'tool' else message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def export_gguf(
    decoder: Decoder, tokenizer: Tokenizer, path: Path | str, *, dtype: GgufDtype = "f32"
) -> None:
    """Write the decoder and its vocabulary as one GGUF file.

    Args:
        decoder: with floating point weights (an int8 one has lost the layout this needs).
        tokenizer: the family's; its pieces and merges go into the file.
        path: file to write, replaced only once it is complete.
        dtype: "f32" keeps every bit; "q8_0" stores matrices as int8 in blocks of 32, and norms as float32;
            "q4_0" does with four bits, whose cost in quality is not measured.

    Raises:
        ConfigError: the optional package `gguf` is not installed, or `dtype` is not known.
        CheckpointError: the decoder has no query and key norms of its own, or int8 layers.
    """
    gguf = _gguf()
    if dtype not in _FILE_TYPES:
        raise ConfigError(f"got dtype {dtype!r} for a GGUF file, expected one of {', '.join(_FILE_TYPES)}")
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(partial, "mpt")
    _add_shape(writer, decoder, gguf, dtype)
    _add_vocabulary(writer, tokenizer, gguf)
    matrix_type = gguf.GGMLQuantizationType[dtype.upper()]
    for name, tensor in _tensors(decoder):
        values: np.ndarray[Any, Any] = tensor.detach().float().cpu().contiguous().numpy()
        if values.ndim == 1 or dtype == "f32":
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, matrix_type), raw_dtype=matrix_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def _gguf() -> ModuleType:
    try:
        import gguf
        import gguf.quants
    except ImportError as error:
        raise ConfigError(
            "writing a GGUF file needs the package gguf, which is not installed: pip install 'localgpt[gguf]'"
        ) from error
    module: ModuleType = gguf
    return module


def _add_shape(writer: Any, decoder: Decoder, gguf: ModuleType, dtype: GgufDtype) -> None:
    config = decoder.config
    writer.add_name("LocalGPT decoder")
    writer.add_license("cc-by-nc-sa-4.0")
    writer.add_context_length(config.context_len)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_head)
    writer.add_layer_norm_eps(decoder.norm_f.eps)
    writer.add_max_alibi_bias(8.0)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[dtype]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_vocabulary(writer: Any, tokenizer: Tokenizer, gguf: ModuleType) -> None:
    model = json.loads(tokenizer.to_str())["model"]
    pieces = [f"<|unused_{token_id}|>" for token_id in range(VOCAB_SIZE)]
    types = [gguf.TokenType.UNUSED] * VOCAB_SIZE
    for piece, token_id in model["vocab"].items():
        pieces[token_id], types[token_id] = piece, gguf.TokenType.NORMAL
    for place, special in enumerate(SPECIAL_TOKENS):
        pieces[FIRST_SPECIAL_ID + place] = special
        types[FIRST_SPECIAL_ID + place] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    )
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(END_ID)
    writer.add_pad_token_id(PAD_ID)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(decoder: Decoder) -> Iterator[tuple[str, Tensor]]:
    """Name in the `mpt` architecture and value of every weight; the head is tied to the token table."""
    yield "token_embd.weight", decoder.wte.weight
    yield "output_norm.weight", decoder.norm_f.weight
    for layer, block in enumerate(decoder.blocks):
        assert isinstance(block, Block)  # nn.ModuleList forgets the class
        for name, tensor in _block_tensors(block):
            yield f"blk.{layer}.{name}.weight", tensor


def _block_tensors(block: Block) -> Iterator[tuple[str, Tensor]]:
    attn, mlp = block.attn, block.mlp
    matrices = (attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj)
    if not all(isinstance(matrix, Linear) for matrix in matrices):
        raise CheckpointError(
            "this decoder was prepared for int8 decoding; load the family with dtype float32 to export it"
        )
    if not isinstance(attn.q_norm, LayerNorm) or not isinstance(attn.k_norm, LayerNorm):
        raise CheckpointError("this decoder has no query and key norms; expected one trained with qk_norm")
    yield "attn_norm", block.norm_1.weight
    yield "attn_qkv", attn.c_attn.weight
    yield "attn_q_norm", attn.q_norm.weight
    yield "attn_k_norm", attn.k_norm.weight
    yield "attn_output", attn.fold_gate()
    yield "ffn_norm", block.norm_2.weight
    yield "ffn_up", mlp.c_fc.weight
    yield "ffn_down", mlp.c_proj.weight
