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

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from localgpt.compute.memory.state import Size
from localgpt.engine.sequence import GenerationRequest, Output, Sequence
from localgpt.errors import (
    BackendError,
    CancelledRequestError,
    CheckpointError,
)
from localgpt.runtime.footprint import measure
from localgpt.runtime.open.asking import Asking, Job
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.cache import PrefixMemory, cache_argument, kv_bytes, new_cache
from localgpt.runtime.open.calls import OPENER, OpenAnswerWriter
from localgpt.runtime.open.prompts import OpenPrompt, PromptWriter
from localgpt.runtime.open.vocabulary import OpenVocabulary, TextStream
from localgpt.runtime.open.weights import LoadedNetwork, load_network, load_tokenizer
from localgpt.runtime.questions import AnswerRequest, options_of
from localgpt.tasks import (
    ChatResult,
    ModelStatus,
    Notice,
    Request,
    Result,
    Usage,
)
from localgpt.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

__all__ = ["LanguageModel", "check_is_wanted", "load"]

_PREFILL: Final = 256  # tokens of a prompt read in one go
_LEAST_ANSWER: Final = 256  # tokens; where memory is short an answer is not cut below this
_FIRST_SHAPE: Final = 256
_UNTOLD_CONTEXT: Final = 8192  # of networks that name no limit
_ALIVE: Final = 8  # tensors of a layer's width, or of its MLP's, alive at once
_NUM_PREPARED: Final = 64


def load(checkpoint: OpenCheckpoint) -> LanguageModel:
    """Read a language model.

    Raises:
        CheckpointError: the folder is incomplete or broken.
    """
    tokenizer = load_tokenizer(checkpoint.folder)
    return LanguageModel(checkpoint, load_network(checkpoint, "AutoModelForCausalLM"), tokenizer)


