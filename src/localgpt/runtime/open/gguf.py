"""Models in GGUF files, run by llama.cpp: chat and complete, or embed where the file is made for that.

* Tokens are chosen by our own code from llama.cpp's logits, as for every other model, so that every option,
  schema and tool means the same; llama.cpp's samplers and grammars are not used.
* Conversations are written by the chat template in the file.
* What was read of the last prompt is kept, so that its owner's next turn reads only what is new; the memory
  ledger may drop it.
* Everything runs on the CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from localgpt.checkpoints.gguf_header import GgufHeader, read_gguf_header
from localgpt.compute.memory.state import Size
from localgpt.engine.sequence import Output, Sequence
from localgpt.errors import InputError, PromptTooLongError
from localgpt.runtime.open.asking import Asking, Job
from localgpt.runtime.open.base import Emit, OpenCheckpoint
from localgpt.runtime.open.gguf_vocabulary import GgufTokenizer, GgufVocabulary
from localgpt.runtime.open.llama import PIECE, LlamaContext, LlamaNetwork
from localgpt.runtime.open.prompts import OpenPrompt, PromptWriter
from localgpt.runtime.open.words import WordModel, check_is_wanted
from localgpt.tasks import EmbedRequest, EmbedResult, ImagePart, ModelStatus, Request, Result, Usage
from localgpt.units import MIB

if TYPE_CHECKING:
    from torch import nn

__all__ = ["GgufEmbedder", "GgufLanguageModel", "load"]

_CPU_NOTICE: Final = "GGUF models run on the CPU here, whatever the device of the others."
_AS_IT_IS_NOTICE: Final = "The weights of a GGUF file stay as they are; --quantize is for other open models."
_FIRST_ROOM: Final = 512  # tokens of a context; grown by doubling
_ALIVE: Final = 16  # rows of the network's width alive at once for each token of a piece
_MOST_BYTES_PER_TOKEN: Final = 256


def load(checkpoint: OpenCheckpoint) -> GgufLanguageModel | GgufEmbedder:
    """Read a file; `checkpoint.folder` is its path.

    Raises:
        CheckpointError: it is broken, or llama.cpp is missing.
    """
    network = LlamaNetwork(read_gguf_header(checkpoint.folder))
    kind = GgufEmbedder if checkpoint.kind == "gguf-embed" else GgufLanguageModel
    return kind(checkpoint, network)


class GgufLanguageModel(WordModel):
    """One loaded language model; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        network: of the file.
    """

    tasks: tuple[str, ...] = ("chat", "complete")
    modules: Mapping[str, nn.Module] = {}  # none of torch: nothing the ledger could move by itself

    def __init__(self, checkpoint: OpenCheckpoint, network: LlamaNetwork) -> None:
        super().__init__(checkpoint.id, _notices(checkpoint))
        self._checkpoint, self._network = checkpoint, network
        self._header = network.header
        self.dtype = "gguf"
        self.context_len = self._header.context_len
        self.vocabulary = GgufVocabulary(network)
        prompts = PromptWriter(GgufTokenizer(network, self.vocabulary), self.vocabulary)
        self._asking = Asking(self.id, self.vocabulary, prompts, context_len=self.context_len)
        self._kept = _Kept()
        self._room = _FIRST_ROOM  # of the answer that is being made

    @property
    def cache_bytes(self) -> int:
        """Keys and values of the last answer."""
        return self._kept.nbytes

    def drop_caches(self) -> None:
        """Forget them."""
        self._kept.clear()

    def release(self) -> None:
        """Let go of the network."""
        self._kept.clear()
        self._forget_prepared()
        self._network.close()

    def status(self) -> ModelStatus:
        """What it is."""
        return _status(self._checkpoint, self._header, self.tasks)

    def _piece_len(self, prompt: OpenPrompt) -> int:
        """How many tokens of a prompt are read in one go."""
        return PIECE

    def _answer_bytes(self, num_prompt: int, num_answer: int, piece_len: int) -> int:
        """Upper estimate: keys and values, a piece's activations, logits."""
        keys = self._header.kv_bytes(_room_for(num_prompt + num_answer))
        return keys + _work_bytes(self._header, piece_len)

    def _outputs(self, sequence: Sequence, job: Job, is_cancelled: Callable[[], bool]) -> Iterator[Output]:
        self._room = _room_for(len(job.prompt.token_ids) + sequence.request.max_tokens)
        return super()._outputs(sequence, job, is_cancelled)

    def _read_prompt(
        self, prompt: OpenPrompt, is_cancelled: Callable[[], bool]
    ) -> tuple[LlamaContext, Tensor]:
        token_ids = prompt.token_ids
        known = self._kept.take(token_ids, prompt.owner, self._room)
        context, start = known if known is not None else (self._network.new_context(self._room), 0)
        self.num_reused = start
        logits = torch.empty(0)
        for at in range(start, len(token_ids), PIECE):
            check_is_wanted(is_cancelled)
            logits = context.read(token_ids[at : at + PIECE])
        return context, logits

    def _step(self, made: LlamaContext, token_id: int) -> Tensor:
        return made.read([token_id])

    def _keep(self, prompt: OpenPrompt, made: LlamaContext) -> None:
        if self._checkpoint.keeps_prompts:
            self._kept.keep(prompt.token_ids, prompt.owner, made)


