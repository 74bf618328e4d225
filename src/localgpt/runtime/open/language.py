"""Open language models: chat and complete with any causal network that transformers knows.

* One answer at a time, in the order of arrival; a prompt is read in pieces, and who goes away is noticed
  after each piece and each token.
* Tokens are chosen by the code that chooses the embedded family's (`sampling.tokens`, `sampling.grammar`).
  transformers' own `generate` is not used: it is the oracle of the tests.
* What a request leaves open: at most 4,096 tokens for chat, and no repetition penalty, which these models do
  without.
* The cache of the last prompt is kept, so that a conversation's next turn reads only what is new; the memory
  ledger may drop it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from localgpt.errors import (
    CheckpointError,
)
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.asking import Asking
from localgpt.runtime.open.base import OpenCheckpoint, is_fast
from localgpt.runtime.open.cache import PrefixMemory, cache_argument, kv_bytes, new_cache
from localgpt.runtime.open.fixed_steps import FixedRead, FixedSteps
from localgpt.runtime.open.prompts import OpenPrompt, PromptWriter
from localgpt.runtime.open.quantized import load_quantized
from localgpt.runtime.open.vocabulary import OpenVocabulary
from localgpt.runtime.open.weights import LoadedNetwork, load_network, load_tokenizer
from localgpt.runtime.open.words import WordModel, check_is_wanted
from localgpt.tasks import (
    ModelStatus,
)
from localgpt.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = ["LanguageModel", "load", "read_network"]

_PREFILL: Final = 256  # tokens of a prompt read in one go
_UNTOLD_CONTEXT: Final = 8192  # of networks that name no limit
_ALIVE: Final = 8  # tensors of a layer's width, or of its MLP's, alive at once


def load(checkpoint: OpenCheckpoint) -> LanguageModel:
    """Read a language model.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    tokenizer = load_tokenizer(checkpoint.folder)
    return LanguageModel(checkpoint, read_network(checkpoint, "AutoModelForCausalLM"), tokenizer)