class LanguageModel:
    """One loaded language model; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        loaded: its network.
        tokenizer: of transformers.
    """

    tasks: tuple[str, ...] = ("chat", "complete")
    num_image_tokens = 0

    def __init__(self, checkpoint: OpenCheckpoint, loaded: LoadedNetwork, tokenizer: Any) -> None:
        self.id = checkpoint.id
        self.notices = loaded.notices
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
        self._prepared: dict[int, tuple[Request, Job]] = {}

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
        """Keys and values of the last answer."""
        return self._prefix.nbytes

    def drop_caches(self) -> None:
        """Forget them."""
        self._prefix.clear()

    def release(self) -> None:
        """Let go of the network."""
        self._prefix.clear()
        self._prepared.clear()
        self.network = None

    def status(self) -> ModelStatus:
        """What it is."""
        return ModelStatus(
            id=self.id,
            tasks=self.tasks,
            num_params=self._footprint.num_params,
            weight_bytes=self._footprint.weight_bytes,
            context_len=self.context_len,
            num_image_tokens=self.num_image_tokens,
            created=self._checkpoint.created,
            licence=self._checkpoint.licence,
        )

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What an answer takes as it was asked for, then of half as many tokens, and so on.

        Raises:
            InputError: it cannot be answered.
        """
        job = self._asking.prepare(request)
        while len(self._prepared) >= _NUM_PREPARED:
            self._prepared.pop(next(iter(self._prepared)))
        self._prepared[id(request)] = (request, job)
        return tuple(self._sizes(job))

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Make one answer.

        Raises:
            LocalGPTError: it was refused, failed or was cancelled.
        """
        known = self._prepared.pop(id(request), None)
        job = known[1] if known is not None and known[0] is request else self._asking.prepare(request)
        max_tokens = self._lengths(job)[size.shape]
        assert isinstance(request, AnswerRequest)
        options = options_of(request, job.question.task, job.rules, penalties={})
        generation = GenerationRequest(
            token_ids=job.prompt.token_ids,
            options=replace(options, stop=(*options.stop, *job.prompt.stop)),
            max_tokens=max_tokens,
            grammar=job.rules.grammar,
            grammar_opener=self.vocabulary.token_of(OPENER) if job.rules.is_for_calls_only else None,
            call_id=self.vocabulary.token_of(OPENER) if job.question.has_tools else None,
        )
        sequence = Sequence(
            generation, TextStream(self.vocabulary), end_id=self.vocabulary.end_id, max_tokens=max_tokens
        )
        writer = OpenAnswerWriter(self.vocabulary, job.question.language, has_tools=job.question.has_tools)
        notices = [*self.notices, *self._asking.notices_about(job)]
        if size.notice:
            notices.append(size.notice)
        for text in notices:
            emit(Notice(text=text))
        for output in self._outputs(sequence, job, is_cancelled):
            for event in writer.take(output):
                emit(event)
        assert sequence.finish_reason is not None
        return ChatResult(
            text=writer.text,
            finish_reason=writer.finish_reason(sequence.finish_reason),
            usage=Usage(prompt_tokens=len(job.prompt.token_ids), completion_tokens=writer.num_tokens),
            model=self.id,
            notices=(*notices, *writer.notices),
            tool_calls=writer.tool_calls,
            logprobs=tuple(writer.logprobs),
        )

    def _new_asking(self) -> Asking:
        prompts = PromptWriter(self.tokenizer, self.vocabulary)
        return Asking(self.id, self.vocabulary, prompts, context_len=self.context_len)

    # Memory.

    def _sizes(self, job: Job) -> Iterator[Size]:
        length = _bucket(len(job.prompt.token_ids))
        for shape, num in self._lengths(job).items():
            is_less = num < job.max_tokens
            told = f"Memory is short: the answer may have {num:,} tokens instead of {job.max_tokens:,}."
            nbytes = self._answer_bytes(length, _bucket(num), self._piece_len(job.prompt))
            yield Size(shape=shape, nbytes=nbytes, notice=told if is_less else "")

    def _lengths(self, job: Job) -> dict[str, int]:
        """Tokens of an answer that are worth making, the most first, by the shape of that work."""
        least = max(job.rules.num_needed, min(_LEAST_ANSWER, job.max_tokens))
        lengths, num = {}, job.max_tokens
        prompt_len = _bucket(len(job.prompt.token_ids))
        while True:
            lengths[f"answer of {_bucket(num)} to {prompt_len} tokens"] = num
            if num <= least:
                return lengths
            num = max(least, num // 2)

    def _piece_len(self, prompt: OpenPrompt) -> int:
        """How many tokens of a prompt are read in one go."""
        return _PREFILL

    def _answer_bytes(self, num_prompt: int, num_answer: int, piece_len: int) -> int:
        """Upper estimate: keys and values with room to grow, a piece's activations, scores, logits."""
        text, itemsize = self._text_config, self._compute_dtype.itemsize
        num_tokens = num_prompt + num_answer
        piece = min(piece_len, num_prompt)
        widest = max(text.hidden_size, getattr(text, "intermediate_size", 0) or 4 * text.hidden_size)
        keys = kv_bytes(self._config, self._compute_dtype) * num_tokens * 3 // 2
        hidden = piece * widest * _ALIVE * itemsize
        scores = 2 * piece * text.num_attention_heads * num_tokens * itemsize
        logits = 4 * text.vocab_size * 4
        return int(keys + hidden + scores + logits + MIB)

    # Decoding.

    def _outputs(self, sequence: Sequence, job: Job, is_cancelled: Callable[[], bool]) -> Iterator[Output]:
        """One output a token, as the engine of the embedded family makes them."""
        with torch.inference_mode():
            made, logits = self._read_prompt(job.prompt, is_cancelled)
            while True:
                if not bool(torch.isfinite(logits).all()):
                    raise BackendError("the model gave values that are no numbers; try it without --fp16")
                token_id, likelihood = sequence.choose(logits)
                if token_id in self.vocabulary.end_ids:
                    token_id = self.vocabulary.end_id
                text = sequence.append(token_id)
                is_over = sequence.finish_reason is not None
                yield Output(
                    sequence=sequence,
                    token_id=token_id,
                    text=text,
                    finish_reason=sequence.finish_reason,
                    likelihood=likelihood,
                    is_forced=is_over and sequence.is_forced,
                )
                if is_over:
                    break
                check_is_wanted(is_cancelled)
                logits = self._step(made, token_id)
        if not job.prompt.images:
            self._prefix.keep(job.prompt.token_ids, made)

    def _read_prompt(self, prompt: OpenPrompt, is_cancelled: Callable[[], bool]) -> tuple[Any, Tensor]:
        """A cache that holds a prompt, and the logits (V,) after it."""
        known = self._prefix.take(prompt.token_ids)
        made, start = known if known is not None else (new_cache(self._config), 0)
        logits = torch.empty(0)
        for at in range(start, len(prompt.token_ids), _PREFILL):
            check_is_wanted(is_cancelled)
            logits = self._forward(made, prompt.token_ids[at : at + _PREFILL])
        return made, logits

    def _step(self, made: Any, token_id: int) -> Tensor:
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


def _bucket(num: int) -> int:
    shape = _FIRST_SHAPE
    while shape < num:
        shape *= 2
    return shape


def check_is_wanted(is_cancelled: Callable[[], bool]) -> None:
    """Go on only while somebody waits.

    Raises:
        CancelledRequestError: nobody does.
    """
    if is_cancelled():
        raise CancelledRequestError("nobody waits for the answer any more; it was not finished")