class GgufEmbedder:
    """One loaded model that makes vectors of texts; implements `OpenModel`.

    Args:
        checkpoint: what was loaded.
        network: of the file.
    """

    tasks: tuple[str, ...] = ("embed",)
    modules: Mapping[str, nn.Module] = {}

    def __init__(self, checkpoint: OpenCheckpoint, network: LlamaNetwork) -> None:
        self.id = checkpoint.id
        self.dtype = "gguf"
        self.notices = _notices(checkpoint)
        self.cache_bytes = 0
        self._checkpoint, self._network = checkpoint, network
        self._header = network.header

    def status(self) -> ModelStatus:
        """What it is."""
        return _status(self._checkpoint, self._header, self.tasks)

    def sizes(self, request: Request) -> tuple[Size, ...]:
        """What the longest text takes, which is read as a whole.

        Raises:
            InputError: something cannot be embedded; `param` names it.
        """
        longest = _room_for(max(map(len, self._texts(request))))
        nbytes = self._header.kv_bytes(longest) + _work_bytes(self._header, longest)
        return (Size(shape=f"texts of {longest} tokens", nbytes=nbytes),)

    def answer(self, request: Request, emit: Emit, is_cancelled: Callable[[], bool], size: Size) -> Result:
        """Make one unit vector for each text.

        Raises:
            LocalGPTError: it was refused, failed or was cancelled.
        """
        texts = self._texts(request)
        context = self._network.new_context(_room_for(max(map(len, texts))), embeds=True)
        vectors = []
        try:
            for token_ids in texts:
                check_is_wanted(is_cancelled)
                vector = torch.nn.functional.normalize(context.embed(token_ids), dim=0)
                vectors.append(tuple(vector.tolist()))
        finally:
            context.close()
        usage = Usage(prompt_tokens=sum(map(len, texts)), completion_tokens=0)
        return EmbedResult(embeddings=tuple(vectors), usage=usage, model=self.id)

    def drop_caches(self) -> None:
        """Nothing is remembered."""

    def release(self) -> None:
        """Let go of the network."""
        self._network.close()

    def _texts(self, request: Request) -> list[list[int]]:
        """Token ids of the texts."""
        if not isinstance(request, EmbedRequest):
            raise InputError(f"the model {self.id} embeds texts and does nothing else", param="model")
        if not request.inputs:
            raise InputError("got nothing to embed, expected at least one text", param="input")
        if request.dimensions not in (None, self._header.n_embd):
            raise InputError(
                f"dimensions is {request.dimensions}; this model's vectors have {self._header.n_embd} and "
                "cannot be shortened",
                param="dimensions",
            )
        texts = []
        for number, part in enumerate(request.inputs):
            param = "input" if len(request.inputs) == 1 else f"input[{number}]"
            if isinstance(part, ImagePart):
                raise InputError(f"the model {self.id} embeds texts, and no pictures", param=param)
            if not part.text.strip():
                raise InputError("got an empty text to embed, expected some words", param=param)
            texts.append(self._encode(part.text, param))
        return texts

    def _encode(self, text: str, param: str) -> list[int]:
        limit = self._header.context_len
        token_ids = self._network.encode(text) if len(text) <= limit * _MOST_BYTES_PER_TOKEN else None
        if token_ids is None or len(token_ids) > limit:
            got = "far more" if token_ids is None else f"{len(token_ids):,}"
            raise PromptTooLongError(
                f"the text has {got} tokens, expected at most {limit:,}; embed its parts", param=param
            )
        return token_ids


class _Kept:
    """What was read of the last prompt; taken out while it is used, so that it may be dropped at any time.

    Nobody gets what another owner asked: how quickly an answer begins would tell of it.
    """

    def __init__(self) -> None:
        self._kept: tuple[str, list[int], LlamaContext] | None = None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Of it."""
        with self._lock:
            return 0 if self._kept is None else self._kept[2].nbytes

    def take(self, token_ids: list[int], owner: str, room: int) -> tuple[LlamaContext, int] | None:
        """What a prompt can go on with, and how many of its tokens that holds; it is kept no more.

        Whole pieces only, as they would be read again, and the last token is always left to be read.
        """
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is None:
            return None
        whose, known, context = kept
        num_shared = next(
            (at for at, (mine, other) in enumerate(zip(known, token_ids, strict=False)) if mine != other),
            min(len(known), len(token_ids)),
        )
        num_shared = min(num_shared, len(token_ids) - 1) // PIECE * PIECE
        if whose != owner or context.num_tokens < room or not context.cut(num_shared):
            context.close()
            return None
        return context, num_shared

    def keep(self, token_ids: list[int], owner: str, context: LlamaContext) -> None:
        """Keep what was read of a prompt, with what was read behind it."""
        with self._lock:
            self._kept = (owner, token_ids, context)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None:
            kept[2].close()


def _notices(checkpoint: OpenCheckpoint) -> tuple[str, ...]:
    """What differs from what was asked for."""
    where = () if checkpoint.device == "cpu" else (_CPU_NOTICE,)
    return where if checkpoint.quantize == "none" else (*where, _AS_IT_IS_NOTICE)


def _status(checkpoint: OpenCheckpoint, header: GgufHeader, tasks: tuple[str, ...]) -> ModelStatus:
    return ModelStatus(
        id=checkpoint.id,
        tasks=tasks,
        num_params=header.num_params,
        weight_bytes=header.num_bytes,
        context_len=header.context_len,
        num_image_tokens=0,
        created=checkpoint.created,
        licence=header.licence if checkpoint.licence == "unknown" else checkpoint.licence,
    )


def _room_for(num_tokens: int) -> int:
    """Tokens of a context that holds so many."""
    room = _FIRST_ROOM
    while room < num_tokens:
        room *= 2
    return room


def _work_bytes(header: GgufHeader, num_tokens: int) -> int:
    """Upper estimate of llama.cpp's buffers for reading so many tokens at once."""
    hidden = num_tokens * (header.n_embd * _ALIVE + header.vocab_size) * 4
    return hidden + 32 * MIB