def read_network(checkpoint: OpenCheckpoint, auto_class: str) -> LoadedNetwork:
    """Read a network as it is, or quantized, as the checkpoint says.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    if checkpoint.quantize == "none":
        return load_network(checkpoint, auto_class)
    return load_quantized(checkpoint, auto_class, checkpoint.quantize)


class LanguageModel(WordModel):
    """One loaded language model; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
    """

    tasks: tuple[str, ...] = ("chat", "complete")
    num_image_tokens = 0
    runs_fixed = True  # tokens of an answer in fixed shapes, where the device captures those

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any) -> None:
        super().__init__(checkpoint.id, loaded.notices)
        self._checkpoint = checkpoint
        network: Any = loaded.network
        self.network = network
        self._compute_dtype = loaded.dtype
        self._config = network.config
        self._text_config = self._config.get_text_config(decoder=True)
        self.tokenizer = tokenizer
        self.vocabulary = OpenVocabulary(
            tokenizer.backend_tokenizer,
            vocab_size=self._text_config.vocab_size,
            end_ids=_end_ids(network, tokenizer),
            bos_id=tokenizer.bos_token_id,
        )
        self.context_len = _context_len(self._text_config, tokenizer)
        self._asking = self._new_asking()
        self._cache_argument = cache_argument(network)
        self._prefix = PrefixMemory(_PREFILL)
        self._footprint = measure(network)
        self._fixed: FixedSteps | None = None
        self._has_fixed = self.runs_fixed and is_fast(checkpoint)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    @property
    def dtype(self) -> str:
        """Of most weights."""
        quantized = self._checkpoint.quantize
        return self._footprint.dtype if quantized == "none" else quantized

    @property
    def cache_bytes(self) -> int:
        """Keys and values of the last answer, and graphs."""
        fixed = self._fixed
        return self._prefix.nbytes + (0 if fixed is None else fixed.nbytes)

    def drop_caches(self) -> None:
        """Forget them."""
        self._prefix.clear()
        self._fixed = None

    def release(self) -> None:
        """Let go of the network."""
        self.drop_caches()
        self._forget_prepared()
        self.network = None

    def status(self) -> ModelStatus:
        """What it is."""
        return self._checkpoint.status(
            self.tasks,
            self._footprint,
            context_len=self.context_len,
            num_image_tokens=self.num_image_tokens,
        )

    def _new_asking(self) -> Asking:
        prompts = PromptWriter(self.tokenizer, self.vocabulary)
        return Asking(self.id, self.vocabulary, prompts, context_len=self.context_len)

    def _piece_len(self, prompt: OpenPrompt) -> int:
        """How many tokens of a prompt are read in one go."""
        return _PREFILL

    def _answer_bytes(self, num_prompt: int, num_answer: int, piece_len: int) -> int:
        """Upper estimate: keys and values with room to grow, a piece's activations, scores, logits."""
        text, itemsize = self._text_config, self._compute_dtype.itemsize
        num_tokens = num_prompt + num_answer
        piece = min(piece_len, num_prompt)
        widest = max(text.hidden_size, getattr(text, "intermediate_size", 0) or 4 * text.hidden_size)
        keys = kv_bytes(self._config, self._compute_dtype) * num_tokens * (4 if self._has_fixed else 3) // 2
        hidden = piece * widest * _ALIVE * itemsize
        scores = 2 * piece * text.num_attention_heads * num_tokens * itemsize
        logits = 4 * text.vocab_size * 4
        return int(keys + hidden + scores + logits + MIB)

    def _read_prompt(self, prompt: OpenPrompt, is_cancelled: Callable[[], bool]) -> tuple[Any, Tensor]:
        """A cache that holds a prompt, and the logits (V,) after it."""
        known = self._prefix.take(prompt.token_ids, prompt.owner)
        made, start = known if known is not None else (new_cache(self._config), 0)
        self.num_reused = start
        logits = torch.empty(0)
        for at in range(start, len(prompt.token_ids), _PREFILL):
            check_is_wanted(is_cancelled)
            logits = self._forward(made, prompt.token_ids[at : at + _PREFILL])
        return (self._go_on_fixed(made, prompt.token_ids, logits) if self._has_fixed else made), logits

    def _go_on_fixed(self, made: Any, token_ids: list[int], logits: Tensor) -> Any:
        """The same cache for `_step`, whose tokens are made in fixed shapes from here on where they can."""
        fixed = self._fixed
        if fixed is None:
            compiles = self._checkpoint.fast in ("compiled", "max")
            fixed = self._fixed = FixedSteps(self.network, compiles=compiles)
        if fixed.begin(made, token_ids[-1], logits):
            return FixedRead(made, fixed, len(token_ids))
        self._has_fixed, self._fixed = False, None
        self.notices = (*self.notices, f"tokens are made one kernel at a time: {fixed.refusal}")
        return made

    def _keep(self, prompt: OpenPrompt, made: Any) -> None:
        if not self._checkpoint.keeps_prompts:
            return
        if not prompt.images:
            made = made.made if isinstance(made, FixedRead) else made
            self._prefix.keep(prompt.token_ids, made, prompt.owner)

    def _step(self, made: Any, token_id: int) -> Tensor:
        if isinstance(made, FixedRead):
            return made.step(token_id)
        return self._forward(made, [token_id])

    def _forward(self, made: Any, token_ids: list[int], **inputs: Any) -> Tensor:
        """Read tokens behind what a cache holds; logits (V,) float32 after the last."""
        ids = torch.tensor([token_ids], device=self._checkpoint.device)
        inputs[self._cache_argument] = made
        out = self.network(input_ids=ids, use_cache=True, logits_to_keep=1, **inputs)
        logits: Tensor = out.logits[0, -1]
        return logits.float()


def _end_ids(network: Any, tokenizer: Any) -> list[int]:
    """Tokens that end an answer, the tokenizer's own first."""
    told = getattr(network.generation_config, "eos_token_id", None)
    told = told if told is not None else getattr(network.config, "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(told if isinstance(told, list) else [told])]
    found = list(dict.fromkeys(int(token_id) for token_id in ids if token_id is not None))
    if not found:
        raise CheckpointError(
            "the model names no token that ends an answer: no eos_token_id in generation_config.json, "
            "config.json or the tokenizer's"
        )
    return found


def _context_len(config: Any, tokenizer: Any) -> int:
    """Positions that a network was made for, or as many as its tokenizer tells."""
    told = getattr(config, "max_position_embeddings", None)
    return int(told or min(tokenizer.model_max_length, _UNTOLD_CONTEXT))
