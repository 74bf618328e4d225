"""The exported `mpt` GGUF in llama.cpp against our own decoder: same tokens, same logits.

llama.cpp runs in a process of its own, since it stops the whole process where it disagrees with a file.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from localgpt.checkpoints.gguf import CHAT_TEMPLATE, export_gguf
from localgpt.errors import CheckpointError
from localgpt.media.text.template import render_chat
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.models.decoder import Decoder, DecoderConfig
from localgpt.nn.linear import quantize_
from tests import tiny

ROOT = Path(__file__).parents[2]
TOKENIZER_FILE = ROOT / "weights" / "tokenizer.json"
TEXTS = [
    "The capital of France is Paris, isn't it? I'LL see 2,048 of 3.14159!",
    "法国的首都是哪里？“巴黎”，  2026年11月。\n\n第二段",
    "mixed 中文 and English，一二三four5六 \t tabs\r\n  two  spaces ",
    'naïve café, Ελλάδα, Москва, 東京タワー, 😀👍🏽 <|end|> {"name": [1, null]}',
]
RUN_LLAMA = """
import json, sys
import numpy as np
from llama_cpp import Llama
path, token_ids, texts, out = json.loads(sys.stdin.read())
sizes = dict(n_ctx=128, n_batch=1, n_ubatch=1, n_threads=1)  # see localgpt.checkpoints.gguf
llama = Llama(path, **sizes, logits_all=True, type_k=0, type_v=0, verbose=False)
llama.eval(token_ids)
np.save(out, llama.scores[: len(token_ids)])
print(json.dumps([llama.tokenize(text.encode(), add_bos=False, special=False) for text in texts]))
"""

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")
needs_llama = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp") is None,
    reason="llama-cpp-python is not installed (pip install 'localgpt[gguf]' builds it)",
)


def run_llama(path: Path, token_ids: list[int], texts: list[str]) -> tuple[np.ndarray, list[list[int]]]:
    """Logits (T, V) after each token, and the texts as llama.cpp encodes them."""
    out = path.with_suffix(".npy")
    request = json.dumps([str(path), token_ids, texts, str(out)])
    done = subprocess.run(
        [sys.executable, "-c", RUN_LLAMA], input=request, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(out), json.loads(done.stdout)


def make_decoder() -> Decoder:
    """Small, but with every part at work: gates away from one, norms away from one, four heads."""
    decoder = tiny.make_decoder(config=DecoderConfig(n_layer=2, n_embd=64, n_head=4, context_len=128))
    generator = torch.Generator().manual_seed(5)
    for name, parameter in decoder.named_parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.2, generator=generator)
        elif name.endswith("gate_logits"):
            torch.nn.init.normal_(parameter, std=1.5, generator=generator)
        else:
            torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    return decoder


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


@needs_gguf
@needs_llama
@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 2e-3), ("q8_0", 5e-2)])
def test_llama_cpp_gives_our_logits(
    tmp_path: Path, tokenizer: Tokenizer, dtype: str, tolerance: float
) -> None:
    decoder = make_decoder()
    token_ids = render_chat(tokenizer, [("user", [TEXTS[0]]), ("assistant", [TEXTS[1]])])[:100]
    path = tmp_path / "decoder.gguf"
    export_gguf(decoder, tokenizer, path, dtype=dtype)  # type: ignore[arg-type]
    theirs, _ = run_llama(path, token_ids, [])
    with torch.no_grad():
        ours = decoder(torch.tensor([token_ids]))[0].numpy()
    assert theirs.shape == ours.shape
    assert relative_error(ours, theirs) < tolerance
    plain = torch.sigmoid(decoder.blocks[0].attn.gate_logits[0])
    assert plain.max() - plain.min() > 0.2, "the gate must matter for this test to mean anything"


@needs_gguf
@needs_llama
@pytest.mark.skipif(not TOKENIZER_FILE.exists(), reason="the family's tokenizer is not there")
def test_llama_cpp_encodes_text_as_we_do(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(TOKENIZER_FILE)
    path = tmp_path / "decoder.gguf"
    export_gguf(make_decoder(), tokenizer, path, dtype="q8_0")
    _, theirs = run_llama(path, [1, 2], TEXTS)
    assert theirs == [tokenizer.encode(text) for text in TEXTS]


@needs_gguf
def test_the_file_tells_what_it_is(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from gguf import GGUFReader

    path = tmp_path / "decoder.gguf"
    decoder = make_decoder()
    export_gguf(decoder, tokenizer, path)
    reader = GGUFReader(path)
    assert reader.fields["general.architecture"].contents() == "mpt"
    assert reader.fields["mpt.attention.max_alibi_bias"].contents() == 8.0
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == decoder.config.vocab_size
    names = {tensor.name for tensor in reader.tensors}
    assert {"token_embd.weight", "blk.1.attn_q_norm.weight"} <= names and "output.weight" not in names
    assert not list(tmp_path.glob("*.part"))


@needs_gguf
def test_int8_layers_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    decoder = make_decoder()
    quantize_(decoder, kernel="plain")
    with pytest.raises(CheckpointError, match="float32"):
        export_gguf(decoder, tokenizer, tmp_path / "decoder.gguf")


def test_the_chat_template_is_ours(tokenizer: Tokenizer) -> None:
    jinja2 = pytest.importorskip("jinja2")
    turns = [("system", "Be kind."), ("user", "你好"), ("assistant", "Hi."), ("tool", "42"), ("user", "Bye")]
    rendered = jinja2.Template(CHAT_TEMPLATE).render(
        bos_token="<|bos|>",
        messages=[{"role": role, "content": text} for role, text in turns],
        add_generation_prompt=True,
    )
    ours = render_chat(tokenizer, [(role, [text]) for role, text in turns])
    assert rendered == tokenizer.decode(ours, keep_special=True)
